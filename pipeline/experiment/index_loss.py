"""What approximate indexes cost, by item degree: gross loss, accidental gain, and the net of both."""

from __future__ import annotations

from typing import Any

import numpy as np

from stagelens.pipeline.core import Bool, Float64
from stagelens.pipeline.evaluate.significance import Interval, interval
from stagelens.pipeline.experiment.summary import Finished, Measured

WHOLE = "all"
PARTS = ("item degree",)
COLD = "items at "
"""Start of the names of slices of items that a budget makes cold."""


def index_block(finished: Finished) -> dict[str, Any]:
    """Return ``{"index": [...]}``, one record for every recall arm with an approximate index and item slice.

    ``gross``: mean share of a user's relevant items (of the slice) that the same composition finds with every index
    exact and misses with this one; ``gain``: those found only with this one; ``net`` = gross - gain, with a two-way
    clustered interval (not simultaneous). Empty where every index is exact.
    """
    records = []
    for one in finished.measured.values():
        if one.arm.stage == "recall" and one.arm.shown and one.sets[0].exact is not None:
            everything = np.ones(finished.truth.pairs, dtype=bool)
            parts = [(WHOLE, WHOLE, everything)]
            parts += [
                (part.name, part.value, part.pairs)
                for part in finished.parts
                if part.name in PARTS or (part.name.startswith(COLD) and one.arm.name.endswith(part.name[6:]))
            ]
            records += [_record(finished, one, *part) for part in parts]
    return {"index": records} if records else {}


def _record(finished: Finished, one: Measured, name: str, value: str, inside: Bool) -> dict[str, Any]:
    truth = finished.truth
    share = inside / np.maximum(np.bincount(truth.pair_row, inside, minlength=len(truth)), 1)[truth.pair_row]
    missed, found = [], []
    for candidates in one.sets:
        assert candidates.exact is not None
        got = candidates.ranks > 0
        missed.append((candidates.exact & ~got) * share)
        found.append((got & ~candidates.exact) * share)

    def of(values: list[Float64]) -> Interval:
        return interval(np.stack(values), truth, finished.study.measure.alpha, inside)

    gross, gain = of(missed), of(found)
    net = of([a - b for a, b in zip(missed, found, strict=True)])
    return {
        "system": one.arm.name,
        "slice": name,
        "value": value,
        "gross": _known(gross.mean),
        "gain": _known(gain.mean),
        "net": _known(net.mean),
        "low": _known(net.low),
        "high": _known(net.high),
        "n": net.n,
    }


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
