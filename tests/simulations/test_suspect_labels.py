"""The practitioner's door: tables and arrays in, ranked labels and a sheet out; files that can't be used say why."""

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from simulations import mislabeled
from simulations.label_files import read_features, read_logits
from simulations.suspect_labels import SuspectLabels, command
from theory import aum
from theory.checks import InvalidInput

N, CLASSES, WRONG = 180, 3, 12


@pytest.fixture(scope="module")
def features() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = np.arange(N) % CLASSES
    X = np.repeat(np.eye(CLASSES)[truth], 12, axis=1) + 0.2 * rng.standard_normal((N, 36))
    y = truth.copy()
    y[:WRONG] = (y[:WRONG] + 1) % CLASSES
    return X, y


def write(folder: Path, X: np.ndarray, y: np.ndarray, kind: str) -> Path:
    words = np.array(["ape", "bee", "cow"])[y]
    if kind == "npz":
        np.savez(folder / "data.npz", features=X, labels=words, ids=[f"s{i}" for i in range(len(y))])
    else:
        table = pd.DataFrame(X).add_prefix("f").assign(label=words, id=[f"s{i}" for i in range(len(y))])
        table.to_csv(folder / "data.csv", index=False) if kind == "csv" else table.to_parquet(folder / "data.parquet")
    return folder / f"data.{kind}"


@pytest.mark.parametrize("kind", ["csv", "npz", "parquet"])
def test_wrong_labels_come_first(features, tmp_path: Path, kind: str, capsys) -> None:
    if kind == "parquet":
        pytest.importorskip("pyarrow")
    path = write(tmp_path, *features, kind)
    arguments = ["--data", str(path), "--epochs", "8", "--output", str(tmp_path / "out"), "--sheet", "5"]
    assert mislabeled.command(arguments) == 0
    table = aum.load(tmp_path / "out" / "suspects.csv")
    wrong = {f"s{i}" for i in range(WRONG)}
    assert len(set(table["id"][:WRONG]) & wrong) >= WRONG - 2 and len(table) == N
    assert table["aum"].is_monotonic_increasing and set(table["label"]) == {"ape", "bee", "cow"}
    first = table[table["id"] == "s0"].iloc[0]
    assert (first["label"], first["looks_like"]) == ("bee", "ape")
    assert (tmp_path / "out" / "suspects.png").stat().st_size > 5_000  # 36 features are a square
    assert "suspects (" in capsys.readouterr().out


def test_the_csv_file_can_be_read_by_anyone(features, tmp_path: Path) -> None:
    path = write(tmp_path, *features, "npz")
    SuspectLabels(data=path, epochs=3, sheet=2, output=tmp_path).run()
    assert pd.read_csv(tmp_path / "suspects.csv").columns.tolist()[:5] == [
        "id",
        "label",
        "looks_like",
        "aum",
        "suspect",
    ]


def test_same_seed_same_table_and_options_reach_the_method(features, tmp_path: Path) -> None:
    path = write(tmp_path, *features, "npz")
    tables = []
    for number, options in enumerate(
        ({}, {}, {"seed": 1}, {"rules": "released", "combine": "any", "percentile": 50.0})
    ):
        SuspectLabels(data=path, epochs=3, sheet=2, output=tmp_path / str(number), **options).run()
        tables.append(aum.load(tmp_path / str(number) / "suspects.csv"))
    pd.testing.assert_frame_equal(tables[0], tables[1])
    assert not tables[0].equals(tables[2])
    released = tables[3].dropna()
    below = released[["aum_1", "aum_2"]].lt(released[["cut_1", "cut_2"]].to_numpy())
    assert (released["suspect"] == below.any(axis=1)).all()


