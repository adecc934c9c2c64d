from __future__ import annotations

import copy
import re

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck import models
from limbeck.errors import LimbeckError
from limbeck.features import Tap, find
from limbeck.features.entering import Entered, StandIn
from limbeck.models import MODELS, NAMED, Normalization, Rescaling
from limbeck.outputs import Inputs, apply

IMAGES = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
TEXTS = {
    "input_ids": torch.randint(0, 20, (3, 7), generator=torch.Generator().manual_seed(2)),
    "attention_mask": torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] + [0] * 6]),
}
LARGE = ("resnet110", "resnet32x4", "resnet34", "resnet44", "resnet56", "vgg19", "wrn_40_2")
"""Deeper ones of a kind that is there already."""

AROUND = ("unet", "lraspp", "lraspp_mobilenetv2")
"""Those whose head also reads an earlier stage."""


def built(spec: str, inputs: Inputs) -> nn.Module:
    torch.manual_seed(0)
    network = models.build(spec, example=inputs, num_classes=5, facts={"vocab_size": 20})
    for buffer in network.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)  # statistics other than fresh ones
    return network


def entered(network: nn.Module, inputs: Inputs, stage: int) -> Entered:
    return Entered(network, find(network, inputs), stage, inputs)


def given(network: nn.Module, inputs: Inputs) -> tuple[tuple[Tensor, ...], Tensor]:
    outputs = Tap(network, find(network, inputs), ["stages"])(inputs)
    return outputs.stages, outputs.logits


@pytest.mark.parametrize("name", sorted({*MODELS, *NAMED} - {*LARGE, *AROUND, "fcos", "edsr", "fsrcnn"}))
def test_behind_any_stage_every_network_gives_its_own_logits(name: str) -> None:
    inputs: Inputs = TEXTS if name in ("gpt", "textcnn", "transformer") else IMAGES
    network = built(name, inputs).eval()
    stages, logits = given(network, inputs)
    sizes = [sum(parameter.numel() for parameter in network.parameters())]
    for place, stage in enumerate(stages):
        rest = entered(network, inputs, place).eval()
        assert torch.equal(rest(stage, inputs), logits)
        one = apply(lambda tensor: tensor[:1], inputs)
        torch.testing.assert_close(rest(stage[:1], one), logits[:1])
        sizes.append(sum(parameter.numel() for parameter in rest.parameters()))
        assert all(parameter.requires_grad for parameter in rest.parameters())
    assert sizes == sorted(sizes, reverse=True)
    assert len({*sizes}) == len(sizes), "what lies before a stage is left out"


@pytest.mark.parametrize("name", AROUND)
def test_a_network_with_paths_around_a_stage_cannot_be_entered_there(name: str) -> None:
    network = built(name, IMAGES).eval()
    last = len(find(network, IMAGES).stages) - 2
    with pytest.raises(LimbeckError, match="what follows also reads what came before, past the stage"):
        entered(network, IMAGES, last)


@pytest.mark.parametrize("name", ["resnet8", "vgg8", "wrn_16_1", "shufflenetv2", "mobilenetv2", "dscnn"])
def test_in_training_mode_too_and_the_statistics_move_alike(name: str) -> None:
    network = built(name, IMAGES).train()
    parts = [entered(network, IMAGES, place).train() for place in range(len(find(network, IMAGES).stages))]
    before = copy.deepcopy(network.state_dict())
    stages, logits = given(network, IMAGES)
    after = network.state_dict()
    assert any(not torch.equal(after[key], before[key]) for key in before)
    for part, stage in zip(parts, stages, strict=True):
        assert torch.equal(part(stage, IMAGES), logits)
        for key, value in part.network.state_dict().items():
            assert torch.equal(value, after[key.replace("later.", "")]), key


def test_the_network_is_left_as_it_was_and_shares_nothing() -> None:
    network = built("resnet8", IMAGES).train()
    before = copy.deepcopy(network.state_dict())
    rest = entered(network, IMAGES, 0).train()
    stage = torch.rand(4, 16, 32, 32, requires_grad=True)
    rest(stage, IMAGES[[0, 0, 1, 2]]).sum().backward()
    assert stage.grad is not None
    assert all(parameter.grad is not None for parameter in rest.parameters())
    assert all(parameter.grad is None for parameter in network.parameters())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert network.training
    assert all(module.training for module in network.modules())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    gone = [path for path, module in rest.network.named_modules() if isinstance(module, StandIn)]
    assert gone == ["conv1", "bn1", "relu", "layer1"]


def test_a_copy_and_its_original_run_apart() -> None:
    network = built("vgg8", IMAGES).eval()
    stages, logits = given(network, IMAGES)
    first = entered(network, IMAGES, 1).eval()
    second = copy.deepcopy(first)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.zero_()
    assert torch.equal(first(stages[1], IMAGES), logits)
    assert not second(stages[1], IMAGES).any()


def test_normalization_rescaling_and_precision_stay() -> None:
    network = built("cnn", IMAGES)
    models.normalize_inputs(network, Normalization((0.5,) * 3, (0.2,) * 3))
    models.rescale_outputs(network, Rescaling((1.0,) * 5, (3.0,) * 5))
    network.double().eval()
    stages, logits = given(network, IMAGES)
    rest = entered(network, IMAGES, 0).eval()
    assert torch.equal(rest(stages[0], IMAGES), logits)
    assert rest(stages[0], IMAGES).dtype == torch.float64


