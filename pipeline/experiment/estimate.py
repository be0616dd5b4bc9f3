"""How long a study will take, before it starts: counts of work times rates measured on two ordinary cores."""

from __future__ import annotations

from stagelens.pipeline.compose import Then
from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.experiment.arms import Plan
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.native import threads
from stagelens.pipeline.recipe import fingerprint
from stagelens.pipeline.windows import resolve_refit

ROW_TREES = 4.0e6
"""Training rows times trees that a core does in a second (LightGBM, 31 leaves, 30 columns)."""
SCORED = 2.0e7
"""Candidates times trees that a core scores in a second."""
LISTS = 2.0e3
"""Lists that a channel makes in a second on one core, small catalogues."""
FEATURES = 5.0e5
"""Candidates whose columns a core builds in a second (two modalities, histories of tens of items)."""
STOPPED = 0.25
"""Share of the trees allowed that is usually trained before the valid curve ends it."""
START = 6.0
"""Seconds of imports and compilation in a first run."""


def estimate_seconds(study: Study, plan: Plan, dataset: Dataset, split: Split) -> float:
    """Return a rough number of seconds, as if nothing were in the store."""
    size, cores = study.recall.size, max(threads(), 1)
    refit = resolve_refit(study.protocol.refit, split)
    valid, test = len(split.valid.users()), len(split.test.users())
    labels = (
        len(split.labels.users()) if refit != "cross" else len(split.train.users()) * study.protocol.folds
    )
    labels = min(labels, study.protocol.max_rows // size)
    fitted: set[str] = set()
    unions: set[str] = set()
    parts: set[str] = set()
    thinned = {name for name, one in plan.variants.items() if one.budget is not None}
    for arm in plan.arms:
        where = arm.variant if arm.variant in thinned else ""
        unions.add(fingerprint(arm.recall, where))
        parts.update(fingerprint(part, where) for part in arm.recall.parts)
        if (
            isinstance(arm.system, Then)
            and arm.system.rerank.role == "reranker"
            and bool(vars(arm.system.rerank).get("features"))
        ):
            fitted.add(fingerprint(arm.system, where))
    trees = int(study.rerank.reranker.get("trees", 300))
    listed = min(size, (study.protocol.negatives or size) + 2)
    windows = 3 if refit != "cross" else study.protocol.folds + 2
    lists = (labels + valid + test) * len(parts) / LISTS
    training = len(fitted) * labels * listed * trees * STOPPED / ROW_TREES
    features = len(unions) * labels * size / FEATURES + len(unions) * test * size / FEATURES
    scoring = len(fitted) * test * size * trees * STOPPED / SCORED
    merging = len(unions) * valid * 40 * 5e-6
    fits = windows * len(parts) * 0.02 * dataset.n_items / 1000
    return len(study.seeds) * (lists + training + features + scoring + merging + fits) / cores + START
