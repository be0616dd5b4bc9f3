"""The block ``loo99`` of a study of references."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.core import Float64, Int32
from stagelens.pipeline.evaluate.significance import interval
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Arm, Plan
from stagelens.pipeline.experiment.loo import NEGATIVES, negatives_of, ranks_among
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.recipe import fingerprint
from stagelens.pipeline.seeds import derive
from stagelens.pipeline.workbench import Workbench

Record = dict[str, Any]
EPOCH = 1
"""Raise when the ranks of the same systems change: the store keeps them."""
K = 10
NOT_RERANK = (
    "NOT a re-rank measure and not comparable with any other table: every held-out item among 99 items drawn evenly "
    "from those its user never had. Its order of systems can differ from that over the whole catalogue (Krichene & "
    "Rendle 2020, doi:10.1145/3394486.3403226)."
)


def loo_block(study: Study, plan: Plan, bench: Callable[[str, int], Workbench]) -> Record:
    """Return ``{"loo99": ...}`` where the protocol asks for it.

    A user's held-out items count evenly, and users count evenly. ``data.split_seed`` moves the negatives, the study
    seed does not.
    """
    if study.protocol.name != "loo99":
        return {}
    draw = derive(study.data.split_seed, "loo99")
    window = bench("", study.seeds[0]).windows.test
    negatives = negatives_of(window, draw)
    arms = [arm for arm in plan.arms if arm.stage == "recall"]
    systems = []
    for arm in arms:
        ranks = np.stack([_ranks(bench("", seed), arm, negatives, draw) for seed in study.seeds])
        record: Record = {"system": arm.name}
        for kind in ("hit", "ndcg"):
            one = interval(_adds(ranks, window.truth, kind), window.truth, study.measure.alpha)
            record[f"{kind}@{K}"] = {
                "mean": one.mean,
                "low": _known(one.low),
                "high": _known(one.high),
                "n": one.n,
            }
        systems.append(record)
    fewest = int((negatives >= 0).sum(axis=1).min()) if len(negatives) else 0
    block = {
        "negatives": NEGATIVES,
        "fewest": fewest,
        "pairs": len(negatives),
        "note": NOT_RERANK,
        "systems": systems,
    }
    return {"loo99": block}


def _ranks(bench: Workbench, arm: Arm, negatives: Int32, draw: int) -> Int32:
    window, [part] = bench.windows.test, arm.recall.parts
    key = fingerprint("loo99", EPOCH, bench.fit_key(part, window), window.key, NEGATIVES, draw)
    saved = bench.store.saved(
        "loo99",
        f"{arm.name} among {NEGATIVES} negatives",
        key,
        lambda: Saved({"ranks": ranks_among(bench.fitted(part, window), window, negatives)}),
    )
    ranks: Int32 = saved.arrays["ranks"]
    return ranks


def _adds(ranks: Int32, truth: Truth, kind: str) -> Float64:
    """Return float64 [S, P]: what each pair adds to its user's mean; with one relevant item the ideal DCG is 1."""
    gain = (ranks <= K).astype(np.float64)
    if kind == "ndcg":
        gain /= np.log2(1.0 + ranks)
    return gain / truth.count[truth.pair_row]


def _known(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
