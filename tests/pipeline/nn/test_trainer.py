from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from stagelens.pipeline.errors import ConfigError

torch = pytest.importorskip("torch", reason="needs torch (extra: neural)")

from stagelens.pipeline.nn.checkpoint import Checkpoint  # noqa: E402  # they import torch
from stagelens.pipeline.nn.device import device_named, one_thread  # noqa: E402
from stagelens.pipeline.nn.trainer import Schedule, Trainer  # noqa: E402

RNG = np.random.default_rng(0)
X = torch.from_numpy(RNG.standard_normal((256, 48)).astype(np.float32))
Y = torch.from_numpy(RNG.standard_normal((256, 1)).astype(np.float32))


def trainer(schedule=None, *, seed=0, judge=None, checkpoint=None, rate=0.01, noise_scale=0.1):
    model = torch.nn.Sequential(torch.nn.Linear(48, 64), torch.nn.ReLU(), torch.nn.Linear(64, 1))
    rng = np.random.default_rng(seed)
    for weight in model.parameters():
        drawn = rng.standard_normal(tuple(weight.shape)).astype(np.float32) / 10
        weight.data.copy_(torch.from_numpy(drawn))

    def loss(places, noise):
        part = torch.from_numpy(places)
        moved = X[part] + noise_scale * torch.empty(len(places), 48).normal_(generator=noise)
        return ((model(moved) - Y[part]) ** 2).mean()

    return Trainer(
        model=model,
        optimiser=torch.optim.AdamW(model.parameters(), lr=rate),
        loss=loss,
        draw=lambda order: order.permutation(len(X)),
        schedule=schedule or Schedule(epochs=6, batch=32),
        rng=np.random.default_rng(seed + 1),
        seed=seed,
        judge=judge,
        checkpoint=checkpoint,
    )


def bytes_of(made):
    return b"".join(value.numpy().tobytes() for value in made.model.state_dict().values())


def run(**options):
    made = trainer(**options)
    made.run()
    return bytes_of(made)


def test_same_seed_same_weights_whatever_the_threads():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        first = run()
        torch.set_num_threads(2)
        assert run() == first
        assert torch.get_num_threads() == 2, "the threads are given back"
    finally:
        torch.set_num_threads(before)
    assert run(seed=1) != first


def test_trainings_side_by_side_do_not_disturb_each_other():
    alone = [run(seed=seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda seed: run(seed=seed), range(4))) == alone


def test_nested_and_failed_trainings_give_the_threads_back():
    before = torch.get_num_threads()

    def fail():
        with one_thread(), one_thread():
            assert torch.get_num_threads() == 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert torch.get_num_threads() == before


def test_training_stops_early_and_restores_the_best_epoch():
    curve = iter([0.1, 0.5, 0.3, 0.2, 0.4, 0.1, 0.9])
    seen = []

    def judge():
        seen.append(bytes_of(made))
        return next(curve)

    made = trainer(Schedule(epochs=7, batch=32, patience=3), judge=judge)
    done = made.run()
    assert (done.best, done.epochs, done.curve) == (2, 5, [0.1, 0.5, 0.3, 0.2, 0.4])
    assert bytes_of(made) == seen[1] != seen[-1]
    assert not made.model.training


def test_an_average_over_epochs_decides():
    curve = iter([0.1, 0.9, 0.1, 0.5, 0.6, 0.1])
    done = trainer(Schedule(epochs=6, batch=32, smoothing=2), judge=lambda: next(curve)).run()
    assert done.best == 5, "0.55 over the last two; the lone 0.9 stands between 0.1 and 0.1"


def test_without_valid_all_epochs_are_trained_and_the_last_is_kept():
    whole = trainer(Schedule(epochs=4, batch=32, patience=1))
    done = whole.run()
    assert (done.best, done.epochs, done.curve) == (4, 4, [])
    assert bytes_of(whole) == run(schedule=Schedule(epochs=4, batch=32))


def test_the_mean_of_the_weights_is_judged_and_kept_and_training_goes_on_from_the_weights():
    judged = []
    plain = trainer(Schedule(epochs=3, batch=32))
    plain.run()
    made = trainer(
        Schedule(epochs=3, batch=32, averaging=0.9), judge=lambda: judged.append(bytes_of(made)) or 0.0
    )
    state = {}

    class Kept:
        def read(self):
            return None

        def write(self, given):
            state["last"] = b"".join(value.numpy().tobytes() for value in given["model"].values())

    made.checkpoint = Kept()
    made.run()
    last = state["last"]
    assert last == bytes_of(plain), "averaging does not touch what is trained"
    assert bytes_of(made) == judged[0] != last, "of equal values the first is kept"


def test_a_loss_that_is_no_number_ends_training():
    with pytest.raises(FloatingPointError, match=r"loss of epoch 1 is (nan|inf).*learning_rate"):
        trainer(Schedule(epochs=3, batch=8), rate=1e30).run()


