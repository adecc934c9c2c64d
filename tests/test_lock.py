"""`make` installs from the locks: each has to answer for every dependency that it is used for."""

import re
from importlib.metadata import requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

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
    "requirements-zoo.lock": ("zoo", "detection", *RUN),
}
"""The locks, and the extras that each is for besides limbeck itself."""


def locked(lock: str) -> dict[Requirement, list[str]]:
    """What a lock holds, with the hashes of its files."""
    text = (ROOT / lock).read_text(encoding="utf-8").replace("\\\n", " ")
    found = {}
    for line in filter(None, (line.partition("#")[0].strip() for line in text.splitlines())):
        requirement, *hashes = line.split("--hash=")
        found[Requirement(requirement)] = [each.strip() for each in hashes]
    return found


OLDEST_PYTHON = {"python_version": "3.10", "python_full_version": "3.10.0"}


def pins(lock: str, interpreter: dict[str, str] | None = None) -> dict[str, str]:
    """The versions locked for an interpreter, the running one if None, by name."""
    files = (lock, "requirements-torch.lock") if lock == "requirements.lock" else (lock,)
    return {
        canonicalize_name(pin.name): str(pin.specifier).removeprefix("==")
        for file in files
        for pin in locked(file)
        if pin.marker is None or pin.marker.evaluate(interpreter)
    }


@pytest.mark.parametrize("lock", LOCKS)
@pytest.mark.parametrize("dependency", requires("limbeck") or [])
def test_dependency_is_locked_at_a_version_that_fits(dependency: str, lock: str) -> None:
    declared = Requirement(dependency)
    if declared.name == "limbeck":
        pytest.skip("an extra that takes over others")
    if declared.marker is not None and not any(declared.marker.evaluate({"extra": e}) for e in LOCKS[lock]):
        pytest.skip("another lock's")
    pin = pins(lock).get(canonicalize_name(declared.name))
    assert pin is not None, f"{declared.name} is in pyproject.toml but not in {lock}: run `make lock`"
    assert declared.specifier.contains(pin), f"{declared} is locked at {pin}: run `make lock`"


@pytest.mark.parametrize("dependency", requires("limbeck") or [])
def test_oldest_is_the_lower_bound(dependency: str) -> None:
    declared = Requirement(dependency)
    if declared.name == "limbeck":
        pytest.skip("an extra that takes over others")
    oldest = pins("requirements-oldest.lock", OLDEST_PYTHON).get(canonicalize_name(declared.name))
    assert oldest is not None, f"{declared.name} is not in requirements-oldest.lock: run `make lock`"
    (bound,) = declared.specifier
    assert bound.operator == ">="
    assert Version(oldest) == Version(bound.version), f"{declared} is tested at {oldest} only"


def test_torch_is_locked_at_the_release_that_limbeck_is_tested_with() -> None:
    assert pins("requirements.lock")["torch"] == "2.13.0"


HASHED = [*LOCKS, "requirements-oldest.lock", "requirements-docs.lock", "requirements-uv.lock"]


@pytest.mark.parametrize("lock", HASHED)
def test_whatever_is_locked_but_torch_has_the_hashes_of_its_files(lock: str) -> None:
    found = locked(lock)
    assert found
    for pin, hashes in found.items():
        assert hashes, f"{pin} in {lock} has no hash: run `make lock`"
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", each) for each in hashes)
    assert [str(pin) for pin in locked("requirements-torch.lock")] == ["torch==2.13.0"]


@pytest.mark.parametrize("lock", [*HASHED, "requirements-torch.lock"])
def test_lock_names_no_registry_and_no_path(lock: str) -> None:
    text = (ROOT / lock).read_text(encoding="utf-8")
    assert "://" not in text
    assert " @ " not in text
