"""Data sets that other installed packages add to the table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from command import Command

from limbeck.data import SOURCES, load, table
from limbeck.data.digits import digits
from limbeck.errors import LimbeckError

Install = Callable[[str, str, str], None]

PACKAGE = '''
import torch
from limbeck.data import Source, from_tensors

def strange(samples: int = 6) -> Source:
    """A stranger's data set."""
    inputs = torch.arange(2.0 * samples).view(samples, 2)
    targets = torch.arange(samples) % 2
    return from_tensors(inputs, targets, validation=None, test=(inputs, targets))

def digits() -> Source:
    """Other digits."""
    return strange()

def nothing():
    return 3

number = 3
'''


def test_a_package_adds_a_data_set(installed: Install, command: Command) -> None:
    with pytest.raises(LimbeckError, match="unknown data set 'strange'"):
        load("strange")
    installed("limbeck.data", "strange = strange:strange", PACKAGE)
    source = load("strange(samples=8)")
    assert (len(source.train), source.task.width) == (8, 2)
    assert len(load("noisy_labels(strange(samples=8), rate=0.5)").train) == 8
    assert table().keys() - SOURCES.keys() == {"strange"}
    with pytest.raises(LimbeckError, match="unknown argument of strange 'sample'; did you mean 'samples'"):
        load("strange(sample=8)")
    with pytest.raises(LimbeckError, match="unknown data set 'stange'; did you mean 'strange'"):
        load("stange")
    assert "A stranger's data set." in " ".join(command("data").out.split())
    assert "samples=6" in command("data", "strange").out


def test_a_package_does_not_replace_limbecks_own(installed: Install) -> None:
    installed("limbeck.data", "digits = strange:digits", PACKAGE)
    assert table()["digits"].make is digits
    assert table() == SOURCES


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("number", "the entry point 'number' of limbeck.data must be a function or a class, not int"),
        ("nothing", "the entry point 'nothing' of limbeck.data returned int, not a Source"),
    ],
)
def test_an_entry_point_is_a_function_that_returns_a_source(
    installed: Install, name: str, message: str
) -> None:
    installed("limbeck.data", f"{name} = strange:{name}", PACKAGE)
    with pytest.raises(LimbeckError) as caught:
        load(name)
    assert str(caught.value) == message
