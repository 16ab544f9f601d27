"""Real image sets by name: scikit-learn's digits, and MNIST and CIFAR-10 from the files the user has.

The readers here take MNIST's IDX files and CIFAR-10's *binary* version, plain or compressed. Nothing is downloaded and
no pickle is ever loaded (loading one runs code), which rules out CIFAR-10's Python version.

Example:
    >>> digits = load("digits", size=100)
    >>> digits.X.shape, digits.images.shape, digits.parity[:3].tolist() == [2 * (l % 2) - 1 for l in digits.labels[:3]]
    ((100, 64), (100, 1, 8, 8), True)
"""

import gzip
import math
import tarfile
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int, UInt8

from theory import checks, seeding

NAMES = ("digits", "mnist", "cifar10")
SPLITS = ("all", "train", "test")
MNIST_PREFIX = {"train": "train", "test": "t10k"}
CIFAR_FILES = {"train": tuple(f"data_batch_{i}.bin" for i in range(1, 6)), "test": ("test_batch.bin",)}
CIFAR_FOLDER, CIFAR_ARCHIVE, CIFAR_RECORD = "cifar-10-batches-bin", "cifar-10-binary.tar.gz", 1 + 3 * 32 * 32


@dataclass(frozen=True, eq=False, repr=False)
class Dataset:
    """Labelled images. The floating arrays are made from the pixels when first asked for.

    Attributes:
        pixels: (n, channels, height, width) uint8, as stored.
        labels: (n,) int64 class indices, 0 to 9.
        name: one of `NAMES`.
        levels: the largest value that a pixel can take (16 for digits, else 255).
        unit_rows: whether the rows of X are scaled to norm 1, as the early-stopping theorems ask.
    """

    pixels: UInt8[np.ndarray, "n channels height width"]
    labels: Int[np.ndarray, " n"]
    name: str
    levels: int
    unit_rows: bool = True

    @cached_property
    def images(self) -> Float[np.ndarray, "n channels height width"]:
        """Pixels as float64 in [0, 1]."""
        return self.pixels / self.levels

    @cached_property
    def X(self) -> Float[np.ndarray, "n d"]:
        """Images as float64 rows, d = channels * height * width; of norm 1 (up to rounding) if `unit_rows`."""
        rows = self.images.reshape(len(self.labels), -1)
        if not self.unit_rows:
            return rows
        lengths = np.linalg.norm(rows, axis=1, keepdims=True)
        if not lengths.min() > 0:
            black = int((lengths == 0).sum())
            checks.fail("X", "images that are not black", f"{black} black ones", "load with unit_rows=False")
        return rows / lengths

    @property
    def parity(self) -> Float[np.ndarray, " n"]:
        """Real labels for the scalar network: even classes -1, odd classes +1."""
        return 2.0 * (self.labels % 2) - 1.0

    def subset(self, rows: Int[np.ndarray, " m"]) -> "Dataset":
        """The images with these row numbers, in this order."""
        return replace(self, pixels=self.pixels[rows], labels=self.labels[rows])

    def split(self, test_share: float = 0.2, seed: int = 0) -> tuple["Dataset", "Dataset"]:
        """Train and test sets: round(test_share * count) images of every class, drawn at random, go to the test set."""
        checks.number("test_share", test_share, 0, 1, open_low=True)
        order = seeding.numpy_generator("train and test split", seed).permutation(len(self.labels))
        is_test = np.zeros(len(order), dtype=bool)
        for label in np.unique(self.labels):
            mine = order[self.labels[order] == label]
            is_test[mine[: round(test_share * len(mine))]] = True
        if not 0 < is_test.sum() < len(is_test):
            checks.fail("test_share", "both parts to hold an image", test_share, "move it away from 0 and 1")
        return self.subset(np.flatnonzero(~is_test)), self.subset(np.flatnonzero(is_test))

    def __repr__(self) -> str:
        shape = " x ".join(str(length) for length in self.pixels.shape[1:])
        return f"Dataset({self.name}: {len(self.labels)} images of {shape})"


