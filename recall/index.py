"""Inner-product search: exact, or approximate by a FAISS factory string; on the CPU, or on a probed GPU.

Without FAISS an exact NumPy index serves and says so. Positions are rows of the vectors given; -1 where the
index found nothing. Scores are inner products, higher is better.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from stagelens.pipeline.core import Float32, Int64
from stagelens.pipeline.errors import ConfigError, MissingExtra
from stagelens.recall.devices import GPU_MAX_DEPTH, Device, find_faiss, gpu_fault, say_once, use_gpu

GRAPH = re.compile(r"HNSW|NSG|NNDescent", re.IGNORECASE)
EXAMPLES = "Flat, HNSW32, IVF256,Flat, IVF256,PQ16 or OPQ16,IVF256,PQ16x4fs"
SAME_LENGTH = 1e-3
"""Relative spread of lengths up to which inner product orders like distance."""
BLAS_FROM = 16
"""Queries from which one matrix product beats a scan per query. FAISS 1.15 waits for 128,000 / D queries,
where it is four times slower than it could be."""


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


@dataclass(frozen=True, slots=True, eq=False)
class FaissIndex:
    """A FAISS index on the CPU, with a copy on the GPU where there is one.

    Attributes:
        cpu: The FAISS index.
        exact: Whether it is exhaustive over the vectors themselves.
        size_bytes: Bytes when serialised.
        graph: The HNSW graph inside, or None.
        gpu: The copy on the GPU, or None.
        note: Where it searches and why.
    """

    cpu: Any
    exact: bool
    size_bytes: int
    graph: Any = None
    gpu: Any = None
    note: str = ""

    def search(self, queries: Float32, depth: int) -> tuple[Int64, Float32]:
        """Return the ``depth`` best of every query; beyond the GPU's limit the CPU answers."""
        asked = np.ascontiguousarray(queries, dtype=np.float32)
        if self.gpu is not None and depth <= GPU_MAX_DEPTH:
            try:
                score, position = self.gpu.search(asked, depth)
                return position, score
            except RuntimeError as error:  # out of memory, a lost device: the CPU's answer is as good
                say_once(f"FAISS: a search on the GPU failed ({_first_line(error)}); the CPU answers instead")
        score, position = self._on_cpu(asked, depth)
        return position, score

    def _on_cpu(self, asked: Float32, depth: int) -> tuple[Float32, Int64]:
        if self.exact:
            with _matrix_product(len(asked) >= BLAS_FROM):
                score, position = self.cpu.search(asked, depth)
            return score, position
        # What an approximate index returns for a query must not depend on its neighbours in the block:
        # rounding that varies with the batch would move queries between lists of an IVF. Two copies take the
        # same path as many.
        with _matrix_product(False), _breadth(self.graph, depth):
            if _row_by_row(self.cpu):
                parts = [self.cpu.search(np.repeat(row[None], 2, axis=0), depth) for row in asked]
                empty = (np.empty((0, depth), np.float32), np.empty((0, depth), np.int64))
                score = np.concatenate([part[0][:1] for part in parts] or [empty[0]])
                return score, np.concatenate([part[1][:1] for part in parts] or [empty[1]])
            if len(asked) == 1:
                score, position = self.cpu.search(np.repeat(asked, 2, axis=0), depth)
                return score[:1], position[:1]
            score, position = self.cpu.search(asked, depth)
            return score, position

    def serialise(self) -> NDArray[np.uint8]:
        """Return the CPU index as bytes; nothing where it is exact, being its vectors."""
        if self.exact:
            return np.empty(0, np.uint8)
        return _serialised(_need_faiss(), self.cpu)


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
        ef_search: Breadth of the search in an HNSW graph, raised to the depth where that is more: narrower, FAISS
            returns fewer than were asked for.

    Raises:
        ConfigError: The factory string, or a parameter for it, makes no sense; a graph over vectors of
            unequal length; or no GPU where one was demanded.
        MissingExtra: An approximate index without FAISS.
    """
    faiss = find_faiss()
    if faiss is None:
        return _without_faiss(vectors, factory, device)
    rows = np.ascontiguousarray(vectors, dtype=np.float32)
    graph = GRAPH.search(factory) is not None
    if graph:
        _check_lengths(rows, factory)
    try:
        index = faiss.index_factory(rows.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        _seed(faiss, index, seed)
        with _one_thread(faiss) if graph else contextlib.nullcontext():
            index.train(rows)
            index.add(rows)
    except RuntimeError as error:
        raise ConfigError(
            f"index = {factory!r} cannot hold {len(rows)} vectors of width {vectors.shape[1]}: "
            f"{_first_line(error)}. Write a FAISS factory string such as {EXAMPLES}."
        ) from error
    return _placed(faiss, _wrapped(faiss, index), factory, device, nprobe, ef_search)


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
    faiss = _need_faiss()
    wrapped = _wrapped(faiss, faiss.deserialize_index(saved))
    return _placed(faiss, wrapped, factory, device, nprobe, ef_search)


def _without_faiss(vectors: Float32, factory: str, device: Device) -> Index:
    use_gpu(device, "FAISS is not installed")
    if factory != "Flat":
        raise MissingExtra(
            f"index = {factory!r} needs FAISS, which is not installed. Install it with: "
            "pip install 'stagelens[cpu]', or use index = 'Flat' (exact)."
        )
    say_once("FAISS is not installed: an exact NumPy index serves. Faster: pip install 'stagelens[cpu]'")
    return NumpyIndex(np.ascontiguousarray(vectors, dtype=np.float32))


def _need_faiss() -> Any:
    faiss = find_faiss()
    if faiss is None:
        raise MissingExtra(
            "this index was built with FAISS, which is not installed: pip install 'stagelens[cpu]'"
        )
    return faiss


def _check_lengths(vectors: Float32, factory: str) -> None:
    """Refuse a graph over vectors of unequal length."""
    norms = np.sqrt(np.einsum("nd,nd->n", vectors, vectors, dtype=np.float64))
    shortest, longest = float(norms.min()), float(norms.max())
    if longest - shortest > SAME_LENGTH * longest:
        raise ConfigError(
            f"index = {factory!r} is a graph, and inner product over vectors of unequal length (here "
            f"{shortest:.3g} to {longest:.3g}) is no distance: such a graph can miss most of the nearest. "
            "Use similarity = 'cosine', or index = 'Flat' or an IVF."
        )


def _parts(faiss: Any, index: Any, *, coarse: bool) -> Iterator[Any]:
    """Yield an index and, downcast, what it wraps; the index of an IVF's lists with ``coarse``."""
    index = faiss.downcast_index(index)
    yield index
    for name in ("index", "base_index", "storage", *(["quantizer"] if coarse else [])):
        inner = getattr(index, name, None)
        if isinstance(inner, faiss.Index):
            yield from _parts(faiss, inner, coarse=coarse)


