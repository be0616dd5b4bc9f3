"""What an arm costs and what its re-ranker leans on, first seed."""

from __future__ import annotations

from typing import Any, cast

from stagelens.pipeline.compose import Then
from stagelens.pipeline.evaluate.cost import Latency, Phases
from stagelens.pipeline.experiment.arms import Arm, Plan
from stagelens.pipeline.experiment.fitting import groups_of, rerank_of
from stagelens.pipeline.experiment.measure import importance, latency
from stagelens.pipeline.workbench import Workbench

IMPORTANCE_ROWS = 20_000


def cost_of(bench: Workbench, arm: Arm, queries: int, phases: Phases, loaded_bytes: int) -> dict[str, Any]:
    """Return the cost record of an arm, first seed."""
    window = bench.windows.test
    fits = [bench.fitted(part, window) for part in arm.recall.parts]
    fit_s = sum(bench.fit_seconds[bench.fit_key(part, window)] for part in arm.recall.parts)
    parameters = sum(fit.parameters for fit in fits)
    if arm.recall.ensemble is not None:
        parameters += bench.rule(arm.recall).parameters
        fit_s += bench.fit_seconds[bench.rule_key(arm.recall)]
    if isinstance(arm.system, Then):
        model = bench.reranker(arm.system)
        own = bench.fit_seconds[bench.reranker_key(arm.system)]
        fit_s = own if arm.stage == "rerank" else fit_s + own
        parameters = model.parameters if arm.stage == "rerank" else parameters + model.parameters
        parameters += _learned_by_features(bench, arm)
    single = None
    if queries and not getattr(rerank_of(arm), "sees_truth", False):
        recall_ms, rerank_ms = latency(bench, arm.system, window, queries)
        if arm.stage == "both" and rerank_ms:
            samples = [a + b for a, b in zip(recall_ms, rerank_ms, strict=True)]
        else:
            samples = rerank_ms if arm.stage == "rerank" else recall_ms
        one = Latency.of(samples)
        single = {"p50": one.p50, "p95": one.p95, "p99": one.p99}
    stage = {"recall": ("recall fits and lists",), "rerank": ("re-ranker fits",), "both": ("test",)}[
        arm.stage
    ]
    peaks = [phase.peak_bytes for phase in phases.done if phase.name in (*stage, "test")]
    return {
        "fit_s": fit_s,
        "latency_ms": single,
        "peak_bytes": max(0, max(peaks) - loaded_bytes) if peaks else None,
        "index_bytes": sum(fit.index_bytes for fit in fits),
        "parameters": parameters,
    }


def _learned_by_features(bench: Workbench, arm: Arm) -> int:
    """Return the learned numbers of vectors that a re-ranker's features read and recall does not already count."""
    parts = arm.recall.parts if arm.stage == "both" else ()
    counted = {getattr(part, "vectors", None) for part in parts}
    total = 0
    for group in groups_of(arm):
        vectors = getattr(group, "vectors", None)
        if vectors is not None and vectors not in counted:
            counted.add(vectors)
            total += int(getattr(bench.group(group, arm.recall, bench.windows.test), "parameters", 0))
    return total


def importance_of(bench: Workbench, arm: Arm, plan: Plan) -> list[dict[str, Any]]:
    """Return gain and grouped permutation importance on valid, for the re-rankers that read the most."""
    rivals = [other for other in plan.arms if other.stage == "rerank" and other.view == arm.view]
    most = max((len(other.modalities) for other in rivals), default=0)
    real = set(arm.modalities) <= set(plan.modalities)
    wanted = arm.stage == "rerank" and len(arm.modalities) == most and real and bool(groups_of(arm))
    if not wanted:
        return []
    return importance(bench, cast(Then, arm.system), IMPORTANCE_ROWS)