def load(
    name: str = "digits",
    root: str | Path | None = None,
    *,
    split: str = "all",
    size: int | None = None,
    unit_rows: bool = True,
    seed: int = 0,
) -> Dataset:
    """Load a data set by name.

    Args:
        name: "digits" (1797 8 x 8 images, part of scikit-learn), "mnist" or "cifar10".
        root: for mnist, the folder with `train-images-idx3-ubyte`, `train-labels-idx1-ubyte`, `t10k-images-idx3-ubyte`
            and `t10k-labels-idx1-ubyte`, plain or .gz, or the parent of such a folder `MNIST/raw`; for cifar10, the
            folder with `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, or the parent of such a folder
            `cifar-10-batches-bin`, or the folder with `cifar-10-binary.tar.gz`, or that archive itself.
        split: "train" or "test" as published, or "all", train first. digits has no published split: use
            `Dataset.split`.
        size: keep this many images, drawn at random without replacement (of all by default, in the stored order).
        unit_rows: scale the rows of X to norm 1.
        seed: of the draw, >= 0.

    Raises:
        InvalidInput: unknown name, missing files (the message names them and where to put them), damaged ones (the
            message names the file), more images asked than there are.
    """
    checks.choice("name", name, NAMES)
    checks.choice("split", split, SPLITS)
    if name == "digits":
        pixels, labels = _digits(split)
    else:
        if root is None:
            checks.fail("root", f"the folder that holds {name}", "none", f"pass it; there, put {_expected(name)}")
        if not Path(root).exists():
            checks.fail("root", f"the folder that holds {name}", f"{root}, which does not exist", "correct the path")
        read = _mnist if name == "mnist" else _cifar10
        parts = [read(Path(root), part) for part in (("train", "test") if split == "all" else (split,))]
        shapes = {part[0].shape[1:] for part in parts}
        if len(shapes) > 1:
            checks.fail(str(root), "train and test images of one size", sorted(shapes), "replace the odd file")
        pixels, labels = (np.concatenate(arrays) for arrays in zip(*parts, strict=True))
    data = Dataset(pixels, labels.astype(np.int64), name, 16 if name == "digits" else 255, unit_rows)
    if size is None:
        return data
    checks.integer("size", size, 1, len(labels))
    return data.subset(seeding.numpy_generator("data subset", seed).permutation(len(labels))[:size])


def read_idx(path: str | Path) -> UInt8[np.ndarray, "..."]:
    """Read one IDX file of unsigned bytes (MNIST's format), plain or .gz.

    The file starts with two zero bytes, the type 0x08, the number of dimensions and each length as a big-endian 32-bit
    integer; the bytes of the array follow, last index fastest.

    Raises:
        InvalidInput: no such file, or a file that is not exactly this.
    """
    path = Path(path)
    content = _content(path)
    if len(content) < 4 or content[:3] != b"\x00\x00\x08" or content[3] == 0:
        remedy = "an IDX file of unsigned bytes is needed; download it again"
        checks.fail(str(path), "to start with the bytes 00 00 08", content[:4].hex(" ") or "nothing", remedy)
    start = 4 + 4 * content[3]
    if len(content) < start:
        checks.fail(str(path), f"a header of {start} bytes", f"{len(content)} bytes", "download it again")
    shape = tuple(int(length) for length in np.frombuffer(content[4:start], dtype=">u4"))
    if len(content) - start != math.prod(shape):
        wanted = f"{math.prod(shape)} bytes after the header, for shape {shape}"
        checks.fail(str(path), wanted, len(content) - start, "the file is damaged; download it again")
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape)


def _digits(split: str) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.datasets import load_digits  # a second to import, and only digits need it

    if split != "all":
        checks.fail("split", "'all' for digits, which has no published split", repr(split), "use Dataset.split")
    bunch = load_digits()
    return bunch.images[:, None].astype(np.uint8), bunch.target


