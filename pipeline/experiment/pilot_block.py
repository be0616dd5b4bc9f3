"""The block ``estimate``: what a study of this size would see, how many users an effect needs, what the study costs."""

from __future__ import annotations

import math
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.evaluate.significance import Sources
from stagelens.pipeline.evaluate.slices import slices
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.estimate import Work
from stagelens.pipeline.experiment.options import Study, read_margin
from stagelens.pipeline.experiment.pilot import IDENTITY, Pilot, Record
from stagelens.pipeline.experiment.pilot_costs import Held, peaks, processor_seconds, seconds, total
from stagelens.pipeline.experiment.pilot_notes import TWICE, notes_of
from stagelens.pipeline.experiment.pilot_outlook import Noise, Outlook, level_of, levelled
from stagelens.pipeline.experiment.pilot_sample import FEWEST, active_users

SIZES = (0.25, 0.5, 1, 2, 4, 10)
"""Multiples of the study's users at which the smallest detectable effect is also given."""
Z90 = 1.64
"""Standard deviations to either side that hold 90 %."""
MOST_LEARNED = 0.5
"""Least share of the squares that twice the users leave."""
Identity = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Asked:
    """What the study to come is like.

    Attributes:
        study: Its options.
        users: Of its test window.
        active: Users with anything before test.
        shares: Slice -> share of the users with a held-out item in it, on valid.
        effect: The effect that somebody wants to see, as ``read_margin`` reads it; None: the margin.
    """

    study: Study
    users: int
    active: int
    shares: Mapping[str, float]
    effect: str | None

    @classmethod
    def of(cls, study: Study, dataset: Dataset, split: Split, effect: str | None) -> Asked:
        """Count users; what stands in a slice is counted on valid, the whole of it."""
        truth = Truth.of(split.valid)
        present = {name: table.present for name, table in dataset.modalities.items()}
        shares = {}
        for part in slices(truth, split.train.user_degree(), split.train.item_degree(), present):
            inside = np.bincount(truth.pair_row[part.pairs], minlength=len(truth)) > 0
            shares[f"{part.name} {part.value}"] = float(inside.mean())
        return cls(study, len(split.test.users()), len(active_users(split)), shares, effect)

    def users_in(self, part: str | None) -> float:
        """Return the users of test that a slice is expected to hold."""
        return self.users * (1.0 if part is None else self.shares.get(part, 0.0))

    def effect_of(self, record: Record) -> float | None:
        """Return the wanted effect in metric units."""
        if self.effect is None:
            return _number(record["margin"])
        value, share = read_margin(self.effect)
        if not share:
            return value
        return None if record["reference"] is None else value * float(record["reference"])


def estimate_block(asked: Asked, found: Sequence[Pilot], split: Split, loaded_bytes: int) -> dict[str, Any]:
    """Return the block ``estimate``.

    Args:
        asked: What the study to come is like.
        found: Pilots on the samples, the one on all of them last.
        split: The windows of the whole.
        loaded_bytes: Resident with the whole data set and its windows.
    """
    *samples, union = found
    runs = [_by_identity(pilot) for pilot in found]
    foreseen = Foreseen.of(asked, runs, union.users)
    rows = _rows(asked, runs[-1], foreseen)
    spent = [pilot.spent for pilot in found]
    work = Work.of(asked.study, split)
    members = max(Counter(record["family"] for record in union.records).values())
    held = Held.of(asked.study, split, loaded_bytes=loaded_bytes, arms=union.arms, members=members)
    clock, memory = seconds(spent, work), peaks(spent, work, held)
    highest = max(memory, key=lambda row: row.expected)
    return {
        "measured_on": "valid",
        "pilot": {
            "users": union.users,
            "measured": union.measured,
            "samples": [pilot.measured for pilot in samples],
            "seconds": math.fsum(sum(one.wall_s.values()) for one in spent),
        },
        "study": {
            "kind": asked.study.kind,
            "seeds": len(asked.study.seeds),
            "users": asked.users,
            "interactions": work.interactions,
        },
        "stages": _stages(asked, runs[-1], foreseen),
        "detectable": rows,
        "time": {
            **_plain(total(clock)),
            "processor": processor_seconds(spent, work),
            "phases": [row.record() for row in clock],
        },
        "memory": {
            "pilot": highest.pilot,
            "expected": highest.expected,
            "low": max(row.low for row in memory),
            "high": max(row.high for row in memory),
            "phases": [row.record() for row in memory],
        },
        "notes": notes_of(rows, found[-1], asked.users, asked.active, split),
    }


def _plain(row: Any) -> dict[str, float]:
    return {name: getattr(row, name) for name in ("pilot", "expected", "low", "high")}


# ---------------------------------------------------------------- outlooks


