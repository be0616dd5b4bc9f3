"""``simulate data import``: another layout turned into a data set folder."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from stagelens.pipeline.data.importers.landing import Landed
    from stagelens.pipeline.recipe import Recipe

EXAMPLES = (
    "\b\nExamples:\n"
    "  simulate data import mmrec MMRec/data/baby baby\n"
    "  simulate data import recbole dataset/ml-100k ml-100k --positive 4 --min-user 5 --min-item 5\n"
    "  simulate data import mmrec data/baby baby --set 'features={audio=\"sound.npy\"}'"
)

FORMAT_HELP = "mmrec, recbole, matrices, lists, amazon, microlens or trec."
_ENDING = ("SIGTERM", "SIGHUP")  # a request to end, and a terminal that is gone (not on Windows)


def import_(
    format_: Annotated[str, typer.Argument(metavar="FORMAT", help=FORMAT_HELP, show_default=False)],
    source: Annotated[
        Path, typer.Argument(metavar="SRC", help="Folder or file to read.", show_default=False)
    ],
    dest: Annotated[
        Path, typer.Argument(metavar="DEST", help="Folder to write; new or empty.", show_default=False)
    ],
    assign: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="FIELD=VALUE",
            help="Set an option of the format (simulate show FORMAT lists them); repeatable.",
            show_default=False,
        ),
    ] = None,
    min_user: Annotated[int, typer.Option(min=0, metavar="N", help="Keep users with N events and more.")] = 0,
    min_item: Annotated[
        int, typer.Option(min=0, metavar="N", help="Keep items with N events and more; 1: any event.")
    ] = 0,
    positive: Annotated[
        float | None,
        typer.Option(metavar="X", help="Keep events with a value of X and more.", show_default=False),
    ] = None,
    licence: Annotated[
        str,
        typer.Option(
            "--licence", metavar="TEXT", help="Licence of the data, as you state it.", show_default=False
        ),
    ] = "",
    name: Annotated[
        str, typer.Option(metavar="TEXT", help="Name of the data set. [the folder's]", show_default=False)
    ] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON and nothing else.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Turn data of another layout into a data set folder, all of it or nothing.

    A user and an item count once, at their first event. Users and items with too few events are left out until
    all that remain have enough.
    """
    from stagelens.pipeline.cli.console import complain, reserved_output
    from stagelens.pipeline.cli.progress import shown
    from stagelens.pipeline.data.importers.landing import land
    from stagelens.pipeline.data.importers.origin import Origin
    from stagelens.pipeline.data.importers.selection import Selection

    importer = _importer(format_, assign or [])
    selection = Selection(positive=positive, min_user=min_user, min_item=min_item)
    options = {**_own(importer), "positive": positive, "min_user": min_user, "min_item": min_item}
    origin = Origin(format_, source, name or dest.resolve().name, licence, options)
    _say_what_was_left(dest)
    with _ending_cleanly(), reserved_output(json_):
        try:
            with shown(quiet or json_) as progress:
                landed = land(importer.read(source), dest, origin, selection, progress)
        except KeyboardInterrupt:
            complain(f"interrupted; nothing is left in {dest}")
            raise typer.Exit(130) from None
    if json_:
        sys.stdout.write(json.dumps(_plain(landed), indent=2) + "\n")
    else:
        _print(landed, dest)


def _say_what_was_left(dest: Path) -> None:
    from stagelens.pipeline.cli.console import say
    from stagelens.pipeline.data.write import left_behind

    left = [str(path) for path in left_behind(dest)]
    if left:
        more = f" and {len(left) - 3} more" if len(left) > 3 else ""
        say(
            f"note: an earlier import was killed and left {', '.join(left[:3])}{more}; if none runs, delete it"
        )


def _importer(name: str, assignments: list[str]) -> Any:
    """Return the importer of a format with its options set.

    Raises:
        ConfigError: No such format, no such option, or a wrong value.
    """
    import pydantic

    from stagelens.pipeline.data.importers import FORMATS
    from stagelens.pipeline.errors import ConfigError, nearest
    from stagelens.pipeline.recipe import explain, fields_of

    if name not in FORMATS:
        raise ConfigError(nearest("format", name, FORMATS))
    kind = FORMATS[name]
    fields: dict[str, Any] = {}
    for text in assignments:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            raise ConfigError(
                f"--set {text!r}: write field=value. Fields of {name}: {', '.join(fields_of(kind))}"
            )
        if key not in fields_of(kind):
            raise ConfigError(f"--set {text!r}: " + nearest(f"option of {name}", key, fields_of(kind)))
        fields[key] = _value(value)
    try:
        return kind(**fields)
    except pydantic.ValidationError as error:
        raise ConfigError(f"--set of {name}: {explain(error)}") from error


def _value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _own(importer: Recipe) -> dict[str, Any]:
    """Return the options of a format as plain data."""
    from stagelens.pipeline.recipe import dump

    return {key: value for key, value in dump(importer).items() if key != "use"}


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """Let a request to end unwind the work, so that what is half written is removed."""

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)  # as shells say it

    numbers = [getattr(signal, name) for name in _ENDING if hasattr(signal, name)]
    try:
        before = {
            number: signal.signal(number, stop)
            for number in numbers
            if signal.getsignal(number) is not signal.SIG_IGN  # nohup
        }
    except ValueError:  # not the main thread: whoever runs us handles signals
        yield
        return
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _plain(landed: Landed) -> dict[str, Any]:
    from dataclasses import asdict

    told = asdict(landed)
    told["dropped"] = dict(landed.dropped)
    told["vectors"] = {name: vectors._asdict() for name, vectors in landed.vectors.items()}
    return told


def _print(landed: Landed, dest: Path) -> None:
    from stagelens.pipeline.cli.console import output

    console = output()
    rows = [
        ("events read", landed.read),
        *((f"  left out: {reason}", count) for reason, count in landed.dropped.items()),
        ("  below the value asked for", landed.below),
        ("  repeat a user and an item", landed.duplicates),
        (f"  outside the core ({landed.rounds} rounds)", landed.outside),
        ("events", landed.events),
        ("users", landed.users),
        ("items", landed.items),
        ("rows that list an id again", landed.repeated),
    ]
    if landed.impressions is not None:
        rows += [
            ("impressions", landed.impressions[0]),
            ("  of unknown users or items", landed.impressions[1]),
        ]
    always = {"events read", "events", "users", "items"}
    table = [(text, f"{count:,}") for text, count in rows if count or text in always]
    for name, vectors in landed.vectors.items():
        said = f"{vectors.present:,} of {landed.items:,} items, {vectors.width} x {vectors.dtype}"
        odd = [(vectors.unknown, "rows of other items"), (vectors.repeated, "rows again")]
        said += "".join(f"; {count:,} {text} left out" for count, text in odd if count)
        table.append((f"vectors {name}", said))
    table += [(f"list {name}", "copied") for name in landed.lists]
    width = max(len(text) for text, _ in table)
    for text, said in table:
        console.print(f"{text:<{width}}  {said}")
    for note in landed.notes:
        console.print(f"- {note}")
    console.print(f"{dest}: written. Next: simulate data check {dest}")
