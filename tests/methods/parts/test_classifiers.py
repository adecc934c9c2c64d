from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pytest
import torch
import torch.nn.functional as F
from method_setting import SmallNet
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints
from limbeck.methods import Context
from limbeck.methods.parts.classifiers import classifier_of_teacher, grid_of_teacher
from limbeck.models import CNN, DSCNN, MLP, VGG, ResNet, TextCNN, Transformer, WideResNet
from limbeck.outputs import Batch, Inputs, Outputs
from limbeck.tasks import Classification, Rows
from limbeck.teachers import LiveTeacher

IMAGES = torch.rand(2, 1, 16, 16, generator=torch.Generator().manual_seed(0))
TOKENS = {
    "input_ids": torch.tensor([[1, 2, 3], [4, 5, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1], [1, 1, 0]]),
}


def context_of(network: nn.Module, example: Inputs = IMAGES, **features: str | list[str]) -> Context:
    teacher = LiveTeacher(network, features)
    teacher.open(example, ("embedding", "stages"))
    outputs = teacher(Batch(example))
    return Context(
        student=Outputs(),
        teacher=outputs,
        example=example,
        student_network=network,
        task=Classification.of_width(5),
        rows=Rows(2, None),
        student_points=FeaturePoints(),
        teacher_network=network,
    )


class Headed(nn.Module):
    """Some convolutions with one or another way from their map to the logits."""

    def __init__(self, head: Callable[[Tensor], Tensor], **parts: nn.Module) -> None:
        super().__init__()
        self.unused = nn.Linear(6, 5)
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU())
        self.head = head
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x))


def headed(kind: str) -> Headed:
    linear, conv, drop = nn.Linear(6, 5), nn.Conv2d(6, 5, 1), nn.Dropout(0.5)
    bare, hidden = nn.Linear(6, 5, bias=False), nn.Linear(6, 6)
    ways: dict[str, tuple[Callable[[Tensor], Tensor], dict[str, nn.Module]]] = {
        "linear": (lambda x: linear(x.mean((2, 3))), {"fc": linear}),
        "no bias": (lambda x: bare(x.mean((2, 3))), {"fc": bare}),
        "dropout": (lambda x: linear(drop(x.mean((2, 3)))), {"drop": drop, "fc": linear}),
        "convolution": (lambda x: conv(x.mean((2, 3), keepdim=True)).flatten(1), {"conv": conv}),
        "convolution before the pooling": (lambda x: conv(x).mean((2, 3)), {"conv": conv}),
        "scaled": (lambda x: 3 * linear(x.mean((2, 3))), {"fc": linear}),
        "cosine": (lambda x: F.linear(x.mean((2, 3)), F.normalize(bare.weight)), {"fc": bare}),
        "two layers": (lambda x: linear(hidden(x.mean((2, 3))).relu()), {"hidden": hidden, "fc": linear}),
    }
    head, parts = ways[kind]
    return Headed(head, **parts)


LINEAR = ["linear", "no bias", "dropout", "convolution", "convolution before the pooling"]


@pytest.mark.parametrize("kind", LINEAR)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_it_is_found_by_what_it_does(kind: str, dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    network = headed(kind).to(dtype)
    context = context_of(network, IMAGES.to(dtype), embedding="body")
    before, state = torch.get_rng_state(), {k: v.clone() for k, v in network.state_dict().items()}
    classifier = classifier_of_teacher("some", context)
    assert torch.equal(before, torch.get_rng_state())
    assert context.teacher is not None
    like = context.teacher.embedding.to(classifier.weight.dtype)
    expected = context.teacher.logits.to(classifier.weight.dtype)
    torch.testing.assert_close(classifier(like), expected, rtol=0.02, atol=0.02)
    assert (classifier.bias is None) == (kind == "no bias")
    assert not any(parameter.requires_grad for parameter in classifier.parameters())
    with torch.no_grad():
        for parameter in classifier.parameters():
            parameter.fill_(7.0)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items()), "it is a copy"


@pytest.mark.parametrize("kind", ["scaled", "cosine", "two layers"])
def test_what_only_looks_like_it_is_not_taken(kind: str) -> None:
    torch.manual_seed(1)
    message = (
        r"some reuses the teacher's classifier, .* Headed has none that makes its 5 logits of the .* of 6"
    )
    with pytest.raises(LimbeckError, match=message):
        classifier_of_teacher("some", context_of(headed(kind), embedding="body"))


@pytest.mark.parametrize(
    ("network", "example"),
    [
        (MLP([8, 6], in_features=256, num_classes=5), IMAGES),
        (CNN([2, 4], in_channels=1, size=16, num_classes=5), IMAGES),
        (TextCNN(dim=4, channels=3, vocab_size=9, num_classes=5), TOKENS),
        (Transformer(dim=4, heads=2, vocab_size=9, num_classes=5), TOKENS),
        (SmallNet(4), IMAGES),
    ],
)
def test_limbeck_s_networks_have_one(network: nn.Module, example: Inputs) -> None:
    context = context_of(network, example)
    assert context.teacher is not None
    classifier = classifier_of_teacher("some", context)
    torch.testing.assert_close(classifier(context.teacher.embedding), context.teacher.logits)


def test_a_teacher_without_a_network_has_none() -> None:
    context = replace(context_of(SmallNet(4)), teacher_network=None)
    with pytest.raises(LimbeckError, match="some reuses the teacher's classifier; give the teacher as a net"):
        classifier_of_teacher("some", context)


@pytest.mark.parametrize(
    ("make", "size", "grid"),
    [
        (partial(ResNet, [4, 6]), (16, 16), (1, 1)),
        (partial(DSCNN, [4, 6]), (16, 16), (1, 1)),
        (partial(VGG, [4, 6]), (16, 16), (1, 1)),
        (partial(CNN, [2, 4]), (16, 16), (2, 2)),
        (partial(CNN, [2, 4]), (13, 11), (2, 2)),
        (partial(WideResNet, 10, 1), (16, 16), None),
    ],
)
def test_the_pooling_is_found_by_what_it_does(
    make: Callable[..., nn.Module], size: tuple[int, int], grid: tuple[int, int] | None
) -> None:
    network = make(in_channels=1, size=size, num_classes=5)
    assert grid_of_teacher(context_of(network, torch.rand(2, 1, *size))) == grid


def test_a_map_that_is_flattened_is_a_grid_of_its_own_size() -> None:
    network = nn.Sequential(nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 4 * 6, 5))
    context = context_of(network, torch.rand(2, 1, 6, 8), stages=["1"], embedding="3:input")
    assert grid_of_teacher(context) == (4, 6)