@pytest.mark.parametrize("kind", ["npz", "csv"])
def test_logits_of_ones_own(tmp_path: Path, kind: str) -> None:
    rng = np.random.default_rng(1)
    logits, y = rng.standard_normal((4, 30, 4)), np.arange(30) % 4  # class 3 is the fake one
    if kind == "npz":
        np.savez(tmp_path / "run.npz", logits=logits, labels=y)
    else:
        rows = [
            {"epoch": e, "id": i, "label": y[i], **{f"logit_{j}": logits[e, i, j] for j in range(4)}}
            for e in rng.permutation(4)
            for i in rng.permutation(30)
        ]
        pd.DataFrame(rows).to_csv(tmp_path / "run.csv", index=False)
    arguments = ["--logits", str(tmp_path / f"run.{kind}"), "--epochs", "3", "--output", str(tmp_path)]
    assert command([*arguments, "--threshold-class", "3"]) == 0
    table = aum.load(tmp_path / "suspects.csv")
    record = aum.Accumulator(stop=3)
    for epoch in range(3):
        record.update(logits[epoch], y, np.arange(30))
        record.end_epoch()
    wanted = record.table().set_index("id")["aum"]
    own = np.flatnonzero(y == 3)
    limit = aum.cut(wanted.loc[own].to_numpy())
    assert not set(table["id"]) & set(own.tolist()) and len(table) == 30 - len(own)
    np.testing.assert_allclose(table["aum"], wanted.loc[table["id"]], rtol=1e-12)
    assert set(table["cut_1"]) == {limit} and (table["suspect"] == (table["aum"] <= limit)).all()
    assert (table["looks_like"] != table["label"]).all() and table["looks_like"].max() < 3
    assert not list(tmp_path.glob("*.png"))


def test_logits_without_threshold_samples_are_ranked_without_a_cut(tmp_path: Path, capsys) -> None:
    np.savez(tmp_path / "run.npz", logits=np.random.default_rng(0).standard_normal((2, 5, 3)), labels=[0, 1, 2, 0, 1])
    assert command(["--logits", str(tmp_path / "run.npz"), "--epochs", "2", "--output", str(tmp_path)]) == 0
    assert "no threshold samples" in capsys.readouterr().out
    assert not aum.load(tmp_path / "suspects.csv")["suspect"].any()


@pytest.mark.parametrize(
    ("shape", "options", "images"),
    [
        ((N, 1, 6, 6), {}, (6, 6)),
        ((N, 3, 4, 3), {}, (4, 3, 3)),
        ((N, 4, 3, 3), {}, (4, 3, 3)),
        ((N, 6, 6), {}, (6, 6)),
        ((N, 36), {"image_shape": (4, 9)}, (4, 9)),
        ((N, 36), {"image_shape": (4, 3, 3)}, (4, 3, 3)),
        ((N, 35), {}, None),
        ((N, 16), {}, None),
    ],
)
def test_rows_that_are_images(features, tmp_path: Path, shape, options, images) -> None:
    X, y = features
    np.savez(tmp_path / "d.npz", images=X.ravel()[: np.prod(shape)].reshape(shape), labels=y)
    door = SuspectLabels(data=tmp_path / "d.npz", epochs=1, sheet=3, output=tmp_path, **options)
    found = door._images(read_features(tmp_path / "d.npz"))
    assert (None if found is None else found.shape[1:]) == images
    door.run()
    assert (tmp_path / "suspects.png").exists() == (images is not None)


def test_scales(features, tmp_path: Path) -> None:
    X, y = features
    np.savez(tmp_path / "d.npz", X=np.column_stack([1000 * X[:, :34], np.ones(N)]), y=y)
    found = read_features(tmp_path / "d.npz")
    columns = SuspectLabels(data=tmp_path / "d.npz", epochs=1)._scaled(found)
    np.testing.assert_allclose(columns[:, :34].std(axis=0), 1, rtol=1e-4)
    assert (columns[:, 34] == 0).all()
    whole = SuspectLabels(data=tmp_path / "d.npz", epochs=1, scale="whole")._scaled(found)
    assert whole.std() == pytest.approx(1, rel=1e-4) and whole[:, :34].std(axis=0).std() > 0.001
    assert SuspectLabels(data=tmp_path / "d.npz", epochs=1, scale="none")._scaled(found).max() > 500


