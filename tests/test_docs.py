"""What the documents say: examples run, commands parse, links lead somewhere, presets load."""

from __future__ import annotations

import ast
import doctest
import importlib
import pkgutil
import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import pytest

from stagelens.pipeline.cli.app import build
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.experiment.options import Study, presets

ROOT = Path(__file__).parents[1]
ROOMS = ("pipeline", "recall", "rerank", "fusion", "configs")
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def modules() -> list[str]:
    found = []
    for room in ROOMS:
        package = importlib.import_module(f"stagelens.{room}")
        found.append(package.__name__)
        found += [info.name for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")]
    return sorted(name for name in found if not name.endswith("__main__"))


def blocks(page: Path, *languages: str) -> list[str]:
    """Fenced blocks of these languages."""
    text = page.read_text(encoding="utf-8")
    return [
        body
        for language, body in re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, re.M | re.S)
        if language in languages
    ]


def commands() -> list[tuple[str, str]]:
    """Every ``simulate`` line of a shell block, with its page."""
    found = []
    for page in PAGES:
        for block in blocks(page, "sh", "bash", "console", "shell"):
            for line in block.replace("\\\n", " ").splitlines():
                words = line.strip().removeprefix("$ ")
                if words.partition(" ")[0] == "simulate":
                    found.append((page.name, words))
    return found


def waiting(context: Any) -> list[str]:
    """Words that a group of commands has not read yet."""
    first = "_protected_args" if hasattr(context, "_protected_args") else "protected_args"
    return [*getattr(context, first), *context.args] if hasattr(context, first) else []


def parse(words: list[str]) -> None:
    """Parse a command line down to its last sub-command, running nothing."""
    command = build()
    context = command.make_context("simulate", list(words))
    rest = waiting(context)
    while rest and hasattr(command, "commands"):
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, list(rest), parent=context)
        rest = waiting(context)


@pytest.mark.parametrize("name", modules())
def test_docstring_examples_run(name: str) -> None:
    assert doctest.testmod(importlib.import_module(name)).failed == 0


def test_documented_commands_parse() -> None:
    for page, line in commands():
        words = shlex.split(re.split(r"\s[|>#]", line)[0])[1:]
        if "--help" not in words:
            try:
                parse(words)
            except Exception as error:
                pytest.fail(f"{page}: {line!r}: {error}")


def test_the_parser_of_this_test_refuses_what_is_not_there() -> None:
    with pytest.raises(Exception, match="sed"):
        parse(["--sed", "3"])
    with pytest.raises(ConfigError, match="describe"):
        parse(["data", "descibe", "x"])


def test_documented_python_parses() -> None:
    for page in PAGES:
        for block in blocks(page, "python", "py"):
            try:
                ast.parse(block)
            except SyntaxError as error:
                pytest.fail(f"{page.name}: {error}")


def test_documented_toml_parses() -> None:
    for page in PAGES:
        for block in blocks(page, "toml"):
            tomllib.loads(block)


def test_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    for page in PAGES:
        for block in blocks(page, "sh", "bash", "console", "shell"):
            for target in re.findall(r"^\$? ?make ([a-z]+)", block, re.M):
                assert target in targets, f"{page.name}: make {target}"


def test_links_lead_somewhere() -> None:
    for page in PAGES:
        text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", text):
            if "://" not in target and not target.startswith("mailto:"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("name", sorted(presets()))
def test_presets_load(name: str) -> None:
    study = Study.load(name)
    assert Study.model_validate(study.model_dump()) == study
    first = presets()[name].read_text(encoding="utf-8").partition("\n")[0]
    assert first.startswith("# ")
    assert first.endswith("."), "the first line is what 'simulate list' shows"


def test_quickstart_is_the_default_study() -> None:
    assert Study.load("quickstart") == Study()
