"""Time and memory of a study from those of its pilots: every phase grows with a count that the windows give."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stagelens.pipeline.core import Split
from stagelens.pipeline.evaluate.cost import Phase
from stagelens.pipeline.experiment.estimate import Work
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.store import LedgerEntry
from stagelens.pipeline.workbench import CELLS

FITS = "fits on training windows"
"""What the re-ranker phase spends on fitting recall without a row's own fold or window: grows with interactions."""
GROWS_WITH = {
    "choice": "valid",
    "recall fits and lists": "valid",
    FITS: "interactions",
    "re-ranker fits": "taught",
    "valid": "valid",
    "test": "test",
    "costs": "nothing",
    "importance": "nothing",
    "judge": "judged",
    "write": "test",
    "between phases": "interactions",
}
"""Phase -> the field of ``Work`` that its time grows with, the catalogue being the same."""


@dataclass(frozen=True, slots=True)
class Spent:
    """What one pilot took.

    Attributes:
        work: What it had to do.
        wall_s: Seconds by phase.
        cpu_s: Processor seconds by phase.
        peak_bytes: Highest resident memory by phase.
        loaded_bytes: Resident with the data and the windows, before any stage works.
        pairs: Held-out pairs that were measured.
    """

    work: Work
    wall_s: Mapping[str, float]
    cpu_s: Mapping[str, float]
    peak_bytes: Mapping[str, int]
    loaded_bytes: int = 0
    pairs: int = 0

    @classmethod
    def of(
        cls,
        work: Work,
        phases: Sequence[Phase],
        artefacts: Sequence[LedgerEntry],
        rows: Sequence[str],
        wall_s: float,
    ) -> Spent:
        """Sum up the phases of a run.

        Args:
            work: What was done.
            phases: In the order they ended; ``choice`` holds those before it.
            artefacts: What was made.
            rows: Names of the windows that give training rows.
            wall_s: Of the whole run.
        """
        wall: dict[str, float] = {}
        cpu: dict[str, float] = {}
        peak: dict[str, int] = {}
        for phase in phases:
            wall[phase.name] = wall.get(phase.name, 0.0) + phase.wall_s
            cpu[phase.name] = cpu.get(phase.name, 0.0) + phase.cpu_s
            peak[phase.name] = max(peak.get(phase.name, 0), phase.peak_bytes)
            if phase.name == "choice":
                for part, whole in ((wall, phase.wall_s), (cpu, phase.cpu_s)):
                    part["choice"] = max(0.0, whole - math.fsum(v for n, v in part.items() if n != "choice"))
        endings = tuple(f" on {name}" for name in rows)
        fits = math.fsum(
            one.wall_s
            for one in artefacts
            if one.made and one.kind in ("fit", "vectors") and one.name.endswith(endings)
        )
        fits = min(fits, wall.get("re-ranker fits", 0.0))
        if fits:
            share = fits / wall["re-ranker fits"]
            for part in (wall, cpu):
                part[FITS] = part["re-ranker fits"] * share
                part["re-ranker fits"] -= part[FITS]
        wall["between phases"] = max(0.0, wall_s - math.fsum(wall.values()))
        cpu["between phases"] = wall["between phases"]
        return cls(work, wall, cpu, peak)

    @property
    def slowness(self) -> float:
        """Seconds of the clock for one of the processor: below 1 on idle cores, above 1 on busy ones."""
        return math.fsum(self.wall_s.values()) / max(math.fsum(self.cpu_s.values()), 1e-9)


@dataclass(frozen=True, slots=True)
class Forecast:
    """One figure of the study to come.

    Attributes:
        name: Phase.
        pilot: What it was in the largest pilot.
        expected: In the study.
        low: Lowest that the pilots allow.
        high: Highest.
    """

    name: str
    pilot: float
    expected: float
    low: float
    high: float

    def record(self) -> dict[str, Any]:
        """Return the forecast as plain data."""
        return {name: getattr(self, name) for name in ("name", "pilot", "expected", "low", "high")}


def processor_seconds(spent: Sequence[Spent], work: Work) -> float:
    """Return the processor seconds of the study: what does not depend on how busy the machine is."""
    *_, small, large = spent
    return math.fsum(_cpu(small, large, work, name) for name in large.cpu_s if name in GROWS_WITH)


def _cpu(small: Spent, large: Spent, work: Work, name: str) -> float:
    grows = GROWS_WITH[name]
    start = (float(getattr(small.work, grows)), small.cpu_s.get(name, 0.0))
    end = (float(getattr(large.work, grows)), large.cpu_s[name])
    return _grown(start, end, float(getattr(work, grows)))


