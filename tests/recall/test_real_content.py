"""Content recall on real data: present, and gone under permutation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.core import Interactions, ModalityTable, Queries, TrainingData
from stagelens.pipeline.seeds import generator, tie_order
from stagelens.recall import Dense

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "data" / "movielens100k"


def share(window: Interactions, hidden: Interactions, values: np.ndarray, **fields: object) -> float:
    """Return the mean recall@20 of text."""
    data = TrainingData(window, {"text": ModalityTable.of("text", values)})
    users = hidden.users()
    queries = Queries.of(users, window, window, tie_order(0, window.n_items))
    item = Dense(modality="text", **fields).fit(data, seed=0).retrieve(queries, 20).item
    relevant = hidden.lists().rows(users)
    return float(np.mean([np.isin(item[q], relevant[q]).sum() / len(relevant[q]) for q in range(len(users))]))


@pytest.mark.data
def test_text_of_movielens_finds_what_people_watch() -> None:
    if not FOLDER.is_dir():
        pytest.skip(f"{FOLDER.name}: not here")
    events = pd.read_parquet(FOLDER / "interactions.parquet")
    values = np.load(FOLDER / "text.npy")
    user = pd.factorize(events["user_id"])[0]
    everything = Interactions.of(
        user,
        events["item_id"].to_numpy(),
        n_users=user.max() + 1,
        n_items=len(values),
        time=events["timestamp"],
    )
    hidden = generator(0, "real-content").random(len(everything)) < 0.2
    window, held_out = everything.where(~hidden), everything.where(hidden)
    centred = share(window, held_out, values)
    raw = share(window, held_out, values, centre=False)
    permuted = share(window, held_out, generator(1, "real-content").permutation(values))
    assert centred > 1.5 * raw
    assert centred > 3 * permuted
