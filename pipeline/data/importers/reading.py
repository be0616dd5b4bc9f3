"""What an importer hands over: events, tables and vectors, streamed once in blocks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from numpy.typing import NDArray

if TYPE_CHECKING:
    import pyarrow as pa


class VectorBlock(NamedTuple):
    """Some rows of a modality.

    Attributes:
        ids: External item id of each row [R], integers or text.
        values: float [R, D].
    """

    ids: NDArray[Any]
    values: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Reading:
    """What stands in a source, read when it is iterated, once.

    Attributes:
        events: Tables with ``user_id`` and ``item_id`` (int64 or text, the same type throughout), and the same of
            ``timestamp`` or ``seq``, ``split`` (``train | valid | test``) and ``value`` in every block.
        items: Tables with ``item_id`` and raw fields; items of no event are part of the catalogue.
        users: Likewise with ``user_id``.
        impressions: Tables with ``user_id``, ``item_id`` and perhaps ``timestamp``: exposed, not chosen.
        vectors: Blocks of rows by modality; opened when called.
        files: Everything that is read, to be hashed; paths inside or beside the source.
        lists: Candidate lists to be copied beside the data, by file name (``recall.FromFile`` reads them).
        notes: What was decided while the source was looked over, one sentence each.
        dropped: Lines left out, by reason; it counts while the rest is iterated, so it is read afterwards.
    """

    events: Iterable[pa.Table]
    items: Iterable[pa.Table] = ()
    users: Iterable[pa.Table] = ()
    impressions: Iterable[pa.Table] = ()
    vectors: Mapping[str, Callable[[], Iterator[VectorBlock]]] = field(default_factory=dict)
    files: tuple[Path, ...] = ()
    lists: Mapping[str, Path] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    dropped: Mapping[str, int] = field(default_factory=dict)


class Importer(Protocol):
    """A format: a recipe whose fields are its options."""

    def read(self, source: Path) -> Reading:
        """Look a source over and return what stands in it.

        Raises:
            ConfigError: An option names something that is not there.
            DataError: A file is missing or broken: file, line or row, what was found, what is allowed.
        """
        ...
