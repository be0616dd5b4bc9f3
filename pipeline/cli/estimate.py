"""``simulate estimate``: what a study would see, and what it would cost, before it runs."""

from __future__ import annotations

from typing import Annotated

import typer

from stagelens.pipeline.cli.options import STAGES, Asked, StageOption, one_of, takes_study_options
from stagelens.pipeline.cli.running import show_result

KINDS = ("stages", "attribute", "compare", "knockouts")
EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate estimate --dataset path/to/data\n"
    "  simulate estimate --dataset path/to/data --effect 0.005 --kind attribute\n"
    "  simulate estimate --stage recall --modality text --effect 1% --pilot 5000"
)


@takes_study_options
def estimate(
    asked: Asked,
    kind: Annotated[
        str | None,
        typer.Option(metavar="|".join(KINDS), help="Study to foresee. [stages]", show_default=False),
    ] = None,
    stage: StageOption = None,
    effect: Annotated[
        str | None,
        typer.Option(
            metavar="X|X%",
            help="Effect to be seen: metric units, or a share of the baseline. [the margin]",
            show_default=False,
        ),
    ] = None,
    pilot: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Users in the pilots. [enough to measure 1,000, and a tenth]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say what a study would see and cost, before it runs.

    Runs the study itself on two samples of users and on both together, measured on valid, and prints the smallest
    effect that the whole study would see at each stage and slice, the users that a wanted effect needs, and the time
    and memory it takes. Test is not opened. A repeated estimate reads what the store kept.
    """
    study = asked.study(kind=one_of("kind", kind, KINDS), stage=one_of("stage", stage, STAGES))
    _check_stage(study.kind, stage)
    from stagelens.pipeline.cli.console import reserved_output
    from stagelens.pipeline.cli.progress import shown
    from stagelens.pipeline.report import page

    with reserved_output(asked.json_), shown(asked.quiet) as progress:
        from stagelens.pipeline.experiment.pilot_study import estimate as foresee

        result = foresee(study, users=pilot, effect=effect, out=asked.out, progress=progress)
        page.write(result.folder, result.summary, result.manifest)
    show_result(asked, result)


def _check_stage(kind: str, stage: str | None) -> None:
    from stagelens.pipeline.errors import ConfigError

    if kind == "attribute" and stage not in (None, "both"):
        raise ConfigError(
            f"--stage {stage} with --kind attribute: it measures both stages, end to end. Leave --stage out"
        )
