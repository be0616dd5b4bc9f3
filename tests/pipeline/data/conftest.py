from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

Folder = Callable[..., Path]

SMALL = {
    "user_id": [0, 0, 0, 1, 1, 2, 2, 2, 2, 3],
    "item_id": [0, 1, 2, 1, 3, 0, 2, 3, 4, 4],
}


@pytest.fixture
def make_folder(tmp_path: Path) -> Folder:
    """Write a folder: tables as dicts (Parquet) or text (CSV), arrays as .npy, anything else as bytes."""

    def make(name: str = "data", interactions: Any = SMALL, **files: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir()
        for file, content in {"interactions": interactions, **files}.items():
            stem = file.replace("__", ".")
            if content is None:
                continue
            if isinstance(content, Mapping | pd.DataFrame):
                pd.DataFrame(content).to_parquet(folder / f"{stem}.parquet")
            elif isinstance(content, np.ndarray):
                np.save(folder / f"{stem}.npy", content)
            elif isinstance(content, str):
                ending = ".toml" if stem == "dataset" else ".csv"
                (folder / f"{stem}{ending}").write_text(content, encoding="utf-8", newline="")
            elif isinstance(content, bytes):
                (folder / stem).write_bytes(content)
        return folder

    return make


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets, beside the checkout."""
    path = Path(__file__).resolve().parents[4] / "shared" / "data"
    if not path.is_dir():
        pytest.skip(f"the real data sets are not at {path}")
    return path
