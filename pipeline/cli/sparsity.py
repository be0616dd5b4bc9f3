"""``simulate sparsity``: does candidate recall hold as data thins out, and what does content win back?"""

from __future__ import annotations

from typing import Annotated

import typer

from stagelens.pipeline.cli.options import STAGES, Asked, all_of, one_of, takes_study_options
from stagelens.pipeline.cli.running import run_study

HOW = ("uniform", "oldest", "newest", "per-user", "per-item", "cold-items", "cold-users", "modality")
ORDERS = ("random", "oldest", "newest")
TUNING = ("retuned", "held")
POLICIES = ("absent", "mean", "from")
EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate sparsity --dataset path/to/data --modality text\n"
    "  simulate sparsity --budget 100 --budget 50 --budget 10 --seeds 5\n"
    "  simulate sparsity --how per-user --budget 0 --budget 1 --budget 5\n"
    "  simulate sparsity --how cold-items --order oldest\n"
    "  simulate sparsity --how modality --policy absent --policy mean"
)


@takes_study_options
def sparsity(
    asked: Asked,
    stage: Annotated[
        str | None,
        typer.Option(
            metavar="recall|both",
            help="Candidate sets alone, or final lists beside them. [recall]",
            show_default=False,
        ),
    ] = None,
    how: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(HOW),
            help="What is thinned: interactions, at random, by time or k of each user or item; all interactions of "
            "some items or users; the vectors of some items. [uniform]",
            show_default=False,
        ),
    ] = None,
    budget: Annotated[
        list[float] | None,
        typer.Option(
            metavar="PERCENT|K",
            help="What is kept: per cent, or k with per-user and per-item; repeatable. [100 80 60 40 20 10 5]",
            show_default=False,
        ),
    ] = None,
    order: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(ORDERS),
            help="What k of each, cold items and cold users keep first. [random]",
            show_default=False,
        ),
    ] = None,
    tuning: Annotated[
        str | None,
        typer.Option(
            metavar="|".join(TUNING),
            help="Merge weights chosen at every budget, or those chosen with everything kept. [retuned]",
            show_default=False,
        ),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option(
            metavar="|".join(POLICIES),
            help="With --how modality: what items without a vector get; repeatable. [all three]",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Say whether candidate recall holds as data thins out, for whom, and what each modality wins back.

    The same systems with less and less of the training interactions, or of a modality's vectors; split and test users
    stay. Ends with curves, the worth of each modality at every budget, the area under it, and where content overtakes.
    """
    run_study(
        asked,
        kind="sparsity",
        stage=one_of("stage", stage, STAGES),
        **{
            "sparsity.how": one_of("how", how, HOW),
            "sparsity.budgets": budget,
            "sparsity.order": one_of("order", order, ORDERS),
            "sparsity.tuning": one_of("tuning", tuning, TUNING),
            "sparsity.policies": all_of("policy", policy, POLICIES),
        },
    )
