"""A command whose `--resume` may stand alone."""

from __future__ import annotations

from typing import Any

from typer.core import TyperCommand


class Resumable(TyperCommand):
    """A command with an option `--resume` that means "yes" where no value follows it."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Gives a `--resume` that stands alone its value, before the options are read."""
        values = [*args[1:], "-"]
        alone = [arg == "--resume" and after.startswith("-") for arg, after in zip(args, values, strict=True)]
        return super().parse_args(
            ctx, ["--resume=yes" if each else arg for arg, each in zip(args, alone, strict=True)]
        )
