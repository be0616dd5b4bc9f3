"""Statistics against published counts, and findings counted on planted faults."""

import json

import numpy as np
import pytest

from stagelens.pipeline.core import ModalityTable
from stagelens.pipeline.data.check import check, check_dataset
from stagelens.pipeline.data.datasets import load_dataset
from stagelens.pipeline.data.describe import bucket_names, describe
from stagelens.pipeline.data.splits import split
from stagelens.pipeline.data.vectors import summarize
from stagelens.pipeline.errors import ConfigError

PUBLISHED = {
    "amazon_baby": {
        "counts": (19445, 7050, 160792, 118551, 20559, 21682),
        "shape": (0.00117, 8.27, 22.8),
        "degree": (3, 4, 100),
        "without": 3,
        "users": [9783, 6904, 1804, 501, 453],
        "test": [7, 1630, 2904, 3907, 5448, 7786],
    },
    "amazon_sports": {
        "counts": (35598, 18357, 296337, 218409, 37899, 40029),
        "shape": (0.00045, 8.32, 16.1),
        "degree": (3, 4, 237),
        "without": 5,
        "users": [18301, 12140, 3257, 1005, 895],
        "test": [17, 5376, 8087, 8268, 9387, 8894],
    },
    "dy": {
        "counts": (17876, 5200, 124418, 87859, 18056, 18503),
        "shape": (0.00134, 6.96, 23.9),
        "degree": (3, 4, 34),
        "without": 3,
        "users": [10979, 5649, 980, 198, 70],
        "test": [5, 641, 2288, 6285, 7798, 1486],
    },
}


@pytest.mark.data
@pytest.mark.parametrize("name", PUBLISHED)
def test_published_statistics_are_reproduced(real_data, name):
    data = load_dataset(str(real_data / name))
    said, expected = describe(data, split(data)), PUBLISHED[name]
    columns = ("users", "items", "interactions", "train", "valid", "test")
    assert tuple(said[column] for column in columns) == expected["counts"]
    shape = (said["density"], said["mean_per_user"], said["mean_per_item"])
    assert shape == pytest.approx(expected["shape"], rel=0.01)
    assert tuple(said["user_train_degree"].values()) == expected["degree"]
    assert said["items_without_train"] == expected["without"]
    assert list(said["users_by_train_degree"].values()) == expected["users"]
    assert list(said["test_by_item_train_degree"].values()) == expected["test"]


@pytest.mark.data
def test_real_posters_that_are_missing_are_counted(real_data):
    data = load_dataset(str(real_data / "movielens100k"))
    said = describe(data, split(data))
    assert said["modalities"]["visual"]["missing"] == 333
    assert said["modalities"]["visual"]["width"] == 1024
    assert said["split"] == "global-time"


def test_statistics_of_a_small_data_set_by_hand(make_folder):
    log = {
        "user_id": [0, 0, 0, 0, 1, 1, 1],
        "item_id": [0, 1, 2, 3, 0, 1, 3],
        "split": ["train", "train", "train", "test", "train", "valid", "test"],
    }
    values = np.float32([[1, 2], [1, 2], [0, 0], [7, 2], [3, 3]])
    data = load_dataset(str(make_folder(interactions=log, text=values)))
    said = describe(data, split(data))
    assert (said["users"], said["items"], said["train"], said["valid"], said["test"]) == (2, 5, 4, 1, 2)
    assert said["density"] == 0.7
    assert said["user_train_degree"] == {"min": 1, "median": 2.0, "max": 3}
    assert said["users_by_train_degree"] == {"0-4": 2, "5-9": 0, "10-14": 0, "15-19": 0, "20+": 0}
    assert said["items_without_train"] == 2
    assert said["test_by_item_train_degree"] == {"0": 2, "1-4": 0, "5-9": 0, "10-19": 0, "20-49": 0, "50+": 0}
    text = said["modalities"]["text"]
    assert (text["missing"], text["duplicate"], text["constant"], text["zero_variance"]) == (1, 1, 1, 0)
    assert json.loads(json.dumps(said)) == said
    assert bucket_names((0, 1, 5)) == ["0", "1-4", "5+"]


def test_duplicate_rows_are_found_across_blocks_and_signs_of_zero():
    rng = np.random.default_rng(0)
    values = rng.standard_normal((70_000, 3)).astype(np.float16).astype(np.float32)
    expected = len(values) - len(np.unique(values, axis=0))
    assert summarize(ModalityTable.of("a", values)).duplicate == expected
    zeros = ModalityTable.of("b", np.float32([[0.0, 1], [-0.0, 1], [2, 1]]))
    assert summarize(zeros).duplicate == 1
    assert summarize(zeros).zero_variance == 1


