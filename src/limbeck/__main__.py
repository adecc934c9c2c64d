"""`limbeck` and `python -m limbeck`."""

from __future__ import annotations

import platform
import sys
from importlib.metadata import version
from typing import NoReturn

from limbeck.errors import LimbeckError
from limbeck.optional import CORE, need


def main() -> None:
    """Runs the command line; where the packages that it needs are missing, only versions can be asked for."""
    try:
        need("the command line", "data", "report", "run")
    except LimbeckError as error:
        _without(error)
    from limbeck.cli import main as command

    command()


def _without(missing: LimbeckError) -> NoReturn:
    """Says what is missing; `--version` and `doctor` answer with the versions that are there."""
    asked = sys.argv[1:]
    if asked == ["--version"]:
        print(f"limbeck {version('limbeck')}")
        sys.exit()
    if asked == ["doctor"]:
        print(f"python {platform.python_version()}", *(f"{name} {version(name)}" for name in CORE), sep="\n")
        print(missing)
        sys.exit()
    print(f"limbeck: {missing}", file=sys.stderr)
    sys.exit(missing.exit_code)


if __name__ == "__main__":
    main()
