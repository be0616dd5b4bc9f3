"""The kinds of studies: what each measures, and what it makes of the measurements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from stagelens.pipeline.core import Dataset, Split
from stagelens.pipeline.evaluate.slices import Slice
from stagelens.pipeline.evaluate.truth import Truth
from stagelens.pipeline.experiment.arms import Plan, plan_of
from stagelens.pipeline.experiment.attribution import attribution_block, plan_of_attribution
from stagelens.pipeline.experiment.axes import plan_of_axes
from stagelens.pipeline.experiment.index_loss import index_block
from stagelens.pipeline.experiment.integration import choose_settings, plan_of_comparison
from stagelens.pipeline.experiment.integration_block import integration_block
from stagelens.pipeline.experiment.integration_parts import Values
from stagelens.pipeline.experiment.knockouts import plan_of_knockouts
from stagelens.pipeline.experiment.loo_block import loo_block
from stagelens.pipeline.experiment.options import Study
from stagelens.pipeline.experiment.references import choose_references, plan_of_references
from stagelens.pipeline.experiment.references_block import references_block
from stagelens.pipeline.experiment.sparsity import plan_of_sparsity
from stagelens.pipeline.experiment.sparsity_block import sparsity_blocks
from stagelens.pipeline.experiment.sparsity_curves import slices_of_sparsity
from stagelens.pipeline.experiment.summary import Finished
from stagelens.pipeline.progress import Progress
from stagelens.pipeline.workbench import Workbench


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of study: what it measures, and what it makes of the measurements.

    Attributes:
        plan: Lays out arms and comparisons.
        choose: Settles what is chosen among trials, given the values of arms on valid, first seed; returns the
            final plan.
        blocks: Returns blocks that the summary holds beside the systems and comparisons, by name.
        slices: Returns slices of its own, beside those of every study.
        served: Returns further blocks, made with the fitted systems on test, given the workbench of a variant and seed.
    """

    plan: Callable[[Study, Dataset], Plan]
    choose: Callable[[Study, Plan, Values, Progress], Plan] | None = None
    blocks: Callable[[Finished], dict[str, Any]] | None = None
    slices: Callable[[Study, Plan, Split, Truth], list[Slice]] | None = None
    served: Callable[[Study, Plan, Callable[[str, int], Workbench]], dict[str, Any]] | None = None


def plan_of_stages(study: Study, dataset: Dataset) -> Plan:
    """Lay out ``simulate``, or its cells where the study has axes."""
    return plan_of_axes(study, dataset) if study.axes else plan_of(study, dataset)


KINDS = {
    "stages": Kind(plan_of_stages, blocks=index_block),
    "attribute": Kind(plan_of_attribution, blocks=attribution_block),
    "compare": Kind(plan_of_comparison, choose_settings, integration_block),
    "knockouts": Kind(plan_of_knockouts),
    "sparsity": Kind(plan_of_sparsity, blocks=sparsity_blocks, slices=slices_of_sparsity),
    "references": Kind(plan_of_references, choose_references, references_block, served=loo_block),
}
