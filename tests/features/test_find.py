from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Point, Tap, describe, find

IMAGES = torch.randn(3, 3, 16, 16)


class Small(nn.Module):
    """Two stages and a spare module; `form` is how it returns its logits."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6)
        self.relu1, self.relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 5)
        self.spare = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        first = self.relu1(self.bn1(self.conv1(x)))
        second = self.relu2(self.bn2(self.conv2(first)))
        pooled = second.mean((2, 3))
        logits = self.fc(pooled)
        forms = {
            "tensor": logits,
            "tuple": (second, logits, pooled),
            "dict": {"logits": logits, "pooled": pooled},
        }
        return {**forms, "object": Result(logits, pooled), "none": second.sum()}[self.form]


@dataclass
class Result:
    logits: Tensor
    pooled: Tensor


class Declaring(Small):
    def feature_points(self) -> dict[str, str | list[str]]:
        return {"stages": ["bn1", "bn2"], "embedding": "fc:input"}


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict", "object"])
def test_the_form_of_the_result_does_not_matter(form: str) -> None:
    points = find(Small(form), IMAGES)
    assert points == FeaturePoints(
        logits=Point(""),
        embedding=points.embedding,
        stages=(Point("relu1"), Point("relu2")),
        preactivations=(Point("bn1"), Point("bn2")),
    )
    assert str(points.embedding) == "fc:input"
    assert [point.overwritten for point in points.preactivations] == [True, True]
    assert [point.overwritten for point in points.stages] == [False, False]


def test_a_result_without_logits_has_no_points_until_they_are_named() -> None:
    network = Small("none")
    assert find(network, IMAGES) == FeaturePoints()
    points = find(network, IMAGES, overrides={"logits": "fc"})
    assert points.logits == Point("fc")
    assert points.stages == (Point("relu1"), Point("relu2"))


def test_what_the_network_declares_goes_before_the_trace_and_what_the_user_names_before_both() -> None:
    declared = find(Declaring(), IMAGES)
    assert declared.stages == (Point("bn1"), Point("bn2"))
    assert declared.preactivations == ()  # of these stages, and batch norm is not ReLU
    named = find(Declaring(), IMAGES, overrides={"stages": ["relu2"], "stem": "relu1"})
    assert named.stages == (Point("relu2"),)
    assert named.preactivations == (Point("bn2"),)
    assert named.stem == Point("relu1")
    assert named.embedding == declared.embedding == Point("fc", "input")


def test_one_stage_may_be_named_without_a_list() -> None:
    assert find(Small(), IMAGES, overrides={"stages": "relu2"}).stages == (Point("relu2"),)


def test_a_named_map_becomes_an_embedding_by_pooling() -> None:
    points = find(Small(), IMAGES, overrides={"embedding": "relu2"})
    assert points.embedding == Point("relu2", pool=True)
    assert find(Small(), IMAGES, overrides={"embedding": str(points.embedding)}) == points


def test_a_second_head_may_be_named() -> None:
    class Heads(Small):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            pooled = self.relu2(self.conv2(self.relu1(self.conv1(x)))).mean((2, 3))
            return self.fc(pooled), self.spare(pooled)

    network = Heads().eval()
    points = find(network, IMAGES, overrides={"logits": "[1]"})
    assert str(points.logits) == "[1]"
    with torch.no_grad():
        assert torch.equal(Tap(network, points, ())(IMAGES).logits, network(IMAGES)[1])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"embeding": "fc"}, "unknown feature of Small 'embeding'; did you mean 'embedding'"),
        ({"stages": ["reluu1"]}, "unknown module of Small 'reluu1'; did you mean 'relu1'"),
        ({"stages": ["zzzzz"]}, "unknown module of Small 'zzzzz'; there are: .*bn1.*conv1"),
        ({"stem": ["relu1"]}, "the stem of Small must be one point, not a list"),
        ({"stem": "spare"}, "no stem of Small is to be had at 'spare'; it does not run in a forward"),
        ({"stem": "relu1#1"}, "'relu1#1'; its tensors are relu1:input"),
        ({"stem": "relu1[0]"}, r"'relu1\[0\]'; its tensors are relu1:input, .*relu1"),
        ({"stem": "relu1:output"}, "names no place"),
        ({"embedding": "relu1[x]"}, r"'relu1\[x\]'"),
    ],
)
def test_mistakes_in_names_are_told(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        find(Small(), IMAGES, overrides=overrides)


def test_what_does_not_fit_a_field_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.same, self.fc = nn.Conv1d(3, 3, 1), nn.Identity(), nn.Linear(256, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.same(self.conv(x.flatten(2)))
            return self.fc(self.same(x.argmax(1)).float())  # type: ignore[no-any-return]

    with pytest.raises(LimbeckError, match=r"'same' of Odd cannot be its embedding: .*\(2, 3, 256\)"):
        find(Odd(), IMAGES, overrides={"embedding": "same"})
    with pytest.raises(LimbeckError, match=r"'same#1' of Odd cannot be its stem: .* int64 tensor"):
        find(Odd(), IMAGES, overrides={"stem": "same#1"})


def test_a_wrong_declaration_is_told_like_an_override() -> None:
    class Wrong(Small):
        def feature_points(self) -> dict[str, str]:
            return {"embedding": "fc1:input"}

    with pytest.raises(LimbeckError, match="unknown module of Wrong 'fc1'; did you mean 'fc'"):
        find(Wrong(), IMAGES)


def test_described_are_the_points_with_their_shapes() -> None:
    network = Small().train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert describe(network, IMAGES, overrides={"stem": "conv1"}) == [
        ("logits", "", (3, 5)),
        ("embedding", "fc:input", (3, 6)),
        ("stages", "relu1", (3, 4, 8, 8)),
        ("stages", "relu2", (3, 6, 4, 4)),
        ("stem", "conv1", (3, 4, 8, 8)),
        ("preactivations", "bn1", (3, 4, 8, 8)),
        ("preactivations", "bn2", (3, 6, 4, 4)),
    ]
    assert network.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_a_compiled_network_is_found_by_its_own_paths() -> None:
    network = Small()
    compiled = torch.compile(network, backend="eager")
    assert isinstance(compiled, nn.Module)
    assert find(compiled, IMAGES) == find(network, IMAGES)


def test_one_sample_is_enough() -> None:
    assert find(Small(), IMAGES[:1]) == find(Small(), IMAGES)


def test_a_pre_hook_that_normalizes_is_part_of_the_network() -> None:
    network = Small()
    network.register_forward_pre_hook(lambda module, args: (args[0].float().div(255),))
    assert find(network, torch.zeros(2, 3, 16, 16, dtype=torch.uint8)) == find(Small(), IMAGES)
