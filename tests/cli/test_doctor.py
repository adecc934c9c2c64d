"""limbeck doctor and --version."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import torch
from command import Command

import limbeck
from limbeck.cli import doctor


def test_the_version_is_that_of_the_package(command: Command) -> None:
    assert limbeck.__version__ == version("limbeck")
    assert command("--version").out == f"limbeck {version('limbeck')}\n"


def test_versions_devices_and_disk(command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "not" / "made"))
    answer = command("doctor")
    assert answer.code == 0
    rows = {line.split()[0]: line for line in answer.out.splitlines() if line.strip()}
    assert version("torch") in rows["torch"]
    assert "trains in " in rows["cpu"]
    assert f"{torch.get_num_threads()} thread" in rows["cpu"]
    assert f"{tmp_path / 'not' / 'made'}, " in rows["cache"]
    assert "GB free" in rows["cache"]
    assert not (tmp_path / "not").exists()


def test_what_an_extra_lacks_is_named(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def known(package: str) -> str:
        if package == "onnxruntime":
            raise PackageNotFoundError(package)
        return "1.0"

    monkeypatch.setattr(doctor, "version", known)
    lines = command("doctor").out.splitlines()
    onnx = next(line for line in lines if line.split()[:1] == ["onnx"])
    assert onnx.split() == ["onnx", "onnx", "1.0,", "onnxscript", "1.0", "onnxruntime"]


def test_each_extra_that_users_may_want_is_listed() -> None:
    extras = doctor.packages_of_extras()
    assert extras["onnx"] == ["onnx", "onnxruntime", "onnxscript"]
    assert "dev" not in extras
    assert not any("limbeck" in packages for packages in extras.values())
