"""The configuration of a study: what a TOML file, ``--set`` and the command line's options fill in."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import pydantic
from pydantic import Field

from stagelens.pipeline.errors import ConfigError, nearest
from stagelens.pipeline.experiment.integration_options import CompareOptions
from stagelens.pipeline.experiment.knockout_options import KnockoutOptions
from stagelens.pipeline.experiment.option_table import Options, Stage
from stagelens.pipeline.experiment.protocols import ONE_STAGE, Protocol, check, expanded, fields_of
from stagelens.pipeline.experiment.references_options import ReferenceOptions
from stagelens.pipeline.experiment.reranker_names import named_reranker, placed_reranker, with_device
from stagelens.pipeline.experiment.sparsity_options import SparsityOptions
from stagelens.pipeline.experiment.tuning_options import TuneOptions
from stagelens.pipeline.recipe import explain

if TYPE_CHECKING:
    from stagelens.pipeline.core import Dataset

Window = Literal["train", "train+valid"]
Kind = Literal["stages", "attribute", "compare", "knockouts", "sparsity", "references"]
STUDY_SEEDS = (0, 1, 2)
"""Studies other than ``simulate`` itself: training noise can exceed sampling noise."""


class DataOptions(Options):
    """Which data, which events count, which windows."""

    path: str = "world:ecommerce"
    """A folder, or ``world:NAME``."""
    positive: float | None = None
    """Events with a value below this are not positives (ratings, hours); None: every event is one."""
    weight: bool = False
    """Use the value column as event weight."""
    columns: dict[str, str] = Field(default_factory=dict)
    """Our column name -> the file's, e.g. ``value = "rating"``; over ``dataset.toml``."""
    item_columns: tuple[str, ...] = ()
    """Columns of items.parquet that become ranker features."""
    user_columns: tuple[str, ...] = ()
    """Columns of users.parquet that become ranker features."""
    split: Literal["auto", "given", "global-time", "leave-last-out", "per-user"] = "auto"
    """auto: given, else global time with a real clock, else leave-last-out with an order, else per-user."""
    split_seed: int = 0
    """Moves the random part of a split; the study seed never does."""

    def opened(self) -> Dataset:
        """Return the data set as these options read it.

        Raises:
            ConfigError: An unknown world, or an option that it cannot serve.
            DataError: The folder does not fit the contract.
        """
        from stagelens.pipeline.worlds.world import open_dataset

        return open_dataset(
            self.path,
            positive=self.positive,
            weight=self.weight,
            columns=self.columns,
            item_columns=self.item_columns,
            user_columns=self.user_columns,
        )


class ProtocolOptions(Options):
    """Who is fitted on what, and what is masked."""

    name: Protocol = "default"
    """Fills in fit_on, input, mask and select_on where they are not set. published: fitted on, asked with and masked by
    train. full and loo99: of references alone."""
    refit: Literal["auto", "none", "full", "cross"] = "auto"
    """auto: full with a real clock, cross otherwise."""
    folds: int = Field(5, ge=2, le=20)
    """Folds of ``cross``."""
    lost: Literal["drop", "inject", "weight"] = "drop"
    """What happens to positives of training rows that recall lost."""
    fit_on: Window = "train"
    """Window on which the recall that serves test is fitted."""
    input: Window = "train"
    """Window whose items form the query at test."""
    mask: Window = "train+valid"
    """Window whose items are not returned at test."""
    select_on: Literal["valid", "test"] = "valid"
    """What chooses among ``references.settings``. test: the published confound of that name, never a result."""
    max_rows: int = Field(1_000_000, ge=1000)
    """Candidates of training lists at most: a seeded sample of lists; keeps memory flat."""
    negatives: int = Field(30, ge=0)
    """Candidates that are not relevant kept of each training list, a seeded sample; 0 keeps all."""

    @pydantic.model_validator(mode="before")
    @classmethod
    def _filled_in(cls, given: Any) -> Any:
        if isinstance(given, Mapping) and "name" in given:
            return {**fields_of(given["name"]), **given}
        return given


class RecallOptions(Options):
    """The recall stage."""

    size: int = Field(200, ge=1)
    """Candidates every system hands over (K)."""
    base: tuple[dict[str, Any], ...] = ({"use": "recall.Popular"}, {"use": "recall.ItemKNN"})
    """Interaction channels, or vectors (which ``recall.Dense`` serves): the base of every system."""
    content: dict[str, Any] = Field(default_factory=lambda: {"use": "recall.Dense"})
    """Channel added for a modality; the study fills in ``modality``."""
    merge: Literal["rrf", "quota", "round-robin"] = "rrf"
    """How lists merge."""
    rrf_k: float = Field(60.0, gt=0)
    """Constant of reciprocal rank fusion."""
    weights: Literal["valid", "equal"] = "valid"
    """Merge weights: chosen on valid from {0, .1, .25, .5, 1}, or all 1."""