def seconds(spent: Sequence[Spent], work: Work) -> list[Forecast]:
    """Return the seconds of every phase of the study.

    Each phase has a fixed part and one that grows with its count, both from processor seconds, because the clock also
    counts what else the machine did; then the seconds of the clock for one of the processor, as in the pilots.

    Args:
        spent: By pilots on samples of one size, of which the first also started everything up, and last by one on all
            of them together.
        work: Of the study.
    """
    *small, large = spent
    slow = [one.slowness for one in spent]
    rows = []
    for name in GROWS_WITH:
        if name not in large.cpu_s:
            continue
        ends = [_cpu(one, large, work, name) for one in small]
        own = large.wall_s[name] / large.cpu_s[name] if large.cpu_s[name] > 0 else large.slowness
        low, high = min(ends) * min(*slow, own), max(ends) * max(*slow, own)
        rows.append(Forecast(name, large.wall_s[name], min(max(ends[-1] * own, low), high), low, high))
    start = max(0.0, math.fsum(small[0].wall_s.values()) - math.fsum(small[-1].wall_s.values()))
    return [*rows, Forecast("start", start, start, 0.0, start)]


@dataclass(frozen=True, slots=True)
class Held:
    """What a study holds in memory while it works.

    Attributes:
        loaded_bytes: Resident with the data set and its windows, before any stage works.
        pairs: Held-out pairs of test.
        most: Phase -> count beyond which its working memory grows no more: users are worked on in blocks.
        by_pair: Phase -> bytes that it holds for every held-out pair.
    """

    loaded_bytes: int
    pairs: int
    most: Mapping[str, int]
    by_pair: Mapping[str, float]

    @classmethod
    def of(cls, study: Study, split: Split, *, loaded_bytes: int, arms: int, members: int) -> Held:
        """Count.

        Args:
            study: To come.
            split: Its windows.
            loaded_bytes: As above.
            arms: Systems, whose ranks are kept.
            members: Differences in the largest family, which are judged together.
        """
        block = max(1, min(study.block, CELLS // study.recall.size))
        ranks = 6.0 * arms * len(study.seeds)
        judged = 8.0 * len(study.seeds) * (members + 2)
        return cls(
            loaded_bytes,
            len(split.test),
            {"recall fits and lists": block, "valid": block, "test": block},
            {"test": ranks, "costs": ranks, "importance": ranks, "judge": ranks + judged, "write": ranks},
        )


def peaks(spent: Sequence[Spent], work: Work, held: Held) -> list[Forecast]:
    """Return the highest resident memory of every phase of the study, in bytes; for the rest see ``seconds``.

    What is loaded was measured on the whole data set. What a phase works with grows with its count up to a block of
    users, as between the second pilot and the last, and with the pairs that are kept. The first pilot loads libraries
    on its way; they count as loaded. Low and high allow half and twice the growth.
    """
    first, *_, small, large = spent
    loaded = held.loaded_bytes + max(0, small.loaded_bytes - first.loaded_bytes)
    rows = []
    for name, peak in large.peak_bytes.items():
        grows = "nothing" if name in ("judge", "write") else GROWS_WITH.get(name, "nothing")
        most = held.most.get(name, math.inf)
        counts = [float(min(getattr(one, grows), most)) for one in (small.work, large.work, work)]
        works = [max(0, one.peak_bytes.get(name, 0) - one.loaded_bytes) for one in (small, large)]
        growth = _grown((counts[0], works[0]), (counts[1], works[1]), counts[2]) - works[1]
        growth += held.by_pair.get(name, 0.0) * max(0, held.pairs - large.pairs)
        low, high = sorted((growth / 2, 2 * growth))
        start = float(loaded + works[1])
        rows.append(Forecast(name, float(peak), start + growth, start + low, start + high))
    return _below_test(rows)


def _below_test(rows: Sequence[Forecast]) -> list[Forecast]:
    """Return valid and lists no higher than test, which ranks more systems: few users tune a pilot, too few to tell."""
    test = next((row for row in rows if row.name == "test"), None)
    if test is None:
        return list(rows)
    found = []
    for row in rows:
        if row.name in ("valid", "recall fits and lists"):
            ends = {
                name: min(getattr(row, name), max(getattr(test, name), row.pilot))
                for name in ("expected", "low", "high")
            }
            row = replace(row, **ends)
        found.append(row)
    return found


def total(rows: Sequence[Forecast]) -> Forecast:
    """Return the sum."""

    def of(name: str) -> float:
        return math.fsum(getattr(row, name) for row in rows)

    return Forecast("all", of("pilot"), of("expected"), of("low"), of("high"))


def _grown(small: tuple[float, float], large: tuple[float, float], to: float) -> float:
    """Return the value at a count, on the line through two (count, value), neither falling nor beyond in proportion."""
    (x, y), (end, value) = small, large
    slope = 0.0 if end <= x else min(max((value - y) / (end - x), 0.0), value / end)
    return value + slope * (to - end)
