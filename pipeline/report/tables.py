"""The report in a terminal: tables that explain themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from stagelens.pipeline.report.figures import clean
from stagelens.pipeline.report.section import Section
from stagelens.pipeline.report.sections import heading, headline, sections

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table


def show(summary: Mapping[str, Any], console: Console, *, notes: bool = True) -> None:
    """Write every table of a run to a console, each with the line that explains it.

    Args:
        summary: As in ``summary.json``.
        console: Where to.
        notes: Also what loading and splitting decided, unless the reader has just seen it as progress.
    """
    from rich.text import Text

    for line in heading(summary, notes=notes):
        console.print(Text(clean(line), style="bold red" if line.startswith("WARNING") else ""))
    for section in sections(summary):
        console.print()
        show_section(section, console)
    left_out = len(summary.get("systems", ())) - len(headline(summary)["systems"])
    if left_out:
        console.print(Text(f"\n{left_out} more systems (permuted copies, second views) stand in the report."))


def show_section(section: Section, console: Console) -> None:
    """Write one section: title, explanation, then its table, or its sentences where the table is too wide."""
    from rich.measure import Measurement
    from rich.text import Text

    console.print(Text(section.title, style="bold"))
    console.print(Text(section.explain, style="dim"))
    made = table(section)
    unlimited = console.options.update(max_width=10_000)
    wide = Measurement.get(console, unlimited, made).maximum > console.width
    if wide and section.lines:
        for line in section.lines:
            console.print(Text(clean(f"- {line}")))
    else:
        draw(table(section, gap=1) if wide else made, console)


def draw(made: Table, console: Console) -> None:
    """Write a table; without the blanks that pad its lines where no terminal needs them."""
    if console.is_terminal:
        console.print(made)
        return
    with console.capture() as captured:
        console.print(made)
    for line in captured.get().splitlines():
        console.file.write(f"{line.rstrip()}\n")


def table(section: Section, gap: int = 2) -> Table:
    """Return one section as a table: text to the left, numbers to the right, ``gap`` spaces between."""
    from rich.table import Table
    from rich.text import Text

    made = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    for place, name in enumerate(section.columns):
        text = place < section.texts or name == "verdict"
        made.add_column(
            Text(_broken(name)),
            justify="left" if text else "right",
            vertical="bottom",
            overflow="fold",
            no_wrap=not text,
        )
    for row in section.rows:
        made.add_row(*(Text(clean(cell), style=_style(cell)) for cell in row))
    return made


def _broken(name: str) -> str:
    """Break a heading where it may break, so that a narrow terminal holds the table."""
    return name.replace("_", "\n").replace("@", "\n@") if " " not in name else name.replace(" of ", " of\n")


def _style(cell: str) -> str:
    if cell == "helps":
        return "green"
    return "red" if cell == "hurts" else ""
