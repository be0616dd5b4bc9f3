"""How long a study will take, before it starts: counts of work times rates measured on two ordinary cores."""

from __future__ import annotations

from dataclasses import dataclass

from stagelens.pipeline.compose import Then
from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.evaluate.significance import SIGNS
from stagelens.pipeline.experiment.arms import Plan
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.native import threads
from stagelens.pipeline.recipe import fingerprint, load
from stagelens.pipeline.windows import resolve_refit

ROW_TREES = 4.0e6
"""Training rows times trees that a core does in a second (LightGBM, 31 leaves, 30 columns)."""
SCORED = 2.0e7
"""Candidates times trees that a core scores in a second."""
ROW_EPOCHS = 1.0e5
"""Training rows times epochs that a core does in a second (torch, two residual layers of 64 units, 28 columns)."""
NETWORK_SCORED = 1.0e5
"""Candidates that a core scores with such a network in a second."""
LISTS = 2.0e3
"""Lists that a channel makes in a second on one core, small catalogues."""
FIT = 2.0e-5
"""Seconds of a core to fit a channel, for every item."""
FEATURES = 5.0e5
"""Candidates whose columns a core builds in a second (two modalities, histories of tens of items)."""
STOPPED = 0.25
"""Share of the trees allowed that is usually trained before the valid curve ends it."""
ARM = 0.1
"""Seconds of latency queries and importance of an arm, once."""
JUDGED = 3.0e-9
"""Seconds for one sign of one comparison."""
START = 6.0
"""Seconds of imports and compilation in a first run."""


@dataclass(frozen=True, slots=True)
class Work:
    """What a study has to do on a split, counted.

    Attributes:
        interactions: Of train.
        windows: Whose lists teach the re-ranker: 1, or the folds.
        taught: Lists that the re-ranker learns from.
        valid: Users of valid.
        test: Users of test.
        judged: Users of test times draws of their signs.
        nothing: 1.
    """

    interactions: int
    windows: int
    taught: int
    valid: int
    test: int
    judged: int
    nothing: int = 1

    @classmethod
    def of(cls, study: Study, split: Split) -> Work:
        """Count; of the test window only its users are counted."""
        protocol, train = study.protocol, split.train
        windows = protocol.folds if resolve_refit(protocol.refit, split) == "cross" else 1
        if windows > 1:  # a user is asked in as many folds as hold an event
            lists = int(train.user_degree().clip(max=windows).sum())
        else:
            lists = len(split.labels.users())
        most = max(protocol.max_rows // windows // study.recall.size, 1) * windows
        test = len(split.test.users())
        draws = min(study.measure.draws, max(999, SIGNS // max(test, 1)))
        return cls(len(train), windows, min(lists, most), len(split.valid.users()), test, test * draws)


def estimate_seconds(study: Study, plan: Plan, dataset: Dataset, split: Split) -> float:
    """Return a rough number of seconds, as if nothing were in the store."""
    size, cores = study.recall.size, max(threads(), 1)
    work = Work.of(study, split)
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
    row_s, score_s = _of_the_reranker(study)
    listed = min(size, (study.protocol.negatives or size) + 2)
    taught, windows = (work.taught, work.windows) if fitted else (0, 0)
    lists = (taught + work.valid + work.test) * len(parts) / LISTS
    training = len(fitted) * taught * listed * row_s
    features = len(unions) * (taught + work.test) * size / FEATURES if fitted else 0.0
    scoring = len(fitted) * work.test * size * score_s
    merging = len(unions) * work.valid * 40 * 5e-6
    fits = (windows + 2) * len(parts) * FIT * dataset.n_items
    alone = len(plan.arms) * ARM + work.judged * len(plan.comparisons) * JUDGED
    each = lists + training + features + scoring + merging + fits
    more = study.references.settings - 1 if study.kind == "references" else 0  # first seed alone
    choice = more * len(parts) * (work.valid / LISTS + FIT * dataset.n_items)
    return (len(study.seeds) * each + choice + alone) / cores + START


def _of_the_reranker(study: Study) -> tuple[float, float]:
    """Return a core's seconds to train with one row and to score one candidate."""
    epochs = vars(load(study.rerank.reranker, where="rerank.reranker")).get("epochs")
    if epochs is not None:  # a network
        return float(epochs) / ROW_EPOCHS, 1 / NETWORK_SCORED
    trees = int(study.rerank.reranker.get("trees", 300)) * STOPPED
    return trees / ROW_TREES, trees / SCORED
