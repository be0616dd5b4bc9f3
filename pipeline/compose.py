"""Composition: ``|`` merges channels, ``>>`` is *then*; the named forms are what TOML holds.

    recall = Popular() | ItemKNN() | Dense(modality="text")
    system = recall >> LambdaMART(features=(Evidence(), Similarity(modality="text"))) >> Top(n=20)
    fitted = system.fit(dataset, split(dataset))

Fitting a chain lays out the training windows itself (``windows.py``, ``workbench.py``): recall never sees the labels
that teach the re-ranker.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, TypeVar, cast

from pydantic import AfterValidator, Field, NonNegativeFloat, PositiveFloat, PositiveInt

from stagelens.pipeline.contracts import Channel
from stagelens.pipeline.core import Candidates, Dataset, Queries, Split
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.merge import Merge
from stagelens.pipeline.recipe import Recipe, Role, dump, recipe

if TYPE_CHECKING:
    from stagelens.pipeline.workbench import Workbench

S = TypeVar("S", bound=Recipe)


def _ensemble(rule: Recipe | None) -> Recipe | None:
    if rule is not None and rule.role != "ensemble":
        raise ValueError(f"{rule.label} is a {rule.role or 'recipe'}, expected an ensemble")
    return rule


def _is(part: Recipe) -> str:
    if part.role == "vectors":
        return "makes vectors, which recall.Dense(vectors=...) serves"
    return f"is a {part.role or 'recipe'}"


def _channels(parts: tuple[Recipe, ...]) -> tuple[Recipe, ...]:
    for part in parts:
        if part.role != "channel":
            raise ValueError(f"{part.label} {_is(part)}, a union takes channels")
    labels = [part.label for part in parts]
    doubled = sorted({label for label in labels if labels.count(label) > 1})
    if doubled:
        raise ValueError(f"channels need distinct labels, {', '.join(doubled)} occurs twice")
    return parts


@recipe
class Union(Recipe):
    """A recall stage: channels merged into exactly ``size`` distinct unseen items, evidence kept.

    With an ``ensemble``, everything the channels returned is scored by its rule and the best ``size`` stay; ``merge``,
    ``rrf_k`` and ``weights`` are then not used. Lists still short are filled by popularity either way.

    References:
        Cormack, Clarke & Büttcher 2009, doi:10.1145/1571941.1572114 (reciprocal rank fusion; here weighted).
    """

    role: ClassVar[Role] = "system"

    parts: Annotated[tuple[Recipe, ...], AfterValidator(_channels)] = Field(min_length=1)
    """The channels; each is asked for ``size`` items."""
    size: PositiveInt = 200
    """Candidates handed over (K)."""
    merge: Merge = "rrf"
    """``rrf``, ``quota`` or ``round-robin``."""
    rrf_k: PositiveFloat = 60.0
    """Constant of reciprocal rank fusion."""
    weights: Literal["valid", "equal"] | tuple[NonNegativeFloat, ...] = "valid"
    """Chosen on valid from {0, .1, .25, .5, 1} (``rrf`` only), all 1, or one a channel."""
    ensemble: Annotated[Recipe | None, AfterValidator(_ensemble)] = None
    """The rule that scores what the channels returned, in place of a merge."""

    def __post_init__(self) -> None:
        check = getattr(self.ensemble, "check", None)
        if check is not None:
            check(tuple(part.label for part in self.parts))
        if isinstance(self.weights, tuple):
            if len(self.weights) != len(self.parts):
                raise ValueError(
                    f"weights = {self.weights}: {len(self.weights)} weights for {len(self.parts)} channels; "
                    "give one a channel"
                )
            if not any(self.weights):
                raise ValueError(f"weights = {self.weights}: at least one must be above 0")

    @property
    def label(self) -> str:
        """The channels, as the operators write them, and the ensemble that scores them."""
        parts = " | ".join(part.label for part in self.parts)
        return parts if self.ensemble is None else f"{self.ensemble.label} of {parts}"

    def exact(self) -> Union:
        """Return the same union with every index exact."""
        return replace(self, parts=tuple(cast(Recipe, cast(Channel, part).exact()) for part in self.parts))

    @property
    def is_exact(self) -> bool:
        """Whether no channel stands behind an approximate index."""
        return dump(self) == dump(self.exact())

    def fit(
        self, dataset: Dataset, split: Split, *, seed: int = 0, store: Path | None = None
    ) -> FittedSystem:
        """Fit every channel on the serving window and choose the weights."""
        return fit_system(self, dataset, split, seed=seed, store=store)


@recipe
class Top(Recipe):
    """Cut a list."""

    role: ClassVar[Role] = "system"

    n: PositiveInt = 20
    """Length of the final list."""


@recipe
class Then(Recipe):
    """A recall stage, then a re-ranker, then a cut."""

    role: ClassVar[Role] = "system"

    recall: Union
    """The recall stage."""
    rerank: Recipe
    """The re-ranker."""
    top: PositiveInt | None = None
    """Length of the final list; None keeps every candidate."""

    @property
    def label(self) -> str:
        """The expression that made it."""
        cut = "" if self.top is None else f" >> Top({self.top})"
        return f"({self.recall.label}) >> {self.rerank.label}{cut}"

    def fit(
        self, dataset: Dataset, split: Split, *, seed: int = 0, store: Path | None = None
    ) -> FittedSystem:
        """Fit both stages over the windows of the split."""
        return fit_system(self, dataset, split, seed=seed, store=store)


def union(first: Recipe, second: Recipe) -> Union:
    """Return ``first | second``: a flat union, with the settings of the first union met.

    Raises:
        ConfigError: A side is neither a channel nor a union, or is a union with one weight a channel.
    """
    parts: list[Recipe] = []
    settings: dict[str, Any] = {}
    for side in (first, second):
        if isinstance(side, Union):
            parts += side.parts
            if isinstance(side.weights, tuple):
                raise ConfigError(
                    f"'|' cannot tell the weight of a further channel beside weights = {side.weights}; write "
                    "Union(parts=..., weights=...) with one a channel"
                )
            names = ("size", "merge", "rrf_k", "weights", "ensemble")
            kept = {name: getattr(side, name) for name in names}
            settings = settings or kept
        elif side.role == "channel":
            parts.append(side)
        else:
            raise ConfigError(f"'|' merges channels; {side.label} {_is(side)}. Use '>>' for then.")
    return made(Union, parts=tuple(parts), **settings)


def then(first: Recipe, second: Recipe) -> Then:
    """Return ``first >> second``.

    Raises:
        ConfigError: The order of roles makes no sense.
    """
    if isinstance(first, Then) and isinstance(second, Top):
        return replace(first, top=second.n)
    recall = first if isinstance(first, Union) else None
    if recall is None and first.role == "channel":
        recall = made(Union, parts=(first,))
    if recall is not None and second.role == "reranker":
        return made(Then, recall=recall, rerank=second)
    raise ConfigError(
        f"{first.label} >> {second.label}: allowed are channels >> re-ranker and system >> Top(n=...)"
    )


def made(cls: type[S], **fields: Any) -> S:
    """Build a recipe in code.

    Raises:
        ConfigError: A field is unknown or out of range.
    """
    import pydantic

    from stagelens.pipeline.recipe import explain

    try:
        return cls(**fields)
    except pydantic.ValidationError as error:
        raise ConfigError(f"{cls.__name__}: {explain(error)}") from error


@dataclass(frozen=True, slots=True)
class FittedSystem:
    """A system fitted over the windows of a split.

    Attributes:
        system: Its recipe.
        workbench: Everything that was fitted, through the store.
    """

    system: Union | Then
    workbench: Workbench

    def recommend(self, queries: Queries) -> Candidates:
        """Return the final lists for any queries, answered by the fits that serve test."""
        recall = self.system if isinstance(self.system, Union) else self.system.recall
        window = self.workbench.windows.test
        candidates = self.workbench.retrieve(recall, window, queries)
        if isinstance(self.system, Union):
            return candidates
        ordered = self.workbench.reorder(self.system, window, queries, candidates)
        return ordered if self.system.top is None else ordered.top(self.system.top)


def fit_system(
    system: Union | Then, dataset: Dataset, split: Split, *, seed: int = 0, store: Path | None = None
) -> FittedSystem:
    """Fit a system; with a ``store`` folder the fits are kept and shared."""
    from stagelens.pipeline.workbench import Workbench, temporary_store

    bench = Workbench.of(dataset, split, seed=seed, store=temporary_store() if store is None else store)
    recall = system if isinstance(system, Union) else system.recall
    bench.weights(recall)
    for part in recall.parts:
        bench.fitted(part, bench.windows.test)
    if isinstance(system, Then):
        bench.reranker(system)
    return FittedSystem(system, bench)
