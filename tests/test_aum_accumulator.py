"""The accumulator: equal to the released package and to a mean; ids; epochs; resumed and merged runs; refusals."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from theory.aum import Accumulator
from theory.aum.accumulator import Accumulator as Direct
from theory.checks import InvalidInput
from theory.margin import margins

IDS = {
    "range": lambda rng, n: np.arange(n),
    "shuffled": lambda rng, n: rng.permutation(n) + 3,
    "sparse": lambda rng, n: rng.choice(10**15, n, replace=False) - 10**14,
    "strings": lambda rng, n: [f"{i:03d}.png" for i in rng.permutation(n)],
    "list": lambda rng, n: rng.permutation(n).tolist(),
    "tensor": lambda rng, n: torch.from_numpy(rng.permutation(n)),
    "numbers as words": lambda rng, n: [str(i) for i in range(n)],
}


def draw(seed=0, n=30, c=4, epochs=5, dtype=np.float32):
    rng = np.random.default_rng(seed)
    return rng, (rng.standard_normal((epochs, n, c)) * 3).astype(dtype), rng.integers(0, c, n)


def taken(ids, rows):
    return ids[torch.from_numpy(rows)] if isinstance(ids, torch.Tensor) else [ids[row] for row in rows]


def feed(record, Z, y, ids, rng, batch=7):
    for logits in Z:
        for rows in np.array_split(rng.permutation(len(y)), max(1, len(y) // batch)):
            record.update(logits[rows], y[rows], taken(ids, rows))
        record.end_epoch()
    return record


@pytest.mark.parametrize("kind", IDS)
def test_is_the_mean_margin_whatever_the_ids_and_the_order(kind):
    rng, Z, y = draw()
    ids = IDS[kind](rng, len(y))
    table = feed(Accumulator(stop=5), Z, y, ids, rng).table()
    wanted = np.mean([margins(logits, y).astype(float) for logits in Z], axis=0)
    plain = ids.tolist() if isinstance(ids, torch.Tensor) else list(ids)
    assert table.columns.tolist() == ["id", "aum", "epochs"] and (table["epochs"] == 5).all()
    found = table.set_index("id")["aum"]
    np.testing.assert_allclose(found.loc[plain].to_numpy(), wanted, rtol=1e-15, atol=1e-15)
    assert table["aum"].is_monotonic_increasing


@pytest.mark.parametrize("kind", ["range", "strings"])
def test_equals_the_released_package(kind, tmp_path):
    released = pytest.importorskip("aum")
    rng, Z, y = draw(seed=1, n=40)
    ids = [int(i) for i in range(40)] if kind == "range" else [f"s{i}" for i in range(40)]
    theirs, ours = released.AUMCalculator(str(tmp_path)), Accumulator(stop=5)
    for logits in Z:
        for rows in np.array_split(rng.permutation(40), 6):
            batch = taken(ids, rows)
            theirs.update(torch.from_numpy(logits[rows]), torch.from_numpy(y[rows]), batch)
            ours.update(torch.from_numpy(logits[rows]), torch.from_numpy(y[rows]), batch)
        ours.end_epoch()
    theirs.finalize()
    saved = pd.read_csv(tmp_path / "aum_values.csv").set_index("sample_id")["aum"]
    mine = ours.table().set_index("id")["aum"]
    np.testing.assert_allclose(mine.loc[saved.index].to_numpy(), saved.to_numpy(), rtol=1e-15, atol=1e-15)


def test_where_the_released_package_goes_wrong(tmp_path):
    """Tensor ids become new keys there, and a batch of one raises; here both are right."""
    released = pytest.importorskip("aum")
    Z, y, ids = torch.randn(4, 3), torch.tensor([0, 1, 2, 0]), torch.arange(4)
    theirs, ours = released.AUMCalculator(str(tmp_path)), Accumulator(stop=2)
    for _ in range(2):
        theirs.update(Z, y, ids)
        ours.update(Z, y, ids)
        ours.end_epoch()
    assert len(theirs.counts) == 8 and len(ours) == 4
    with pytest.raises(TypeError):
        theirs.update(Z[:1], y[:1], [0])


def test_a_batch_of_one():
    record = Accumulator(stop=1)
    for row in range(3):
        record.update(np.eye(3)[[row]], [0], torch.tensor([row]))
    record.end_epoch()
    assert record.table()["aum"].tolist() == [-1.0, -1.0, 1.0]


def test_skip_and_stop():
    rng, Z, y = draw(epochs=6)
    record = feed(Accumulator(stop=4, skip=1), Z, y, np.arange(30), rng)
    assert record.done and (record.epochs, record.measured) == (4, 3)
    wanted = np.mean([margins(logits, y).astype(float) for logits in Z[1:4]], axis=0)
    found = record.table().set_index("id")["aum"].sort_index()
    np.testing.assert_allclose(found.to_numpy(), wanted, rtol=1e-15, atol=1e-15)


def test_equal_areas_are_ordered_by_id():
    record = Accumulator(stop=1)
    record.update(np.ones((4, 2)), [0, 1, 0, 1], [9, 2, 7, 4])
    record.end_epoch()
    assert record.table()["id"].tolist() == [2, 4, 7, 9]


@settings(max_examples=30)
@given(
    seed=st.integers(0, 2**32 - 1),
    kind=st.sampled_from(sorted(IDS)),
    cut=st.integers(0, 5),
    middle=st.booleans(),
    suffix=st.sampled_from([".csv", ".parquet"]),
)
def test_resumed_and_merged_runs_give_identical_tables(seed, kind, cut, middle, suffix):
    pytest.importorskip("pyarrow")
    rng, Z, y = draw(seed=seed, n=11)
    Z *= np.exp(rng.uniform(-8, 8, Z.shape)).astype(np.float32)  # margins of very different size
    ids = IDS[kind](rng, len(y))
    whole = feed(Accumulator(stop=5), Z, y, ids, rng).table()
    record = feed(Accumulator(stop=5), Z[:cut], y, ids, rng)
    rows = rng.permutation(11)
    half = rows[:5] if middle or not cut else rows[:0]
    if cut < 5 and len(half):
        record.update(Z[cut][half], y[half], taken(ids, half))
    with tempfile.TemporaryDirectory() as folder:
        record.save(Path(folder) / f"state{suffix}")
        record = Accumulator.load(Path(folder) / f"state{suffix}")
    if cut < 5:
        rest = np.setdiff1d(rows, half)
        record.update(Z[cut][rest], y[rest], taken(ids, rest))
        record.end_epoch()
    feed(record, Z[cut + 1 :], y, ids, rng)
    pd.testing.assert_frame_equal(record.table(), whole, check_exact=True)
    if 0 < cut < 5:
        parts = [feed(Accumulator(stop=9), part, y, ids, rng) for part in (Z[:cut], Z[cut:])]
        for order in (parts, parts[::-1]):
            pd.testing.assert_frame_equal(Accumulator.merge(order).table(), whole, check_exact=True)


def test_plain_sums_would_depend_on_the_order():
    """The case that twice the precision is for: with ordinary sums the merged table would differ."""
    Z = np.array([[[1e9, 0.0]], [[1e-3, 0.0]], [[-1e9, 0.0]]])
    runs = [feed(Accumulator(stop=1), [logits], np.array([0]), [0], np.random.default_rng(0)) for logits in Z]
    wanted = 1e-3 / 3
    for order in ((0, 1, 2), (2, 1, 0), (0, 2, 1)):
        assert Accumulator.merge([runs[i] for i in order]).table()["aum"][0] == wanted
    assert wanted != (1e9 + 1e-3 - 1e9) / 3


def test_merged_runs_may_list_their_samples_in_other_orders():
    rng, Z, y = draw(n=12, epochs=2)
    names = [f"s{i}" for i in range(12)]
    first, second = (feed(Accumulator(stop=1), Z[i : i + 1], y, names, rng, batch=3) for i in (0, 1))
    whole = feed(Accumulator(stop=2), Z, y, names, rng)
    pd.testing.assert_frame_equal(Accumulator.merge([first, second]).table(), whole.table(), check_exact=True)


def test_ids_that_turn_out_to_be_sparse_keep_what_was_measured():
    record = Accumulator(stop=2)
    for _ in range(2):
        record.update([[3.0, 0.0], [5.0, 0.0]], [0, 0], [5, 2])
        record.update([[7.0, 0.0]], [0], [10**12])
        record.update([[9.0, 0.0]], [0], [-4])
        record.end_epoch()
    assert record.table()[["id", "aum"]].to_numpy().tolist() == [[5, 3.0], [2, 5.0], [10**12, 7.0], [-4, 9.0]]


def test_memory_is_linear_in_the_samples():
    import tracemalloc

    n = 200_000
    Z, y = np.zeros((n, 2), np.float32), np.zeros(n, np.int64)
    record = Accumulator(stop=50)
    record.update(Z, y, np.arange(n))
    record.end_epoch()
    tracemalloc.start()
    for _ in range(3):
        record.update(Z, y, np.arange(n))
        record.end_epoch()
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 10 * n and peak < 100 * n


@pytest.mark.parametrize("epochs_before", [0, 1])
@pytest.mark.parametrize(
    ("logits", "labels", "ids", "words"),
    [
        ([[1.0, 0.0], [1.0, 0.0]], [0, 0], [5, 5], "ids: expected each sample once in an epoch, got 1 again"),
        ([[1.0, 0.0], [1.0, 0.0]], [0, 0], ["a", "b"], "ids of one kind, int so far"),
        ([[1.0, 0.0]], [0], [True], "truth values"),
        ([[1.0, 0.0]], [0], [1.5], "64-bit whole numbers or strings"),
        ([[1.0, 0.0]], [0], np.array([2**63], dtype=np.uint64), "64-bit"),
        ([[1.0, 0.0]], [0], [[1]], "one per row"),
        ([[1.0, 0.0]], [0], [1, 2], "1 of them"),
        ([[1.0, 0.0]], [0], 3, "1 of them"),
        ([[1.0, 0.0]], [0], "a", "1 of them"),
        ([[1.0, 0.0], [1.0, 0.0]], [0, 0], [5, "a"], "mixture"),
        ([[1.0, np.nan]], [0], [5], "logits"),
        ([[1.0, 0.0]], [2], [5], "labels"),
    ],
)
def test_a_refused_batch_changes_nothing(epochs_before, logits, labels, ids, words):
    record, other = Accumulator(stop=3), Accumulator(stop=3)
    for one in (record, other):
        for _ in range(epochs_before):
            one.update([[1.0, 0.0], [4.0, 0.0]], [0, 0], [5, 6])
            one.end_epoch()
        one.update([[2.0, 0.0]], [0], [6])
    with pytest.raises(InvalidInput, match=words):
        record.update(logits, labels, ids)
    for one in (record, other):
        one.update([[2.0, 0.0]], [0], [5])
        one.end_epoch()
    pd.testing.assert_frame_equal(record.table(), other.table(), check_exact=True)


@pytest.mark.parametrize("ids", [[0, 1, 2], ["a", "b", "c"], [10**9, 5, 7]])
def test_epochs_that_do_not_fit(ids):
    record = Accumulator(stop=3)
    with pytest.raises(InvalidInput, match="epoch: expected every sample of the first one, got none"):
        record.end_epoch()
    record.update(np.zeros((3, 2)), [0, 0, 0], ids)
    with pytest.raises(InvalidInput, match="call end_epoch"):
        record.update(np.zeros((1, 2)), [0], ids[:1])
    with pytest.raises(InvalidInput, match="epoch: expected a complete one"):
        record.table()
    record.end_epoch()
    record.update(np.zeros((2, 2)), [0, 0], ids[:2])
    with pytest.raises(InvalidInput, match=r"got 1 missing, e\.g\. "):
        record.end_epoch()
    new = ["z"] if isinstance(ids[0], str) else [3]
    with pytest.raises(InvalidInput, match="ids of the first epoch, got 1 new ones"):
        record.update(np.zeros((1, 2)), [0], new)
    record.update(np.zeros((1, 2)), [0], ids[2:])
    record.end_epoch()
    assert len(record) == 3 and record.epochs == 2


def test_settings_are_required_and_checked():
    with pytest.raises(TypeError, match="stop"):
        Direct()  # type: ignore[call-arg]
    for options in ({"stop": 0}, {"stop": 2.5}, {"stop": 1, "skip": 1}, {"stop": 3, "skip": -1}):
        with pytest.raises(InvalidInput):
            Accumulator(**options)
    record = feed(Accumulator(stop=4, skip=2), *draw(epochs=2)[1:], np.arange(30), np.random.default_rng(0))
    with pytest.raises(InvalidInput, match="at least one after the 2 skipped"):
        record.table()


def test_what_can_not_be_merged_or_loaded(tmp_path):
    rng, Z, y = draw(n=4, epochs=1)
    done = feed(Accumulator(stop=1), Z, y, [0, 1, 2, 3], rng)
    other = feed(Accumulator(stop=1), Z, y, [0, 1, 2, 4], rng)
    fewer = feed(Accumulator(stop=1), Z[:, :3], y[:3], [0, 1, 2], rng)
    names = feed(Accumulator(stop=1), Z, y, ["0", "1", "2", "3"], rng)
    fresh = Accumulator(stop=1)
    for records in ([], [done, other], [done, fewer], [fewer, done], [done, names], [done, fresh]):
        with pytest.raises(InvalidInput):
            Accumulator.merge(records)
    with pytest.raises(InvalidInput, match="at least one sample"):
        fresh.save(tmp_path / "empty.csv")
    with pytest.raises(InvalidInput, match=r"\.parquet or \.csv"):
        done.save(tmp_path / "state.pkl")
    (tmp_path / "other.csv").write_text("id,aum\n1,2\n")
    (tmp_path / "broken.parquet").write_bytes(b"not parquet")
    for name, words in (("none.csv", "a file"), ("other.csv", "columns"), ("broken.parquet", "a table")):
        if name.endswith("parquet"):
            pytest.importorskip("pyarrow")
        with pytest.raises(InvalidInput, match=words):
            Accumulator.load(tmp_path / name)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_state_that_was_cut_off_is_refused_and_a_full_disk_leaves_the_old_one(suffix, tmp_path, monkeypatch) -> None:
    record = Accumulator(stop=2)
    record.update(np.arange(12.0).reshape(6, 2) ** 2, np.zeros(6, int), np.arange(6))
    path = tmp_path / f"state{suffix}"
    record.save(path)
    whole = path.read_bytes()

    def full(self, target, **_):
        Path(target).write_bytes(whole[: len(whole) // 2])
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch, pytest.raises(OSError, match="No space"):
        patch.setattr("pandas.DataFrame.to_csv", full)
        patch.setattr("pandas.DataFrame.to_parquet", full)
        record.save(path)
    assert path.read_bytes() == whole and list(tmp_path.iterdir()) == [path]
    for kept in (len(whole) // 2, len(whole) - 40):
        path.write_bytes(whole[:kept])
        with pytest.raises(InvalidInput, match=r"state\."):
            Accumulator.load(path)