def codes(folder, **options) -> dict[str, int]:
    return {fault.code: fault.count for fault in check(str(folder), **options)}


def test_a_clean_folder_has_no_errors_and_no_warnings(make_folder):
    rng = np.random.default_rng(0)
    log = {
        "user_id": np.repeat(np.arange(20), 10),
        "item_id": np.tile(np.arange(10), 20),
        "timestamp": rng.integers(1_600_000_000, 1_700_000_000, 200),
    }
    folder = make_folder(interactions=log, text=rng.standard_normal((10, 4)).astype(np.float32))
    assert [fault for fault in check(str(folder)) if fault.severity != "note"] == []


def test_planted_vector_faults_are_counted(make_folder):
    values = np.random.default_rng(0).standard_normal((12, 4)).astype(np.float32)
    values[3] = values[4] = values[5]
    values[6] = 1
    values[7] = 0
    values[8, 1] = np.inf
    values[:, 2] = np.where(values[:, 2] == 0, 0, 5)
    values[6] = 5
    log = {"user_id": np.repeat(np.arange(4), 5), "item_id": np.tile(np.arange(5), 4)}
    found = codes(make_folder(interactions=log, text=values))
    assert found["duplicate-vectors"] == 2
    assert found["constant-vectors"] == 1
    assert found["zero-vector"] == 1
    assert found["non-finite"] == 1
    assert found["constant-columns"] == 1
    assert found["items-without-events"] == 7


def test_a_given_split_that_knows_the_future_is_found(make_folder):
    log = {
        "user_id": [0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2],
        "item_id": [0, 1, 2, 3] * 3,
        "timestamp": [10, 20, 30, 40, 15, 25, 35, 45, 100, 110, 120, 130],
        "split": ["test", "train", "train", "train", "train", "train", "train", "test"]
        + ["train"] * 3
        + ["valid"],
    }
    log["timestamp"] = [1_600_000_000 + value for value in log["timestamp"]]
    faults = {fault.code: fault for fault in check(str(make_folder(interactions=log)))}
    assert faults["leak-own-future"].count == 3
    assert faults["leak-own-future"].severity == "warning"
    assert faults["leak-global-time"].count == 9
    assert "test-before-train" not in faults


def test_a_test_window_before_training_is_found(make_folder):
    log = {
        "user_id": [0, 0, 0, 0, 0, 1, 1, 1, 1, 1],
        "item_id": [0, 1, 2, 3, 4] * 2,
        "timestamp": [1_600_000_000 + value for value in [1, 20, 30, 40, 50, 2, 25, 35, 45, 55]],
        "split": ["test", "train", "train", "train", "valid"] * 2,
    }
    assert codes(make_folder(interactions=log))["test-before-train"] == 2


def test_cold_users_and_items_of_the_test_window_are_counted_not_dropped(make_folder):
    log = {
        "user_id": [0, 0, 0, 0, 1, 1, 2, 2],
        "item_id": [0, 1, 2, 3, 4, 0, 5, 4],
        "split": ["train", "train", "train", "valid", "test", "test", "test", "test"],
    }
    folder = make_folder(interactions=log, text=np.float32([[1, 2], [2, 1], [3, 1], [1, 4], [0, 0], [0, 0]]))
    found = codes(folder)
    assert found["cold-test-users"] == 2
    assert found["cold-test-items"] == 3
    assert found["cold-items-without-content"] == 2
    data = load_dataset(str(folder))
    assert split(data).test.users().tolist() == [1, 2]


def test_other_findings(make_folder):
    log = {"user_id": [0, 0, 1], "item_id": [0, 1, 0], "timestamp": [0, 50, 99], "rating": [1, 2, 3]}
    found = codes(make_folder(interactions=log))
    assert found["value-unused"] == 3
    assert found["single-event-users"] == 1
    assert found["early-timestamps"] == 3
    assert found["empty-window"] == 1


def test_faults_are_sorted_and_explain_themselves(make_folder):
    folder = make_folder(interactions={"user_id": [0, 0, 1], "item_id": [0, 1, 0], "rating": [1, 2, 3]})
    (folder / "text.npy").write_bytes(b"")
    faults = check(str(folder))
    ranks = [("error", "warning", "note").index(fault.severity) for fault in faults]
    assert ranks == sorted(ranks)
    assert all(fault.effect or fault.remedy for fault in faults if fault.severity != "note")
    with pytest.raises(ConfigError, match="positive = 9"):
        check(str(folder), positive=9)


def test_a_world_can_be_checked_too(make_folder):
    data = load_dataset(str(make_folder()))
    assert isinstance(check_dataset(data, None), list)
