"""The truth beside the measurement: what every comparison of a study would be on fresh logs of its world.

Estimand: the mean over users of fresh logs of the test span, from the same world and policy, training data and fitted
systems fixed. Where the world does not examine all items alike, the same systems on logs that do are told too: the
difference is the bias of the policy, which no interval made from its logs can see.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from stagelens.pipeline.core import Float64, Int32, Split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.arms import Arm, Comparison
from stagelens.pipeline.experiment.fitting import ranks_of
from stagelens.pipeline.experiment.fresh import Fresh, Key, contrasts, keys_of
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.workbench import Workbench
from stagelens.pipeline.worlds.evened import evened
from stagelens.pipeline.worlds.generate import Generated
from stagelens.pipeline.worlds.presets import find_world
from stagelens.pipeline.worlds.world import PREFIX

Record = dict[str, Any]
TRUTH_EPOCH = 1
"""Raise when the truth of the same study changes: the store keeps it."""


def check_truth(study: Study, split: Split) -> None:
    """Refuse to tell a truth that is not known.

    Raises:
        ConfigError: The data are no world, or the split has no span of time for test.
    """
    asked = f"measure.truth = {study.measure.truth}"
    if not study.data.path.startswith(PREFIX):
        raise ConfigError(
            f"{asked} with {study.data.path}: fresh logs can be made of a world alone ({PREFIX}NAME). Set it to 0, or "
            "choose a world"
        )
    if split.kind != "global-time":
        raise ConfigError(
            f"{asked} with split = {split.kind!r}: a fresh log is one of the test span of 'global-time'. Use that split"
        )


def truth_of_world(
    study: Study,
    split: Split,
    comparisons: Sequence[Comparison],
    records: Sequence[Mapping[str, Any]],
    arms: Sequence[Arm],
    bench: Callable[[str, int], Workbench],
) -> list[Record]:
    """Return the truth of every comparison beside what was measured.

    Args:
        study: Its options; ``measure.truth`` is the number of fresh logs.
        split: Its windows, by time.
        comparisons: Of its plan.
        records: What was said of them on the recorded log.
        arms: Fitted.
        bench: Returns the workbench of a variant and seed.
    """
    made = find_world(study.data.path.removeprefix(PREFIX)).truth()
    start, taken = int(split.test.time.min()), split.train.merged(split.valid)
    worlds: dict[str, Generated] = {"true": made}
    if not np.all(made.clocks.exposure == made.clocks.exposure[0]):
        worlds["even"] = evened(made, start, taken)
    found: dict[str, Float64] = {}
    for name, world in worlds.items():
        fresh = Fresh.of([world.fresh(n, start=start, taken=taken) for n in range(study.measure.truth)])
        seeds = [_differences(fresh, comparisons, arms, bench, seed) for seed in study.seeds]
        found[name] = np.mean(seeds, axis=0)
    said = {_name(record): record for record in records if record["slice"] is None and record["verdict"]}
    rows = []
    for place, one in enumerate(comparisons):
        record = said[one.family, one.system[0], one.system[1], one.baseline[2], one.system[2]]
        rows.append(_row(record, {name: values[:, place] for name, values in found.items()}))
    return rows


def _name(record: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(str(record[key]) for key in ("family", "stage", "view", "baseline", "system"))


def _differences(
    fresh: Fresh,
    comparisons: Sequence[Comparison],
    arms: Sequence[Arm],
    bench: Callable[[str, int], Workbench],
    seed: int,
) -> Float64:
    """Return float64 [logs, comparisons] for the systems of one seed."""
    keys = keys_of(comparisons)
    ranks: dict[Key, Int32] = {}
    for variant in dict.fromkeys(arm.variant for arm in arms):
        of_it = [arm for arm in arms if arm.variant == variant and arm.key in keys]
        laid = bench(variant, seed)
        window = replace(laid.windows.test, target=fresh.asked)
        ranks |= {key: one for key, (one, _, _) in ranks_of(laid, of_it, window).items()}
    metrics = {key: one.metric for one in comparisons for _, *pair in one.sum for key in pair}
    values = fresh.true_values({key: ranks[key] for key in keys}, metrics)
    found: Float64 = values @ contrasts(keys, comparisons)
    return found


def _row(record: Mapping[str, Any], values: Mapping[str, Float64]) -> Record:
    names = ("system", "baseline", "stage", "metric", "contrast", "family", "low", "high", "verdict")
    true, low, high = _mean(values["true"]), record["low"], record["high"]
    row: Record = {name: record[name] for name in names}
    row |= {"measured": record["difference"], "true": true, "true_error": _error(values["true"])}
    row["bias"] = None if row["measured"] is None else row["measured"] - true
    row["covered"] = None if low is None or high is None or low == high else bool(low <= true <= high)
    if "even" in values:
        even = _mean(values["even"])
        row |= {"even": even, "even_error": _error(values["even"]), "policy_bias": true - even}
    return row


def _mean(values: Float64) -> float:
    return float(np.mean(values))


def _error(values: Float64) -> float | None:
    """Return the Monte-Carlo error of a mean over logs, None of a single one."""
    return None if len(values) < 2 else float(np.std(values, ddof=1) / math.sqrt(len(values)))
