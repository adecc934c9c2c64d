from __future__ import annotations

import gc
import weakref

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.features.points import Point
from limbeck.features.trace import Trace, traced
from limbeck.features.values import Value, channels_last

IMAGES = torch.randn(5, 3, 8, 8)


class Network(nn.Module):
    """Writes in place in every way: a module, an operator, an index, a view."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1)
        self.bn = nn.BatchNorm2d(4)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(4, 2)
        self.noise = nn.Parameter(torch.ones(8, 8))

    def forward(self, x: Tensor) -> Tensor:
        out = self.relu(self.bn(self.conv(x)))
        out += self.noise
        out[:, :2] = 0
        view = out[:, 2:]
        view.mul_(2)
        return self.fc(F.dropout(self.pool(out).flatten(1), 0.5, self.training))  # type: ignore[no-any-return]


@pytest.fixture
def trace() -> Trace:
    return traced(Network(), IMAGES)


def chain(value: Value | None) -> list[str]:
    names = []
    while value is not None:
        names.append(value.operation)
        value = value.sources[0] if value.sources else None
    return names[::-1]


def test_operations_lead_from_the_input_to_the_logits(trace: Trace) -> None:
    made = chain(trace.value_of(trace.result))
    assert made[:4] == ["", "conv2d", "batch_norm", "relu"]
    assert made[-4:] == ["adaptive_avg_pool2d", "flatten", "dropout", "linear"]
    assert made[4:-4] == ["add_", "__setitem__", "__getitem__", "mul_", "alias"]


def test_two_samples_are_enough(trace: Trace) -> None:
    assert trace.batch == 2
    assert trace.seen[Point("conv", "input")].tensor.shape == (2, 3, 8, 8)


def test_weights_are_those_of_layers(trace: Trace) -> None:
    value: Value | None = trace.value_of(trace.result)
    weights: dict[str, tuple[int, ...]] = {}
    while value is not None:
        weights |= {value.operation: value.weight} if value.weight else {}
        value = value.sources[0] if value.sources else None
    assert weights == {"linear": (2, 4), "conv2d": (4, 3, 3, 3)}


def test_a_tensor_written_over_has_several_values(trace: Trace) -> None:
    before, after = trace.seen[Point("bn")], trace.seen[Point("relu")]
    assert before.tensor is after.tensor
    assert before.value is not after.value
    assert after.value is not None
    assert after.value.sources == (before.value,)
    assert trace.marked(Point("bn")).overwritten
    assert trace.marked(Point("relu")).overwritten
    assert not trace.marked(Point("conv")).overwritten
    assert not trace.marked(Point("pool")).overwritten


def test_calls_are_numbered_and_nested() -> None:
    relu = nn.ReLU()
    trace = Trace(nn.Sequential(nn.Linear(3, 4), relu, nn.Linear(4, 4), relu), torch.randn(2, 3))
    assert [call.path for call in trace.calls] == ["", "0", "1", "2", "1"]
    assert Point("1", call=1) in trace.seen
    assert torch.equal(trace.seen[Point("1", call=1)].tensor, trace.result)
    assert trace.calls[0].start == 1
    assert trace.calls[0].end == trace.calls[-1].end == 5
    assert trace.name == "Sequential"


def test_masks_and_positions_are_constants() -> None:
    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table = nn.Embedding(9, 4)

        def forward(self, ids: Tensor, attention_mask: Tensor) -> Tensor:
            hidden = self.table(ids) * attention_mask.unsqueeze(2)
            hidden = hidden.masked_fill((ids == 0).unsqueeze(2), 0.0)
            return hidden[torch.arange(len(ids)), ids.argmax(1)]  # type: ignore[no-any-return]

    ids = torch.tensor([[3, 4, 0], [5, 0, 0]])
    trace = Trace(Tokens(), {"attention_mask": ids != 0, "ids": ids})
    assert chain(trace.value_of(trace.result)) == ["", "embedding", "mul", "masked_fill", "__getitem__"]
    logits = trace.value_of(trace.result)
    assert logits is not None
    assert [source.operation for source in logits.sources] == ["masked_fill"]


def test_nothing_is_left_behind() -> None:
    network = Network().train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    random = torch.get_rng_state()
    trace = Trace(network, IMAGES)
    tensor = weakref.ref(trace.seen[Point("conv")].tensor)
    del trace
    gc.collect()
    assert tensor() is None
    assert all(not module._forward_hooks and not module._forward_pre_hooks for module in network.modules())
    assert all(module.training for module in network.modules())
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())
    assert torch.equal(torch.get_rng_state(), random)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_compiled_network_runs_as_written() -> None:
    network = Network()
    network.compile(backend="eager", fullgraph=True)
    torch._dynamo.reset()
    assert chain(Trace(network, IMAGES).value_of(torch.zeros(1))) == []
    assert len(Trace(network, IMAGES).calls) == 6


def value(shape: tuple[int, ...], last: bool = False) -> Value:
    return Value(0, shape, channels_last=last)


@pytest.mark.parametrize(
    ("operation", "shape", "sources", "last"),
    [
        ("conv2d", (2, 8, 4, 4), [value((2, 3, 8, 8))], False),
        ("linear", (2, 7, 8), [value((2, 7, 4))], True),
        ("add", (2, 7, 7, 8), [value((2, 7, 7, 8)), value((2, 7, 7, 8), True)], True),
        ("permute", (2, 7, 7, 8), [value((2, 8, 7, 7))], True),
        ("permute", (2, 8, 7, 7), [value((2, 7, 7, 8), True)], False),
        ("permute", (2, 8, 8, 8), [value((2, 8, 8, 8), True)], False),
        ("transpose", (2, 4, 2, 7, 7), [value((2, 2, 4, 7, 7))], False),
        ("reshape", (2, 7, 7, 8), [value((2, 49, 8), True)], True),
        ("reshape", (2, 8, 7, 7), [value((2, 8, 49))], False),
        ("conv1d", (2, 8, 30), [value((2, 4, 32), True)], False),
        ("relu", (2, 8, 30), [value((2, 8, 30))], False),
        ("cat", (2, 64, 32, 32), [value((2, 32, 32, 32)), value((2, 32, 32, 32))], False),
        ("flatten", (2, 8), [value((2, 8, 1, 1))], False),
    ],
)  # fmt: skip
def test_where_the_channels_are(
    operation: str, shape: tuple[int, ...], sources: list[Value], last: bool
) -> None:
    assert channels_last(operation, shape, tuple(sources)) is last
