"""The command line: parses, calls, prints."""

from __future__ import annotations

import sys

from rich.console import Console
from rich.text import Text

from limbeck.cli.app import app
from limbeck.errors import LimbeckError

__all__ = ["main"]


def main() -> None:
    """Runs the command; a mistake of the user's is one sentence and exit code 2, a bug a traceback."""
    try:
        app(prog_name="limbeck")
    except LimbeckError as error:
        message = Text.assemble(("limbeck: ", "red"), str(error))
        Console(stderr=True, highlight=False).print(message, soft_wrap=True)
        sys.exit(error.exit_code)
