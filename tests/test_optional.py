"""limbeck.optional: the core alone serves losses and Distiller; what needs more names the extra."""

from __future__ import annotations

import platform
import subprocess
import sys
from importlib.metadata import version

import pytest

from limbeck.errors import LimbeckError
from limbeck.optional import EXTRAS, MissingPackageError, imported, need

WITHOUT = f"import sys\nsys.modules.update(dict.fromkeys({sum(EXTRAS.values(), ())!r}))\n"
"""What makes a process one in which only torch, numpy, pydantic and safetensors are installed."""


def core_alone(script: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", WITHOUT + script, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120)


def test_losses_and_distiller_need_the_core_alone() -> None:
    done = core_alone(
        "import torch\n"
        "from torch import nn\n"
        "import limbeck\n"
        "from limbeck.losses import kd\n"
        "print(float(kd(torch.tensor([[1.0, 0.0]]), torch.tensor([[1.0, 0.0]]))))\n"
        "networks = [nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)) for _ in range(2)]\n"
        "distiller = limbeck.Distiller(*networks, 'ce + kd + icd', example=torch.ones(2, 4))\n"
        "distiller(torch.ones(8, 4), torch.zeros(8, dtype=torch.int64)).backward()\n"
        "print(networks[0][0].weight.grad is not None, networks[1][0].weight.grad)\n"
    )
    assert done.stdout == "0.0\nTrue None\n", done.stderr


@pytest.mark.parametrize(
    ("room", "extra"),
    [("data", "data"), ("training", "run"), ("runs", "run"), ("studies", "run"), ("report", "report")],
)
def test_a_room_names_the_extra_that_it_needs(room: str, extra: str) -> None:
    done = core_alone(
        f"try:\n    import limbeck.{room}\n"
        "except ImportError as error:\n    print(type(error).__name__, error)\n"
    )
    assert done.stdout.startswith(f"MissingPackageError limbeck.{room} needs "), done.stderr
    assert f"`pip install 'limbeck[{extra}]'` brings what is missing" in done.stdout


def test_the_command_line_without_its_packages_is_one_sentence() -> None:
    done = core_alone("from limbeck.__main__ import main\nmain()", "--help")
    assert done.returncode == 2
    assert done.stderr.startswith("limbeck: the command line needs datasets, pillow, psutil, ")
    assert done.stderr.endswith("`pip install 'limbeck[run]'` brings what is missing\n")


def test_versions_are_told_without_the_packages_of_the_command_line() -> None:
    asked = "from limbeck.__main__ import main\nmain()"
    done = core_alone(asked, "--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"limbeck {version('limbeck')}\n", "")
    done = core_alone(asked, "doctor")
    assert (done.returncode, done.stderr) == (0, "")
    *versions, missing = done.stdout.splitlines()
    assert versions[:2] == [f"python {platform.python_version()}", f"limbeck {version('limbeck')}"]
    assert f"torch {version('torch')}" in versions
    assert missing.startswith("the command line needs datasets, pillow, ")
    assert missing.endswith("`pip install 'limbeck[run]'` brings what is missing")


def test_what_is_installed_is_not_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    need("limbeck.runs", "data", "report", "run")
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(MissingPackageError, match=r"^channels needs scipy; `pip install 'limbeck\[run\]'`"):
        need("channels", "data", "run")


def test_a_package_that_is_not_there_is_the_users_to_install() -> None:
    with pytest.raises(LimbeckError, match=r"^nowhere_at_all is not installed; `pip install 'limbeck\[x\]'`"):
        imported("nowhere_at_all.part", "x")
