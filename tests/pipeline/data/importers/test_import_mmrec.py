"""MMRec folders: the same data comes out, and every fault of them is named."""

import numpy as np
import pandas as pd
import pytest

from stagelens.pipeline.data.datasets import load_dataset

HEADER = "userID\titemID\trating\ttimestamp\tx_label\n"
GOOD = HEADER + "0\t0\t5.0\t10\t0\n0\t1\t4.0\t20\t1\n1\t2\t3.0\t30\t2\n"


@pytest.fixture
def mmrec(original, tmp_path):
    """The original data set as MMRec stores it, image features in float64 with two rows filled by the mean."""
    root = tmp_path / "baby"
    root.mkdir()
    events = original.events.assign(x_label=original.events["split"].map({"train": 0, "valid": 1, "test": 2}))
    names = {"user_id": "userID", "item_id": "itemID", "value": "rating"}
    columns = ["userID", "itemID", "rating", "timestamp", "x_label"]
    events.rename(columns=names)[columns].to_csv(root / "baby.inter", sep="\t", index=False)
    np.save(root / "text_feat.npy", original.text)
    return root


@pytest.fixture
def small(tmp_path):
    """Write a small folder: ``small(inter=text, text=array)``."""

    def make(inter=GOOD, **arrays):
        root = tmp_path / "small"
        root.mkdir()
        if inter is not None:
            (root / "small.inter").write_bytes(inter if isinstance(inter, bytes) else inter.encode())
        for name, values in (arrays or {"text": np.ones((3, 2), np.float32)}).items():
            np.save(root / f"{name}_feat.npy", values)
        return root

    return make


def test_the_same_data_and_the_same_numbers_come_out(
    original, mmrec, tmp_path, importing, same_data, figures
):
    told = importing("mmrec", mmrec, tmp_path / "out")
    assert told["events"] == told["read"] == len(original.events)
    assert told["vectors"]["text"]["present"] == len(original.text) - 3
    assert (tmp_path / "out" / "text.npy").read_bytes() == (original.folder / "text.npy").read_bytes()
    same_data(original.folder, tmp_path / "out")
    assert figures(tmp_path / "out") == figures(original.folder)


def test_rows_filled_with_the_mean_become_absent(mmrec, original, tmp_path, importing):
    image = np.random.default_rng(0).normal(size=(len(original.text), 4))
    image[[3, 9]] = image.mean(axis=0)
    np.save(mmrec / "image_feat.npy", image)
    (mmrec / "missed_img_itemIDs.csv").write_text("3\n9\n")
    told = importing("mmrec", mmrec, tmp_path / "out")
    assert told["vectors"]["image"] == {
        "width": 4,
        "dtype": "float32",
        "present": len(image) - 2,
        "unknown": 0,
        "repeated": 0,
    }
    table = load_dataset(str(tmp_path / "out")).modalities["image"]
    assert np.flatnonzero(~table.present).tolist() == [3, 9]
    np.testing.assert_array_equal(table.values[10:], image[10:].astype(np.float32))
    assert any("2 image rows hold the mean" in note for note in told["notes"])
    told = importing("mmrec", mmrec, tmp_path / "kept", "--set", "filled_is_absent=false")
    assert told["vectors"]["image"]["present"] == len(image)


def test_other_names_and_more_features(small, tmp_path, importing):
    root = small("u,i,when\n3,0,5\n3,1,6\n4,1,7\n".replace(",", "|"))
    np.save(root / "sound.npy", np.float16([[1, 2], [0, 0], [3, 4]]))
    sets = ["separator='|'", "user=u", "item=i", "time=when", "features={audio = 'sound.npy'}"]
    told = importing("mmrec", root, tmp_path / "out", *(word for text in sets for word in ("--set", text)))
    data = load_dataset(str(tmp_path / "out"))
    assert data.users.tolist() == [3, 4]
    assert data.items.tolist() == [0, 1, 2]
    assert data.modalities["audio"].values.dtype == np.float16
    assert told["notes"] == ["small.inter: no column x_label, so there is no split"]


def test_windows_line_ends_and_a_byte_order_mark_do_not_matter(small, tmp_path, importing):
    root = small(b"\xef\xbb\xbf" + GOOD.replace("\n", "\r\n").encode())
    importing("mmrec", root, tmp_path / "out")
    assert load_dataset(str(tmp_path / "out")).given.tolist() == [0, 1, 2]


