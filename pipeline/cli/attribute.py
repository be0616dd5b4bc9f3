"""``simulate attribute``: who gets the credit, and at which stage."""

from __future__ import annotations

from typing import Annotated

import typer

from stagelens.pipeline.cli import options as shared
from stagelens.pipeline.cli.running import one_of, run_study

EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate attribute --dataset path/to/data\n"
    "  simulate attribute --modality text --modality visual --seeds 5\n"
    "  simulate attribute --factor interaction --set recall.size=100"
)


def attribute(
    dataset: shared.DatasetOption = None,
    modality: shared.ModalityOption = None,
    factor: Annotated[
        str | None,
        typer.Option(
            metavar="interaction",
            help="Also switch the interaction signal on and off at each stage.",
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
    """Say what each modality is worth at recall and at re-ranking, in one unit.

    Runs every combination of modalities on and off at the two stages (2^(2M) systems for M modalities), end to end,
    and shares the gain out by Shapley values, with simultaneous intervals over users and trainings.
    """
    if one_of("factor", factor, ("interaction",)):
        modality = [*(modality or ["all"]), "interaction"]
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
        kind="attribute",
    )
