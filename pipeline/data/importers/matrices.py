"""DiffMM, MMSSL and LightGT folders: a matrix, a dictionary of lists or an array of pairs for every window.

The layouts (https://github.com/HKUDS/DiffMM, https://github.com/HKUDS/MMSSL, https://github.com/Liuwq-bit/LightGT):

* DiffMM: ``trnMat.pkl``, ``valMat.pkl``, ``tstMat.pkl``, SciPy matrices of users by items;
* MMSSL: ``train_mat`` or ``train_mat.pkl``, a SciPy matrix, with ``val.json`` and ``test.json``, lists by user;
* LightGT: ``train.npy``, ``val.npy``, ``test.npy``, arrays of (user, item), or ``user_item_dict.npy``;
* in all of them ``image_feat.npy``, ``text_feat.npy``, ``audio_feat.npy``: row i belongs to item i.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from stagelens.pipeline.data.importers.dictionaries import id_lists
from stagelens.pipeline.data.importers.features import check_items, feature_arrays, numbered, rows_of
from stagelens.pipeline.data.importers.files import array, regular, tell
from stagelens.pipeline.data.importers.headers import MAGIC
from stagelens.pipeline.data.importers.parts import BLOCK, event_table, find_parts, numbered_items, pairs_of
from stagelens.pipeline.data.importers.pickled import Sparse
from stagelens.pipeline.data.importers.pickles import LIST_STEPS, load
from stagelens.pipeline.data.importers.reading import Reading
from stagelens.pipeline.data.importers.sparse import Matrix
from stagelens.pipeline.errors import DataError
from stagelens.pipeline.recipe import Recipe, Role, recipe

if TYPE_CHECKING:
    import pyarrow as pa

_TRAIN = ("trnMat.pkl", "train_mat.pkl", "train_mat", "ui_mat.pkl", "ui_mat", "train.npy")
KNOWN = {
    "train": (*_TRAIN, "user_item_dict.npy", "train.json"),
    "valid": ("valMat.pkl", "val_mat.pkl", "val_mat", "val.npy", "val.json"),
    "test": ("tstMat.pkl", "test_mat.pkl", "test_mat", "test.npy", "test.json"),
}
"""File names of every window, best first."""
_OBJECTS = re.compile(rb"'descr': '\|O'")
Pairs = tuple[NDArray[Any], NDArray[Any], NDArray[Any] | None]


@recipe
class Matrices(Recipe):
    """DiffMM, MMSSL and LightGT folders: sparse matrices, dictionaries of lists, arrays of pairs, features.

    Pickles are read by a machine that can make nothing but matrices, arrays and lists of ids.
    """

    role: ClassVar[Role] = "importer"

    train: str | None = None
    """File of the training events; None: trnMat.pkl, train_mat.pkl, train.npy and others, by name."""
    valid: str | None = None
    """File of the validation events; None: valMat.pkl, val.json, val.npy and others, by name."""
    test: str | None = None
    """File of the test events; None: tstMat.pkl, test.json, test.npy and others, by name."""
    features: dict[str, str] = Field(default_factory=dict)
    """File by modality, beside every NAME_feat.npy; row i belongs to item i."""
    item_offset: int = 0
    """Taken off every item id; some folders number items after the users, so that features start at row 0."""

    def read(self, source: Path) -> Reading:
        """Look a folder over: matrices are checked whole, their indices and lists while they are read.

        Raises:
            ConfigError: An option names a file that is not there.
            DataError: No training events, or a file that is broken or not of its kind.
        """
        parts = find_parts(source, KNOWN, {"train": self.train, "valid": self.valid, "test": self.test})
        opened = {window: _opened(path) for window, path in parts.items()}
        matrices = {window: part for window, part in opened.items() if isinstance(part, Matrix)}
        sizes = {part.shape for part in matrices.values()}
        if len(sizes) > 1:
            said = ", ".join(f"{parts[window].name} {part.shape}" for window, part in matrices.items())
            raise DataError(f"{source}: matrices of different users and items: {said}. Allowed: one shape.")
        kinds = {window: part.kinds() for window, part in matrices.items()}
        valued = any(other for _, other in kinds.values())
        columns = next(iter(sizes))[1] if sizes else None
        features = feature_arrays(source, self.features)
        rows = rows_of(source, features, None if self.item_offset else columns)
        zeros = sum(zeros for zeros, _ in kinds.values())
        given = len(parts) > 1
        return Reading(
            events=(
                _table(parts[window], window if given else None, some, self.item_offset, rows, valued)
                for window, part in opened.items()
                for some in _pairs(part)
            ),
            items=numbered_items(range(rows)) if rows else (),
            vectors={name: partial(numbered, path) for name, path in features.items()},
            files=(*parts.values(), *features.values()),
            notes=_left_out(source, {*parts.values(), *features.values()}),
            dropped={"stored zeros of a matrix": zeros} if zeros else {},
        )


def _opened(path: Path) -> Matrix | NDArray[Any] | Callable[[], Iterable[tuple[int, list[int]]]]:
    """Return what a window's file holds, by its ending; lists are read when called."""
    if path.suffix == ".json":
        regular(path)
        return partial(id_lists, path)
    if path.suffix == ".npy":
        with regular(path).open("rb") as stream:
            start = stream.read(256)
        if not (start.startswith(MAGIC + b"\x01") and _OBJECTS.search(start)):
            return _two_columns(array(path, kinds="iu"), path)
        value = load(path, offset=10 + int.from_bytes(start[8:10], "little"), steps=LIST_STEPS)
        if isinstance(value, list) and len(value) == 1 and isinstance(value[0], dict):
            value = value[0]
        return partial(_lists, value, path)
    value = load(path, steps=LIST_STEPS)
    if isinstance(value, Sparse):
        return Matrix.of(path, value)
    if isinstance(value, np.ndarray):
        return _two_columns(value, path)
    return partial(_lists, value, path)


