"""Packages that limbeck can do without."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from typing import Any

from limbeck.errors import LimbeckError

CORE = ("limbeck", "torch", "numpy", "pydantic", "safetensors")
"""Packages that are always there."""
EXTRAS = {
    "data": ("datasets", "PIL", "psutil", "pyarrow", "rich", "sklearn", "tokenizers"),
    "report": ("jinja2", "markupsafe", "plotly"),
    "run": ("accelerate", "filelock", "huggingface_hub", "scipy", "tensorboard", "typer", "yaml"),
}
"""Modules of the extras that whole rooms of limbeck need; `run` brings the other two."""
PACKAGES = {
    "PIL": "pillow",
    "huggingface_hub": "huggingface-hub",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
"""Packages by their modules, where they have another name."""


class MissingPackageError(LimbeckError, ImportError):
    """A package is not installed that something needs which was asked for."""


def need(what: str, *extras: str) -> None:
    """Checks that the packages of extras are installed.

    Args:
        what: what needs them, for the message: "limbeck.data".
        extras: names in `EXTRAS`, the one to install last.
    Raises:
        MissingPackageError: with the packages that are not there, and the extra that brings them.
    """
    missing = [module for extra in extras for module in EXTRAS[extra] if find_spec(module) is None]
    if missing:
        named = ", ".join(PACKAGES.get(module, module) for module in missing)
        raise MissingPackageError(
            f"{what} needs {named}; `pip install 'limbeck[{extras[-1]}]'` brings what is missing"
        )


def imported(module: str, extra: str) -> Any:
    """A module of an optional package.

    Args:
        module: `package` or `package.part`.
        extra: of limbeck that brings the package, for the message.
    Raises:
        MissingPackageError: if it is not there, or cannot be imported.
    """
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise MissingPackageError(f"{package} cannot be imported: {error}") from error
        raise MissingPackageError(
            f"{package} is not installed; `pip install 'limbeck[{extra}]'` brings it"
        ) from None
    except (ImportError, RuntimeError) as error:  # built for another torch, most of the time
        raise MissingPackageError(f"{package} cannot be imported: {error}") from error
