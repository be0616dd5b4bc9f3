"""The tree of commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from stagelens.pipeline.cli import (
    PROGRAM,
    attribute,
    certify,
    checking,
    compare,
    data,
    doctor,
    estimate,
    importing,
    knockouts,
    listing,
    show,
    sparsity,
    study,
    tune,
)
from stagelens.pipeline.cli.suggest import Commands


def build() -> Any:
    """Return the command tree; each command's work lives in its own file."""
    root = _group(invoke_without_command=True)
    root.callback(help=study.HELP)(study.simulate)
    inner = _group()
    inner.callback(help=data.HELP)(_nothing)
    _add(inner, "check", checking.check, checking.EXAMPLES)
    _add(inner, "describe", data.describe, data.EXAMPLES["describe"])
    _add(inner, "generate", data.generate, data.EXAMPLES["generate"])
    _add(inner, "import", importing.import_, importing.EXAMPLES)
    _add(root, "attribute", attribute.attribute, attribute.EXAMPLES)
    _add(root, "compare", compare.compare, compare.EXAMPLES)
    _add(root, "knockouts", knockouts.knockouts, knockouts.EXAMPLES)
    _add(root, "sparsity", sparsity.sparsity, sparsity.EXAMPLES)
    _add(root, "certify", certify.certify, certify.EXAMPLES)
    _add(root, "estimate", estimate.estimate, estimate.EXAMPLES)
    _add(root, "tune", tune.tune, tune.EXAMPLES)
    _add(root, "list", listing.list_, listing.EXAMPLES)
    _add(root, "show", show.show, show.EXAMPLES)
    _add(root, "doctor", doctor.doctor, "")
    root.add_typer(inner, name="data")
    command = typer.main.get_command(root)
    command.name = PROGRAM
    return command


def _group(**options: Any) -> typer.Typer:
    return typer.Typer(
        cls=Commands,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
        **options,
    )


def _add(group: typer.Typer, name: str, function: Callable[..., None], examples: str) -> None:
    group.command(name, epilog=examples or None)(function)


def _nothing() -> None:
    """A group of commands does nothing by itself."""
