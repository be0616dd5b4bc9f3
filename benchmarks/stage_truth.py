"""What a modality is truly worth at each stage of a shipped world, for the systems that a default study fits there.

Systems are fitted on the world's log as a study fits them. Their true metrics are means over fresh logs of the test
span, which the world makes as often as it is asked. Prints, over training seeds:

- at each stage alone: the base's own metric (recall@200 of the candidate set; ndcg@10 on the base's fixed list) and the
  true worth of the modality;
- end to end: the modality's true effect at each stage on ndcg@10, from the four systems with it on and off at either.

    python benchmarks/stage_truth.py [recall-only rerank-only ...] [--seeds 3] [--draws 20]
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # before any native library

import numpy as np

from stagelens.pipeline.certify.laboratory import arm_of, fitted, key_of
from stagelens.pipeline.certify.logs import Logs
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.evaluate.shapley import stage_weights
from stagelens.pipeline.experiment.arms import Builder
from stagelens.pipeline.experiment.attribution import Factorial, plan_of_attribution
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.worlds.generate import Generated
from stagelens.pipeline.worlds.presets import find_world

STAGES = ("recall", "rerank")
WORLDS = ("recall-only", "rerank-only", "ecommerce")


def effects(made: Generated, modality: str, *, seed: int = 0, draws: int = 20) -> dict[str, float]:
    """Return true figures by name, for systems trained with one seed.

    ``base recall`` and ``worth recall`` are of the candidate sets, ``base rerank`` and ``worth rerank`` of the base's
    fixed list, ``effect recall`` and ``effect rerank`` of the lists end to end.
    """
    dataset = made.dataset
    windows = split(dataset)
    options = {
        "kind": "attribute",
        "modalities": [modality],
        "seeds": [seed],
        "device": "cpu",
        "measure.information": False,
        "measure.importance": False,
    }
    study = Study.load(None, options)
    factorial = Factorial.of(study, (modality,))
    cells = [cell.key for cell in factorial.cells()]
    arms = {arm.key: arm for arm in plan_of_attribution(study, dataset).arms if arm.key in set(cells)}
    builder = Builder(study, dataset)
    alone = {stage: (key_of(stage, None), key_of(stage, modality)) for stage in STAGES}
    for stage in STAGES:
        for arm in (arm_of(builder, stage, None), arm_of(builder, stage, modality)):
            arms.setdefault(arm.key, arm)
    logs = Logs.of(made, windows)
    found: dict[str, float] = {}
    with fitted(
        study, dataset, windows, list(arms.values()), [logs.draw(draw) for draw in range(draws)]
    ) as lab:
        for stage in STAGES:
            base, system = lab.true_values(alone[stage]).mean(axis=0)
            found |= {f"base {stage}": base, f"worth {stage}": system - base}
        weights = stage_weights(factorial.players)
        for name, value in zip(
            weights.names, weights.combined(iter(lab.true_values(cells).mean(axis=0))), strict=True
        ):
            if name.kind == "effect":
                found[f"effect {name.stage}"] = float(value)
    return {key: float(value) for key, value in found.items()}


def main() -> None:
    """Print one line a world and stage."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("worlds", nargs="*", default=list(WORLDS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--draws", type=int, default=20)
    given = parser.parse_args()
    print(
        f"{'world':<12} {'modality':<9} {'stage':<7} {'base':>7} {'worth alone':>20} {'effect end to end':>20}"
    )
    for name in given.worlds:
        made = find_world(name).truth()
        for modality in made.dataset.modalities:
            runs = [effects(made, modality, seed=seed, draws=given.draws) for seed in range(given.seeds)]
            for stage in STAGES:
                said = [_said([run[f"{kind} {stage}"] for run in runs]) for kind in ("worth", "effect")]
                base = np.mean([run[f"base {stage}"] for run in runs])
                print(
                    f"{name:<12} {modality:<9} {stage:<7} {base:>7.4f} {said[0]:>20} {said[1]:>20}",
                    flush=True,
                )


def _said(values: list[float]) -> str:
    spread = f" (sd {np.std(values, ddof=1):.4f})" if len(values) > 1 else ""
    return f"{np.mean(values):+.4f}{spread}"


if __name__ == "__main__":
    main()
