"""Readers of real image sets, on tiny files in both formats: round trips, and every kind of missing or damaged file."""

import gzip
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from theory.checks import InvalidInput
from theory.datasets import load, read_idx

RNG = np.random.default_rng(0)
TRAIN = RNG.integers(1, 256, (7, 4, 5), dtype=np.uint8), np.arange(7, dtype=np.uint8)
TEST = RNG.integers(1, 256, (3, 4, 5), dtype=np.uint8), np.array([9, 0, 9], dtype=np.uint8)
COLOUR = [
    (RNG.integers(1, 256, (2, 3, 32, 32), dtype=np.uint8), np.array([i, 9 - i], dtype=np.uint8)) for i in range(6)
]
MNIST_FILES = ("train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte")
CIFAR_FILES = (*(f"data_batch_{i}.bin" for i in range(1, 6)), "test_batch.bin")


def idx(array: np.ndarray) -> bytes:
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.tobytes()


def batch(images: np.ndarray, labels: np.ndarray) -> bytes:
    return b"".join(bytes([label]) + image.tobytes() for image, label in zip(images, labels, strict=True))


@pytest.fixture(params=["", ".gz"])
def mnist(tmp_path: Path, request) -> Path:
    for name, array in zip(MNIST_FILES, (*TRAIN, *TEST), strict=True):
        content = idx(array)
        (tmp_path / (name + request.param)).write_bytes(gzip.compress(content) if request.param else content)
    return tmp_path


@pytest.fixture
def cifar(tmp_path: Path) -> Path:
    for name, (images, labels) in zip(CIFAR_FILES, COLOUR, strict=True):
        (tmp_path / name).write_bytes(batch(images, labels))
    return tmp_path


def archive(path: Path, names=CIFAR_FILES) -> Path:
    with tarfile.open(path, "w:gz") as tar:
        for name, (images, labels) in zip(names, COLOUR, strict=False):
            content = batch(images, labels)
            member = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return path


def test_digits_come_with_scikit_learn():
    digits = load()
    assert digits.images.shape == (1797, 1, 8, 8) and digits.images.max() == 1 and digits.images.min() == 0
    assert np.abs(np.linalg.norm(digits.X, axis=1) - 1).max() <= 1e-15 and digits.X.dtype == np.float64
    assert np.array_equal(digits.parity == 1, digits.labels % 2 == 1) and set(digits.parity) == {-1.0, 1.0}
    raw = load("digits", unit_rows=False)
    assert np.array_equal(raw.X, digits.images.reshape(1797, 64)) and "1797 images of 1 x 8 x 8" in repr(raw)


def test_split_takes_the_share_of_every_class_and_loses_nothing():
    digits = load()
    train, test = digits.split(0.2, seed=1)
    assert len(train.labels) + len(test.labels) == 1797
    for label in range(10):
        count = np.sum(digits.labels == label)
        assert np.sum(test.labels == label) == round(0.2 * count)
    both = np.concatenate([train.pixels, test.pixels]).reshape(1797, -1)
    assert sorted(map(bytes, both)) == sorted(map(bytes, digits.pixels.reshape(1797, -1)))
    assert np.array_equal(digits.split(0.2, seed=1)[1].labels, test.labels)
    assert not np.array_equal(digits.split(0.2, seed=2)[1].labels, test.labels)
    with pytest.raises(InvalidInput, match="test_share"):
        digits.split(1.0)


def test_a_size_draws_a_subset_by_the_seed():
    few = load(size=50, seed=3)
    assert len(few.labels) == 50 and len(np.unique(few.X, axis=0)) == 50
    assert np.array_equal(few.X, load(size=50, seed=3).X) and not np.array_equal(few.X, load(size=50, seed=4).X)
    with pytest.raises(InvalidInput, match=r"size: expected an integer in \[1, 1797\]"):
        load(size=1798)


