"""The command line: parses, calls, prints."""

from __future__ import annotations

import sys

import click
from rich.console import Console

from limbeck.cli.app import app
from limbeck.errors import LimbeckError

__all__ = ["main"]


def main() -> None:
    """Runs the command; a mistake of the user's is one sentence and exit code 2, a bug a traceback."""
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        app(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except LimbeckError as error:
        console.print(f"[red]limbeck:[/red] {_escape(str(error))}")
        sys.exit(2)
    except (click.Abort, KeyboardInterrupt):
        console.print("limbeck: interrupted; --resume with the same --out goes on from the last checkpoint")
        sys.exit(130)


def _escape(text: str) -> str:
    return text.replace("[", r"\[")