class RerankOptions(Options):
    """The re-rank stage."""

    reranker: dict[str, Any] = Field(default_factory=lambda: {"use": "rerank.LambdaMART"})
    """The learned re-ranker, by name (``mlp``) or as a table; the study fills in its feature groups."""
    groups: tuple[dict[str, Any], ...] = (
        {"use": "rerank.Evidence"},
        {"use": "rerank.History"},
        {"use": "rerank.Popularity"},
        {"use": "rerank.Side"},
    )
    """Feature groups of every system."""
    content: dict[str, Any] = Field(default_factory=lambda: {"use": "rerank.Similarity"})
    """Feature group added for a modality; the study fills in ``modality``."""
    base_view: bool = True
    """Also re-rank the base-only list, as a second view."""

    @pydantic.field_validator("reranker", mode="before")
    @classmethod
    def _by_name(cls, given: Any) -> Any:
        return named_reranker(given) if isinstance(given, str) else given


class MeasureOptions(Options):
    """What is measured and how it is judged."""

    recall_k: tuple[pydantic.PositiveInt, ...] = (20, 50, 100, 200, 500)
    """Cut-offs of recall@k of candidate sets (k <= size)."""
    rank_k: tuple[pydantic.PositiveInt, ...] = (1, 5, 10, 20)
    """Cut-offs of the ranking metrics."""
    margin: str = "2%"
    """Smallest effect that matters: a share of the baseline's valid mean (``2%``) or metric units (``0.001``)."""
    alpha: float = Field(0.05, gt=0, lt=0.5)
    """Family-wise error rate."""
    draws: int = Field(9999, ge=999)
    """Draws of the max-|t| bootstrap."""
    information: bool = True
    """Also compare with row-permuted copies."""
    copies: int = Field(1, ge=1, le=199)
    """Independently permuted copies at the recall stage; 19 give the exact rank test at .05."""
    importance: bool = True
    """Feature importance, gain and grouped permutation, on valid."""
    latency_queries: int = Field(25, ge=0)
    """Single queries timed for the latency percentiles."""
    dcg: Literal["normalised", "raw"] = "normalised"
    """raw: beside ndcg@k also dcg@k, not divided by the ideal: the published confound of that name."""
    truth: int = Field(0, ge=0)
    """In a world: fresh logs from which the true difference of every comparison is told, beside the measured one."""

    @pydantic.model_validator(mode="after")
    def _draws_reach_alpha(self) -> MeasureOptions:
        if (self.draws + 1) * self.alpha <= 1:
            raise ValueError(f"draws = {self.draws} cannot reach alpha = {self.alpha}: raise draws")
        return self

    @pydantic.field_validator("margin")
    @classmethod
    def _margin_is_readable(cls, text: str) -> str:
        read_margin(text)
        return text


def read_margin(text: str) -> tuple[float, bool]:
    """Return the number of a margin and whether it is a share of the baseline's valid mean.

    Raises:
        ValueError: Neither a share (``2%``) nor a number above 0.
    """
    share = text.strip().endswith("%")
    try:
        value = float(text.strip().removesuffix("%"))
    except ValueError:
        value = -1.0
    if not (value > 0 and math.isfinite(value)):
        raise ValueError(
            "write a share of the baseline's valid mean, like 2%, or metric units, like 0.001; above 0"
        )
    return (value / 100.0, True) if share else (value, False)


class OutputOptions(Options):
    """What a run leaves behind."""

    candidates: bool = False
    """Write candidates.parquet."""
    trec: bool = False
    """Write TREC runs and qrels."""


