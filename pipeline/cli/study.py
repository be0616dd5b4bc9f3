"""``simulate``: run the two-stage study and show what each stage did."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stagelens.pipeline.experiment.options import Study

HELP = """Run a two-stage recommender and say what each modality is worth at each stage.

Recall hands candidate sets to a re-ranker. Without options the study runs on a small
world that is made on the spot: no download, under a minute.

\b
Examples:
  simulate
  simulate --stage recall --modality visual --dataset path/to/data
  simulate --dataset path/to/data --set data.positive=4 --seeds 3 --out runs/mine
  simulate --config quickstart --json > summary.json

\b
Exit status: 0 done, 2 wrong name or option, 3 data, 4 missing extra,
5 input/output or disk, 130 interrupted.
"""


def simulate(
    ctx: typer.Context,
    dataset: Annotated[
        str | None,
        typer.Option(
            metavar="PATH|world:NAME", help="Folder with a data set, or a world.", show_default=False
        ),
    ] = None,
    stage: Annotated[
        str | None,
        typer.Option(metavar="recall|rerank|both", help="Stages to measure. [both]", show_default=False),
    ] = None,
    modality: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Modality under test; repeatable. 'all'; or 'interaction': the base alone. [all]",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option(
            metavar="FILE|PRESET", help="A TOML file or a preset; see 'simulate list'.", show_default=False
        ),
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set one option, e.g. recall.size=500; repeatable.",
            show_default=False,
        ),
    ] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="First study seed. [0]", show_default=False)
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="Number of seeds: SEED .. SEED+N-1; 1, or 3 and more. [1]",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder of the run. [runs/NAME-FINGERPRINT]", show_default=False),
    ] = None,
    json_: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", help="No progress, no notes: results, warnings and errors only.")
    ] = False,
    margin: Annotated[
        str | None,
        typer.Option(
            metavar="X|X%",
            help="Smallest effect that matters: metric units, or a share of the baseline. [2%]",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(metavar="auto|cpu|cuda", help="Where FAISS searches. [auto]", show_default=False),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(min=1, metavar="N", help="Threads of every library. [all cores]", show_default=False),
    ] = None,
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Read the options, run the study, show it."""
    if ctx.invoked_subcommand is not None:
        return
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(f"stagelens {installed('stagelens')}\n")
        return
    from stagelens.pipeline.native import set_threads

    set_threads(threads)
    options: dict[str, Any] = {
        "data.path": dataset,
        "stage": _one_of("stage", stage, ("recall", "rerank", "both")),
        "modalities": tuple(modality) if modality else None,
        "measure.margin": margin,
        "device": _one_of("device", device, ("auto", "cpu", "cuda")),
    }
    given = {key: value for key, value in options.items() if value is not None}
    _run(study(config, given, tuple(assign or ()), seed, seeds), out, as_json=json_, quiet=quiet)


def _one_of(kind: str, value: str | None, known: tuple[str, ...]) -> str | None:
    from stagelens.pipeline.errors import ConfigError, nearest

    if value is not None and value not in known:
        raise ConfigError(nearest(kind, value, known))
    return value


def study(
    config: str | None,
    options: dict[str, Any],
    assignments: tuple[str, ...],
    seed: int | None,
    seeds: int | None,
) -> Study:
    """Return the study that a configuration, options, assignments and seeds describe.

    Raises:
        ConfigError: A wrong name or value, or two seeds.
    """
    from stagelens.pipeline.errors import ConfigError
    from stagelens.pipeline.experiment.options import Study

    made = Study.load(config, options, assignments)
    if seed is not None or seeds is not None:
        first = made.seeds[0] if seed is None else seed
        count = len(made.seeds) if seeds is None else seeds
        made = Study.load(config, options, (*assignments, f"seeds={list(range(first, first + count))}"))
    if len(made.seeds) == 2:
        raise ConfigError(
            f"seeds = {list(made.seeds)}: two trainings give one degree of freedom, too few for an interval "
            "over seeds. Allowed: one seed (the intervals are then for these fitted systems), or three and "
            "more, e.g. --seeds 3."
        )
    return made


def _run(plan: Study, out: Path | None, *, as_json: bool, quiet: bool) -> None:
    from stagelens.pipeline.cli.console import output, reserved_output
    from stagelens.pipeline.cli.progress import shown

    with reserved_output(as_json), shown(quiet) as progress:
        from stagelens.pipeline.experiment.runner import simulate as run
        from stagelens.pipeline.report import page

        result = run(plan, out=out, progress=progress)
        page.write(result.folder, result.summary, result.manifest)
    if as_json:
        sys.stdout.write((result.folder / "summary.json").read_text(encoding="utf-8") + "\n")
        return
    from stagelens.pipeline.report import tables

    console = output()
    seen = not quiet and sys.stderr.isatty() and sys.stdout.isatty()
    tables.show(result.summary, console, notes=not seen)
    console.print()
    console.print(f"Report, tables and full precision: {result.folder}", soft_wrap=True)
