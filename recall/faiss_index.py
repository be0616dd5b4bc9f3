"""One FAISS index: how it is trained, placed and searched so that a query's answer is its own.

FAISS itself is imported only inside functions.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

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
BY_BATCH = ("IndexHNSW", "IndexNSG", "IndexIVFFlat", "IndexIVFScalarQuantizer", "IndexScalarQuantizer")
"""Starts of the names of types whose answers do not depend on the batch (tried with FAISS 1.15)."""


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
        return _serialised(need_faiss(), self.cpu)


def trained(faiss: Any, vectors: Float32, factory: str, seed: int) -> FaissIndex:
    """Return a new index over float32 ``vectors`` [N, D].

    Raises:
        ConfigError: FAISS cannot make this of these vectors, or it is a graph over vectors of unequal length.
    """
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
            f"index = {factory!r} cannot hold {len(rows)} vectors of width {rows.shape[1]}: "
            f"{_first_line(error)}. Write a FAISS factory string such as {EXAMPLES}."
        ) from error
    return wrapped(faiss, index)


def placed(
    faiss: Any, index: FaissIndex, factory: str, device: Device, nprobe: int | None, ef_search: int | None
) -> FaissIndex:
    """Return the index with its search parameters, on the GPU where that is asked for and works.

    Raises:
        ConfigError: A parameter means nothing to it, or no GPU where one was demanded.
    """
    for option, parameter, value in (("nprobe", "nprobe", nprobe), ("ef_search", "efSearch", ef_search)):
        if value is not None:
            try:
                faiss.ParameterSpace().set_index_parameter(index.cpu, parameter, value)
            except RuntimeError as error:
                raise ConfigError(
                    f"{option} = {value} means nothing to index = {factory!r}; nprobe is for IVF, ef_search "
                    "for HNSW. Leave it out."
                ) from error
    if nprobe is not None and index.graph is None:
        for part in _parts(faiss, index.cpu, coarse=True):
            if hasattr(part, "hnsw"):  # finds the lists of an IVF: it must find nprobe of them
                part.hnsw.efSearch = max(part.hnsw.efSearch, nprobe)
    wanted, note = use_gpu(device, None if device == "cpu" else gpu_fault())
    if not wanted:
        return replace(index, note=note)
    try:
        resources = faiss.StandardGpuResources()
        copy = faiss.index_cpu_to_gpu(resources, 0, index.cpu)
    except RuntimeError as error:
        fault = f"index = {factory!r} does not go to the GPU: {_first_line(error)}"
        _, note = use_gpu(device, fault)
        return replace(index, note=note)
    return replace(index, gpu=_OnGpu(copy, resources), note=note)


def need_faiss() -> Any:
    """Return FAISS.

    Raises:
        MissingExtra: It is not installed.
    """
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


def wrapped(faiss: Any, index: Any) -> FaissIndex:
    """Return what a FAISS index is, on the CPU."""
    exact = type(faiss.downcast_index(index)) in (faiss.IndexFlat, faiss.IndexFlatIP, faiss.IndexFlatL2)
    size = index.ntotal * index.d * 4 if exact else len(_serialised(faiss, index))
    graphs = [part.hnsw for part in _parts(faiss, index, coarse=False) if hasattr(part, "hnsw")]
    return FaissIndex(index, exact, int(size), graphs[0] if graphs else None)


def _serialised(faiss: Any, index: Any) -> NDArray[np.uint8]:
    return np.asarray(faiss.serialize_index(index), dtype=np.uint8)


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

    Rotations (OPQ, PCA) do; tables of plain and 4-bit product quantisers may, for wide sub-vectors.
    """
    name = type(index).__name__
    return name != "IndexIVFPQ" and not name.startswith(BY_BATCH)


@contextlib.contextmanager
def _matrix_product(on: bool) -> Iterator[None]:
    """Have FAISS compare many queries by one matrix product, or each by itself."""
    settings = need_faiss().cvar
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