class Study(Options):
    """A whole study. ``Study.load`` reads a preset, a file and overrides."""

    kind: Kind = "stages"
    """What the study asks: what each stage did, who gets the credit, fusion or ensemble, knock-outs, fewer data,
    how good are interactions alone."""
    name: str = "simulate"
    """Start of the run folder's name."""
    stage: Stage = "both"
    """Which stages are measured."""
    modalities: tuple[str, ...] = ("all",)
    """Content modalities under test; ``all``: every one of the data set; ``interaction``: the base alone."""
    seeds: tuple[int, ...] = (0,)
    """Study seeds; one, or three and more for intervals over seeds."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where FAISS searches and networks train."""
    block: int = Field(8192, ge=1)
    """Users processed together; changes memory and speed, never a result."""
    data: DataOptions = DataOptions()
    protocol: ProtocolOptions = ProtocolOptions()
    recall: RecallOptions = RecallOptions()
    rerank: RerankOptions = RerankOptions()
    measure: MeasureOptions = MeasureOptions()
    output: OutputOptions = OutputOptions()
    compare: CompareOptions = CompareOptions()
    knockouts: KnockoutOptions = KnockoutOptions()
    sparsity: SparsityOptions = SparsityOptions()
    references: ReferenceOptions = ReferenceOptions()
    tune: TuneOptions = TuneOptions()
    axes: dict[str, dict[str, dict[str, Any]]] = Field(default_factory=dict)
    """Axis -> label -> patch of protocol, recall and rerank; cells are compared, the first label is the baseline."""

    @pydantic.model_validator(mode="after")
    def _seeds_are_enough(self) -> Study:
        if len(set(self.seeds)) != len(self.seeds) or not self.seeds:
            raise ValueError("seeds must be distinct and at least one")
        return self

    @pydantic.model_validator(mode="after")
    def _axes_are_crossed(self) -> Study:
        if self.axes and self.kind != "stages":
            raise ValueError(
                f"axes belong to kind = stages (simulate itself); kind = {self.kind} has cells of its own"
            )
        empty = [name for name, labels in self.axes.items() if not labels]
        if empty:
            raise ValueError(
                f"axes.{empty[0]} has no label; write axes.{empty[0]}.LABEL = {{ protocol = {{ ... }} }}"
            )
        return self

    @pydantic.model_validator(mode="after")
    def _protocol_is_measured(self) -> Study:
        check(self)
        return self

    @property
    def reranker(self) -> dict[str, Any]:
        """The table of the learned re-ranker, with the study's device where it has one and says nothing of it."""
        return with_device(self.rerank.reranker, self.device)

    @classmethod
    def load(
        cls,
        config: str | None = None,
        overrides: Mapping[str, Any] | None = None,
        assignments: tuple[str, ...] = (),
    ) -> Study:
        """Read a preset's name or a TOML file, then options, then ``dotted.key=value`` assignments.

        Raises:
            ConfigError: No such preset or file, broken TOML, unknown key or value out of range.
        """
        table: dict[str, Any] = {} if config is None else read_config(config)
        for layer in (overrides or {}, _assigned(assignments)):
            if (
                "protocol.name" in layer
            ):  # a name takes the place of what was said before, not of what is said with it
                layer = {**_named(layer["protocol.name"]), **layer}
            for key, value in layer.items():
                if key == "rerank.reranker" and isinstance(value, str):
                    value = placed_reranker(value, table)
                _put(table, key, value)
        table = expanded(table)
        if table.get("kind", "stages") != "stages":
            table.setdefault("name", table["kind"])
            table.setdefault("seeds", STUDY_SEEDS)
        if table.get("kind") == "sparsity":
            table.setdefault("stage", "recall")
        if table.get("kind") == "references":
            own = table.get("protocol")
            named = own.get("name") if isinstance(own, Mapping) else None
            table.setdefault("stage", "both" if named in ONE_STAGE else "recall")
        _refuse_unknown(table, cls, "")
        try:
            return cls.model_validate(table)
        except pydantic.ValidationError as error:
            raise ConfigError(f"configuration: {explain(error)}") from error


def presets() -> dict[str, Path]:
    """Return the presets that ship with the package: name -> file."""
    from importlib.resources import files

    folder = Path(str(files("stagelens.configs")))
    return {path.stem: path for path in sorted(folder.glob("*.toml"))}


def read_config(config: str) -> dict[str, Any]:
    """Return the table of a preset's name or a TOML file.

    Raises:
        ConfigError: Neither a preset nor a readable file, or broken TOML.
    """
    known = presets()
    path = known.get(config, Path(config))
    if not path.is_file():
        raise ConfigError(nearest("preset", config, known) + " A path to a .toml file works too.")
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid TOML: {error}") from error


def _assigned(assignments: tuple[str, ...]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals:
            raise ConfigError(f"--set {assignment!r}: write dotted.key=value, e.g. --set recall.size=500")
        found[key.strip()] = _value(text.strip())
    return found


def _named(name: Any) -> dict[str, Any]:
    return {f"protocol.{field}": value for field, value in fields_of(name).items()}


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text  # a bare word is a string


def _put(table: dict[str, Any], key: str, value: Any) -> None:
    *path, last = key.split(".")
    for part in path:
        table = table.setdefault(part, {})
        if not isinstance(table, dict):
            raise ConfigError(f"--set {key}: {part!r} is a value, not a table")
    table[last] = value


def _refuse_unknown(table: Mapping[str, Any], model: type[Options], prefix: str) -> None:
    fields = model.model_fields
    for key, value in table.items():
        if key not in fields:
            raise ConfigError(nearest("option", prefix + key, [prefix + name for name in fields]))
        inner = fields[key].annotation
        if isinstance(inner, type) and issubclass(inner, Options) and isinstance(value, Mapping):
            _refuse_unknown(value, inner, f"{prefix}{key}.")
