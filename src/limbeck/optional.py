"""Packages that limbeck can do without."""

from __future__ import annotations

import importlib
from typing import Any

from limbeck.errors import LimbeckError


def imported(module: str, extra: str) -> Any:
    """A module of an optional package.

    Args:
        module: `package` or `package.part`.
        extra: of limbeck that brings the package, for the message.
    Raises:
        LimbeckError: if it is not there, or cannot be imported.
    """
    package = module.split(".")[0]
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != package:
            raise LimbeckError(f"{package} cannot be imported: {error}") from error
        raise LimbeckError(
            f"{package} is not installed; `pip install 'limbeck[{extra}]'` brings it"
        ) from None
    except (ImportError, RuntimeError) as error:  # built for another torch, most of the time
        raise LimbeckError(f"{package} cannot be imported: {error}") from error