GOOD = "f0,f1,label\n1,2,a\n3,4,b\n5,6,a\n"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("none.csv", None, "none.csv: expected a file"),
        ("none.npz", None, "none.npz: expected a file"),
        ("data.txt", GOOD, r"\.npz, \.csv or \.parquet"),
        ("empty.csv", "", "a table"),
        ("head.csv", "f0,label\n", "no rows"),
        ("nolabel.csv", "f0,f1\n1,2\n", "the columns label"),
        ("nofeature.csv", "label\na\nb\n", "columns of features"),
        ("words.csv", "f0,label\nred,a\nblue,b\n", "column 'f0': expected numbers"),
        ("gap.csv", "f0,label\n1,a\n,b\n", "finite ones"),
        ("nan.csv", "f0,label\nnan,a\n1,b\n", "finite ones"),
        ("unlabelled.csv", "f0,label\n1,a\n2,\n", "a label for each sample"),
        ("unnumbered.csv", "f0,label\n1,1\n2,\n3,2\n", "a label for each sample"),
        ("oneclass.csv", "f0,label\n1,a\n2,a\n", "at least two classes"),
        ("twice.csv", "f0,label,id\n1,a,x\n2,b,x\n", "different whole numbers or strings"),
        ("few.csv", "f0,label\n1,a\n2,b\n", "threshold samples"),
        ("damaged.npz", "not a zip file", "an .npz file"),
    ],
)
def test_files_that_can_not_be_used(name: str, content: str | None, words: str, tmp_path: Path, capsys) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    assert command(["--data", str(tmp_path / name), "--epochs", "2", "--output", str(tmp_path / "out")]) == 2
    message = capsys.readouterr().err
    assert re.search(words, message) and len(message.strip().splitlines()) == 1
    assert not (tmp_path / "out").exists()


def save(path: Path, **arrays) -> Path:
    np.savez(path, **arrays)
    return path


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"labels": [0, 1]}, "an array named features or X"),
        ({"features": np.zeros((2, 2))}, "an array named labels"),
        ({"features": np.zeros((2, 2)), "labels": [0, 1, 1]}, "2 of them"),
        ({"features": np.zeros(2), "labels": [0, 1]}, r"shape \(n, \.\.\.\)"),
        ({"features": np.array([["a"], ["b"]]), "labels": [0, 1]}, "numbers of shape"),
        ({"features": np.array([[1], [None]], dtype=object), "labels": [0, 1]}, "no pickle is loaded"),
        ({"features": np.zeros((2, 2)), "labels": [0, 1], "ids": [1.5, 2.5]}, "ids"),
        ({"features": np.zeros((2, 2)), "labels": [0, 1], "ids": [1]}, "ids"),
        ({"features": np.zeros((2, 2)), "labels": [0.0, np.nan]}, "a label for each sample"),
    ],
)
def test_arrays_that_can_not_be_used(arrays: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_features(save(tmp_path / "d.npz", **arrays))


Z = np.zeros((2, 3, 2))


@pytest.mark.parametrize(
    ("arrays", "words"),
    [
        ({"logits": Z[0], "labels": [0, 1, 1]}, r"shape \(epochs, n, classes\)"),
        ({"logits": Z.astype(int), "labels": [0, 1, 1]}, "floats"),
        ({"logits": Z + np.nan, "labels": [0, 1, 1]}, "finite ones"),
        ({"logits": Z, "labels": [0, 1]}, "3 of them"),
        ({"logits": Z, "labels": [0, 1, 2]}, "columns of the logits"),
        ({"logits": Z, "labels": ["a", "b", "b"]}, "columns of the logits"),
    ],
)
def test_logits_that_can_not_be_used(arrays: dict, words: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=words):
        read_logits(save(tmp_path / "d.npz", **arrays))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("epoch,id,label,logit_0\n0,1,0,1\n", "logit_0, logit_1"),
        ("epoch,id,label,logit_0,logit_2\n0,1,0,1,2\n", "logit_0, logit_1"),
        ("epoch,label,logit_0,logit_1\n0,1,0,1\n", "columns epoch and id"),
        ("epoch,id,label,logit_0,logit_1\n0,1,0,1,2\n0,2,1,1,2\n1,1,0,1,2\n", "others in epoch 1"),
        ("epoch,id,label,logit_0,logit_1\n0,1,0,1,2\n0,2,1,1,2\n1,1,1,1,2\n1,2,1,1,2\n", "others in epoch 1"),
    ],
)
def test_rows_of_logits_that_can_not_be_used(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "d.csv").write_text(text)
    with pytest.raises(InvalidInput, match=words):
        read_logits(tmp_path / "d.csv")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "neither"),
        (["--data", "a.csv", "--logits", "b.npz", "--epochs", "2"], "both"),
        (["--data", "a.csv"], "epochs: expected the stopping epoch, got none"),
        (["--data", "a.csv", "--epochs", "0"], "epochs"),
        (["--data", "a.csv", "--epochs", "1", "--rules", "released"], "epochs"),
        (["--data", "a.csv", "--epochs", "2", "--percentile", "0"], "percentile"),
        (["--data", "a.csv", "--epochs", "2", "--sheet", "0"], "sheet"),
    ],
)
def test_settings_that_can_not_be_used(arguments: list[str], words: str, capsys) -> None:
    assert command(arguments) == 2
    message = capsys.readouterr().err
    assert words in message and len(message.strip().splitlines()) == 1


