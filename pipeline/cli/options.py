"""Options that every command about a study takes, as one value."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, get_type_hints

import typer

if TYPE_CHECKING:
    from stagelens.pipeline.experiment.options import Study

DatasetOption = Annotated[
    str | None,
    typer.Option(metavar="PATH|world:NAME", help="Folder with a data set, or a world.", show_default=False),
]
StageOption = Annotated[
    str | None,
    typer.Option(metavar="recall|rerank|both", help="Stages to measure. [both]", show_default=False),
]
ModalityOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="NAME",
        help="Modality under test; repeatable. 'all'; or 'interaction': the base alone. [all]",
        show_default=False,
    ),
]
ConfigOption = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|PRESET", help="A TOML file or a preset; see 'simulate list'.", show_default=False
    ),
]
SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Set one option, e.g. recall.size=500; repeatable.",
        show_default=False,
    ),
]
SeedOption = Annotated[
    int | None, typer.Option(min=0, metavar="N", help="First study seed. [0]", show_default=False)
]
SeedsOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        metavar="N",
        help="Number of seeds: SEED .. SEED+N-1; 1, or 3 and more. [1; studies: 3]",
        show_default=False,
    ),
]
OutOption = Annotated[
    Path | None,
    typer.Option(metavar="DIR", help="Folder of the run. [runs/NAME-FINGERPRINT]", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print the summary as JSON and nothing else.")]
QuietOption = Annotated[
    bool, typer.Option("--quiet", help="No progress, no notes: results, warnings and errors only.")
]
MarginOption = Annotated[
    str | None,
    typer.Option(
        metavar="X|X%",
        help="Smallest effect that matters: metric units, or a share of the baseline. [2%]",
        show_default=False,
    ),
]
DeviceOption = Annotated[
    str | None,
    typer.Option(
        metavar="auto|cpu|cuda", help="Where FAISS searches and networks train. [auto]", show_default=False
    ),
]
RerankerOption = Annotated[
    str | None,
    typer.Option(
        metavar="lambdamart|mlp|TABLE",
        help="The learned re-ranker; its feature groups stay. [lambdamart]",
        show_default=False,
    ),
]
ThreadsOption = Annotated[
    int | None,
    typer.Option(min=1, metavar="N", help="Threads of every library. [all cores]", show_default=False),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option(
        metavar="default|full|published|loo99",
        help="Who is fitted on what, and what is masked; full and loo99: of references alone. [default]",
        show_default=False,
    ),
]

STAGES = ("recall", "rerank", "both")


@dataclass(frozen=True, slots=True)
class Asked:
    """What was asked of a study on the command line; None where nothing was said."""

    dataset: DatasetOption = None
    modality: ModalityOption = None
    config: ConfigOption = None
    assign: SetOption = None
    seed: SeedOption = None
    seeds: SeedsOption = None
    out: OutOption = None
    json_: JsonOption = False
    quiet: QuietOption = False
    margin: MarginOption = None
    device: DeviceOption = None
    threads: ThreadsOption = None
    protocol: ProtocolOption = None
    reranker: RerankerOption = None

    def study(self, **more: Any) -> Study:
        """Return the study that is described, and set the threads; ``more``: dotted options, passed over where None.

        Raises:
            ConfigError: A wrong name or value, or two seeds.
        """
        from stagelens.pipeline.experiment.protocols import PROTOCOLS
        from stagelens.pipeline.native import set_threads

        set_threads(self.threads)
        options: dict[str, Any] = {
            "data.path": self.dataset,
            "modalities": tuple(self.modality) if self.modality else None,
            "measure.margin": self.margin,
            "device": one_of("device", self.device, ("auto", "cpu", "cuda")),
            "protocol.name": one_of("protocol", self.protocol, PROTOCOLS),
            "rerank.reranker": self.reranker,
            **more,
        }
        given = {key: value for key, value in options.items() if value is not None}
        return _study(self.config, given, tuple(self.assign or ()), self.seed, self.seeds)


def takes_study_options(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command take the shared options beside its own: it gets them as its first argument, an ``Asked``.

    An option of its own takes the place of a shared one of that name.
    """
    hints = get_type_hints(Asked, include_extras=True)
    keyword = inspect.Parameter.KEYWORD_ONLY
    _, *own = inspect.signature(command, eval_str=True).parameters.values()
    taken_by_it = {one.name for one in own}
    shared = {
        one.name: inspect.Parameter(one.name, keyword, default=one.default, annotation=hints[one.name])
        for one in fields(Asked)
        if one.name not in taken_by_it
    }
    first, *rest = shared.values()
    parameters = [first, *(one.replace(kind=keyword) for one in own), *rest]

    def taken(**given: Any) -> None:
        asked = Asked(**{name: given.pop(name) for name in shared})
        command(asked, **given)

    taken.__doc__ = command.__doc__
    taken.__name__ = command.__name__
    taken.__annotations__ = {one.name: one.annotation for one in parameters}
    taken.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    return taken


def one_of(kind: str, value: str | None, known: tuple[str, ...]) -> str | None:
    """Return the value.

    Raises:
        ConfigError: It is not among the known ones.
    """
    from stagelens.pipeline.errors import ConfigError, nearest

    if value is not None and value not in known:
        raise ConfigError(nearest(kind, value, known))
    return value


def all_of(kind: str, values: list[str] | None, known: tuple[str, ...]) -> list[str | None] | None:
    """Return the values, None where there are none; see ``one_of``."""
    return [one_of(kind, value, known) for value in values] if values else None


def _study(
    config: str | None,
    options: dict[str, Any],
    assignments: tuple[str, ...],
    seed: int | None,
    seeds: int | None,
) -> Study:
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
