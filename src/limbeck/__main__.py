"""`limbeck` and `python -m limbeck`."""

from __future__ import annotations

import sys

from limbeck.errors import LimbeckError
from limbeck.optional import need


def main() -> None:
    """Runs the command line, if the packages that it needs are installed."""
    try:
        need("the command line", "data", "report", "run")
    except LimbeckError as error:
        print(f"limbeck: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    from limbeck.cli import main as command

    command()


if __name__ == "__main__":
    main()
