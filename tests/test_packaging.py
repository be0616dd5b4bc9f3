"""The package as it is installed: declared folders, data files, public names, version, wheel."""

from __future__ import annotations

import importlib
import inspect
import shutil
import subprocess
import sys
import tomllib
import zipfile
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ROOMS = ("pipeline", "recall", "rerank", "fusion", "configs")
VOCABULARIES = ("pipeline", "recall", "rerank", "fusion")


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def packages() -> set[str]:
    """Every folder with an ``__init__.py``, by its mounted name."""
    found = set()
    for room in ROOMS:
        for init in (ROOT / room).rglob("__init__.py"):
            found.add(".".join(["stagelens", *init.parent.relative_to(ROOT).parts]))
    return found


def sources() -> set[str]:
    """Every file that has to be in a wheel, by its place there."""
    suffixes = {".py", ".toml", ".json", ".typed"}
    found = set()
    for room in ROOMS:
        for path in (ROOT / room).rglob("*"):
            if (
                path.is_file()
                and "__pycache__" not in path.parts
                and (path.suffix in suffixes or path.name == "py.typed")
            ):
                found.add("/".join(["stagelens", *path.relative_to(ROOT).parts]))
    return found


def test_every_folder_is_a_declared_package() -> None:
    assert set(project()["tool"]["setuptools"]["packages"]) == packages()


def test_every_folder_with_modules_is_a_package() -> None:
    for room in ROOMS:
        for module in (ROOT / room).rglob("*.py"):
            assert (module.parent / "__init__.py").is_file(), f"{module.parent} has no __init__.py"


def test_the_ground_is_no_package_of_its_own() -> None:
    assert not (ROOT / "stagelens").exists(), "a stagelens/ folder would shadow the installed package"


def test_data_files_are_installed() -> None:
    assert (files("stagelens.pipeline.report") / "summary.schema.json").is_file()
    assert (files("stagelens.configs") / "quickstart.toml").is_file()
    for room in ROOMS:
        assert (files(f"stagelens.{room}") / "py.typed").is_file(), room


@pytest.mark.parametrize("room", VOCABULARIES)
def test_public_names_exist_and_are_documented(room: str) -> None:
    module = importlib.import_module(f"stagelens.{room}")
    for name in module.__all__:
        value = getattr(module, name)
        if inspect.isclass(value) or inspect.isfunction(value):
            assert (value.__doc__ or "").strip(), f"stagelens.{room}.{name} has no docstring"


def test_modules_have_docstrings() -> None:
    for place in sorted(sources()):
        if place.endswith(".py"):
            text = (ROOT / Path(*Path(place).parts[1:])).read_text(encoding="utf-8")
            assert text.lstrip().startswith(('"""', 'r"""')), f"{place} does not begin with a docstring"


def test_the_version_is_declared_once() -> None:
    assert version("stagelens") == project()["project"]["version"]


def test_the_wheel_holds_everything_and_nothing_else(tmp_path: Path) -> None:
    pytest.importorskip("setuptools", minversion="77", reason="building here needs setuptools")
    for room in ROOMS:
        shutil.copytree(ROOT / room, tmp_path / room, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path / name)
    code = "import sys; from setuptools import build_meta; build_meta.build_wheel(sys.argv[1])"
    built = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "dist")],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr[-2000:]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    metadata = {name for name in names if ".dist-info/" in name}
    assert names - metadata == sources()
