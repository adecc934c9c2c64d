"""Networks that other installed packages add to the table."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from command import Command
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models import MODELS, Entry, LeNet5, build, table

Install = Callable[[str, str, str], None]

PACKAGE = '''
from torch import nn

class Strange(nn.Sequential):
    """A stranger's network.

    With more to say.
    """
    def __init__(self, width: int = 3, *, in_features: int, num_classes: int) -> None:
        super().__init__(nn.Linear(in_features, width), nn.ReLU(), nn.Linear(width, num_classes))

def lenet5(num_classes: int) -> nn.Module:
    """Another LeNet."""
    return nn.Linear(1, num_classes)

def nothing():
    return "a text"

number = 3
'''


def test_a_package_adds_a_network(installed: Install, command: Command) -> None:
    with pytest.raises(LimbeckError, match="unknown model 'strange'"):
        build("strange")
    installed("limbeck.models", "strange = strange:Strange", PACKAGE)
    network = build("strange(width=5)", example=torch.rand(2, 4), num_classes=7)
    assert [tuple(parameter.shape) for parameter in network.parameters()] == [(5, 4), (5,), (7, 5), (7,)]
    assert table().keys() - MODELS.keys() == {"strange"}
    assert table()["strange"].summary == "A stranger's network."
    with pytest.raises(LimbeckError, match="unknown argument of strange: 'widht'; did you mean 'width'"):
        build("strange(widht=5)", example=torch.rand(2, 4), num_classes=7)
    with pytest.raises(LimbeckError, match="unknown model 'stange'; did you mean 'strange'"):
        build("stange")
    assert "A stranger's network." in " ".join(command("models").out.split())
    assert "With more to say." in command("models", "strange").out


def test_a_package_does_not_replace_limbecks_own(installed: Install) -> None:
    installed("limbeck.models", "lenet5 = strange:lenet5", PACKAGE)
    assert table()["lenet5"].make is LeNet5
    assert table() == MODELS


def test_an_entry_point_is_a_builder(installed: Install) -> None:
    installed("limbeck.models", "three = strange:number", PACKAGE)
    with pytest.raises(LimbeckError) as caught:
        table()
    assert str(caught.value) == (
        "the entry point 'three' of limbeck.models must be a function or a class, not int"
    )


def test_a_builder_makes_a_network(installed: Install) -> None:
    installed("limbeck.models", "nothing = strange:nothing", PACKAGE)
    assert isinstance(table()["nothing"], Entry)
    assert table()["nothing"].summary == "no description"
    with pytest.raises(LimbeckError) as caught:
        build("nothing")
    assert str(caught.value) == (
        "the entry point 'nothing' of limbeck.models returned str, not a torch.nn.Module"
    )
    assert isinstance(build("mlp(hidden=[2])", example=torch.rand(2, 4), num_classes=2), nn.Module)
