"""Dictionaries of item lists by user in JSON, read as they come: ``{"0": [12, 7], "1": [3]}``."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from pathlib import Path

from stagelens.pipeline.data.importers.files import number, regular
from stagelens.pipeline.errors import DataError

PIECE = 1 << 16
"""Items of a user handed over together at most."""
_CHUNK = 1 << 20
_TOKEN = re.compile(r"\s*(?:([{}\[\]:,])|\"([^\"\\\x00-\x1f]{0,64})\"|([-+.\w]{1,64})|(\S))")
_NEXT = {
    "start": "{",
    "open": "k}",
    "key": "k",
    "colon": ":",
    "list": "[",
    "first": "i]",
    "item": "i",
    "more": ",]",
    "after": ",}",
    "end": "",
}
"""What may come next, by state: a bracket, ``k`` a key in quotes, ``i`` an integer."""


def id_lists(path: Path) -> Iterator[tuple[int, list[int]]]:
    """Yield user and items; a long list comes in pieces.

    Args:
        path: A UTF-8 file of any length; lists nested in lists, fractions and text ids are not allowed.

    Raises:
        DataError: No file, empty, not UTF-8, cut off, or anything else than a dictionary of lists of integers.
    """
    state, user, items = "start", 0, []
    for place, kind, text in _tokens(path):
        sign = kind if kind in "ki" else text
        if not sign or sign not in _NEXT[state]:
            raise _broken(path, place, text)
        if sign == "k":
            user, state = _id(path, place, text), "colon"
        elif sign == "i":
            items.append(_id(path, place, text))
            state = "more"
            if len(items) == PIECE:
                yield user, items
                items = []
        elif sign == "]":
            yield user, items
            items, state = [], "after"
        elif sign == "}":
            state = "end"
        elif sign == ",":
            state = "item" if state == "more" else "key"
        else:
            state = {"{": "open", ":": "list", "[": "first"}[sign]
    if state != "end":
        raise _broken(path, path.stat().st_size, "the end of the file")


def _id(path: Path, place: int, text: str) -> int:
    if len(text) < 19 and text.isascii() and text.isdecimal():
        return int(text)
    return number(text, f"{path}, about byte {place:,}")


def _tokens(path: Path) -> Iterator[tuple[int, str, str]]:
    """Yield place, kind (``k`` quoted, ``i`` a word, ``p`` punctuation) and text of every token."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest, place, last = "", 0, False
    with regular(path).open("rb") as stream:
        while not last:
            chunk = stream.read(_CHUNK)
            last = not chunk
            try:
                rest += decoder.decode(chunk, final=last)
            except UnicodeDecodeError as error:
                raise DataError(f"{path}, after byte {place}: not UTF-8. Allowed: JSON in UTF-8.") from error
            done = 0
            for token in _TOKEN.finditer(rest):
                if token.end() == len(rest) and not last and not token[1]:
                    break  # it may go on in the next chunk
                if token[4]:
                    if token.end() + 70 > len(rest) and not last:
                        break
                    raise _broken(path, place + token.start(4), rest[token.start(4) :][:20])
                done = token.end()
                kind = "p" if token[1] else "k" if token[2] is not None else "i"
                yield place + token.start(token.lastindex or 0), kind, token[token.lastindex or 0]
            place, rest = place + done, rest[done:].lstrip()


def _broken(path: Path, place: int, found: str) -> DataError:
    return DataError(
        f"{path}, about byte {place:,}: found {found[:20]!r}. Allowed: a dictionary of lists of integer ids, "
        '{"0": [12, 7], "1": [3]}.'
    )
