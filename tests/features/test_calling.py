from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Point, Tap, call, precision_of, undisturbed
from limbeck.features.calling import arguments_of, elements_of, uncompiled, version_of
from limbeck.outputs import Mixture

LOGITS, MAPS, IDS = torch.randn(3, 5), torch.randn(3, 4, 2, 2), torch.arange(6).view(3, 2)


class Heads(NamedTuple):
    aux: Tensor
    logits: Tensor


@dataclass
class Result:
    loss: Tensor | None
    logits: Tensor


class Sum(nn.Module):
    def forward(self, a: Tensor, b: Tensor | None = None) -> Tensor:
        return a if b is None else a - b


def test_a_tensor_is_the_argument_and_named_tensors_are_keywords() -> None:
    assert torch.equal(call(Sum(), LOGITS), LOGITS)
    assert torch.equal(call(Sum(), {"b": LOGITS, "a": 3 * LOGITS}), 3 * LOGITS - LOGITS)


def test_elements_and_arguments_go_by_position_or_name() -> None:
    assert elements_of(LOGITS) == {None: LOGITS}
    assert elements_of((MAPS, 7)) == {0: MAPS, 1: 7}
    assert elements_of({"a": MAPS}) == {"a": MAPS}
    assert elements_of(Result(None, LOGITS)) == {"loss": None, "logits": LOGITS}
    assert arguments_of((7, MAPS), {"mask": IDS}) == {None: MAPS, 0: 7, 1: MAPS, "mask": IDS}
    assert arguments_of((), {"x": IDS})[None] is IDS


def test_versions_count_writes_in_place_where_torch_does() -> None:
    tensor = torch.zeros(2)
    tensor.add_(1)
    assert version_of(tensor) == 1
    with torch.inference_mode():
        assert version_of(torch.zeros(2)) == 0


def test_a_compiled_network_is_unwrapped() -> None:
    network = Sum()
    assert uncompiled(network) is network
    compiled = torch.compile(network, backend="eager")
    assert isinstance(compiled, nn.Module)
    assert uncompiled(compiled) is network


class Restless(nn.Module):
    """Draws random numbers and counts its calls, in eval mode too."""

    calls: Tensor
    seen: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))
        self.register_buffer("seen", torch.zeros(2))
        self.drop = nn.Dropout()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        self.seen = x.mean(1)
        return self.drop(x) + torch.randn(x.shape)  # type: ignore[no-any-return]


def test_a_network_is_undisturbed_even_by_an_error() -> None:
    network = Restless().train()
    network.drop.eval()
    calls, seen = network.calls, network.seen
    random = torch.get_rng_state()
    with undisturbed(network, LOGITS):
        assert not network.training
        network(LOGITS)
        assert network.calls == 1
    with pytest.raises(IndexError), undisturbed(network, LOGITS):
        network(torch.randn(3))  # counts its call before it fails
    assert network.training
    assert not network.drop.training
    assert network.calls is calls
    assert network.calls == 0
    assert network.seen is seen
    assert torch.equal(torch.get_rng_state(), random)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_a_network_in_another_precision_gets_its_inputs_in_that(dtype: torch.dtype) -> None:
    network = nn.Linear(2, 3).to(dtype)
    inputs = torch.randn(4, 2)
    assert precision_of(network) == dtype
    assert torch.equal(call(network, inputs), network(inputs.to(dtype)))


def test_other_inputs_are_left_as_they_are() -> None:
    assert precision_of(Sum()) == torch.float32
    doubles = torch.ones(2, dtype=torch.float64)
    assert call(Sum(), doubles) is doubles
    ids = nn.Embedding(6, 2).double()
    assert torch.equal(call(ids, IDS), ids(IDS))


class Words(nn.Module):
    """Embeddings of ids, twice, and of their positions and types, summed."""

    def __init__(self, words: type[nn.Module] = nn.Embedding) -> None:
        super().__init__()
        self.words, self.again = words(9, 4), nn.Embedding(9, 4)
        self.positions, self.types = nn.Embedding(9, 4), nn.Embedding(9, 4)

    def sums(self, position: int, word: Tensor) -> tuple[Tensor, Tensor]:
        """What a position with a token of type 1 has in any case, and what a word adds."""
        beside = self.positions.weight[position] + self.types.weight[1]
        return beside, self.get_parameter("words.weight")[word] + self.again.weight[word]

    def forward(self, ids: Tensor, types: Tensor) -> Tensor:
        places = torch.arange(ids.shape[1]).expand_as(ids)
        both = self.words(ids.clone()) + self.again(input=ids.int())
        return both + self.positions(places) + self.types(types)  # type: ignore[no-any-return]


def mixture() -> Mixture:
    pairs = torch.tensor([[[5, 6, 0], [7, 8, 1]], [[3, 3, 2], [8, 1, 4]]])
    shares = torch.tensor([[[0.75, 0.75, 0.0], [0.25, 0.25, 0.25]], [[1.0, 0.5, 0.5], [0.0, 0.5, 0.5]]])
    return Mixture({"ids": pairs[:, 0], "types": torch.ones(2, 3, dtype=torch.int64)}, "ids", pairs, shares)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_mixture_is_mixed_in_every_embedding_of_the_ids_and_in_no_other(dtype: torch.dtype) -> None:
    network, given = Words().to(dtype), mixture()
    found = call(network, given)
    for sample, position in ((0, 0), (0, 2), (1, 0), (1, 1)):
        expected = torch.zeros(4, dtype=dtype)
        for text in range(2):
            beside, word = network.sums(position, given.ids[sample, text, position])
            expected = expected + given.shares[sample, text, position].to(dtype) * word
        tolerance = 0.02 if dtype is torch.bfloat16 else 1e-6
        torch.testing.assert_close(found[sample, position], beside + expected, rtol=tolerance, atol=tolerance)
    assert found.dtype == dtype
    assert torch.equal(call(network, given.inputs), network(**given)), "without a trace"
    assert not any(module._forward_hooks for module in network.modules())


def test_a_mixture_runs_a_network_as_it_was_before_it_was_compiled() -> None:
    network = Words()
    compiled = torch.compile(network, backend="eager")
    assert torch.equal(call(compiled, mixture()), call(network, mixture()))  # type: ignore[arg-type]


def test_what_is_captured_at_an_embedding_is_the_mixture() -> None:
    network = Words()
    network.types.weight.data.zero_()
    network.positions.weight.data.zero_()
    network.again.weight.data.zero_()
    tap = Tap(network, FeaturePoints(logits=Point(""), stem=Point("words")), ["stem"])
    outputs = tap(mixture())
    assert torch.equal(outputs.stem, outputs.logits)


class Table(nn.Module):
    """An embedding of another kind."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(count, width))

    def forward(self, ids: Tensor) -> Tensor:
        return self.table[ids]


def test_a_network_without_an_embedding_of_the_ids_is_no_use_for_a_mixture() -> None:
    network = Words(Table)
    network.again = nn.Embedding(9, 4)
    network.forward = lambda ids, types: network.words(ids) + network.types(types)  # type: ignore[method-assign]
    with pytest.raises(LimbeckError, match=r"found no embedding of tokens to mix in Words: no nn\.Embedding"):
        call(network, mixture())
    assert not any(module._forward_hooks for module in network.modules())