def test_more_settings_against_the_file(features, tmp_path: Path) -> None:
    path = write(tmp_path, *features, "npz")
    with pytest.raises(InvalidInput, match="image_shape"):
        SuspectLabels(data=path, epochs=1, image_shape=(5, 7), output=tmp_path).run()
    save(tmp_path / "z.npz", logits=Z, labels=[0, 1, 1])
    with pytest.raises(InvalidInput, match="at most 2, as many as were saved"):
        SuspectLabels(logits=tmp_path / "z.npz", epochs=3).run()
    with pytest.raises(InvalidInput, match="threshold_class"):
        SuspectLabels(logits=tmp_path / "z.npz", epochs=2, threshold_class=7).run()


def test_names_that_look_like_numbers_stay_what_they_are(features, tmp_path: Path) -> None:
    X, labels = features
    names = [f"{number:03d}_{number % 7}" for number in range(len(X))]
    table = pd.DataFrame(X, columns=[f"f{column}" for column in range(X.shape[1])])
    table.assign(label=[f"0{label}" for label in labels], id=names).to_csv(tmp_path / "names.csv", index=False)
    SuspectLabels(data=tmp_path / "names.csv", epochs=1, sheet=1, output=tmp_path / "out").run()
    words = pd.read_csv(tmp_path / "out" / "suspects.csv", dtype=str)
    assert set(words["id"]) == set(names) and set(words["label"]) == {f"0{label}" for label in labels}


def test_what_can_be_refused_is_refused_before_training(features, tmp_path: Path, capsys, monkeypatch) -> None:
    path = write(tmp_path, *features, "npz")
    monkeypatch.setattr(aum, "rank_labels", lambda *_, **__: pytest.fail("it trained"))
    (tmp_path / "taken").write_text("a file")
    for options in (
        ["--image-shape", "2", "2", "9"],
        ["--image-shape", "7", "7"],
        ["--output", str(tmp_path / "taken")],
    ):
        assert command(["--data", str(path), "--epochs", "1", "--scale", "columns", *options]) == 2
    assert capsys.readouterr().err.count("image_shape") == 2
    table = pd.DataFrame({"f": np.arange(30.0), "label": np.arange(30) + 0.5})
    for name, write_it in (("a.csv", table.to_csv), ("a.parquet", table.to_parquet)):
        write_it(tmp_path / name, index=False)
        assert command(["--data", str(tmp_path / name), "--epochs", "1", "--output", str(tmp_path / "none")]) == 2
        assert "column" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_an_interrupted_run_writes_nothing_and_old_files_go_with_a_new_run(
    features, tmp_path: Path, monkeypatch
) -> None:
    path = write(tmp_path, *features, "npz")
    arguments = ["--data", str(path), "--epochs", "1", "--sheet", "1", "--output", str(tmp_path / "out")]
    assert command(arguments) == 0 and (tmp_path / "out" / "suspects.png").exists()
    assert command([*arguments, "--table", "parquet"]) == 0
    assert sorted(file.suffix for file in (tmp_path / "out").iterdir()) == [".parquet", ".pdf", ".png"]

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(aum, "rank_labels", interrupted)
    assert command([*arguments[:-1], str(tmp_path / "new")]) == 130
    assert not list((tmp_path / "new").iterdir())


def test_a_folder_that_can_not_be_written(features, tmp_path: Path, capsys) -> None:
    path = write(tmp_path, *features, "npz")
    (tmp_path / "taken").write_text("a file")
    assert command(["--data", str(path), "--epochs", "1", "--output", str(tmp_path / "taken")]) == 2
    assert "output: could not be written" in capsys.readouterr().err


def test_without_a_file_the_simulation_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    called = []
    monkeypatch.setattr(mislabeled, "main", lambda kind, arguments: called.append((kind, arguments)) or 0)
    assert mislabeled.command(["--seeds", "1"]) == 0 and called == [(mislabeled.Mislabeled, ["--seeds", "1"])]
