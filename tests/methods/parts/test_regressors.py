from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor, nn

from limbeck.methods.parts.regressors import GlobalBatchNorm2d, connector, regressor
from two_processes import run_in_two_processes


@pytest.mark.parametrize(
    ("student", "teacher", "kernel", "kind"),
    [
        ((3, 8, 8), (5, 4, 4), (3, 3), nn.Conv2d),
        ((3, 4, 6), (5, 8, 12), (4, 4), nn.ConvTranspose2d),
        ((3, 6, 6), (5, 6, 6), (1, 1), nn.Conv2d),
        ((3, 7, 9), (5, 5, 4), (3, 6), nn.Conv2d),
        ((3, 2, 2), (5, 1, 1), (3, 3), nn.Conv2d),
    ],
)
def test_maps_come_out_in_the_teachers_shape(
    student: tuple[int, ...], teacher: tuple[int, ...], kernel: tuple[int, int], kind: type[nn.Module]
) -> None:
    found = regressor(torch.zeros(2, *student), torch.zeros(2, *teacher))
    assert isinstance(found, nn.Sequential)
    assert type(found[0]) is kind
    assert cast(nn.Conv2d, found[0]).kernel_size == kernel
    assert [type(part) for part in list(found)[1:]] == [GlobalBatchNorm2d, nn.ReLU]
    assert found(torch.rand(4, *student)).shape == (4, *teacher)


def test_preactivations_are_regressed_without_relu_or_left_as_they_are() -> None:
    found = connector(torch.zeros(2, 3, 4, 4), torch.zeros(2, 5, 4, 4), relu=False)
    assert found is not None
    assert found(torch.rand(4, 3, 4, 4)).min() < 0
    assert isinstance(connector(torch.zeros(2, 3, 4, 4), torch.zeros(2, 3, 4, 4)), nn.Identity)
    assert isinstance(connector(torch.zeros(2, 3), torch.zeros(2, 4)), nn.Linear)


@pytest.mark.parametrize(("student", "teacher"), [((6, 3), (6, 5)), ((3,), (5,))])
def test_hidden_states_and_vectors_go_through_a_linear_layer(
    student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    found = regressor(torch.zeros(2, *student), torch.zeros(2, *teacher))
    assert isinstance(found, nn.Linear)
    assert found(torch.rand(4, *student)).shape == (4, *teacher)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [((3, 4, 4), (5, 6, 6)), ((3, 4, 4), (5, 8, 4)), ((6, 3), (7, 3)), ((3, 4, 4), (5,)), ((3,), (6, 3))],
)
def test_nothing_for_what_does_not_fit(student: tuple[int, ...], teacher: tuple[int, ...]) -> None:
    assert regressor(torch.zeros(2, *student), torch.zeros(2, *teacher)) is None


def maps() -> Tensor:
    return torch.randn(8, 3, 4, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 2 + 1


def normalized(layer: nn.BatchNorm2d, rows: slice) -> dict[str, Any]:
    """The layer on some of the maps, with the gradient of a sum that tells all positions apart."""
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([0.5, 1.0, 2.0]))
        layer.bias.copy_(torch.tensor([1.0, -1.0, 0.0]))
    inputs = maps()[rows].requires_grad_()
    output = layer(inputs)
    factors = torch.linspace(-1, 1, maps().numel(), dtype=torch.float64).view_as(maps())[rows]
    (factors * output).sum().backward()
    return {
        "output": output.detach(),
        "gradient": inputs.grad,
        "weight": layer.weight.grad,
        "state": layer.state_dict(),
        "later": layer.eval()(maps()).detach(),
    }


def unequal_shares(rank: int, world: int) -> dict[str, Any]:
    return normalized(GlobalBatchNorm2d(3).double(), slice(0, 3) if rank == 0 else slice(3, 8))


def test_batch_norm_is_over_the_maps_of_all_processes() -> None:
    expected = normalized(nn.BatchNorm2d(3).double(), slice(0, 8))
    alone = normalized(GlobalBatchNorm2d(3).double(), slice(0, 8))
    [halves] = run_in_two_processes([(unequal_shares, ())], [Path(__file__).parent, *map(Path, sys.path)])
    for name in ("output", "gradient"):
        torch.testing.assert_close(alone[name], expected[name])
        torch.testing.assert_close(torch.cat([half[name] for half in halves]), expected[name])
    torch.testing.assert_close(halves[0]["weight"] + halves[1]["weight"], expected["weight"])
    for half in halves:
        torch.testing.assert_close(half["later"], expected["later"])
        assert half["state"].keys() == expected["state"].keys()
        for name, value in half["state"].items():
            torch.testing.assert_close(value, expected["state"][name])
