"""From words on the command line to a finished study on the screen."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stagelens.pipeline.experiment.options import Study


def run_study(
    *,
    dataset: str | None,
    modality: list[str] | None,
    config: str | None,
    assign: list[str] | None,
    seed: int | None,
    seeds: int | None,
    out: Path | None,
    as_json: bool,
    quiet: bool,
    margin: str | None,
    device: str | None,
    threads: int | None,
    **more: Any,
) -> None:
    """Read the options, run the study, show it. ``more`` are dotted options that are not None."""
    from stagelens.pipeline.native import set_threads

    set_threads(threads)
    options: dict[str, Any] = {
        "data.path": dataset,
        "modalities": tuple(modality) if modality else None,
        "measure.margin": margin,
        "device": one_of("device", device, ("auto", "cpu", "cuda")),
        **more,
    }
    given = {key: value for key, value in options.items() if value is not None}
    _show(study(config, given, tuple(assign or ()), seed, seeds), out, as_json=as_json, quiet=quiet)


def one_of(kind: str, value: str | None, known: tuple[str, ...]) -> str | None:
    """Return the value.

    Raises:
        ConfigError: It is not among the known ones.
    """
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


def _show(plan: Study, out: Path | None, *, as_json: bool, quiet: bool) -> None:
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