def test_a_training_goes_on_from_every_epoch(tmp_path):
    """Stopped after any epoch, by whatever, and gone on with: the same weights and the same curve."""
    schedule = Schedule(epochs=6, batch=32, smoothing=2, averaging=0.95, patience=3)

    def fit(stop_after):
        checkpoint = Checkpoint(tmp_path / f"{stop_after}" / "one.pt", "key")
        calls = []

        def judge():
            calls.append(0)
            if stop_after is not None and len(calls) > stop_after:
                raise KeyboardInterrupt
            with torch.no_grad():
                return -float(((made.model(X) - Y) ** 2).mean())

        made = trainer(schedule, judge=judge, checkpoint=checkpoint)
        try:
            done = made.run()
        except KeyboardInterrupt:
            stop_after = None
            made = trainer(schedule, judge=judge, checkpoint=checkpoint)
            done = made.run()
            assert len(calls) < 2 * done.epochs, "it did not begin again"
        return bytes_of(made), done

    whole = fit(None)
    for stop_after in (1, 3, 5):
        assert fit(stop_after) == whole


def test_a_checkpoint_of_another_training_or_a_damaged_one_is_not_gone_on_from(tmp_path):
    own = Checkpoint(tmp_path / "one.pt", "key")
    fresh = run()
    own.write({"epoch": 3})
    assert own.read() == {"epoch": 3, "key": "key"}
    other = Checkpoint(own.path, "another")
    assert other.read() is None
    assert run(checkpoint=other) == fresh
    whole = own.path.read_bytes()
    for damaged in (b"", whole[:50], whole[: len(whole) // 2], b"\x80\x04nothing"):
        own.path.write_bytes(damaged)
        assert own.read() is None
    own.remove()
    own.remove()
    assert own.read() is None


class Hostile:
    def __reduce__(self):
        return os.system, ("echo harm",)


def test_a_checkpoint_can_build_nothing_but_numbers(tmp_path, capfd):
    own = Checkpoint(tmp_path / "one.pt", "key")
    own.path.write_bytes(pickle.dumps({"key": "key", "model": Hostile()}))
    assert own.read() is None
    torch.save({"key": "key", "model": Hostile()}, own.path)
    assert own.read() is None
    assert "harm" not in capfd.readouterr().out


def test_a_checkpoint_is_whole_or_that_of_the_epoch_before(tmp_path, monkeypatch):
    own = Checkpoint(tmp_path / "one.pt", "key")
    own.write({"epoch": 1})
    monkeypatch.setattr(
        os, "fsync", lambda handle: (_ for _ in ()).throw(OSError(28, "No space left on device"))
    )
    with pytest.raises(OSError, match=r"one\.pt could not be written.*No space left.*disk full"):
        own.write({"epoch": 2})
    assert own.read()["epoch"] == 1
    assert [path.name for path in tmp_path.iterdir()] == ["one.pt"]


CHILD = """
    import sys, time
    sys.path.insert(0, sys.argv[1])
    import importlib.util
    spec = importlib.util.spec_from_file_location("trainer_of_test", sys.argv[1])
    there = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(there)
    from pathlib import Path
    def judge():
        time.sleep(0.2)
        return 0.0
    checkpoint = there.Checkpoint(Path(sys.argv[2]), "key")
    there.trainer(there.Schedule(epochs=200, batch=32), judge=judge, checkpoint=checkpoint).run()
"""


def test_killed_and_gone_on_with_gives_the_same_weights(tmp_path):
    path = tmp_path / "one.pt"
    command = [sys.executable, "-c", textwrap.dedent(CHILD), __file__, str(path)]
    child = subprocess.Popen(command, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 120
    while not path.exists() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    child.send_signal(signal.SIGKILL)
    child.communicate()
    assert child.returncode == -signal.SIGKILL, "killed in the middle"
    checkpoint = Checkpoint(path, "key")
    reached = checkpoint.read()["epoch"]
    schedule = Schedule(epochs=reached + 3, batch=32)
    passes = []
    made = trainer(schedule, checkpoint=checkpoint)
    draw = made.draw
    made.draw = lambda rng: passes.append(0) or draw(rng)
    made.run()
    assert len(passes) == 3, "it went on"
    assert bytes_of(made) == run(schedule=schedule)


def test_devices_by_name():
    assert device_named("cpu").type == "cpu"
    with pytest.raises(ConfigError, match=r"Unknown device 'gpu'.*auto, cpu, cuda"):
        device_named("gpu")


@pytest.mark.skipif(torch.cuda.is_available(), reason="has a CUDA device")
def test_a_device_that_is_not_there():
    assert device_named("auto").type == "cpu"
    with pytest.raises(ConfigError, match=r"'cuda'.*finds no CUDA device.*Allowed here: auto, cpu"):
        device_named("cuda")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")
def test_a_device_that_is_there():
    assert device_named("auto").type == device_named("cuda").type == "cuda"
