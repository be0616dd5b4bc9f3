"""``simulate tune``: the best values of every arm with an equal budget, chosen on valid."""

from __future__ import annotations

from typing import Annotated

import typer

from stagelens.pipeline.cli.options import Asked, one_of, takes_study_options
from stagelens.pipeline.cli.running import show_result

SAMPLERS = ("tpe", "random")
EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate tune --dataset path/to/data --channel ItemKNN --channel PureSVD\n"
    "  simulate tune --dataset path/to/data --channel ItemKNN --trials 200 --metric ndcg@10\n"
    '  simulate tune --channel \'{use="recall.ItemKNN", similarity="dot"}\' --seconds 60\n'
    "  simulate tune --dataset path/to/data --out runs/tuned\n"
    "  simulate --dataset path/to/data --config runs/tuned/best.toml"
)


@takes_study_options
def tune(
    asked: Asked,
    channel: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|TABLE",
            help="Recall channel or vectors; repeatable. What a table sets is held. [those of recall.base]",
            show_default=False,
        ),
    ] = None,
    reranker: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME|TABLE",
            help="Tune re-rankers instead, on the candidates of the study's recall stage.",
            show_default=False,
        ),
    ] = None,
    trials: Annotated[
        int | None,
        typer.Option(
            min=1, metavar="N", help="Trials of every arm, the first its defaults. [50]", show_default=False
        ),
    ] = None,
    seconds: Annotated[
        float | None,
        typer.Option(
            metavar="S", help="Seconds of every arm: no trial begins later. [no limit]", show_default=False
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option(
            metavar="NAME@K",
            help="Raised on valid, e.g. ndcg@10. [recall@20; re-rankers: ndcg@10]",
            show_default=False,
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(metavar="tpe|random", help="How values are drawn. [tpe]", show_default=False),
    ] = None,
) -> None:
    """Find the best values of every arm, each with the same budget.

    Trials are measured on valid; test is not opened. The first trial of an arm is its defaults. A trial that fails or
    repeats an earlier one counts. Trials are kept as they end: a run that was stopped goes on, and more trials go on
    from fewer. The run folder holds every trial (trials.parquet) and best.toml, which --config of a study reads.
    'simulate show recall.NAME' says what a recipe's fields mean.
    """
    study = asked.study(
        **{
            "tune.channels": channel or None,
            "tune.rerankers": reranker or None,
            "tune.trials": trials,
            "tune.seconds": seconds,
            "tune.metric": metric,
            "tune.sampler": one_of("sampler", sampler, SAMPLERS),
        }
    )
    from stagelens.pipeline.cli.console import reserved_output
    from stagelens.pipeline.cli.progress import shown
    from stagelens.pipeline.report import page

    with reserved_output(asked.json_), shown(asked.quiet) as progress:
        from stagelens.pipeline.experiment.tuning import tune as search

        result = search(study, out=asked.out, progress=progress)
        page.write(result.folder, result.summary, result.manifest)
    show_result(asked, result)
