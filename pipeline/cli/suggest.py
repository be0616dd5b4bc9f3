"""Wrong words on the command line: the nearest right one, or the corrected line."""

from __future__ import annotations

import difflib
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from stagelens.pipeline.errors import ConfigError, nearest

# The base of all usage errors; typer has it from click in older versions and as its own in newer ones.
UsageFault: type[Any] = typer.BadParameter.__mro__[2]

DATA_SUFFIXES = (".parquet", ".csv", ".npy")


class Commands(TyperGroup):
    """A group of commands that answers wrong words with right ones."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the options before the sub-command, remembering them as they were written."""
        given = list(args)
        rest: list[str] = super().parse_args(ctx, args)
        ctx.meta[f"{ctx.command_path}:given"] = (given, list(rest))
        return rest

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the sub-command; refuse options that were given before it.

        Raises:
            ConfigError: No such sub-command, or an option stands before it.
        """
        name = args[0]
        if name not in self.commands:
            raise ConfigError(_unknown(ctx, name, list(self.commands)))
        given, _ = ctx.meta[f"{ctx.command_path}:given"]
        before = given[: len(given) - len(args)]
        if before:
            raise ConfigError(_misplaced(ctx, before, args))
        return super().resolve_command(ctx, args)


def _unknown(ctx: Any, name: str, commands: Sequence[str]) -> str:
    line = _corrected_argument(name) if ctx.parent is None else ""
    return nearest("command", name, commands) + (f" Write: {ctx.command_path} {line}" if line else "")


def _corrected_argument(name: str) -> str:
    """Guess what a word without an option was meant for."""
    from stagelens.pipeline.experiment.options import presets

    if name in ("recall", "rerank", "both"):
        return f"--stage {name}"
    if name.endswith(".toml") or name in presets():
        return f"--config {shlex.quote(name)}"
    if name.startswith("world:") or name.endswith(DATA_SUFFIXES) or Path(name).is_dir():
        return f"--dataset {shlex.quote(name)}"
    return ""


def _misplaced(ctx: Any, before: Sequence[str], rest: Sequence[str]) -> str:
    path, leaf, tail = [ctx.command_path], ctx.command, list(rest)
    while tail and tail[0] in getattr(leaf, "commands", {}):
        leaf = leaf.commands[tail[0]]
        path.append(tail.pop(0))
    known = {name for parameter in leaf.params for name in parameter.opts}
    moved: list[str] = []
    dropped: list[str] = []
    for words in _pairs(ctx.command, before):
        if words != tail[: len(words)]:
            (moved if words[0].partition("=")[0] in known else dropped).append(shlex.join(words))
    target = " ".join(path)
    reasons = (
        [f"{', '.join(dropped)} belongs to {ctx.command_path!r} alone, not to {target!r}"] if dropped else []
    )
    reasons += ["options come after the sub-command they belong to"] if moved or not dropped else []
    return f"{'; '.join(reasons)}. Write: {' '.join([*path, *map(shlex.quote, tail), *moved])}"


def _pairs(command: Any, words: Sequence[str]) -> list[list[str]]:
    """Group words into options, each with its value."""
    flags = {
        name
        for parameter in command.params
        if parameter.is_flag
        for name in (*parameter.opts, "--help", "--")
    }
    pairs: list[list[str]] = []
    for word in words:
        takes = pairs and len(pairs[-1]) == 1 and "=" not in pairs[-1][0] and pairs[-1][0] not in flags
        if takes:
            pairs[-1].append(word)
        else:
            pairs.append([word])
    return pairs


def usage_line(error: Any) -> str:
    """Return a usage error as one line, with the nearest option where the name was wrong."""
    context = getattr(error, "ctx", None)
    message = " ".join(str(error.format_message()).split()).rstrip(".") + "."
    if context is None:
        return message
    if message == "Missing command.":
        message = f"Missing command. Known: {', '.join(sorted(context.command.commands))}."
    wrong = getattr(error, "option_name", None)
    if type(error).__name__ == "NoSuchOption" and wrong:
        message = _no_such_option(context, str(wrong))
    return f"{message} See: {context.command_path} --help"


def _no_such_option(context: Any, wrong: str) -> str:
    known = sorted({n for p in context.command.params for n in p.opts if n.startswith("--")} | {"--help"})
    close = difflib.get_close_matches(wrong, known, n=1, cutoff=0.5)
    guess = f" Did you mean {close[0]}?" if close else ""
    root = context.find_root()
    if root is not context and wrong in {name for p in root.command.params for name in p.opts}:
        guess = f" It is an option of {root.command_path!r} itself."
    return f"No such option {wrong} of {context.command_path!r}.{guess} Known: {', '.join(known)}."
