from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stagelens.pipeline.contracts import Saved
from stagelens.pipeline.store import Store
from stagelens.pipeline.unfinished import unfinished_here


def test_what_a_killed_fit_left_is_found_again_and_removed_when_it_is_done(tmp_path):
    found = []

    def make(end):
        folder = unfinished_here()
        assert folder is not None
        found.append(sorted(path.name for path in folder.glob("*")))
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{len(found)}.pt").touch()
        if not end:
            raise KeyboardInterrupt
        return Saved({"a": np.zeros(1)})

    for end in (False, False, True):
        store = Store(tmp_path)
        if end:
            store.saved("rerank", "one", "key", lambda: make(True))
        else:
            with pytest.raises(KeyboardInterrupt):
                store.saved("rerank", "one", "key", lambda: make(False))
    assert found == [[], ["1.pt"], ["1.pt", "2.pt"]]
    assert unfinished_here() is None
    assert not list(tmp_path.rglob("*.pt"))
    assert not list(tmp_path.rglob("*.unfinished"))


def test_artefacts_made_on_the_way_and_in_other_threads_have_their_own(tmp_path):
    store = Store(tmp_path)
    seen = {}

    def inner():
        seen["inner"] = unfinished_here()
        return Saved()

    def outer():
        store.saved("fit", "inner", "aa", inner)
        seen["outer"] = unfinished_here()
        with ThreadPoolExecutor(1) as pool:
            seen["thread"] = pool.submit(unfinished_here).result()
        return Saved()

    store.saved("rerank", "outer", "bb", outer)
    assert seen["inner"].name == "aa.unfinished"
    assert seen["outer"].name == "bb.unfinished"
    assert seen["thread"] is None
