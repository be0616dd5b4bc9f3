"""``simulate data``: describe and generate data sets."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

if TYPE_CHECKING:
    from stagelens.pipeline.experiment.options import DataOptions
    from stagelens.pipeline.worlds.world import World

HELP = "Check and describe a data set before it is used, or generate one."
EXAMPLES = {
    "describe": "\b\nExamples:\n"
    "  simulate data describe world:ecommerce\n"
    "  simulate data describe path/to/data --set data.positive=4 --json",
    "generate": "\b\nExamples:\n"
    "  simulate data generate --out my-world\n"
    "  simulate data generate world:ecommerce --seed 7 --set users=5000 --out my-world\n"
    "  simulate data generate world:music --set modalities.audio.signal=0.2 --out weaker",
}

PathArgument = Annotated[
    str, typer.Argument(metavar="PATH|world:NAME", help="A data set.", show_default=False)
]
Assign = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set a data option, e.g. data.positive=4; repeatable.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")]


def describe(
    path: PathArgument,
    split: Annotated[
        str, typer.Option(metavar="KIND", help="auto, given, global-time, leave-last-out or per-user.")
    ] = "auto",
    assign: Assign = None,
    json_: Json = False,
) -> None:
    """Print the statistics of a data set and of its windows."""
    from stagelens.pipeline.cli.console import output, reserved_output

    options = data_options(path, [*(assign or []), f"data.split={split}"])
    with reserved_output(json_):
        from stagelens.pipeline.data.describe import describe as run
        from stagelens.pipeline.data.splits import split as divide

        dataset = options.opened()
        statistics = run(dataset, divide(dataset, options.split, seed=options.split_seed))
    if json_:
        sys.stdout.write(json.dumps(statistics, indent=2, allow_nan=False) + "\n")
        return
    console = output()
    notes = statistics.pop("notes", ())
    for title, values in _flat(statistics):
        if title:
            console.print(title, style="bold")
        width = max(map(len, values), default=0)
        for key, value in values.items():
            console.print(f"{'  ' if title else ''}{_words(key):<{width}}  {_shown(value)}")
    for note in notes:
        console.print(f"- {note}")


def _words(key: str) -> str:
    return key.replace("_", " ")


def _flat(statistics: Mapping[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """Return titled tables: the plain values first, then each nested table."""
    top = {key: value for key, value in statistics.items() if not isinstance(value, Mapping)}
    nested = [(key, value) for key, value in statistics.items() if isinstance(value, Mapping)]
    found = [("", top)] if top else []
    for title, values in nested:
        found += [(f"{_words(title)} {inner}".strip(), table) for inner, table in _flat(values)]
    return found


def _shown(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1e4 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_shown, value)) or "-"
    return "-" if value is None else str(value)


def generate(
    out: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder to write; must not exist.", show_default=False)
    ],
    world: Annotated[str, typer.Argument(metavar="world:NAME|world:FILE.toml")] = "world:ecommerce",
    seed: Annotated[
        int | None, typer.Option(min=0, metavar="N", help="Seed of the world.", show_default=False)
    ] = None,
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Set a field of the world; repeatable.", show_default=False
        ),
    ] = None,
) -> None:
    """Write a simulated world as a data set folder.

    Beside the data: world.json, what made it, and truth.npz, what a recommender must not see.
    """
    from stagelens.pipeline.cli.console import say
    from stagelens.pipeline.errors import ConfigError

    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ConfigError(f"--out {out} exists and is not empty. Give a new folder.")
    recipe, own_seed = _world(world, assign or [])
    from stagelens.pipeline.data.write import write_dataset
    from stagelens.pipeline.recipe import dump

    seed = own_seed if seed is None else seed
    made = recipe.truth(seed)
    dataset = made.dataset
    clocks, preference = made.clocks, made.preference
    hidden: dict[str, Any] = {
        "taste": preference.taste,
        "traits": preference.traits,
        "appeal": preference.appeal,
        "exposure": clocks.exposure,
        "pace": clocks.pace,
        "arrival": clocks.arrival,
        "joined": clocks.joined,
    }
    extra: dict[str, Any] = {
        "world.json": json.dumps({"seed": seed, **dump(recipe)}, indent=1),
        "truth.npz": hidden,
    }
    write_dataset(dataset, out, extra, items=made.items, users=made.users)
    size = f"{dataset.n_users:,} users, {dataset.n_items:,} items"
    say(f"{out}: {size}, {len(dataset.interactions):,} interactions")


def _world(name: str, assignments: list[str]) -> tuple[World, int]:
    """Return a world's recipe with fields set, and the seed that it ships with."""
    import tomllib

    from stagelens.pipeline.errors import ConfigError
    from stagelens.pipeline.recipe import dump, load
    from stagelens.pipeline.worlds.presets import find_world
    from stagelens.pipeline.worlds.world import PREFIX

    if not name.startswith(PREFIX):
        raise ConfigError(
            f"{name!r} is no world. Write {PREFIX}NAME, e.g. {PREFIX}ecommerce, or {PREFIX}PATH.toml."
        )
    preset = find_world(name.removeprefix(PREFIX))
    fields = dump(preset.world)
    for text in assignments:
        try:
            _merge(fields, tomllib.loads(text))
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(
                f"--set {text!r}: write field=value, e.g. --set users=5000 ({error})"
            ) from error
    return cast("World", load(fields, where=name)), preset.seed


def _merge(table: dict[str, Any], new: Mapping[str, Any]) -> None:
    for key, value in new.items():
        if isinstance(value, Mapping) and isinstance(table.get(key), dict):
            _merge(table[key], value)
        else:
            table[key] = value


def data_options(path: str, assign: list[str] | None) -> DataOptions:
    """Read ``data.*`` assignments with the same names as in a configuration."""
    from stagelens.pipeline.errors import ConfigError
    from stagelens.pipeline.experiment.options import Study

    for text in assign or []:
        if not text.startswith("data."):
            raise ConfigError(f"--set {text!r}: only data options work here, e.g. --set data.positive=4")
    return Study.load(None, {"data.path": path}, tuple(assign or [])).data