@given(hnp.arrays(np.uint8, hnp.array_shapes(max_dims=4, max_side=5)), st.booleans())
def test_idx_round_trip(tmp_path_factory, array, compressed):
    path = tmp_path_factory.mktemp("idx") / ("file.gz" if compressed else "file")
    path.write_bytes(gzip.compress(idx(array)) if compressed else idx(array))
    assert np.array_equal(read_idx(path), array)


def test_mnist_is_read_from_its_files(mnist):
    train, test, both = (load("mnist", mnist, split=split) for split in ("train", "test", "all"))
    assert np.array_equal(train.pixels[:, 0], TRAIN[0]) and np.array_equal(train.labels, TRAIN[1])
    assert np.array_equal(test.pixels[:, 0], TEST[0]) and np.array_equal(test.labels, TEST[1])
    assert np.array_equal(both.labels, np.concatenate([TRAIN[1], TEST[1]])) and both.X.shape == (10, 20)
    assert np.array_equal(train.images, TRAIN[0][:, None] / 255)
    nested = mnist / "MNIST" / "raw"
    nested.mkdir(parents=True)
    for path in [path for path in mnist.iterdir() if path.is_file()]:
        path.rename(nested / path.name)
    assert np.array_equal(load("mnist", str(mnist)).X, both.X)


def test_cifar_is_read_from_a_folder_a_parent_or_an_archive(cifar, tmp_path_factory):
    data = load("cifar10", cifar)
    assert np.array_equal(data.pixels, np.concatenate([images for images, _ in COLOUR]))
    assert np.array_equal(data.labels, np.concatenate([labels for _, labels in COLOUR]))
    assert (
        len(load("cifar10", cifar, split="train").labels) == 10
        and len(load("cifar10", cifar, split="test").labels) == 2
    )
    parent = tmp_path_factory.mktemp("parent")
    cifar.rename(parent / "cifar-10-batches-bin")
    assert np.array_equal(load("cifar10", parent).X, data.X)
    packed = archive(tmp_path_factory.mktemp("packed") / "cifar-10-binary.tar.gz")
    assert np.array_equal(load("cifar10", packed).X, data.X)
    assert np.array_equal(load("cifar10", packed.parent).X, data.X)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (MNIST_FILES[0], b"\x00\x00\x0d\x03" + idx(TRAIN[0])[4:], "to start with the bytes 00 00 08"),  # floats
        (MNIST_FILES[0], b"\x80\x02\x7d\x71", "to start with the bytes 00 00 08, got 80 02 7d 71"),  # a pickle
        (MNIST_FILES[0], b"\x00\x00\x08\x00", "to start with the bytes 00 00 08"),
        (MNIST_FILES[0], b"", "to start with the bytes 00 00 08, got nothing"),
        (MNIST_FILES[0], idx(TRAIN[0])[:9], "a header of 16 bytes, got 9"),
        (MNIST_FILES[0], idx(TRAIN[0])[:-1], "expected 140 bytes after the header, for shape (7, 4, 5), got 139"),
        (MNIST_FILES[0], idx(TRAIN[0]) + b"\x00", "got 141"),
        (MNIST_FILES[0], idx(TRAIN[1]), "expected 3 dimensions, not empty, got shape (7,)"),
        (MNIST_FILES[0], idx(TRAIN[0][:0]), "not empty"),
        (MNIST_FILES[1], idx(TRAIN[1][:6]), "expected 7 labels, as train-images-idx3-ubyte has, got 6"),
        (MNIST_FILES[1], idx(TRAIN[1] + np.uint8(4)), "expected labels from 0 to 9, got 10"),
    ],
)
@pytest.mark.parametrize("mnist", [""], indirect=True)
def test_damaged_mnist_names_the_file(mnist, name, content, message):
    (mnist / name).write_bytes(content)
    with pytest.raises(InvalidInput) as caught:
        load("mnist", mnist)
    assert message in str(caught.value) and name in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("damage", [lambda c: c[:-12], lambda c: b"no gzip", lambda c: c[:30] + b"\xff" * 20 + c[50:]])
