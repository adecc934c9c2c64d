"""The command line: parses, calls, prints."""

from __future__ import annotations

import os
import sys
import traceback

from limbeck.cli.app import app
from limbeck.errors import FirstFailedError, LimbeckError

__all__ = ["main"]


def main() -> None:
    """Runs the command; a mistake of the user's is one sentence and exit code 2, a bug a traceback.

    With `--debug` anywhere among the arguments, or LIMBECK_DEBUG=1, a mistake has its traceback too; with
    `--trust-code`, or LIMBECK_TRUST_CODE=1, factories that a run's directory names are called.
    """
    arguments = [argument for argument in sys.argv[1:] if argument not in ("--debug", "--trust-code")]
    debug = "--debug" in sys.argv[1:] or os.environ.get("LIMBECK_DEBUG", "0") not in ("", "0")
    if "--trust-code" in sys.argv[1:]:
        os.environ["LIMBECK_TRUST_CODE"] = "1"
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if world != "1":  # torch would warn in each of them that it looks for unused parameters, as it is told
        os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    try:
        app(arguments, prog_name="limbeck")
    except LimbeckError as error:
        if debug:
            traceback.print_exception(error)
        if isinstance(error, FirstFailedError):
            sys.exit(error.exit_code)
        from rich.text import Text

        from limbeck.cli.terminal import err

        name = "limbeck" if rank == "0" else f"limbeck, process {rank}"
        message = Text.assemble((f"{name}: ", "red"), str(error))
        err().print(message, soft_wrap=True)
        sys.exit(error.exit_code)
