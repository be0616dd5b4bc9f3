"""Which FAISS, and where it searches: decisions that need no GPU to be tested."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from stagelens.pipeline.errors import ConfigError, MissingExtra, StageLensWarning
from stagelens.recall import devices, index
from stagelens.recall.devices import GPU_MAX_DEPTH, faiss_conflict, gpu_fault, use_gpu
from stagelens.recall.faiss_index import FaissIndex

faiss = pytest.importorskip("faiss")


def installed(folder: Path, *names: str) -> list[str]:
    for name in names:
        meta = folder / f"{name.replace('-', '_')}-1.0.dist-info"
        meta.mkdir()
        (meta / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    return [str(folder)]


def test_two_faiss_wheels_are_refused_with_the_mend(tmp_path: Path) -> None:
    said = faiss_conflict(installed(tmp_path, "faiss-cpu", "faiss-gpu-cu12", "numpy"))
    assert said is not None
    assert "pip uninstall -y faiss-cpu faiss-gpu-cu12 && pip install faiss-gpu-cu12" in said


@pytest.mark.parametrize("names", [("faiss-cpu",), ("faiss_gpu_cu12",), ("numpy",)])
def test_one_faiss_wheel_is_fine(tmp_path: Path, names: tuple[str, ...]) -> None:
    assert faiss_conflict(installed(tmp_path, *names)) is None


def test_a_conflict_stops_every_index(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(devices, "_checked_conflict", lambda: "two wheels")
    with pytest.raises(ConfigError, match="two wheels"):
        index.build(np.eye(3, dtype=np.float32))


def test_where_to_search() -> None:
    assert use_gpu("cpu", None) == (False, "")
    assert use_gpu("cpu", "broken") == (False, "")
    assert use_gpu("auto", None)[0]
    assert use_gpu("cuda", None)[0]
    assert use_gpu("auto", "no CUDA device is visible") == (
        False,
        "FAISS searches on the CPU: no CUDA device is visible",
    )
    with pytest.raises(ConfigError, match="no CUDA device is visible"):
        use_gpu("cuda", "no CUDA device is visible")


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="this FAISS is a GPU build")
def test_a_cpu_build_says_so_and_auto_falls_back() -> None:
    assert "CPU build" in str(gpu_fault())
    vectors = np.eye(4, dtype=np.float32)
    assert "CPU build" in index.build(vectors, device="auto").note
    assert index.build(vectors, device="cpu").note == ""
    with pytest.raises(ConfigError, match="CPU build"):
        index.build(vectors, device="cuda")


def test_the_probe_fails_without_a_gpu_and_does_not_take_us_along() -> None:
    if hasattr(faiss, "StandardGpuResources") and faiss.get_num_gpus():
        pytest.skip("there is a GPU")
    done = subprocess.run([sys.executable, "-c", devices.PROBE], capture_output=True, text=True, check=False)
    assert done.returncode != 0


def flat(vectors: np.ndarray) -> faiss.IndexFlatIP:
    made = faiss.IndexFlatIP(vectors.shape[1])
    made.add(vectors)
    return made


def test_depths_beyond_the_gpu_are_answered_by_the_cpu() -> None:
    vectors = np.random.default_rng(0).normal(size=(GPU_MAX_DEPTH + 500, 8)).astype(np.float32)
    # Two plain CPU indexes with different contents stand for the two sides, so one can tell who answered.
    both = FaissIndex(flat(vectors), True, 0, gpu=flat(vectors[::-1].copy()))
    query = vectors[:3]
    last = len(vectors) - 1
    shallow, _ = both.search(query, GPU_MAX_DEPTH)
    deep, _ = both.search(query, GPU_MAX_DEPTH + 1)
    np.testing.assert_array_equal(shallow[:, 0], last - np.argmax(query @ vectors.T, axis=1))
    np.testing.assert_array_equal(deep[:, 0], np.argmax(query @ vectors.T, axis=1))


def test_a_search_that_fails_on_the_gpu_is_answered_by_the_cpu() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    broken = faiss.index_factory(8, "IVF4,Flat", faiss.METRIC_INNER_PRODUCT)  # never trained: search raises
    both = FaissIndex(flat(vectors), True, 0, gpu=broken)
    devices.say_once.cache_clear()
    with pytest.warns(StageLensWarning, match="the CPU answers"):
        found, _ = both.search(vectors[:4], 5)
    np.testing.assert_array_equal(found[:, 0], np.argmax(vectors[:4] @ vectors.T, axis=1))


def test_without_faiss_numpy_serves_and_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)
    devices.say_once.cache_clear()
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    with pytest.warns(StageLensWarning, match="NumPy index serves"):
        made = index.build(vectors)
    made = index.build(vectors)  # a second warning would be an error
    assert made.exact
    found, score = made.search(vectors[:4], 60)
    np.testing.assert_array_equal(found[:, 0], np.argmax(vectors[:4] @ vectors.T, axis=1))
    assert (found[:, 50:] == -1).all()
    assert (np.diff(score[:, :50], axis=1) <= 0).all()
    with pytest.raises(MissingExtra, match=r"stagelens\[cpu\]"):
        index.build(vectors, factory="HNSW16")
    with pytest.raises(ConfigError, match="FAISS is not installed"):
        index.build(vectors, device="cuda")


def test_the_room_imports_nothing_heavy() -> None:
    code = (
        "import sys, stagelens.recall; "
        "heavy = {'faiss', 'numba', 'scipy', 'pandas', 'torch', 'lightgbm', 'pyarrow'} & set(sys.modules); "
        "sys.exit(f'{heavy} were imported' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.skipif(gpu_fault() is not None, reason=f"no GPU for FAISS: {gpu_fault()}")
@pytest.mark.parametrize("depth", [50, GPU_MAX_DEPTH + 10])
def test_the_gpu_finds_what_the_cpu_finds(depth: int) -> None:
    vectors = np.random.default_rng(0).normal(size=(3000, 16)).astype(np.float32)
    cpu, gpu = (index.build(vectors, device=device) for device in ("cpu", "cuda"))
    one, other = cpu.search(vectors[:40], depth), gpu.search(vectors[:40], depth)
    np.testing.assert_allclose(one[1], other[1], rtol=1e-4, atol=1e-5)
    assert (one[0] == other[0]).mean() > 0.999
