"""The command: what it prints, and that whatever ends it leaves nothing behind."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

import numpy as np
import pytest

SCRIPT = str(Path(sys.executable).parent / "simulate")


def write_mmrec(root, events=2000, width=64):
    root.mkdir()
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 200, events), rng.integers(0, 300, events)
    lines = [f"{one}\t{other}\t{row}\n" for row, (one, other) in enumerate(zip(user, item, strict=True))]
    (root / "baby.inter").write_text("userID\titemID\ttimestamp\n" + "".join(lines))
    np.save(root / "text_feat.npy", rng.normal(size=(300, width)).astype(np.float32))
    return root


@pytest.fixture
def baby(tmp_path):
    return write_mmrec(tmp_path / "baby")


def entries(folder):
    return sorted(path.name for path in folder.iterdir())


def test_the_report_counts_what_went_where(baby, tmp_path, capsys):
    from stagelens.pipeline.cli import main

    words = [
        "mmrec",
        str(baby),
        str(tmp_path / "out"),
        "--min-user",
        "8",
        "--min-item",
        "3",
        "--licence",
        "mine",
    ]
    assert main(["data", "import", *words]) == 0
    said = capsys.readouterr().out
    for word in (
        "events read",
        "2,000",
        "repeat a user and an item",
        "outside the core (",
        "64 x float32",
    ):
        assert word in said
    assert f"Next: simulate data check {tmp_path / 'out'}" in " ".join(said.split())
    toml = tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())
    assert (toml["name"], toml["license"], toml["source"]) == ("out", "mine", "baby")
    assert toml["import"]["format"] == "mmrec"
    assert toml["import"]["options"]["min_user"] == 8
    assert sorted(toml["import"]["sha256"]) == ["baby.inter", "text_feat.npy"]
    assert main(["data", "check", str(tmp_path / "out")]) == 0


def test_the_same_import_gives_the_same_bytes(baby, tmp_path, importing):
    for name in ("one", "two"):
        importing("mmrec", baby, tmp_path / name, "--name", "baby")
    one, two = (
        {path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("one", "two")
    )
    assert one == two


def test_a_folder_that_is_not_empty_is_left_alone(baby, tmp_path, capsys):
    from stagelens.pipeline.cli import main

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "note").write_text("keep")
    assert main(["data", "import", "mmrec", str(baby), str(tmp_path / "mine")]) == 2
    assert "is not an empty folder" in capsys.readouterr().err
    assert entries(tmp_path) == ["baby", "mine"]
    assert (tmp_path / "mine" / "note").read_text() == "keep"


@pytest.fixture
def largest_file():
    """Let no file of this process grow beyond so many bytes."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("limit", [4_000, 20_000, 60_000])
def test_a_full_disk_is_said_and_leaves_nothing(baby, tmp_path, limit, importing, capsys, largest_file):
    """Limits that stop the spool (8 kB a column), the table of events, and the vectors (77 kB)."""
    from stagelens.pipeline.cli import main

    importing("mmrec", baby, tmp_path / "first")  # what is compiled is kept: nothing else is written
    shutil.rmtree(tmp_path / "first")
    largest_file(limit)
    status = main(["data", "import", "mmrec", str(baby), str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert status == 5, said
    assert "File too large" in said
    assert "free space" in said
    assert "--out" not in said  # import has no such option
    assert entries(tmp_path) == ["baby"]


@pytest.fixture
def large(baby):
    """The features are a file that grows to a gigabyte of zeros: enough time to be interrupted."""
    with (baby / "text_feat.npy").open("wb") as stream:
        said = {"descr": "<f4", "fortran_order": False, "shape": (300, 1 << 20)}
        np.lib.format.write_array_header_1_0(stream, said)
        stream.truncate(stream.tell() + 4 * 300 * (1 << 20))
    return baby


def wait_for_vectors(folder):
    for _ in range(600):
        if list(folder.glob(".out.partial-*/text.npy")):
            return True
        time.sleep(0.1)
    return False


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGHUP, 129)]
)
def test_a_process_that_is_ended_leaves_nothing(large, tmp_path, number, status):
    child = subprocess.Popen(
        [SCRIPT, "data", "import", "mmrec", str(large), str(tmp_path / "out")],
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(
            number, signal.SIG_DFL
        ),  # a job in the background ignores interrupts
    )
    assert wait_for_vectors(tmp_path)
    assert child.poll() is None
    child.send_signal(number)
    _, said = child.communicate(timeout=60)
    assert child.returncode == status, said
    assert entries(tmp_path) == ["baby"]
    assert "Traceback" not in said
    assert ("interrupted; nothing is left" in said) == (number == signal.SIGINT)


