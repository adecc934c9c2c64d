"""A command that takes no option for the value of another."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperCommand, TyperOption

from limbeck.errors import LimbeckError
from limbeck.stopping import STOPPED, Terminated, exit_code, stoppable

ALONE = {"--resume": "yes", "--compile": "true"}
"""Options that may stand alone, by what that means."""


class Command(TyperCommand):
    """A command that notices an option without its value, for which the next would be taken, and signals."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Gives options that stand alone their value, before the options are read.

        Raises:
            LimbeckError: for another option that is followed by an option.
        """
        options = [each for each in self.get_params(ctx) if isinstance(each, TyperOption)]
        valued = {name for each in options if not each.is_flag for name in each.opts}
        names = {name for each in options for name in (*each.opts, *each.secondary_opts)}
        given = []
        for arg, after in zip(args, [*args[1:], "-"], strict=False):
            if arg in valued and arg in ALONE and after.startswith("-"):
                given.append(f"{arg}={ALONE[arg]}")
                continue
            if arg in valued and after.partition("=")[0] in names:
                raise LimbeckError(f"{arg} needs a value, and {after} is the next option")
            given.append(arg)
        return super().parse_args(ctx, given)

    def invoke(self, ctx: Any) -> Any:
        """Runs the command. A signal stops it, in one sentence unless it has one of its own to say."""
        try:
            with stoppable():
                return super().invoke(ctx)
        except STOPPED as stopped:
            name = "SIGTERM" if isinstance(stopped, Terminated) else "SIGINT"
            typer.echo(f"limbeck: stopped by {name}", err=True)
            raise typer.Exit(exit_code(stopped)) from None