def _seed(faiss: Any, index: Any, seed: int) -> None:
    """Seed whatever trains or draws, and silence the advice on few training points (it goes past Python)."""
    for part in _parts(faiss, index, coarse=True):
        for trainer in (getattr(part, "cp", None), getattr(getattr(part, "pq", None), "cp", None)):
            if trainer is not None:
                trainer.seed = seed % (1 << 31)
                trainer.min_points_per_centroid = 1
        if hasattr(part, "hnsw"):
            part.hnsw.rng = faiss.RandomGenerator(seed % (1 << 31))


def _wrapped(faiss: Any, index: Any) -> FaissIndex:
    exact = type(faiss.downcast_index(index)) in (faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexFlatL2)
    size = index.ntotal * index.d * 4 if exact else len(_serialised(faiss, index))
    graphs = [part.hnsw for part in _parts(faiss, index, coarse=False) if hasattr(part, "hnsw")]
    return FaissIndex(index, exact, int(size), graphs[0] if graphs else None)


def _serialised(faiss: Any, index: Any) -> NDArray[np.uint8]:
    return np.asarray(faiss.serialize_index(index), dtype=np.uint8)


def _placed(
    faiss: Any, wrapped: FaissIndex, factory: str, device: Device, nprobe: int | None, ef_search: int | None
) -> FaissIndex:
    """Apply search parameters and move to the GPU where that is asked for and works."""
    for option, parameter, value in (("nprobe", "nprobe", nprobe), ("ef_search", "efSearch", ef_search)):
        if value is not None:
            try:
                faiss.ParameterSpace().set_index_parameter(wrapped.cpu, parameter, value)
            except RuntimeError as error:
                raise ConfigError(
                    f"{option} = {value} means nothing to index = {factory!r}; nprobe is for IVF, ef_search "
                    "for HNSW. Leave it out."
                ) from error
    if nprobe is not None and wrapped.graph is None:
        for part in _parts(faiss, wrapped.cpu, coarse=True):
            if hasattr(part, "hnsw"):  # finds the lists of an IVF: it must find nprobe of them
                part.hnsw.efSearch = max(part.hnsw.efSearch, nprobe)
    wanted, note = use_gpu(device, None if device == "cpu" else gpu_fault())
    if not wanted:
        return replace(wrapped, note=note)
    try:
        resources = faiss.StandardGpuResources()
        copy = faiss.index_cpu_to_gpu(resources, 0, wrapped.cpu)
    except RuntimeError as error:
        fault = f"index = {factory!r} does not go to the GPU: {_first_line(error)}"
        _, note = use_gpu(device, fault)
        return replace(wrapped, note=note)
    return replace(wrapped, gpu=_OnGpu(copy, resources), note=note)


