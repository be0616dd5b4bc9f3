"""``simulate knockouts``: is a modality used at all, and at which stage?"""

from __future__ import annotations

from typing import Annotated

import typer

from stagelens.pipeline.cli import options as shared
from stagelens.pipeline.cli.running import one_of, run_study

EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate knockouts --dataset path/to/data --modality text\n"
    "  simulate knockouts --when serve --setting single\n"
    "  simulate knockouts --set 'knockouts.treatments=[{use=\"pipeline.Availability\", dose=0.5}]'"
)


def knockouts(
    dataset: shared.DatasetOption = None,
    stage: shared.StageOption = None,
    modality: shared.ModalityOption = None,
    setting: Annotated[
        list[str] | None,
        typer.Option(
            metavar="single|whole|alone",
            help="Treat one modality, all, or all but one; repeatable. [single whole]",
            show_default=False,
        ),
    ] = None,
    when: Annotated[
        list[str] | None,
        typer.Option(
            metavar="fit|serve|both",
            help="Treat what is learned from, what is served from, or both; repeatable. [both]",
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
    """Say whether a modality is used at all: the same system with the modality's vectors made worthless.

    Vectors become zero, noise or another item's, at recall, at re-rank or both; what the system loses is what it had
    from them.
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
        kind="knockouts",
        stage=one_of("stage", stage, ("recall", "rerank", "both")),
        **{
            "knockouts.settings": [one_of("setting", name, ("single", "whole", "alone")) for name in setting]
            if setting
            else None,
            "knockouts.when": [one_of("when", name, ("fit", "serve", "both")) for name in when]
            if when
            else None,
        },
    )
