"""limbeck imports only what pyproject.toml declares for its users, not what happens to be installed."""

import ast
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions, requires
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from loaded_modules import modules_after

SOURCE = Path(__file__).parents[1] / "src"


def imported() -> Iterator[tuple[str, str]]:
    """(file, package) of every absolute import in the source, wherever in the file it stands."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
                names = [node.module]
            else:
                continue
            yield from ((str(path.relative_to(SOURCE)), name.partition(".")[0]) for name in names)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 does not know who brings a module")
def test_every_import_is_declared() -> None:
    requirements = [Requirement(line) for line in requires("limbeck") or []]
    for_users = [each for each in requirements if 'extra == "dev"' not in str(each.marker)]
    declared = {canonicalize_name(each.name) for each in for_users} | {"limbeck"}
    owners = packages_distributions()
    undeclared = [
        f"{package} in {path}"
        for path, package in imported()
        if package not in sys.stdlib_module_names
        and not declared & {canonicalize_name(owner) for owner in owners.get(package, [])}
    ]
    assert undeclared == []


HEAVY = {"accelerate", "datasets", "rich", "scipy", "sklearn", "tokenizers"}
"""What only data, training and the command line need."""


@pytest.mark.parametrize(
    "door",
    ["checks", "distiller", "features", "models", "objective", "outputs", "tasks", "teachers"],
)
def test_the_distiller_and_the_rooms_below_it_load_neither_data_nor_trainer(door: str) -> None:
    loaded = modules_after(f"limbeck.{door}")
    assert not {module.partition(".")[0] for module in loaded} & HEAVY
    assert not loaded & {"limbeck.data", "limbeck.training"}


def test_no_method_loads_data_or_trainer() -> None:
    names = [path.stem for path in sorted((SOURCE / "limbeck" / "methods").glob("*.py"))]
    assert "kd" in names
    loaded = modules_after(*(f"limbeck.methods.{name}" for name in names if name != "__init__"))
    assert not {module.partition(".")[0] for module in loaded} & HEAVY
    assert not loaded & {"limbeck.data", "limbeck.training"}
