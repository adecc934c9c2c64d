"""Stops a run in its course, as Ctrl-C does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from limbeck.training.history import History


@contextmanager
def interrupted_after(epoch: int) -> Iterator[None]:
    """A context in which a run is interrupted once that epoch, counted from 1, has been written down."""

    def interrupt(self: History, line: Any, add: Any = History.add) -> None:
        add(self, line)
        if line["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "add", interrupt)
        with pytest.raises(KeyboardInterrupt):
            yield
