"""From a study to its results on the screen."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from stagelens.pipeline.cli.options import Asked

if TYPE_CHECKING:
    from stagelens.pipeline.experiment.runner import Result


def run_study(asked: Asked, **more: Any) -> None:
    """Run the study that is asked for and show it; ``more``: dotted options, passed over where None."""
    study = asked.study(**more)
    from stagelens.pipeline.cli.console import reserved_output, say
    from stagelens.pipeline.cli.progress import shown
    from stagelens.pipeline.experiment.protocols import warnings_of

    for warning in warnings_of(study) if asked.quiet else ():
        say(warning)  # as progress tells it otherwise
    with reserved_output(asked.json_), shown(asked.quiet) as progress:
        from stagelens.pipeline.experiment.runner import simulate as run
        from stagelens.pipeline.report import page

        result = run(study, out=asked.out, progress=progress)
        page.write(result.folder, result.summary, result.manifest)
        if "sparsity_study" in result.summary:
            from stagelens.pipeline.errors import MissingExtra
            from stagelens.pipeline.report import curves

            try:
                curves.write(result.folder, result.summary)
            except MissingExtra as missing:  # everything else is there
                progress.note(f"no curves.png and curves.svg: {missing}")
    show_result(asked, result)


def show_result(asked: Asked, result: Result) -> None:
    """Show what a run folder holds: its JSON alone, or tables and where the rest is."""
    if asked.json_:
        sys.stdout.write((result.folder / "summary.json").read_text(encoding="utf-8") + "\n")
        return
    from stagelens.pipeline.cli.console import output
    from stagelens.pipeline.report import tables

    console = output()
    seen = not asked.quiet and sys.stderr.isatty() and sys.stdout.isatty()
    tables.show(result.summary, console, notes=not seen)
    console.print()
    console.print(f"Report, tables and full precision: {result.folder}", soft_wrap=True)
