"""``simulate compare``: fusion or ensemble, on equal terms."""

from __future__ import annotations

from typing import Annotated

import typer

from stagelens.pipeline.cli import options as shared
from stagelens.pipeline.cli.running import one_of, run_study

CONFOUNDS = ("fit-on-valid", "select-on-test", "unnormalised-ndcg", "mask")
EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate compare --dataset path/to/data\n"
    "  simulate compare --modality text --modality visual --stage recall\n"
    "  simulate compare --confound fit-on-valid --confound select-on-test --on fusion\n"
    "  simulate compare --set compare.trials=8"
)


def compare(
    dataset: shared.DatasetOption = None,
    stage: shared.StageOption = None,
    modality: shared.ModalityOption = None,
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
    config: shared.ConfigOption = None,
    assign: shared.SetOption = None,
    seed: shared.SeedOption = None,
    seeds: shared.SeedsOption = None,
    out: shared.OutOption = None,
    json_: shared.JsonOption = False,
    quiet: shared.QuietOption = False,
    margin: shared.MarginOption = None,
    device: shared.DeviceOption = None,
    threads: shared.ThreadsOption = None,
) -> None:
    """Compare fusion with ensembles built from the same signals.

    Fusion merges the signals into one space before scoring, an ensemble merges one list a signal after it. Both get the
    same candidates, training data and number of settings tried on valid, at recall, at re-rank and end to end.
    """
    run_study(
        dataset=dataset,
        modality=modality,
        config=config,
        assign=assign,
        seed=seed,
        seeds=seeds,
        out=out,
        as_json=json_,
        quiet=quiet,
        margin=margin,
        device=device,
        threads=threads,
        kind="compare",
        stage=one_of("stage", stage, ("recall", "rerank", "both")),
        **{
            "compare.confound": [one_of("confound", name, CONFOUNDS) for name in confound]
            if confound
            else None,
            "compare.confounded": on,
        },
    )
