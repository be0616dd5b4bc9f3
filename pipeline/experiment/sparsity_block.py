"""The blocks of ``simulate sparsity``: curves, worth, area, growth, crossing, what is won back, cold items."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import scipy  # its parts are loaded when first used

from stagelens.pipeline.core import Bool, Float64
from stagelens.pipeline.evaluate.curves import Joint, area_weights, joint
from stagelens.pipeline.evaluate.metrics import contributions
from stagelens.pipeline.evaluate.significance import Interval, interval
from stagelens.pipeline.evaluate.slices import Slice, slice_contributions
from stagelens.pipeline.experiment.index_loss import index_block
from stagelens.pipeline.experiment.sparsity_answer import answer_of, crossing_record
from stagelens.pipeline.experiment.sparsity_curves import Curve, Mark, SparsityPlan
from stagelens.pipeline.experiment.summary import Finished, metric_names, primary_metric

Record = dict[str, Any]
Key = tuple[str, str, str]
JUDGED = ("difference", "low", "high", "p", "p_adjusted", "margin", "detectable", "verdict", "too_small", "n")
FINAL = ("ndcg@10", "hit@10")
"""Metrics of final lists whose curves are kept."""


def sparsity_blocks(finished: Finished) -> dict[str, Any]:
    """Return the blocks ``sparsity``, ``sparsity_study`` and, where an index is approximate, ``index``.

    Raises:
        TypeError: A plan of another kind of study.
    """
    plan = finished.plan
    if not isinstance(plan, SparsityPlan):
        raise TypeError(f"sparsity_blocks takes a SparsityPlan, not {type(plan).__name__}")
    block = _Block(finished, plan)
    options = finished.study.sparsity
    worth, area, growth, losses = block.worth(), block.summed("area"), block.summed("growth"), block.losses()
    primary = (
        []
        if worth
        else [r for r in finished.records if r["family"] == "primary" and r["verdict"] is not None]
    )
    said = {
        "answer": answer_of(losses, area, growth, primary),
        "how": options.how,
        "order": options.order,
        "draw": options.draw,
        "tuning": options.tuning,
        "scale": plan.axis.scale,
        "budgets": block.budgets(),
        "worth": worth,
        "area": area,
        "growth": growth,
        "crossing": block.crossings(),
        "loss": losses,
        "marked": block.marked(),
        "index_by_cold": block.index_by_cold(),
        "notes": list(plan.notes),
    }
    return {"sparsity": block.points(), "sparsity_study": said, **index_block(finished)}


class _Block:
    """What is read off the measurements of a sparsity study."""

    def __init__(self, finished: Finished, plan: SparsityPlan) -> None:
        self.finished, self.plan = finished, plan
        self.alpha, self.draws = finished.study.measure.alpha, finished.study.measure.draws
        self.share = np.array([point.share for point in plan.points])
        self.records = {
            (r["family"], r["stage"], r["baseline"], r["system"]): r
            for r in finished.records
            if r["slice"] is None and r["verdict"] is not None
        }

    def adds(self, key: Key, metric: str | None = None, part: Slice | None = None) -> Float64:
        """Return float64 [S, P]: what every pair adds to an arm's metric."""
        one, truth = self.finished.measured[key], self.finished.truth
        name = metric or primary_metric(one.arm)
        if part is not None:
            return np.stack([slice_contributions(ranks, truth, name, part) for ranks in one.ranks])
        return np.stack([contributions(ranks, truth, name) for ranks in one.ranks])

    def record(self, family: str, baseline: Key, system: Key) -> Record | None:
        """Return the judged record of a comparison."""
        return self.records.get((family, baseline[0], baseline[2], system[2]))

    # ------------------------------------------------------------ curves

    def budgets(self) -> list[Record]:
        """Return what every budget leaves."""
        found = []
        for point in self.plan.points:
            [place] = self.plan.axis.places(np.array([point.share]))
            record: Record = {"label": point.label, "budget": point.share, "place": float(place)}
            degree = self.plan.degrees.get(point.label)
            if degree is not None:
                record |= {"interactions": int(degree.sum()), "items": int((degree > 0).sum())}
            found.append(record)
        return found

    def points(self) -> list[Record]:
        """Return every system at every budget: its interval, and its paired band.

        The band is about the change since everything was kept, paired by user and simultaneous within the family
        ``loss``: it has no width at the first point, and says how far the curve may have fallen.
        """
        found = []
        for curve in self.plan.curves:
            for point, key in zip(self.plan.points, curve.keys, strict=True):
                one = self.finished.measured[key]
                if not one.arm.shown:
                    continue
                for metric in self._metrics(key):
                    means = interval(self.adds(key, metric), self.finished.truth, self.alpha)
                    record = {
                        "budget": point.share,
                        "system": curve.system,
                        "metric": metric,
                        **_interval(means),
                    }
                    record |= {"label": point.label, "stage": curve.stage}
                    if metric == primary_metric(one.arm):
                        record |= self._band(curve, key, means.mean)
                    found.append(record)
        return found

    def _metrics(self, key: Key) -> list[str]:
        names = metric_names(self.finished.measured[key].arm, self.finished.study.measure)
        return [name for name in names if key[0] == "recall" or name in FINAL]

    def _band(self, curve: Curve, key: Key, mean: float) -> Record:
        if key == curve.keys[0]:
            return {"paired_low": _known(mean), "paired_high": _known(mean)}
        one = self.record("loss", curve.keys[0], key)
        if one is None or one["low"] is None:
            return {"paired_low": None, "paired_high": None}
        whole = mean - one["difference"]
        return {"paired_low": whole + one["low"], "paired_high": whole + one["high"]}

    # ------------------------------------------------------------ worth

    def worth(self) -> list[Record]:
        """Return worth and information at every budget, worth over the base, and what is won back."""
        found = []
        for curve in self._on():
            base = self._base(curve)
            copies = self.plan.curve(curve.stage, "permuted", curve.modality)
            back = self._won_back(base, curve)
            relative, _ = self._relative(base, curve)
            for place, point in enumerate(self.plan.points):
                low, high = base.keys[place], curve.keys[place]
                record = self._said(curve, base) | {"label": point.label, "budget": point.share}
                record |= _judged(self.record("primary", low, high))
                copy = None if copies is None else self.record("information", copies.keys[place], high)
                record["information"] = None if copy is None else _judged(copy)
                found.append(record | {"relative": relative[place], "won_back": back[place]})
        return found

    def summed(self, what: str) -> list[Record]:
        """Return the area under every worth curve, or its growth."""
        found = []
        for curve in self._on():
            base = self._base(curve)
            stage, view, _ = curve.keys[0]
            keys = ((stage, view, f"{name}, {what}") for name in (base.system, curve.system))
            record = self._said(curve, base) | _judged(self.record("primary", *keys))
            if what == "growth":
                record["relative"] = self._relative(base, curve)[1]
            found.append(record)
        return found

    def _won_back(self, base: Curve, on: Curve) -> list[Record | None]:
        """Return worth gained over the base's loss at every budget, null unless the loss's interval excludes 0.

        Gained since everything was kept: what a modality adds there, it adds to a system that has lost nothing.
        """
        losses = [self.record("loss", base.keys[0], key) for key in base.keys]
        lost = [
            place for place, one in enumerate(losses) if one and one["high"] is not None and one["high"] < 0
        ]
        whole = self.adds(base.keys[0])
        before = self.adds(on.keys[0]) - whole
        parts = [self.adds(base.keys[place]) for place in lost]
        worth = [self.adds(on.keys[place]) - low for place, low in zip(lost, parts, strict=True)]
        values, drawn = self._ratios([one - before for one in worth], [whole - low for low in parts])
        found: list[Record | None] = [None] * len(base.keys)
        for column, place in enumerate(lost):
            found[place] = self._ends_of(values[column], drawn[:, column])
        return found

    def _relative(self, base: Curve, on: Curve) -> tuple[list[Record | None], Record | None]:
        """Return worth over the base at every budget, null where the base finds nothing, and how much it grows.

        Its growth: the mean over the range of budgets, as an area, minus its value with everything kept.
        """
        low = [self.adds(key) for key in base.keys]
        worth = [self.adds(key) - one for key, one in zip(on.keys, low, strict=True)]
        values, drawn = self._ratios(worth, low)
        each = [
            self._ends_of(value, drawn[:, column]) if math.isfinite(value) else None
            for column, value in enumerate(values)
        ]
        if None in each:
            return each, None
        weights = area_weights(self.share, self.plan.axis)
        weights[0] -= 1.0
        return each, self._ends_of(float(weights @ values), drawn @ weights)

    def _ratios(self, above: list[Float64], below: list[Float64]) -> tuple[Float64, Float64]:
        """Return float64 [J] and [draws, J]: ratios of means, and draws of all means together."""
        if not above:
            return np.zeros(0), np.zeros((self.draws, 0))
        together = joint([*above, *below], self.finished.truth)
        both = np.vstack([together.mean, together.drawn(self.draws)])
        top, bottom = both[:, : len(above)], both[:, len(above) :]
        ratio = np.divide(top, bottom, out=np.copysign(np.inf, top), where=bottom > 0)
        return ratio[0], ratio[1:]

    def _ends_of(self, value: float, drawn: Float64) -> Record:
        # inf - inf, of a base that may find nothing at two budgets, could be anything
        open_, end = np.isnan(drawn), self.alpha / 2
        low = np.quantile(np.where(open_, -np.inf, drawn), end, method="nearest")
        high = np.quantile(np.where(open_, np.inf, drawn), 1 - end, method="nearest")
        return {"share": _known(value), "low": _known(low), "high": _known(high)}

    # ------------------------------------------------------------ crossing and loss

    def crossings(self) -> list[Record]:
        """Return where each modality alone overtakes the first interaction channel alone, then the base."""
        found = []
        for curve in self.plan.curves:
            if curve.part == "alone":
                channel = next(
                    (c for c in self.plan.curves if (c.stage, c.part) == (curve.stage, "channel")), None
                )
                rivals = [rival for rival in (channel, self._base(curve)) if rival is not None]
                found += [self._crossing(rival, curve) for rival in rivals]
        return found

    def _crossing(self, rival: Curve, curve: Curve) -> Record:
        values = [self.adds(b) - self.adds(a) for a, b in zip(rival.keys, curve.keys, strict=True)]
        while len(values) > 1 and not values[-1].any():  # nobody finds anything there
            values.pop()
        lead = joint(values, self.finished.truth)
        share = self.share[: len(values)]
        return self._said(curve, rival) | crossing_record(
            share, lead, self.plan.axis, alpha=self.alpha, draws=self.draws
        )

    def losses(self) -> list[Record]:
        """Return every system against itself with everything kept."""
        found = []
        for curve in self.plan.curves:
            for point, key in zip(self.plan.points, curve.keys, strict=True):
                one = self.record("loss", curve.keys[0], key)
                if one is not None and key != curve.keys[0]:
                    said = {"system": curve.system, "stage": curve.stage, "metric": one["metric"]}
                    found.append(said | {"label": point.label, "budget": point.share, **_judged(one)})
        return found

    # ------------------------------------------------------------ marked items

    def marked(self) -> list[Record]:
        """Return every recall system on what a budget marks (cold, withheld), beside everything kept."""
        found = []
        for mark in self.plan.marked:
            subject, _, label = mark.slice.partition(" at ")
            [place] = [p for p, point in enumerate(self.plan.points) if point.label == label]
            for curve in self.plan.curves:
                of_it = subject == mark.side or curve.modality is None
                if curve.stage == "recall" and (of_it or str(curve.modality).partition(",")[0] == subject):
                    found.append(self._on_marked(curve, place, mark))
        return found

    def _on_marked(self, curve: Curve, place: int, mark: Mark) -> Record:
        key, truth = curve.keys[place], self.finished.truth
        one, part = self.finished.measured[key], mark.part(truth)
        point, shown = self.plan.points[place], math.nan
        if mark.side == "items" and one.arm.filled:
            shown = one.exposure[:, mark.members].sum() / max(int(one.exposure.sum()), 1)
        now, whole = (
            interval(self.adds(k, part=part), truth, self.alpha, part.pairs) for k in (key, curve.keys[0])
        )
        return {
            **{
                "system": curve.system,
                "metric": primary_metric(one.arm),
                "slice": part.name,
                "value": part.value,
            },
            **{"label": point.label, "budget": point.share, **_interval(now)},
            **{"kept": _interval(whole), "shown": _known(shown), "members": int(mark.members.sum())},
        }

    def index_by_cold(self) -> list[Record]:
        """Return what an approximate index loses among items without a kept interaction, and among the others.

        The share of relevant items that exact search finds and the index misses, less those that only the index
        finds; the difference says whether quantisation hurts cold items more.
        """
        found: list[Record] = []
        for curve in self.plan.curves if self.plan.degrees else ():
            for point, key in zip(self.plan.points, curve.keys, strict=True):
                one = self.finished.measured[key]
                if key[0] != "recall" or one.sets[0].exact is None or not one.arm.shown:
                    continue
                cold = self.plan.degrees[point.label][self.finished.truth.pair_item] == 0
                if cold.any() and not cold.all():
                    found.append(
                        {"label": point.label, "budget": point.share, **self._index(key, curve, cold)}
                    )
        return found

    def _index(self, key: Key, curve: Curve, cold: Bool) -> Record:
        truth, sets = self.finished.truth, self.finished.measured[key].sets
        sides = (cold, ~cold)
        values = []
        for inside in sides:
            count = np.bincount(truth.pair_row, inside, minlength=len(truth))
            weight = inside / np.maximum(count, 1)[truth.pair_row]
            lost = [(_exact(one.exact) & (one.ranks == 0)) * weight for one in sets]
            gained = [((one.ranks > 0) & ~_exact(one.exact)) * weight for one in sets]
            values.append(np.stack(lost) - np.stack(gained))
        both = joint(values, truth, sides)
        return {"system": curve.system, **_difference(both, self.alpha)}

    # ------------------------------------------------------------ words

    def _on(self) -> Iterator[Curve]:
        return (curve for curve in self.plan.curves if curve.part == "on")

    def _base(self, curve: Curve) -> Curve:
        return next(c for c in self.plan.curves if (c.stage, c.part) == (curve.stage, "base"))

    def _said(self, curve: Curve, base: Curve) -> Record:
        metric = primary_metric(self.finished.measured[curve.keys[0]].arm)
        return {
            **{"modality": curve.modality, "system": curve.system, "baseline": base.system},
            **{"stage": curve.stage, "metric": metric},
        }


def _exact(found: Bool | None) -> Bool:
    assert found is not None
    return found


def _difference(both: Joint, alpha: float) -> Record:
    mean, se, df = both.combined(np.array([1.0, -1.0]))
    half = -float(scipy.special.stdtrit(df, alpha / 2)) * se if df >= 1 else math.nan
    return {
        **{"cold": _known(both.mean[0]), "warm": _known(both.mean[1]), "difference": _known(mean)},
        **{"low": _known(mean - half), "high": _known(mean + half), "n_cold": both.n[0], "n_warm": both.n[1]},
    }


def _judged(record: Record | None) -> Record:
    return {name: None if record is None else record[name] for name in JUDGED}


def _interval(value: Interval) -> Record:
    return {"mean": _known(value.mean), "low": _known(value.low), "high": _known(value.high), "n": value.n}


def _known(value: Any) -> float | None:
    return float(value) if math.isfinite(value) else None
