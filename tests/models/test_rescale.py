from __future__ import annotations

import copy
import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from limbeck import features, models
from limbeck.errors import LimbeckError
from limbeck.models import Rescaling, fingerprint, rescale_outputs, rescaling_of

UNITS = Rescaling((150.0, -3.0), (80.0, 0.5))
ROWS = torch.rand(6, 3, generator=torch.Generator().manual_seed(0))


def linear() -> nn.Module:
    layer = nn.Linear(3, 2)
    nn.init.constant_(layer.weight, 0.5)
    nn.init.constant_(layer.bias, 0.25)
    return layer


def test_the_answer_is_in_units_of_the_targets() -> None:
    network = rescale_outputs(linear(), UNITS)
    z = (0.5 * ROWS.sum(1) + 0.25)[:, None].expand(6, 2)
    torch.testing.assert_close(network(ROWS), z * torch.tensor([80.0, 0.5]) + torch.tensor([150.0, -3.0]))


def test_the_network_stays_what_it_was() -> None:
    network = linear()
    assert rescaling_of(network) is None
    assert rescale_outputs(network, UNITS) is network
    assert list(network.state_dict()) == ["weight", "bias"]
    assert rescaling_of(network) == rescaling_of(nn.Sequential(network)) == UNITS
    with pytest.raises(LimbeckError, match="Linear rescales its outputs already; once is enough"):
        rescale_outputs(network, UNITS)


def test_the_scale_of_targets_is_that_of_those_there_are() -> None:
    targets = torch.tensor([[1.0, 5.0, 7.0], [3.0, math.nan, 7.0], [math.nan, 9.0, 7.0]])
    found = Rescaling.of(targets)
    assert found.mean == (2.0, 7.0, 7.0)
    assert found.std == (1.0, 2.0, 1.0), "what never varies is not stretched"
    with pytest.raises(LimbeckError, match="finite means"):
        Rescaling.of(torch.tensor([[1.0, math.nan]]))


def test_the_scale_follows_type_device_and_copies() -> None:
    network = rescale_outputs(linear(), UNITS)
    twin = copy.deepcopy(network).double()
    assert twin(ROWS.double()).dtype == torch.float64
    assert network(ROWS).dtype == torch.float32
    assert rescale_outputs(linear().to("meta"), UNITS)(ROWS.to("meta")).device.type == "meta"


def test_autocast_does_not_round_the_units() -> None:
    network = rescale_outputs(linear(), UNITS)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        answer = network(ROWS)
    assert answer.dtype == torch.float32
    torch.testing.assert_close(answer, network(ROWS), rtol=0, atol=80 * 2**-8)


def test_it_is_learned_through() -> None:
    network = rescale_outputs(linear(), UNITS)
    network(ROWS).sum().backward()
    bias = network.get_parameter("bias").grad
    assert bias is not None
    torch.testing.assert_close(bias, 6 * torch.tensor([80.0, 0.5]))


@pytest.mark.parametrize("name", ["cnn(channels=[4, 8])", "mlp(hidden=[8])", "resnet8"])
def test_features_are_found_where_they_were(name: str) -> None:
    example = torch.rand(2, 3, 8, 8)
    network = models.build(name, example=example, num_classes=2)
    before = features.describe(network, example)
    assert features.describe(rescale_outputs(network, UNITS), example) == before


def test_another_scale_is_another_network() -> None:
    networks = [linear(), rescale_outputs(linear(), UNITS), rescale_outputs(linear(), Rescaling((0,), (1,)))]
    assert len(set(map(fingerprint, networks))) == 3


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (lambda rows: (rows, rows), "this Odd returned a tuple; have it return its values alone"),
        (lambda rows: rows, r"this Odd rescales 2 outputs, and its answer is of shape \(6, 3\)"),
    ],
)
def test_other_answers_are_refused(answer: Callable[[Tensor], object], message: str) -> None:
    class Odd(nn.Module):
        def forward(self, rows: Tensor) -> object:
            return answer(rows)

    with pytest.raises(LimbeckError, match=message):
        rescale_outputs(Odd(), UNITS)(ROWS)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((), (), "not 0 and 0"),
        ((0.5,), (0.5, 0.5), "not 1 and 2"),
        ((0.5,), (0.0,), r"stds above 0, not \(0.5,\) and \(0.0,\)"),
        ((math.inf,), (1.0,), "finite means"),
    ],
)
def test_an_impossible_rescaling_is_refused(
    mean: tuple[float, ...], std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(LimbeckError, match=message):
        Rescaling(mean, std)
