"""Random streams by (name, seed): independent of each other, of call order and of the global generators.

Every random draw of the library comes from a generator named after what it draws ("initial weights", "label noise"),
so that two parts of an experiment that share a seed do not share randomness, and adding a draw changes no other.
"""

import hashlib
from typing import Any

import numpy as np

from theory import checks


def _sequence(name: str, seed: int) -> np.random.SeedSequence:
    seed = checks.integer("seed", seed, minimum=0)
    digest = hashlib.blake2b(name.encode(), digest_size=16).digest()
    return np.random.SeedSequence([seed, *np.frombuffer(digest, dtype=np.uint32).tolist()])


def numpy_generator(name: str, seed: int) -> np.random.Generator:
    """A numpy generator for the stream (name, seed), seed >= 0.

    Raises:
        InvalidInput: the seed is negative or not an integer.

    Example:
        >>> a, b = numpy_generator("labels", 0), numpy_generator("labels", 0)
        >>> bool(a.normal() == b.normal())
        True
    """
    return np.random.default_rng(_sequence(name, seed))


def torch_generator(name: str, seed: int, device: str = "cpu") -> Any:
    """A `torch.Generator` on `device` for the stream (name, seed), seed >= 0.

    Raises:
        InvalidInput: the seed is negative or not an integer.
    """
    import torch

    state = int(_sequence(name, seed).generate_state(1, np.uint64)[0])
    return torch.Generator(device=device).manual_seed(state % 2**63)
