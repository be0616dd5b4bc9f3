"""Threads and OpenMP of every native library, in one place.

``OMP_WAIT_POLICY=PASSIVE`` has to be in the environment before the first OpenMP runtime is loaded: with the
default, spinning barriers made LightGBM sixty times slower on busy cores.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import sys
import threading
from collections.abc import Iterator

OPENMP_LIBRARIES = ("faiss", "lightgbm", "torch", "sklearn")


def prepare_environment() -> None:
    """Set the OpenMP wait policy; called when the package is first imported, before any native library."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("KMP_BLOCKTIME", "0")


def loaded_too_early() -> list[str]:
    """Return OpenMP libraries that are loaded while the wait policy is not passive (their barriers spin)."""
    if os.environ.get("OMP_WAIT_POLICY", "").upper() == "PASSIVE":
        return []
    return [name for name in OPENMP_LIBRARIES if name in sys.modules]


def available_cores() -> int:
    """Return the number of cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


_here = threading.local()


@contextlib.contextmanager
def limited(count: int) -> Iterator[None]:
    """Let ``threads()`` be ``count`` for what this Python thread runs inside."""
    before = getattr(_here, "limit", 0)
    _here.limit = count
    try:
        yield
    finally:
        _here.limit = before


def threads() -> int:
    """Return the thread count in force: a limit set here, else ``STAGELENS_THREADS``, else every available core."""
    limit = int(getattr(_here, "limit", 0))
    if limit:
        return limit
    value = os.environ.get("STAGELENS_THREADS", "")
    return int(value) if value.isdigit() and int(value) > 0 else available_cores()


def set_threads(count: int | None = None) -> int:
    """Set the threads of BLAS, FAISS, numba and torch where they are loaded; return the count in force.

    LightGBM takes its count per call from ``threads()``. Libraries that load later read the environment.
    """
    number = count if count else threads()
    os.environ["STAGELENS_THREADS"] = str(number)
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[variable] = str(number)
    if "threadpoolctl" in sys.modules or "numpy" in sys.modules:
        from threadpoolctl import threadpool_limits

        threadpool_limits(limits=number)
    if "faiss" in sys.modules:
        sys.modules["faiss"].omp_set_num_threads(number)
    if "numba" in sys.modules:
        numba = sys.modules["numba"]
        numba.set_num_threads(min(number, int(numba.config.NUMBA_NUM_THREADS)))
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(number)
    return number


def release_memory() -> None:
    """Give freed memory back to the system: a load leaves several times the size of its data behind in the pools.

    Does what the platform can do: Arrow's pool where it is loaded, and glibc's heap.
    """
    if "pyarrow" in sys.modules:
        sys.modules["pyarrow"].default_memory_pool().release_unused()
    if sys.platform.startswith("linux"):
        with contextlib.suppress(OSError, AttributeError):  # no glibc: musl has no malloc_trim
            ctypes.CDLL("libc.so.6").malloc_trim(0)


def isolate_lightgbm() -> bool:
    """Say whether LightGBM must run in a process of its own.

    On macOS, LightGBM, FAISS and torch wheels bring separate libomp copies that abort or hang in one process
    (LightGBM #4897, #6595). ``STAGELENS_ISOLATE=1`` or ``0`` overrides.
    """
    value = os.environ.get("STAGELENS_ISOLATE", "")
    return value == "1" if value in ("0", "1") else sys.platform == "darwin"
