"""Seeds derived by name path, so that adding a component moves nobody else's randomness."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def derive(seed: int, *path: str | int) -> int:
    """Return the 63-bit seed of the component at ``path`` under a study seed."""
    text = "/".join([str(int(seed)), *map(str, path)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "little") >> 1


def generator(seed: int, *path: str | int) -> np.random.Generator:
    """Return a PCG64 generator seeded for the component at ``path``."""
    return np.random.Generator(np.random.PCG64(derive(seed, *path)))


def tie_order(seed: int, n_items: int) -> NDArray[np.int32]:
    """Return int32 [I]: the place of each item in one seeded random order; lower wins a tie.

    Item codes often follow first appearance, hence popularity, so breaking ties by index is a hidden signal.
    """
    order: NDArray[np.int32] = generator(seed, "ties").permutation(n_items).astype(np.int32)
    return order