def test_an_import_gives_the_handlers_of_signals_back(baby, tmp_path, importing):
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    importing("mmrec", baby, tmp_path / "out")
    assert [signal.getsignal(number) for number in numbers] == before


@pytest.fixture
def nobody():
    """A folder that all may enter, and a way to become a user who owns nothing."""
    place = Path(tempfile.mkdtemp())
    place.chmod(0o755)
    own = os.geteuid()
    yield place, lambda: os.seteuid(65534) if own == 0 else None
    os.seteuid(own)
    for path in [place, *place.iterdir()]:
        path.chmod(0o700)
    shutil.rmtree(place)


@pytest.mark.parametrize(("mode", "parent"), [(0o000, 0o777), (0o755, 0o555)])
def test_a_folder_that_may_not_be_read_or_written_is_said(importing, capsys, nobody, mode, parent):
    from stagelens.pipeline.cli import main

    place, become = nobody
    baby = write_mmrec(place / "baby")
    importing("mmrec", baby, place / "first")  # all modules are loaded
    shutil.rmtree(place / "first")
    baby.chmod(mode)
    place.chmod(parent)
    become()
    assert main(["data", "import", "mmrec", str(baby), str(place / "out")]) == 5
    said = capsys.readouterr().err
    assert "Permission denied" in said
    assert "permissions" in said
    assert entries(place) == ["baby"]


def test_what_a_killed_import_left_is_named_and_stays(baby, tmp_path, capsys):
    from stagelens.pipeline.cli import main

    words = ["data", "import", "mmrec", str(baby), "--json"]
    for name in (".a[b].partial-0", ".a[b].partial-1", ".ab.partial-2"):
        (tmp_path / name).mkdir()
    assert main([*words, str(tmp_path / "a[b]")]) == 0
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith("note: an earlier import was killed")
    assert all(str(tmp_path / f".a[b].partial-{at}") in said for at in (0, 1))
    assert ".ab.partial-2" not in said
    assert len(entries(tmp_path)) == 5
    assert main([*words, str(tmp_path / "other")]) == 0
    assert capsys.readouterr().err == ""


def test_help_names_every_format(capsys):
    from stagelens.pipeline.cli import main
    from stagelens.pipeline.data.importers import FORMATS

    assert main(["data", "import", "--help"]) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in FORMATS)


def test_an_empty_separator_and_a_threshold_without_end(baby, tmp_path, importing, refused):
    assert "at least 1 character" in refused(2, "mmrec", baby, "--set", "separator=")
    text = (baby / "baby.inter").read_text().splitlines()
    (baby / "baby.inter").write_text("\n".join([f"{text[0]}\trating", *(f"{line}\t1" for line in text[1:])]))
    importing("mmrec", baby, tmp_path / "out", "--positive=-inf")
    said = tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())
    assert said["import"]["options"]["positive"] == -np.inf


def test_a_folder_whose_name_is_no_unicode(baby, tmp_path, importing):
    odd = baby.rename(os.fsdecode(os.fsencode(baby.parent) + b"/b\xffby"))
    importing("mmrec", odd, tmp_path / "out")
    assert tomllib.loads((tmp_path / "out" / "dataset.toml").read_text())["source"] == "b?by"


def test_every_command_of_the_guide_runs(tmp_path, run_page):
    root = write_mmrec(tmp_path / "baby")
    text = (root / "baby.inter").read_text().splitlines()
    rows = [f"{text[0]}\trating", *(f"{line}\t{row % 5 + 1}" for row, line in enumerate(text[1:]))]
    (root / "baby.inter").write_text("\n".join(rows))
    assert run_page("import.md", tmp_path) >= 4
