"""``simulate compare``: fusion or ensemble, on equal terms."""

from __future__ import annotations

from typing import Annotated

import typer

from stagelens.pipeline.cli.options import STAGES, Asked, StageOption, all_of, one_of, takes_study_options
from stagelens.pipeline.cli.running import run_study

CONFOUNDS = ("fit-on-valid", "select-on-test", "unnormalised-ndcg", "mask")
EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate compare --dataset path/to/data\n"
    "  simulate compare --modality text --modality visual --stage recall\n"
    "  simulate compare --confound fit-on-valid --confound select-on-test --on fusion\n"
    "  simulate compare --set compare.trials=8"
)


@takes_study_options
def compare(
    asked: Asked,
    stage: StageOption = None,
    confound: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(CONFOUNDS),
            help="Switch a published confound on for one system alone; repeatable.",
            show_default=False,
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            metavar="fusion|ensemble|SYSTEM",
            help="Who gets the confounds: the one of a kind chosen on valid, or a system by name. [ensemble]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Compare fusion with ensembles built from the same signals.

    Fusion merges the signals into one space before scoring, an ensemble merges one list a signal after it. Both get the
    same candidates, training data and number of settings tried on valid, at recall, at re-rank and end to end.
    """
    run_study(
        asked,
        kind="compare",
        stage=one_of("stage", stage, STAGES),
        **{"compare.confound": all_of("confound", confound, CONFOUNDS), "compare.confounded": on},
    )
