"""Inner-product search: exact, or approximate by a FAISS factory string; on the CPU, or on a probed GPU.

Without FAISS an exact NumPy index serves and says so. Positions are rows of the vectors given; -1 where the
index found nothing. Scores are inner products, higher is better.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Int64
from stagelens.pipeline.errors import MissingExtra
from stagelens.recall.devices import Device, find_faiss, say_once, use_gpu
from stagelens.recall.faiss_index import need_faiss, placed, trained, wrapped


class Index(Protocol):
    """A searchable set of vectors."""

    @property
    def exact(self) -> bool:
        """Whether every query gets its true nearest vectors."""
        ...

    @property
    def size_bytes(self) -> int:
        """Bytes of the index."""
        ...

    @property
    def note(self) -> str:
        """Where it searches and why, for people; empty where nothing needs saying."""
        ...

    def search(self, queries: Float32, depth: int) -> tuple[Int64, Float32]:
        """Return positions int64 [V, depth] and inner products float32 [V, depth], best first."""
        ...

    def serialise(self) -> NDArray[np.uint8]:
        """Return the index as bytes; empty where it is rebuilt from its vectors."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class NumpyIndex:
    """Exact search with NumPy alone.

    Attributes:
        vectors: float32 [N, D].
    """

    vectors: Float32

    @property
    def exact(self) -> bool:
        """Every product is computed."""
        return True

    @property
    def size_bytes(self) -> int:
        """Bytes of the vectors."""
        return int(self.vectors.nbytes)

    @property
    def note(self) -> str:
        """Say what serves."""
        return "exact NumPy search: FAISS is not installed"

    def search(self, queries: Float32, depth: int) -> tuple[Int64, Float32]:
        """Return the ``depth`` best of every query."""
        n = len(self.vectors)
        depth_found = min(depth, n)
        position = np.full((len(queries), depth), -1, np.int64)
        score = np.full((len(queries), depth), -np.inf, np.float32)
        rows = max(1, (1 << 24) // max(n, 1))
        for start in range(0, len(queries), rows):
            product = queries[start : start + rows] @ self.vectors.T
            best = np.argpartition(product, n - depth_found, axis=1)[:, n - depth_found :]
            value = np.take_along_axis(product, best, axis=1)
            order = np.argsort(-value, axis=1, kind="stable")
            position[start : start + rows, :depth_found] = np.take_along_axis(best, order, axis=1)
            score[start : start + rows, :depth_found] = np.take_along_axis(value, order, axis=1)
        return position, score

    def serialise(self) -> NDArray[np.uint8]:
        """Nothing: it is its vectors."""
        return np.empty(0, np.uint8)


def build(
    vectors: Float32,
    *,
    factory: str = "Flat",
    device: Device = "auto",
    seed: int = 0,
    nprobe: int | None = None,
    ef_search: int | None = None,
) -> Index:
    """Build an index for inner products.

    A graph over vectors of unequal length is refused: inner product is no distance, and such a graph can miss
    most of the nearest (milvus #51821, hnswlib #74). On nine kinds of vectors that were tried, a plain HNSW16
    found .44 to .99 of the nearest 50, and one over vectors lifted to equal length (Bachrach et al. 2014,
    doi:10.1145/2645710.2645741) .12 to 1.0; neither was better throughout.

    Args:
        vectors: float32 [N, D], N >= 1.
        factory: FAISS factory string; ``Flat`` is exact.
        device: ``auto``, ``cpu`` or ``cuda``.
        seed: Of training and of graphs.
        nprobe: Lists visited by an IVF index; None: FAISS's default, 1.
        ef_search: Breadth of the search in an HNSW graph, raised to the depth where that is more: narrower,
            FAISS returns fewer than were asked for.

    Raises:
        ConfigError: The factory string, or a parameter for it, makes no sense; a graph over vectors of
            unequal length; or no GPU where one was demanded.
        MissingExtra: An approximate index without FAISS.
    """
    faiss = find_faiss()
    if faiss is None:
        return _without_faiss(vectors, factory, device)
    return placed(faiss, trained(faiss, vectors, factory, seed), factory, device, nprobe, ef_search)


def restore(
    saved: NDArray[np.uint8],
    vectors: Float32,
    *,
    factory: str = "Flat",
    device: Device = "auto",
    nprobe: int | None = None,
    ef_search: int | None = None,
) -> Index:
    """Read an index back from ``serialise``.

    Args:
        saved: Its bytes; empty: an exact index, rebuilt.
        vectors: float32 [N, D], as it was built from.
        factory: As it was built.
        device: Where to search now.
        nprobe: As in ``build``.
        ef_search: As in ``build``.
    """
    if not len(saved):
        return build(vectors, factory=factory, device=device, nprobe=nprobe, ef_search=ef_search)
    faiss = need_faiss()
    index = wrapped(faiss, faiss.deserialize_index(saved))
    return placed(faiss, index, factory, device, nprobe, ef_search)


def _without_faiss(vectors: Float32, factory: str, device: Device) -> Index:
    use_gpu(device, "FAISS is not installed")
    if factory != "Flat":
        raise MissingExtra(
            f"index = {factory!r} needs FAISS, which is not installed. Install it with: "
            "pip install 'stagelens[cpu]', or use index = 'Flat' (exact)."
        )
    say_once("FAISS is not installed: an exact NumPy index serves. Faster: pip install 'stagelens[cpu]'")
    return NumpyIndex(np.ascontiguousarray(vectors, dtype=np.float32))
