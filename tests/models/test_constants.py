from __future__ import annotations

import pytest
import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models.constants import MeanAndStd


def test_both_lie_on_the_network_in_the_type_of_its_weights_and_not_among_them() -> None:
    network = nn.Linear(2, 1).double()
    MeanAndStd((0.1, 2.0), (3.0, 0.5)).put_on(network, ("m", "s"))
    assert torch.equal(network.get_buffer("m"), torch.tensor([0.1, 2.0], dtype=torch.float64))
    assert torch.equal(network.get_buffer("s"), torch.tensor([3.0, 0.5], dtype=torch.float64))
    assert network.state_dict().keys() == {"weight", "bias"}


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((), (), "a scale needs one mean and one standard deviation a row, not 0 and 0"),
        ((1.0,), (1.0, 2.0), "a scale needs one mean and one standard deviation a row, not 1 and 2"),
        (
            (float("nan"),),
            (1.0,),
            "a scale needs finite means and finite stds above 0, not (nan,) and (1.0,)",
        ),
        ((1.0,), (0.0,), "a scale needs finite means and finite stds above 0, not (1.0,) and (0.0,)"),
    ],
)
def test_numbers_that_scale_nothing_are_refused(
    mean: tuple[float, ...], std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(LimbeckError) as caught:
        MeanAndStd(mean, std).check("a scale", "a row")
    assert str(caught.value) == message
