"""Rankings: runs combined by hand, the released runner's rule, files, the AUC, and the whole procedure on clusters."""

from fractions import Fraction

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from theory import aum
from theory.aum import Accumulator, Rules, auc, load, rank, rank_labels, save
from theory.checks import InvalidInput


def run(areas, ids=None):
    """One run whose AUMs are these."""
    record = Accumulator(stop=1)
    logits = np.column_stack([areas, np.zeros(len(areas))])
    record.update(logits, np.zeros(len(areas), int), ids or list(range(len(areas))))
    record.end_epoch()
    return record


A = [5.0, -3.0, 4.0, -2.0, -2.5, 6.0]
B = [5.0, -1.0, 2.0, 1.0, -2.0, 7.0]


def test_by_hand():
    # run 1: threshold 3 and 4, cut -2; run 2: threshold 1 and 2, cut 2; "all": every run in which it counts
    table = rank([run(A), run(B)], [[3, 4], [1, 2]], Rules(percentile=100)).set_index("id")
    assert table["aum"].to_dict() == {1: -3.0, 4: -2.0, 3: 1.0, 2: 4.0, 0: 5.0, 5: 6.5}
    assert table.index.tolist() == [1, 4, 3, 2, 0, 5]
    assert table["counted"].to_dict() == {0: 2, 1: 1, 2: 1, 3: 1, 4: 1, 5: 2}
    assert table[table["suspect"]].index.tolist() == [1, 4, 3]
    assert np.isnan(table.loc[3, "aum_1"]) and table.loc[3, "aum_2"] == 1.0
    assert set(table["cut_1"]) == {-2.0} and set(table["cut_2"]) == {2.0}


@given(seed=st.integers(0, 10**6), strict=st.booleans(), combine=st.sampled_from(["all", "any"]))
def test_the_released_runners_arithmetic(seed, strict, combine):
    """good = ceil(1 - bad/counts): kept unless every run in which it counts flags it; ours for all options."""
    rng = np.random.default_rng(seed)
    n, size, rules = 60, 12, Rules(percentile=90, strict=strict, combine=combine)
    areas = rng.integers(-9, 9, (2, n)).astype(float)
    order = rng.permutation(n)
    sets = [order[:size], order[size : 2 * size]]
    table = rank([run(a.tolist()) for a in areas], sets, rules).sort_values("id")
    bad, counts = np.zeros(n), np.zeros(n)
    for a, rows in zip(areas, sets, strict=True):
        indicator = np.isin(np.arange(n), rows)
        own = np.sort(a[indicator])
        higher = (a[:, None] < own).sum(axis=1)
        wtr = higher > size // 10 if strict else a <= own[size - size // 10 - 1]
        bad, counts = bad + wtr * ~indicator, counts + ~indicator
    good = np.ceil(1 - bad / counts.clip(1))
    wanted = good == 0 if combine == "all" else bad > 0
    assert table["suspect"].tolist() == wanted.tolist()


def test_a_threshold_sample_of_every_run_is_no_suspect_and_comes_last():
    table = rank([run(A), run(B)], [[1, 3], [1, 2]], Rules(percentile=100))
    assert table["id"].iloc[-1] == 1 and np.isnan(table["aum"].iloc[-1])
    assert not table["suspect"].iloc[-1] and table["counted"].iloc[-1] == 0


def test_string_ids():
    names = list("fedcba")
    table = rank([run(A, names)], [["c", "b"]], Rules(percentile=100, runs=1))
    assert table["id"].tolist()[:2] == ["e", "d"] and table["suspect"].sum() == 1


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("ids", [None, ["007", "1e5", "nan", "", "True", 'x,"y"']])
def test_files_give_the_same_table_back(suffix, ids, tmp_path):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    own = [3, 4] if ids is None else ["", "True"]
    table = rank([run([a / 3 for a in A], ids)], [own], Rules(runs=1))
    save(table, tmp_path / f"ranking{suffix}")
    found = load(tmp_path / f"ranking{suffix}")
    pd.testing.assert_frame_equal(found, table, check_exact=True, check_dtype=ids is None)