def _rows(asked: Asked, union: Mapping[Identity, Record], foreseen: Foreseen) -> list[Record]:
    """Return one row a comparison, effect and slice."""
    rows = []
    for identity, record in union.items():
        users = asked.users_in(record["slice"])
        row = {name: record[name] for name in IDENTITY}
        row |= {"users": round(users), "measured": record["n"], **_unknown(asked.effect_of(record))}
        outlook = foreseen.outlooks.get(identity)
        if outlook is not None and record["n"] >= FEWEST and users >= 2:
            row |= _foreseen(outlook, foreseen.factor[_spread_class(record)], users, row["effect"])
        rows.append(row)
    return rows


def _by_identity(pilot: Pilot) -> dict[Identity, Record]:
    return {tuple(record[name] for name in IDENTITY): record for record in pilot.records}


@dataclass(frozen=True, slots=True)
class Foreseen:
    """What pilots say of every comparison.

    Attributes:
        outlooks: Of the largest pilot, where the difference has an error.
        factor: Class of comparisons -> by how much the figures of two samples lie apart: 1.64 standard deviations of
            one of them, as a factor.
    """

    outlooks: dict[Identity, Outlook]
    factor: dict[Identity, float]

    @classmethod
    def of(cls, asked: Asked, runs: Sequence[Mapping[Identity, Record]], users: int) -> Foreseen:
        """Read the records of pilots: two on samples, then one on both together.

        Args:
            asked: What the study to come is like.
            runs: Records of each by identity.
            users: From whom the last one's systems learned.
        """
        first, second, union = (_outlooks(asked.study, run) for run in runs)
        learned = _learned(runs, math.log2(max(asked.active / users, 1.0)))
        for identity, outlook in union.items():
            left = learned.get(_kind_class(runs[-1][identity]), 1.0)
            union[identity] = replace(outlook, noise=outlook.noise.scaled(left))
        apart: dict[Identity, list[float]] = {}
        for identity, record in runs[-1].items():
            inside = asked.users_in(record["slice"])
            known = apart.setdefault(_spread_class(record), [])
            if record["n"] >= FEWEST and inside >= 2 and identity in first and identity in second:
                known += _squares(first[identity].detectable(inside), second[identity].detectable(inside))
        every = [one for known in apart.values() for one in known] or [math.log(TWICE) ** 2]
        spread = {place: math.sqrt(statistics.fmean(known or every)) for place, known in apart.items()}
        return cls(union, {place: math.exp(Z90 * one) for place, one in spread.items()})


def _squares(first: float, second: float) -> list[float]:
    """Return the variance of a log figure that two of them show; 0 counts as a tenth of the other."""
    ends = sorted(0.0 if math.isnan(one) else one for one in (first, second))
    if not ends[1]:
        return []
    return [math.log(max(ends[0] / ends[1], 0.1)) ** 2 / 2]


def _learned(runs: Sequence[Mapping[Identity, Record]], doublings: float) -> dict[Identity, float]:
    """Return by how much the squares of differences shrink when systems learn from all users: class -> factor.

    Twice the users gave the last pilot smaller squares than the first two. Every further doubling is taken to give
    half of that (on a log scale), because part of what was seen is luck; never below ``MOST_LEARNED``, never above 1.
    """
    totals: dict[Identity, list[float]] = {}
    for identity, record in runs[-1].items():
        every = [run[identity] for run in runs if identity in run and _has_error(run[identity])]
        if len(every) == len(runs) and record["slice"] is None:
            known = totals.setdefault(_kind_class(record), [0.0] * len(runs))
            for number, one in enumerate(every):
                known[number] += float(one["variance_users"]) * one["n"]
    found = {}
    for kind, (*samples, union) in totals.items():
        before = statistics.fmean(samples)
        if before > 0 and union > 0:
            found[kind] = min(max(union / before, MOST_LEARNED), 1.0) ** (doublings / 2)
    return found


def _kind_class(record: Record) -> Identity:
    """Return what shares one course of learning: recall, where merge weights are chosen, or another order."""
    return record["stage"] == "recall", record["contrast"] == "other"


def _spread_class(record: Record) -> Identity:
    """Return what shares one spread; slices apart."""
    return *_kind_class(record), record["slice"] is not None


def _outlooks(study: Study, run: Mapping[Identity, Record]) -> dict[Identity, Outlook]:
    """Return the outlook of every comparison that has an error, those of one group levelled."""
    noises: dict[Identity, Noise] = {}
    groups: dict[Identity, list[Identity]] = {}
    for identity, record in run.items():
        if _has_error(record):
            noises[identity] = _noise(record)
            groups.setdefault(_group(study, identity, record), []).append(identity)
    for members in groups.values():
        noises.update(zip(members, levelled([noises[one] for one in members]), strict=True))
    return {
        identity: Outlook(noise, _level(run, identity), len(study.seeds))
        for identity, noise in noises.items()
    }


