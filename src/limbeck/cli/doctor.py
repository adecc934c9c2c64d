"""`limbeck doctor`: what a run would have at hand on this machine."""

from __future__ import annotations

import platform
import re
import shutil
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import torch
from rich.console import Group, RenderableType
from rich.table import Table

from limbeck.evaluation.machine import machine
from limbeck.files import cache_directory
from limbeck.optional import CORE
from limbeck.training.choices import resolve_precision

_NAME = re.compile(r"[A-Za-z0-9._-]+")
_EXTRA = re.compile(r"extra == ['\"]([^'\"]+)['\"]")
GIGABYTE = 1e9


def examination() -> RenderableType:
    """Tables of versions, devices and disks, and of the extras with what each of them lacks."""
    facts = {
        "python": platform.python_version(),
        **{name: version(name) for name in CORE},
        **dict(map(_device, ["cpu", *_accelerators()])),
        "working directory": _free(Path.cwd()),
        "cache": _free(cache_directory()),
    }
    width = max(map(len, facts))
    extras = Table("extra", "packages", "missing", box=None)
    for extra, packages in sorted(packages_of_extras().items()):
        there = {package: _installed(package) for package in packages}
        extras.add_row(
            extra,
            ", ".join(f"{package} {known}" for package, known in there.items() if known),
            ", ".join(package for package, known in there.items() if not known) or "nothing",
        )
    advice = "`pip install 'limbeck[EXTRA]'` brings what an extra lacks."
    return Group(*(f"{name:<{width}}  {value}" for name, value in facts.items()), "", extras, "", advice)


def packages_of_extras() -> dict[str, list[str]]:
    """The packages of each extra of limbeck that users may want; what it takes over of others is left out."""
    found: dict[str, list[str]] = {}
    for line in requires("limbeck") or []:
        extra, name = _EXTRA.search(line), _NAME.match(line)
        if extra and name and extra[1] != "dev" and name[0] != "limbeck":
            found.setdefault(extra[1], []).append(name[0])
    return found


def _installed(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _accelerators() -> list[str]:
    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def _device(name: str) -> tuple[str, str]:
    device = torch.device(name)
    its = machine(device)
    threads = f", {its.threads} thread{'s' if its.threads != 1 else ''}" if name == "cpu" else ""
    return name, f"{its.processor}{threads}, trains in {resolve_precision('auto', device)}"


def _free(folder: Path) -> str:
    there = next(each for each in (folder, *folder.parents) if each.exists())
    return f"{folder}, {shutil.disk_usage(there).free / GIGABYTE:,.1f} GB free"
