"""`make` installs from the locks: each has to answer for every dependency that it is used for."""

from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
RUN = ("data", "report", "run")
LOCKS = {
    "requirements.lock": (
        "dev",
        "detection",
        "gguf",
        "hf",
        "lightning",
        "lora",
        "onnx",
        "ray",
        "retrieval",
        "slurm",
        "tune",
        *RUN,
    ),
    "requirements-zoo.lock": ("zoo", *RUN),
}
"""The locks, and the extras that each is for besides limbeck itself."""


def pins(lock: str) -> dict[str, str]:
    """The versions locked for the running interpreter, by name."""
    lines = (
        line.partition("#")[0].strip() for line in (ROOT / lock).read_text(encoding="utf-8").splitlines()
    )
    locked = [Requirement(line) for line in lines if line]
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for pin in locked
        if pin.marker is None or pin.marker.evaluate()
    }


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("dependency", requires("limbeck") or [])
def test_dependency_is_locked_at_a_version_that_fits(dependency: str, lock: str) -> None:
    declared = Requirement(dependency)
    if declared.name == "limbeck":
        pytest.skip("an extra that takes over others")
    if declared.marker is not None and not any(declared.marker.evaluate({"extra": e}) for e in LOCKS[lock]):
        pytest.skip("another lock's")
    locked = pins(lock).get(canonicalize_name(declared.name))
    assert locked is not None, f"{declared.name} is in pyproject.toml but not in {lock}: run `make lock`"
    assert declared.specifier.contains(locked), f"{declared} is locked at {locked}: run `make lock`"


def test_torch_is_locked_at_the_release_that_limbeck_is_tested_with() -> None:
    assert pins("requirements.lock")["torch"] == "2.13.0"


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_registry_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert " @ " not in text