def _group(study: Study, identity: Identity, record: Record) -> Identity:
    """Return what shares one item part: re-ranked lists that differ in content, slice by slice; else each alone."""
    if record["family"] == "effects":
        return ("effects",)
    learned = record["contrast"] != "other" or study.kind != "stages"
    if record["stage"] != "recall" and learned:
        return ("ranked", record["slice"])
    return identity


def _noise(record: Record) -> Noise:
    names = ("users", "items", "items_se", "seeds", "seeds_users")
    parts = {name: float(record[f"variance_{name}"]) for name in names}
    more = {name: float(record[name]) for name in ("effective_items", "third_users", "third_items")}
    sources = Sources(**parts, **more)
    return Noise.of(sources, users=record["n"], seeds=record["seeds"])


def _has_error(record: Record) -> bool:
    return all(
        _number(record[name]) is not None for name in ("variance_users", "variance_items", "effective_items")
    )


def _level(run: Mapping[Identity, Record], identity: Identity) -> float:
    """Return the p that the simultaneous interval asks for: that of the comparison, or of its family."""
    family = identity[0]
    known = []
    for place, record in run.items():
        if place[0] == family and record["half"] is not None and record["se"]:
            level = level_of(record["half"], record["se"], record["df"])
            if place == identity:
                return level
            known.append(level)
    return statistics.median(known) if known else 0.05


def _unknown(effect: float | None) -> Record:
    names = ("detectable", "low", "high", "users_needed", "users_low", "users_high", "limit")
    return {"effect": effect, **dict.fromkeys(names), "reachable": None, "parts": None, "sizes": []}


def _foreseen(outlook: Outlook, factor: float, users: float, effect: float | None) -> Record:
    """Return what is foreseen of one comparison; ``factor`` up or down is what another sample might say.

    The ends hold that, and the item part 1.64 of its standard deviations higher and lower.
    """
    value = _number(outlook.detectable(users))
    if value is None:
        return {}
    less, more = outlook.shifted(-Z90), outlook.shifted(Z90)
    row: Record = {
        "detectable": value,
        "low": min(value / factor, less.detectable(users)),
        "high": _number(max(value * factor, more.detectable(users))),
        "limit": outlook.limit,
    }
    row["parts"] = dict(zip(("users", "items", "seeds"), outlook.parts(users), strict=True))
    row["sizes"] = [
        {"users": round(size * users), "detectable": outlook.detectable(size * users)} for size in SIZES
    ]
    if effect:
        needed = outlook.users_for(effect)
        row |= {
            "reachable": math.isfinite(needed),
            "users_needed": _number(needed),
            "users_low": _number(min(outlook.users_for(effect * factor), less.users_for(effect))),
            "users_high": _number(max(outlook.users_for(effect / factor), more.users_for(effect))),
        }
    return row


# ---------------------------------------------------------------- stages


def _stages(asked: Asked, union: Mapping[Identity, Record], foreseen: Foreseen) -> list[Record]:
    """Return for every stage what a typical comparison of it would see: the mean of what its primary ones owe."""
    rows = []
    for stage in ("recall", "rerank", "both"):
        members = [one for one, record in union.items() if _is_headline(asked.study, record, stage)]
        known = [one for one in members if one in foreseen.outlooks and foreseen.outlooks[one].noise.user > 0]
        if not known:
            continue
        records = [union[one] for one in known]
        effects = [effect for record in records if (effect := asked.effect_of(record))]
        effect = statistics.fmean(effects) if effects else None
        row = {
            "stage": stage,
            "metric": records[0]["metric"],
            "users": asked.users,
            "comparisons": len(known),
        }
        row |= _unknown(effect)
        factor = foreseen.factor[_spread_class(records[0])]
        rows.append(
            row | _foreseen(_typical([foreseen.outlooks[one] for one in known]), factor, asked.users, effect)
        )
    return rows


def _is_headline(study: Study, record: Record, stage: str) -> bool:
    if record["stage"] != stage or record["slice"] is not None:
        return False
    if study.kind == "attribute":
        return bool(record["family"] == "effects") and record["contrast"] != "interaction"
    return bool(record["family"] == "primary") and (study.kind != "stages" or record["contrast"] == "worth")


def _typical(outlooks: Sequence[Outlook]) -> Outlook:
    noises = [one.noise for one in outlooks]
    mean = {
        name: statistics.fmean(getattr(one, name) for one in noises)
        for name in ("user", "item", "item_se", "seed", "seed_user", "items", "third_user", "third_item")
    }
    return Outlook(Noise(**mean), statistics.median(one.level for one in outlooks), outlooks[0].seeds)


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and math.isfinite(value) else None