LINE = "9\t1\t5\t1\t0\n"
FAULTS = {
    "id text": (GOOD + LINE.replace("9", "A9"), ["line 5, column userID", "'A9'", "integer of 64 bits"]),
    "id fraction": (
        GOOD + LINE.replace("9", "9.0"),
        ["line 5, column userID", "'9.0'", "without a decimal point"],
    ),
    "id 2^64": (GOOD + LINE.replace("9", str(2**64)), ["line 5", str(2**64), "64 bits"]),
    "item 2^40": (
        GOOD + LINE.replace("\t1\t", f"\t{2**40}\t", 1),
        ["line 5, column itemID", "Allowed: 0 to 2"],
    ),
    "item below 0": (GOOD + LINE.replace("\t1\t", "\t-1\t", 1), ["item -1", "Allowed: 0 to 2"]),
    "label": (
        GOOD + LINE.replace("\t0\n", "\t3\n"),
        ["column x_label", "'3'", "0 (train), 1 (valid), 2 (test)"],
    ),
    "time": (GOOD + LINE.replace("\t1\t0", "\tnan\t0"), ["column timestamp", "'nan'", "finite number"]),
    "short line": (GOOD + "1\t2\n", ["line 5", "2 cells against 5 columns"]),
    "column": (GOOD.replace("userID", "user"), ["no column 'userID'", "Did you mean 'user'?", "Set user"]),
    "column twice": (GOOD.replace("userID", "itemID"), ["line 1", "'itemID' stands twice"]),
    "utf-16": (GOOD.encode("utf-16"), ["small.inter, line 1", "not UTF-8"]),
    "zero bytes": (GOOD.replace("5.0", "5\0"), ["line 2", "zero byte"]),
    "empty": ("", ["small.inter", "empty (0 bytes)"]),
    "header only": (HEADER, ["no events"]),
    "no file": (None, ["one .inter file is needed; found none", "--set inter=NAME.inter"]),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_broken_table_is_named_by_its_line(small, refused, fault):
    inter, words = FAULTS[fault]
    said = refused(3, "mmrec", small(inter))
    for word in words:
        assert word in said


def test_features_that_do_not_fit_are_refused(small, refused):
    root = small(text=np.ones((3, 2), np.float32), image=np.ones((4, 2), np.float32))
    assert "different numbers of rows (image 4, text 3)" in refused(3, "mmrec", root)
    np.save(root / "image_feat.npy", np.array([{}] * 3), allow_pickle=True)
    assert "holds Python objects" in refused(3, "mmrec", root)
    np.save(root / "image_feat.npy", np.ones((3, 2), np.int64))
    assert "holds int64 of shape [3, 2]. Allowed: floats with 2 axes" in refused(3, "mmrec", root)
    (root / "image_feat.npy").write_bytes((root / "text_feat.npy").read_bytes()[:-4])
    assert "truncated: 148 bytes are fewer than the 152" in refused(3, "mmrec", root)
    (root / "image_feat.npy").unlink()
    (root / "image_feat.npy").mkdir()
    assert "is a directory" in refused(3, "mmrec", root)
    (root / "image_feat.npy").rmdir()
    np.save(root / "image_feat.npy", np.ones((3, 2), np.float32))
    (root / "missed_img_itemIDs.csv").write_text("7\n")
    assert "names item 7. Allowed: 0 to 2" in refused(3, "mmrec", root)


def test_a_file_outside_the_source_is_refused(small, refused, tmp_path):
    root = small()
    np.save(tmp_path / "secret.npy", np.ones((3, 2), np.float32))
    for name in ("../secret.npy", str(tmp_path / "secret.npy"), "..\\\\secret.npy", "C:\\\\secret.npy"):
        said = refused(3, "mmrec", root, "--set", f'features={{other = "{name}"}}')
        assert "leaves this folder" in said
    (root / "link.npy").symlink_to(tmp_path / "secret.npy")
    assert "leaves this folder" in refused(3, "mmrec", root, "--set", 'features={other = "link.npy"}')
    for name in ("small.inter", "image_feat.npy", "missed_img_itemIDs.csv"):
        (tmp_path / name).write_bytes((root / "small.inter").read_bytes())
        np.save(root / "image_feat.npy", np.ones((3, 2), np.float32))
        (root / name).unlink(missing_ok=True)
        (root / name).symlink_to(tmp_path / name)
        assert f"names '{name}', which leaves this folder" in refused(3, "mmrec", root)
        (root / name).unlink()
        (root / "small.inter").write_text(GOOD)


def test_nanoseconds_stay_exact(small, tmp_path, importing):
    stamps = [1_700_000_000_000_000_001, 1_700_000_000_000_000_002, 3]
    lines = [f"0\t{row}\t{stamp}" for row, stamp in enumerate((*stamps[:2], "3.0"))]
    root = small("userID\titemID\ttimestamp\n" + "\n".join(lines))
    importing("mmrec", root, tmp_path / "out")
    assert pd.read_parquet(tmp_path / "out" / "interactions.parquet")["timestamp"].tolist() == stamps


def test_modalities_whose_names_mean_something_else_are_refused(small, refused):
    root = small(interaction=np.ones((3, 2), np.float32))
    assert "modality 'interaction' cannot be written" in refused(3, "mmrec", root)


def test_every_command_of_the_page_runs(mmrec, tmp_path, run_page):
    np.save(mmrec / "sound.npy", np.load(mmrec / "text_feat.npy"))
    assert run_page("formats/mmrec.md", tmp_path) >= 2