def _mnist(root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    folder = root / "MNIST" / "raw" if (root / "MNIST" / "raw").is_dir() else root
    found = []
    for stem in _mnist_stems(split):
        candidates = [folder / stem, folder / f"{stem}.gz"]
        present = [path for path in candidates if path.is_file()]
        if not present:
            checks.fail(str(folder), f"the file {stem} (or .gz)", "none", f"put there {_expected('mnist')}")
        found.append(present[0])
    images, labels = (read_idx(path) for path in found)
    for path, array, ndim in zip(found, (images, labels), (3, 1), strict=True):
        if array.ndim != ndim or array.size == 0:
            checks.fail(str(path), f"{ndim} dimensions, not empty", f"shape {array.shape}", "is it the right file?")
    if len(images) != len(labels):
        checks.fail(str(found[1]), f"{len(images)} labels, as {found[0].name} has", len(labels), "download it again")
    _labels_below_ten(str(found[1]), labels)
    return images[:, None], labels


def _cifar10(root: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    archive = root if root.is_file() else root / CIFAR_ARCHIVE
    folder = root / CIFAR_FOLDER if (root / CIFAR_FOLDER).is_dir() else root
    names = CIFAR_FILES[split]
    if all((folder / name).is_file() for name in names):
        contents = {str(folder / name): _content(folder / name) for name in names}
    elif archive.is_file():
        contents = _members(archive, names)
    else:
        missing = ", ".join(name for name in names if not (folder / name).is_file())
        checks.fail(str(folder), missing, "no such files", f"put there {_expected('cifar10')}")
    for where, content in contents.items():
        if not content or len(content) % CIFAR_RECORD:
            wanted = f"a whole number of {CIFAR_RECORD}-byte records"
            checks.fail(
                where, wanted, f"{len(content)} bytes", "the file is damaged; download the binary version again"
            )
        if len(content) != max(map(len, contents.values())):
            checks.fail(where, "as many records as the other batches", len(content) // CIFAR_RECORD, "it is truncated")
        _labels_below_ten(where, np.frombuffer(content, dtype=np.uint8)[::CIFAR_RECORD])
    records = np.concatenate([np.frombuffer(content, dtype=np.uint8) for content in contents.values()])
    records = records.reshape(-1, CIFAR_RECORD)
    return records[:, 1:].reshape(-1, 3, 32, 32), records[:, 0]


def _members(archive: Path, names: tuple[str, ...]) -> dict[str, bytes]:
    """The named files of a .tar.gz, whatever folder they are in, without unpacking anything to disk."""
    contents = {}
    try:
        with tarfile.open(archive, "r:*") as tar:
            for member in tar:
                if member.isfile() and Path(member.name).name in names and (handle := tar.extractfile(member)):
                    contents[Path(member.name).name] = handle.read()
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        checks.fail(str(archive), "a readable .tar.gz archive", str(error), "download it again")
    if missing := [name for name in names if name not in contents]:
        remedy = "download the binary version; the Python version is a pickle, which is never loaded"
        checks.fail(str(archive), ", ".join(missing), "an archive without them", remedy)
    return {f"{archive}:{name}": contents[name] for name in names}


def _content(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    except (OSError, EOFError, zlib.error) as error:  # BadGzipFile is an OSError
        checks.fail(str(path), "a readable file", str(error), "download it again")


def _labels_below_ten(where: str, labels: np.ndarray) -> None:
    if labels.max() > 9:
        checks.fail(where, "labels from 0 to 9", int(labels.max()), "the file is damaged; download it again")


def _mnist_stems(split: str) -> tuple[str, str]:
    return f"{MNIST_PREFIX[split]}-images-idx3-ubyte", f"{MNIST_PREFIX[split]}-labels-idx1-ubyte"


def _expected(name: str) -> str:
    """The files to have, in words."""
    if name == "mnist":
        return ", ".join(_mnist_stems("train") + _mnist_stems("test")) + " (each plain or .gz)"
    files = ", ".join(CIFAR_FILES["train"] + CIFAR_FILES["test"])
    return f"{files} or {CIFAR_ARCHIVE} (the binary version; the Python version is a pickle, which is never loaded)"