class Plain(nn.Module):
    """Functions between its modules, one ReLU for all, a tuple and a map (B, H, W, C)."""

    def __init__(self, kind: str = "") -> None:
        super().__init__()
        self.kind = kind
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 6, 3)
        self.relu = nn.ReLU(inplace=kind == "in place")
        self.twin = Twin()
        self.head = nn.Linear(6, 5)
        self.past = nn.Linear(3, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = F.max_pool2d(self.relu(self.first(x)), 2)
        if self.kind == "last":
            maps = self.twin.moved(maps)
        maps, other = self.twin(maps)
        if self.kind == "last":
            maps = maps.movedim(-1, 1)
        late = self.relu(self.second(F.relu(maps)))
        logits: Tensor = self.head(late.mean((2, 3)))
        if self.kind == "from the input":
            logits = logits + self.past(x.mean((2, 3)))
        if self.kind == "from a map":
            logits = logits + maps.mean()
        if self.kind == "from the twin":
            logits = logits + other.mean()
        return logits


class Twin(nn.Module):
    def forward(self, maps: Tensor) -> tuple[Tensor, Tensor]:
        return maps * 2, maps + 1

    def moved(self, maps: Tensor) -> Tensor:
        return maps.movedim(1, -1)


@pytest.mark.parametrize(
    ("point", "kind"),
    [
        ("relu", ""),
        ("relu", "in place"),
        ("first", "in place"),
        ("relu#1", ""),
        ("twin:input", ""),
        ("twin[0]", ""),
        ("second:input", ""),
        ("twin:input[0]", ""),
        ("head:input", ""),
    ],
)
def test_it_is_entered_at_any_kind_of_point(point: str, kind: str) -> None:
    torch.manual_seed(0)
    network = Plain(kind).eval()
    points = find(network, IMAGES, overrides={"stages": [point]})
    outputs = Tap(network, points, ["stages"])(IMAGES)
    rest = Entered(network, points, 0, IMAGES)
    stage = outputs.stages[0].detach().clone()
    kept = stage.clone()
    assert torch.equal(rest(stage, IMAGES), outputs.logits)
    assert torch.equal(stage, kept), "what is given is not written over"
    learning = {key.split(".")[1] for key, p in rest.named_parameters() if p.requires_grad}
    assert "past" not in learning
    assert ("second" in learning) == (point not in ("relu#1", "head:input"))
    assert not torch.equal(rest(2 * stage, IMAGES), outputs.logits)


class Last(nn.Module):
    """Maps (B, H, W, C), as in Swin."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(3, 4, 8, stride=8)
        self.block = nn.Linear(4, 4)
        self.merge = nn.Linear(4, 6)
        self.head = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Tensor:
        maps = self.merge(F.gelu(self.block(self.patches(x).permute(0, 2, 3, 1))))
        return self.head(maps.mean((1, 2)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("point", ["block", "merge:input", "merge"])
def test_maps_with_channels_last_are_given_as_a_tap_gives_them(point: str) -> None:
    torch.manual_seed(0)
    network = Last().eval()
    points = find(network, IMAGES, overrides={"stages": [point]})
    outputs = Tap(network, points, ["stages"])(IMAGES)
    assert outputs.stages[0].shape[2:] == (4, 4)
    assert torch.equal(Entered(network, points, 0, IMAGES)(outputs.stages[0], IMAGES), outputs.logits)


@pytest.mark.parametrize(
    ("kind", "point"),
    [
        ("from the input", "relu#1"),
        ("from a map", "second:input"),
        ("from the twin", "twin[0]"),
    ],
)
def test_what_is_read_past_the_stage_is_refused(kind: str, point: str) -> None:
    network = Plain(kind).eval()
    points = find(network, IMAGES, overrides={"stages": [point]})
    message = (
        f"the student cannot be entered behind its stage 0 ({point}): what follows also reads what came "
        "before, past the stage"
    )
    with pytest.raises(LimbeckError, match=re.escape(message)):
        Entered(network, points, 0, IMAGES, "the student")


class Bag(nn.Module):
    """Token ids that reach the logits beside the stage."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens, self.others = nn.Embedding(20, 6), nn.Embedding(20, 5)
        self.layer = nn.Linear(6, 5)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        states = self.layer(self.tokens(input_ids) * attention_mask[..., None])
        return (states + self.others(input_ids)).mean(1)  # type: ignore[no-any-return]


def test_token_ids_are_read_past_the_stage() -> None:
    network = Bag()
    points = find(network, TEXTS, overrides={"stages": ["tokens"]})
    with pytest.raises(LimbeckError, match="past the stage"):
        Entered(network, points, 0, TEXTS)


def test_what_cannot_be_entered_is_refused() -> None:
    network = Plain()
    points = find(network, IMAGES, overrides={"stages": ["relu"]})
    with pytest.raises(LimbeckError, match="cannot be entered behind stage 1: its stages are 0 to 0"):
        Entered(network, points, 1, IMAGES)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))
    with pytest.raises(LimbeckError, match="cannot be entered behind stage 0: it has no stages"):
        Entered(flat, find(flat, IMAGES), 0, IMAGES)
    scripted = torch.jit.trace(network, IMAGES)  # type: ignore[no-untyped-call]
    with pytest.raises(LimbeckError, match="is a TorchScript program, whose inside cannot be seen"):
        Entered(scripted, points, 0, IMAGES)


class Shaped(Plain):
    """Reads the weights of a module that lies before the stage."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.to(self.first.weight.dtype))


def test_a_forward_that_needs_what_was_taken_out_is_refused() -> None:
    network = Shaped()
    points = find(network, IMAGES, overrides={"stages": ["relu#1"]})
    with pytest.raises(LimbeckError, match=r"what follows cannot run by itself \('StandIn' object has no"):
        Entered(network, points, 0, IMAGES)
