"""What a run costs: wall and processor seconds and peak memory of named phases, and latency percentiles."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from stagelens.pipeline.native import release_memory

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")


@dataclass(frozen=True, slots=True)
class Phase:
    """One finished phase.

    Attributes:
        name: As given.
        wall_s: Elapsed seconds.
        cpu_s: Processor seconds of this process, all threads.
        peak_bytes: Highest resident memory of the process during the phase (since its start, where the system
            does not let the mark be reset: see ``resets_peak``).
    """

    name: str
    wall_s: float
    cpu_s: float
    peak_bytes: int


@dataclass(slots=True, eq=False)
class Phases:
    """A stop-watch with named, nestable phases.

    Process-wide: concurrent threads count in whatever phase is open; worker processes do not count.

    Attributes:
        done: The finished phases, in the order they ended.

    Example:
        >>> phases = Phases()
        >>> with phases("fit"):
        ...     total = sum(range(1000))
        >>> [phase.name for phase in phases.done], phases.done[0].wall_s >= 0
        (['fit'], True)
    """

    done: list[Phase] = field(default_factory=list)
    _peaks: list[int] = field(default_factory=list)

    @contextlib.contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Measure what runs inside; a phase that raises is measured too."""
        if self._peaks:
            self._peaks[-1] = max(self._peaks[-1], peak_bytes())
        if not self._peaks:
            release_memory()  # what an earlier phase freed is not of this one
        reset_peak()
        self._peaks.append(0)
        wall, cpu = time.perf_counter(), time.process_time()
        try:
            yield
        finally:
            wall_s, cpu_s = time.perf_counter() - wall, time.process_time() - cpu
            peak = max(self._peaks.pop(), peak_bytes())
            if self._peaks:
                self._peaks[-1] = max(self._peaks[-1], peak)
                reset_peak()
            self.done.append(Phase(name, wall_s, cpu_s, peak))


@dataclass(frozen=True, slots=True)
class Latency:
    """Percentiles of single-query times, in milliseconds."""

    p50: float
    p95: float
    p99: float

    @classmethod
    def of(cls, samples_ms: Sequence[float]) -> Latency:
        """Summarise timings.

        Raises:
            ValueError: No timing.
        """
        if not len(samples_ms):
            raise ValueError("latency percentiles need at least one timing")
        return cls(*np.percentile(np.asarray(samples_ms, dtype=np.float64), [50, 95, 99]).tolist())


def time_queries(call: Callable[[int], object], queries: int, *, warm_up: int = 3) -> list[float]:
    """Return the milliseconds of ``call(0)``, ``call(1)``, ... alone, after ``warm_up`` untimed calls."""
    for query in range(min(warm_up, queries)):
        call(query)
    samples = []
    for query in range(queries):
        start = time.perf_counter_ns()
        call(query)
        samples.append((time.perf_counter_ns() - start) / 1e6)
    return samples


def resident_bytes() -> int:
    """Return the resident memory of this process now; 0 where the system does not say."""
    return _status("VmRSS:") or 0


def _status(field_name: str) -> int | None:
    with contextlib.suppress(OSError, ValueError, IndexError):
        for line in STATUS.read_text().splitlines():
            if line.startswith(field_name):
                return int(line.split()[1]) * 1024
    return None


def peak_bytes() -> int:
    """Return the highest resident memory of this process since the mark was reset; 0 where unknown."""
    peak_here = _status("VmHWM:")
    if peak_here is not None:
        return peak_here
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def reset_peak() -> bool:
    """Set the mark to the present memory; False where the system does not permit it."""
    try:
        CLEAR.write_text("5")
    except OSError:
        return False
    return True


def resets_peak() -> bool:
    """Say whether peaks are per phase here (Linux, mostly) or since the start of the process."""
    return STATUS.exists() and reset_peak()