@dataclass(frozen=True, slots=True, eq=False)
class _OnGpu:
    """A GPU index with the resources that have to outlive it."""

    index: Any
    resources: Any

    def search(self, queries: Float32, depth: int) -> tuple[Float32, Int64]:
        score, position = self.index.search(queries, depth)
        return score, position


def _row_by_row(index: Any) -> bool:
    """Say whether answers may depend on the batch even without matrix products in the coarse search.

    Tried with FAISS 1.15: rotations (OPQ, PCA) do; tables of plain product quantisers may, for wide
    sub-vectors.
    """
    return (
        not any(
            type(index).__name__.startswith(name)
            for name in (
                "IndexHNSW",
                "IndexNSG",
                "IndexIVFFlat",
                "IndexIVFScalarQuantizer",
                "IndexScalarQuantizer",
            )
        )
        and type(index).__name__ != "IndexIVFPQ"
    )


@contextlib.contextmanager
def _matrix_product(on: bool) -> Iterator[None]:
    """Have FAISS compare many queries by one matrix product, or each by itself."""
    settings = _need_faiss().cvar
    before = settings.distance_compute_blas_threshold
    settings.distance_compute_blas_threshold = 1 if on else (1 << 31) - 1
    try:
        yield
    finally:
        settings.distance_compute_blas_threshold = before


@contextlib.contextmanager
def _breadth(graph: Any, depth: int) -> Iterator[None]:
    """Search a graph at least as broadly as results are wanted; narrower, FAISS returns fewer."""
    if graph is None:
        yield
        return
    before = graph.efSearch
    graph.efSearch = max(before, depth)
    try:
        yield
    finally:
        graph.efSearch = before


@contextlib.contextmanager
def _one_thread(faiss: Any) -> Iterator[None]:
    """Build graphs in a fixed order."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)


def _first_line(error: BaseException) -> str:
    """Return what FAISS said, without the place in its source."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return text.rpartition("failed: ")[2].rpartition(".cpp")[2].lstrip("0123456789: ") or text
