from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models import Normalization, normalize_inputs
from limbeck.runs.exports.program import trace


class Applied(nn.Module):
    """A linear layer, and a function of its input and output."""

    def __init__(self, function: Callable[[Tensor, Tensor], object]) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 3)
        self.function = function

    def forward(self, inputs: Tensor) -> object:
        return self.function(inputs, self.linear(inputs))


@pytest.mark.parametrize(
    "function",
    [
        lambda inputs, logits: logits,
        lambda inputs, logits: (logits, inputs.mean(1)),
        lambda inputs, logits: {"hidden": inputs, "logits": logits},
    ],
)
def test_it_gives_the_logits_for_any_number_of_normalized_samples(
    function: Callable[[Tensor, Tensor], object],
) -> None:
    network = normalize_inputs(Applied(function), Normalization((0.1, 0.2, 0.3), (1.0, 2.0, 4.0))).eval()
    program = trace(network, torch.rand(2, 3)).module()
    for size in (1, 2, 7):
        inputs = torch.rand(size, 3)
        normalized = (inputs - torch.tensor([0.1, 0.2, 0.3])) / torch.tensor([1.0, 2.0, 4.0])
        with torch.no_grad():
            assert torch.equal(program(inputs), network.linear(normalized))  # type: ignore[operator]


class Named(nn.Module):
    """Takes whatever names it is called with."""

    def forward(self, **named: Tensor) -> Tensor:
        return named["first"] - 2 * named["second"]


def test_named_inputs_keep_their_order() -> None:
    program = trace(Named(), {"second": torch.rand(2, 3), "first": torch.rand(2, 3)}).module()
    second, first = torch.rand(5, 3), torch.rand(5, 3)
    assert torch.equal(program(second, first), first - 2 * second)


@pytest.mark.parametrize(
    "function",
    [
        lambda inputs, logits: logits if inputs.sum() > 0 else -logits,
        lambda inputs, logits: logits.view(2, 3),
        lambda inputs, logits: logits + torch.tensor(inputs.tolist()),
        lambda inputs, logits: torch.from_numpy(logits.detach().numpy()),
    ],
)
def test_what_is_no_graph_for_any_batch_is_refused(
    function: Callable[[Tensor, Tensor], object], capfd: pytest.CaptureFixture[str]
) -> None:
    message = (
        r"Applied cannot be exported: torch\.export finds no graph of its forward that takes any number of "
    )
    with pytest.raises(LimbeckError, match=message + r"samples: \S+"):
        trace(Applied(function).eval(), torch.rand(2, 3))
    assert capfd.readouterr() == ("", "")