def _two_columns(pairs: NDArray[Any], path: Path) -> NDArray[Any]:
    if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.dtype.kind not in "iu":
        raise DataError(
            f"{path}: holds {pairs.dtype} of shape {list(pairs.shape)}. Allowed: integers [N, 2], user and item."
        )
    return pairs


def _lists(value: Any, path: Path) -> Iterator[tuple[int, list[int]]]:
    """Yield user and items of a dictionary, or of lists that start with the user.

    Raises:
        DataError: Something else; or more items than the file has bytes, which one list for many users makes.
    """
    left = path.stat().st_size
    if isinstance(value, dict):
        rows: Iterable[tuple[Any, Any]] = value.items()
    elif isinstance(value, list):
        rows = ((row[0], row[1:]) if isinstance(row, list) and row else (None, row) for row in value)
    else:
        rows = ((None, value),)
    for place, (user, items) in enumerate(rows):
        if isinstance(items, np.ndarray) and items.ndim == 1 and items.dtype.kind in "iu":
            items = items.tolist()
        fine = type(user) is int and isinstance(items, list) and all(type(item) is int for item in items)
        if not fine or not all(-(2**63) <= number < 2**63 for number in (user, *items)):
            raise DataError(
                f"{path}: list {place:,} is not a user and integer items of 64 bits. Allowed: a dictionary "
                "of lists by user, or lists that start with the user."
            )
        left -= len(items)
        if left < 0:
            raise DataError(
                f"{path}: list {place:,} and those before it hold more items than the file has bytes. "
                "Allowed: a list of its own for every user."
            )
        yield user, items


def _pairs(part: Any) -> Iterator[Pairs]:
    """Yield user, item and value (or None) in blocks."""
    if isinstance(part, Matrix):
        yield from part.blocks()
        tell(part.path.stat().st_size)
    elif isinstance(part, np.ndarray):
        for start in range(0, len(part), BLOCK):
            block = part[start : start + BLOCK]
            yield block[:, 0], block[:, 1], None
    else:
        yield from ((user, item, None) for user, item in pairs_of(part()))


def _table(
    path: Path, window: str | None, some: Pairs, offset: int, rows: int | None, valued: bool
) -> pa.Table:
    """Return a block of events, items renumbered and compared with the rows of the features."""
    user, item, value = some
    for name, ids in (("user", user), ("item", item)):
        if ids.dtype.kind == "u" and len(ids) and ids.max() >= 2**63:
            raise DataError(f"{path}: {name} id {ids.max()} is beyond 64 bits.")
    item = item.astype(np.int64) - offset
    remedy = "Where items are numbered after the users, set item_offset to the number of users."
    check_items(path, item, rows, remedy)
    more = {}
    if valued:
        more["value"] = np.ones(len(item)) if value is None else value.astype(np.float64)
    return event_table(user.astype(np.int64), item, window, **more)


def _left_out(source: Path, used: set[Path]) -> tuple[str, ...]:
    """Return a note on the files of data that are not read."""
    endings = (".npy", ".npz", ".pt", ".pkl", ".json")
    left = [entry.name for entry in sorted(source.iterdir()) if entry.suffix in endings and entry not in used]
    if not left:
        return ()
    return (
        f"Not read: {', '.join(left)}. An array NAME_feat.npy is the modality NAME; so is what features names.",
    )
