"""Which code and which libraries findings follow from: another instrument never prints an old one's findings."""

from __future__ import annotations

import hashlib
from fnmatch import fnmatch
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from stagelens.pipeline.experiment.outputs import versions

ROOMS = ("pipeline", "recall", "rerank")
APART = (
    "pipeline/cli/*",
    "pipeline/report/*",
    "pipeline/certify/bounds.py",
    "pipeline/certify/certificate.py",
    "pipeline/certify/figures.py",
    "pipeline/certify/page.py",
    "pipeline/certify/pool.py",
    "pipeline/experiment/estimate.py",
    "pipeline/experiment/exports.py",
    "pipeline/experiment/pilot*.py",
    "pipeline/experiment/sparsity.py",
    "pipeline/experiment/sparsity_[!o]*.py",
    "pipeline/experiment/integration.py",
    "pipeline/experiment/integration_[!o]*.py",
    "pipeline/experiment/kinds.py",
    "pipeline/experiment/knockouts.py",
    "pipeline/experiment/loo*.py",
    "pipeline/experiment/references.py",
    "pipeline/experiment/references_[!o]*.py",
    "pipeline/experiment/tuning.py",
    "pipeline/experiment/tuning_[!o]*.py",
    "recall/interaction/ease_kernel.py",
    "recall/interaction/hals.py",
    "recall/interaction/implicit_fits.py",
    "recall/interaction/pairwise.py",
    "recall/interaction/ridge.py",
    "recall/interaction/slim_kernel.py",
)
"""What only prints, counts or schedules findings, and studies and channels that the certificate does not make."""
LIBRARIES = ("numpy", "scipy", "numba", "lightgbm", "faiss-cpu", "faiss-gpu-cu12")


def sources() -> dict[str, Path]:
    """Return the files that findings follow from, by room and path; whatever is not known to stand apart counts."""
    found = {}
    for room in ROOMS:
        spec = find_spec(f"stagelens.{room}")
        assert spec is not None
        assert spec.origin is not None
        folder = Path(spec.origin).parent
        for path in sorted(folder.rglob("*.py")):
            name = f"{room}/{path.relative_to(folder).as_posix()}"
            if not any(fnmatch(name, pattern) for pattern in APART):
                found[name] = path
    return found


@cache
def code() -> str:
    """Return the hex SHA-256 over these files and their names."""
    digest = hashlib.sha256()
    for name, path in sources().items():
        digest.update(f"{name}\n{hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()


def libraries() -> dict[str, str]:
    """Return the versions of the libraries that compute."""
    return {name: version for name, version in versions().items() if name in LIBRARIES}
