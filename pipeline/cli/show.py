"""``simulate show``: one recipe, world, preset or format in full."""

from __future__ import annotations

import dataclasses
import inspect
import sys
from typing import Annotated, Any

import typer

EXAMPLES = "\b\nExamples:\n  simulate show recall.Dense\n  simulate show quickstart\n  simulate show mmrec"


def show(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="A recipe, a world, a preset or a format.", show_default=False),
    ],
) -> None:
    """Show a recipe's fields, defaults and documentation, a world's or a format's, or the text of a preset."""
    from stagelens.pipeline.cli.vocabulary import vocabulary
    from stagelens.pipeline.errors import ConfigError, nearest
    from stagelens.pipeline.experiment.options import presets
    from stagelens.pipeline.recipe import lookup

    names = vocabulary()
    if name in names["presets"]:
        sys.stdout.write(presets()[name].read_text(encoding="utf-8"))
    elif name in names["worlds"]:
        from stagelens.pipeline.worlds.presets import presets as worlds

        preset = worlds()[name.partition(":")[2]]
        _recipe(f"{name}: {preset.about} Seed {preset.seed}.", type(preset.world), preset.world)
    elif name in names["formats"]:
        from stagelens.pipeline.data.importers import FORMATS

        _recipe(name, FORMATS[name], None)
    elif ":" in name or any(name in entries for entries in names.values()):
        _recipe(name, lookup(name), None)
    else:
        bare = [full for entries in names.values() for full in entries if full.partition(".")[2] == name]
        if len(bare) != 1:
            raise ConfigError(nearest("name", name, [full for entries in names.values() for full in entries]))
        _recipe(bare[0], lookup(bare[0]), None)


def _recipe(name: str, cls: type, instance: Any) -> None:
    from rich.table import Table
    from rich.text import Text

    from stagelens.pipeline.cli.console import output
    from stagelens.pipeline.recipe import field_docs
    from stagelens.pipeline.report.tables import draw

    console = output()
    console.print(Text(name, style="bold"))
    console.print(Text(inspect.getdoc(cls) or ""))
    docs = field_docs(cls)
    fields = dataclasses.fields(cls)
    if not fields:
        console.print("\nNo fields.")
        return
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("field", "default" if instance is None else "value", "meaning"):
        table.add_column(heading, overflow="fold")
    for field in fields:
        value = _default(field) if instance is None else repr(getattr(instance, field.name))
        table.add_row(Text(field.name), Text(value), Text(" ".join(docs.get(field.name, "").split())))
    console.print()
    draw(table, console)


def _default(field: dataclasses.Field[Any]) -> str:
    """Return a field's default as it is written, through pydantic's wrapper where there is one."""
    value: Any = field.default
    factory: Any = field.default_factory
    if value is dataclasses.MISSING and factory is not dataclasses.MISSING:
        value = factory()
    if hasattr(value, "is_required"):  # pydantic's FieldInfo
        if value.is_required():
            return "(required)"
        value = value.get_default(call_default_factory=True)
    return "(required)" if value is dataclasses.MISSING else repr(value)