def test_files_that_are_no_rankings(tmp_path):
    with pytest.raises(InvalidInput, match=r"\.parquet or \.csv"):
        save(pd.DataFrame({"id": [1]}), tmp_path / "table.pkl")
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    (tmp_path / "empty.csv").write_text("")
    for name, words in (("none.csv", "a file"), ("other.csv", "the columns id, aum"), ("empty.csv", "a table")):
        with pytest.raises(InvalidInput, match=words):
            load(tmp_path / name)
    with pytest.raises(InvalidInput, match="pyarrow"), pytest.MonkeyPatch.context() as patch:
        patch.setattr("importlib.util.find_spec", lambda name: None)
        save(pd.DataFrame({"id": [1], "aum": [1.0]}), tmp_path / "t.parquet")


@given(
    values=st.lists(st.integers(-4, 4), min_size=2, max_size=40),
    seed=st.integers(0, 10**6),
)
def test_auc_is_exact_and_the_known_one(values, seed):
    wrong = np.random.default_rng(seed).random(len(values)) < 0.4
    wrong[0], wrong[1] = True, False
    low, high = np.array(values)[wrong], np.array(values)[~wrong]
    pairs = [Fraction(int(a < b)) + Fraction(int(a == b), 2) for a in low for b in high]
    assert auc(values, wrong) == sum(pairs) / len(pairs)
    assert float(auc(values, wrong)) == pytest.approx(roc_auc_score(~wrong, values), abs=1e-12)


@pytest.mark.parametrize(
    "call",
    [
        lambda: auc([1.0, 2.0], [True, True]),
        lambda: auc([1.0, np.nan], [True, False]),
        lambda: auc([1.0], [True, False]),
        lambda: rank([], []),
        lambda: rank([run(A)], []),
        lambda: rank([run(A)], [[]]),
        lambda: rank([run(A)], [[99]]),
        lambda: rank([run(A)], [[1, 1]]),
        lambda: rank([run(A), run(A[:5])], [[1], [2]]),
        lambda: rank([run(A), run(A, [0, 1, 2, 3, 4, 9])], [[1], [2]]),
        lambda: rank_labels(lambda *_: None, [0, 1] * 10, 2, stop=1),
        lambda: rank_labels(lambda *_: None, [0, 5] * 10, 2, stop=1),
    ],
)
def test_bad_input(call):
    with pytest.raises(InvalidInput):
        call()


def clusters(seed, n=240, classes=4, wrong=24):
    rng = np.random.default_rng(seed)
    truth = np.arange(n) % classes
    X = np.eye(classes)[truth] + 0.15 * rng.standard_normal((n, classes))
    y = truth.copy()
    y[:wrong] = (y[:wrong] + rng.integers(1, classes, wrong)) % classes
    return X.astype(np.float32), y, truth


def test_the_whole_procedure_finds_wrong_labels():
    X, y, truth = clusters(seed=np.random.default_rng().integers(10**6))
    seen = []

    def observe(run, epoch, logits, rows):
        seen.append((run, epoch, logits.shape[1]))

    table = rank_labels(aum.trainer(X, observe=observe), y, 4, stop=8, seed=1)
    assert float(auc(table["aum"], (y != truth)[table["id"]])) > 0.97
    assert table.columns.tolist()[:3] == ["id", "label", "aum"] and (table["label"] == y[table["id"]]).all()
    assert {run for run, _, _ in seen} == {0, 1} and {epoch for _, epoch, _ in seen} == set(range(8))
    assert {outputs for _, _, outputs in seen} == {5}  # one more than there are classes
    again = rank_labels(aum.trainer(X), y, 4, stop=8, seed=1)
    pd.testing.assert_frame_equal(table, again, check_exact=True)


def test_runs_differ_in_weights_and_threshold_samples():
    X, y, _ = clusters(seed=0)
    table = rank_labels(aum.trainer(X), y, 4, stop=3)
    both = table.dropna()
    assert not np.allclose(both["aum_1"], both["aum_2"]) and table["cut_1"][0] != table["cut_2"][0]
    assert (table["counted"] == 1).sum() == 2 * (240 // 5)