@pytest.mark.parametrize("mnist", [".gz"], indirect=True)
def test_damaged_compression_names_the_file(mnist, damage):
    path = mnist / f"{MNIST_FILES[2]}.gz"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidInput, match=f"{MNIST_FILES[2]}.gz: expected a readable file"):
        load("mnist", mnist)
    assert len(load("mnist", mnist, split="train").labels) == 7  # the other split needs no such file


def test_images_of_two_sizes_are_refused(mnist):
    for path in mnist.glob("t10k-images*"):
        path.unlink()
    (mnist / MNIST_FILES[2]).write_bytes(idx(TEST[0][:, :, :4]))
    with pytest.raises(InvalidInput, match="train and test images of one size"):
        load("mnist", mnist)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "expected a whole number of 3073-byte records, got 6145 bytes"),
        (lambda content: b"", "expected a whole number"),
        (lambda content: content[:3073], "expected as many records as the other batches, got 1"),
        (lambda content: b"\x0a" + content[1:], "expected labels from 0 to 9, got 10"),
    ],
)
def test_damaged_cifar_names_the_file(cifar, damage, message):
    path = cifar / "data_batch_3.bin"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InvalidInput) as caught:
        load("cifar10", cifar)
    assert message in str(caught.value) and "data_batch_3.bin" in str(caught.value)


def test_a_damaged_or_foreign_archive_is_refused(tmp_path):
    packed = archive(tmp_path / "cifar-10-binary.tar.gz")
    whole = packed.read_bytes()
    for content in (whole[: len(whole) // 2], b"no archive"):
        packed.write_bytes(content)
        with pytest.raises(InvalidInput, match="expected a readable"):
            load("cifar10", tmp_path)
    foreign = archive(tmp_path / "cifar-10-python.tar.gz", names=["data_batch_1", "test_batch"])
    with pytest.raises(InvalidInput, match="the Python version is a pickle, which is never loaded"):
        load("cifar10", foreign)


@pytest.mark.parametrize(
    ("name", "expected"),
    [("mnist", MNIST_FILES), ("cifar10", (*CIFAR_FILES, "cifar-10-binary.tar.gz", "binary version"))],
)
def test_missing_files_are_named_with_their_place(name, expected, tmp_path):
    for root, place in ((tmp_path, str(tmp_path)), (None, "root: expected the folder that holds")):
        with pytest.raises(InvalidInput) as caught:
            load(name, root)
        message = str(caught.value)
        assert place in message and all(file in message for file in expected) and "\n" not in message
    with pytest.raises(InvalidInput, match="which does not exist"):
        load(name, tmp_path / "nowhere")


def test_one_missing_file_is_named(mnist, tmp_path_factory):
    next(mnist.glob(f"{MNIST_FILES[3]}*")).unlink()
    with pytest.raises(InvalidInput, match=f"expected the file {MNIST_FILES[3]} .or .gz., got none"):
        load("mnist", mnist)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "imagenet"}, "name: expected one of digits, mnist, cifar10"),
        ({"split": "validation"}, "split: expected one of all, train, test"),
        ({"split": "test"}, "split: expected 'all' for digits"),
        ({"size": 0}, "size"),
        ({"size": 5, "seed": -1}, "seed"),
    ],
)
def test_bad_settings_are_refused(options, message):
    with pytest.raises(InvalidInput, match=message):
        load(**options)


def test_a_black_image_has_no_unit_row(mnist):
    for path in mnist.glob("train-images*"):
        path.unlink()
    black = TRAIN[0].copy()
    black[2] = 0
    (mnist / MNIST_FILES[0]).write_bytes(idx(black))
    with pytest.raises(InvalidInput, match="X: expected images that are not black, got 1 black"):
        _ = load("mnist", mnist, split="train").X
    assert load("mnist", mnist, split="train", unit_rows=False).X[2].max() == 0
