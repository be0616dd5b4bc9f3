"""Worlds that ship with the package, and worlds of one's own in a file."""

import json
import tomllib
from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest

from stagelens.pipeline.cli import main
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.errors import ConfigError
from stagelens.pipeline.recipe import dump, load
from stagelens.pipeline.worlds.presets import presets
from stagelens.pipeline.worlds.world import open_dataset

FOLDER = Path(str(files("stagelens.configs.worlds")))
SHIPPED = sorted(presets())


def test_the_worlds_that_ship():
    assert {"ecommerce", "short-video", "music", "null", "recall-only", "rerank-only"} == set(SHIPPED)
    assert len({preset.seed for preset in presets().values()}) == len(SHIPPED)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_preset_is_its_file_and_a_recipe(name):
    preset = presets()[name]
    said = tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
    assert preset.about == said["about"]
    fields = dump(preset.world)
    for key, value in said["world"].items():
        if key != "modalities":
            assert fields[key] == value
    assert load(fields) == preset.world
    assert set(fields["modalities"]) == set(said["world"]["modalities"])


@pytest.mark.parametrize(
    "name", [name for name in SHIPPED if name != "null"]
)  # its reasons stand in the shop's file
def test_every_line_of_a_preset_has_its_reason(name):
    lines = (FOLDER / f"{name}.toml").read_text(encoding="utf-8").splitlines()
    assert lines[0].startswith("# ")
    assert [
        line for line in lines if " = " in line and "#" not in line and not line.startswith("about")
    ] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_modalities_tell_a_reader_what_their_file_says(name):
    preset = presets()[name]
    made = preset.truth()
    traits = made.preference.traits[:, : preset.world.visible]
    assert made.dataset.n_users == preset.world.users
    assert made.dataset.name == made.dataset.source == f"world:{name}"
    for key, said in preset.world.modalities.items():
        table = made.dataset.modalities[key]
        values, first = np.unique(table.values, axis=0, return_index=True)
        rows = first[table.present[first]]  # one item a vector: copies stand for other items
        inputs = np.c_[np.ones(len(rows)), table.rows(rows)].astype(np.float64)
        left = traits[rows] - inputs @ np.linalg.lstsq(inputs, traits[rows], rcond=None)[0]
        read = 1 - (left**2).sum() / (len(rows) - inputs.shape[1]) / traits[rows].var(axis=0).sum()
        assert read == pytest.approx(said["signal"] * (1 - said["noise"]), abs=0.04), key
        assert table.present.mean() == pytest.approx(1 - said["missing"], abs=0.001)
        assert len(values) <= len(table.values) * (1 - said["duplicates"]) + 1


def test_the_null_world_is_the_shop_without_signal():
    null, shop = presets()["null"].world, presets()["ecommerce"].world
    assert {**dump(null), "modalities": {}} == {**dump(shop), "modalities": {}}
    assert null.modalities.keys() == shop.modalities.keys()
    assert all(said["signal"] == 0 for said in null.modalities.values())


MINE = """
about = "mine"
seed = 5
[world]
users = 60
items = 90
activity = 8
factors = 4
categories = 6
[world.modalities.sound]
signal = 0.3
width = 8
"""


@pytest.fixture
def mine(tmp_path) -> Path:
    path = tmp_path / "mine.toml"
    path.write_text(MINE, encoding="utf-8")
    return path


def test_a_world_of_ones_own(mine, tmp_path):
    data = open_dataset(f"world:{mine}")
    assert (data.n_users, data.n_items, list(data.modalities)) == (60, 90, ["sound"])
    assert data.name == f"world:{mine}"
    out = tmp_path / "out"
    assert main(["data", "generate", f"world:{mine}", "--set", "users=50", "--out", str(out)]) == 0
    written = json.loads((out / "world.json").read_text(encoding="utf-8"))
    assert (written["seed"], written["users"], written["items"]) == (5, 50, 90)
    assert load_dataset(str(out)).n_users == 50
    hidden = np.load(out / "truth.npz")
    assert hidden["taste"].shape == (50, 4)
    assert hidden["pace"].shape == hidden["joined"].shape == (50,)
    assert hidden["appeal"].shape == hidden["exposure"].shape == hidden["arrival"].shape == (90,)


def test_a_field_of_a_modality_can_be_set(tmp_path):
    out = tmp_path / "out"
    words = ["data", "generate", "world:music", "--set", "modalities.audio.noise=0.5", "--set", "users=30"]
    assert main([*words, "--set", "items=200", "--out", str(out)]) == 0
    written = json.loads((out / "world.json").read_text(encoding="utf-8"))
    assert written["modalities"]["audio"] == {**presets()["music"].world.modalities["audio"], "noise": 0.5}


def test_impossible_worlds_are_refused_by_the_command(capsys, tmp_path):
    for assignment, reason in (
        ("users=0", "users = 0: Input should be greater than or equal to 1"),
        ("modalities.text.signal=0.9", "signals beyond the variance"),
        ("categories=2000", "allowed at most half of them"),
    ):
        assert main(["data", "generate", "--set", assignment, "--out", str(tmp_path / "x")]) == 2
        assert reason in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "x").exists()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("users = 3", "Unknown key 'users'. .*Known: about, seed, world"),
        ("seed = -1", "seed = -1: allowed whole numbers from 0"),
        ("world = 3", r"write a table \[world\]"),
        ("[world]\nuser = 3", "Unknown field of pipeline.World 'user'. Did you mean 'users'"),
        ("[world", "not valid TOML"),
    ],
)
def test_files_that_hold_no_world_are_answered(mine, text, reason):
    mine.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=reason):
        open_dataset(f"world:{mine}")


def test_a_file_that_is_not_there_is_answered():
    with pytest.raises(ConfigError, match=r"world:no\.toml: cannot read no\.toml: No such file"):
        open_dataset("world:no.toml")
