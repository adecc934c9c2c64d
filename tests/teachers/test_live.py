"""A live teacher answers, and never changes."""

from __future__ import annotations

import copy

import pytest
import torch
from method_setting import Setting, make_setting
from torch import nn

from limbeck import Batch, LimbeckError
from limbeck.outputs import Inputs
from limbeck.teachers import LiveTeacher, Teacher


@pytest.fixture
def setting() -> Setting:
    return make_setting(dropout=0.5)


def opened(setting: Setting, *fields: str) -> LiveTeacher:
    teacher = LiveTeacher(setting.teacher)
    teacher.open(setting.inputs[:2], fields)
    return teacher


def test_answers_with_what_the_network_gives_in_eval_mode(setting: Setting) -> None:
    expected = copy.deepcopy(setting.teacher).eval()
    maps = [expected.stage1(setting.inputs)]
    maps.append(expected.stage2(maps[0]))
    outputs = opened(setting, "embedding", "stages")(Batch(setting.inputs))
    assert set(outputs) == {"logits", "embedding", "stages"}
    assert torch.equal(outputs.logits, expected(setting.inputs))
    assert torch.equal(outputs.embedding, maps[1].mean((2, 3)))
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(outputs.stages, maps, strict=True))


def test_gives_no_more_than_was_asked_for(setting: Setting) -> None:
    teacher = opened(setting)
    assert set(teacher(Batch(setting.inputs))) == {"logits"}
    teacher.open(setting.inputs[:2], ("stem",))
    assert set(teacher(Batch(setting.inputs))) == {"logits", "stem"}


def test_features_may_be_named(setting: Setting) -> None:
    teacher = LiveTeacher(setting.teacher, {"stages": ["stage1.0"]})
    teacher.open(setting.inputs[:2], ("stages",))
    (stage,) = teacher(Batch(setting.inputs)).stages
    assert torch.equal(stage, setting.teacher.stage1[0](setting.inputs))
    with pytest.raises(LimbeckError, match="unknown module of SmallNet 'layer9'"):
        LiveTeacher(setting.teacher, {"stages": ["layer9"]}).open(setting.inputs[:2], ("stages",))


def test_builds_no_graph_and_marks_nothing_as_inference(setting: Setting) -> None:
    logits = opened(setting)(Batch(setting.inputs)).logits
    assert not logits.requires_grad
    assert not logits.is_inference(), "a trained projector on it must be able to save it for backward"


def test_leaves_weights_buffers_mode_and_flags_as_they_were(setting: Setting) -> None:
    setting.teacher.stage1.requires_grad_(False)
    flags = [parameter.requires_grad for parameter in setting.teacher.parameters()]
    before = copy.deepcopy(setting.teacher.state_dict())
    teacher = opened(setting, "embedding", "stages", "stem")
    for _ in range(3):
        teacher(Batch(setting.inputs))
    assert teacher.network is setting.teacher
    assert not any(module.training for module in setting.teacher.modules())
    assert [parameter.requires_grad for parameter in setting.teacher.parameters()] == flags
    assert all(torch.equal(tensor, before[name]) for name, tensor in setting.teacher.state_dict().items())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in setting.teacher.modules())


def test_is_put_back_in_eval_mode_when_somebody_else_trains_it(setting: Setting) -> None:
    teacher = opened(setting)
    expected = teacher(Batch(setting.inputs)).logits
    setting.teacher.train()
    assert torch.equal(teacher(Batch(setting.inputs)).logits, expected)
    assert not any(module.training for module in setting.teacher.modules())


def test_moves_where_it_is_told(setting: Setting) -> None:
    teacher = opened(setting)
    teacher.apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    assert teacher(Batch(setting.inputs.double())).logits.dtype == torch.float64


def test_is_no_module_so_that_nothing_of_the_students_side_reaches_it(setting: Setting) -> None:
    assert not isinstance(opened(setting), nn.Module)
    assert isinstance(opened(setting), Teacher)


def test_two_may_share_a_network(setting: Setting) -> None:
    first, second = opened(setting, "embedding"), opened(setting, "stages")
    embedding = first(Batch(setting.inputs)).embedding
    stages = second(Batch(setting.inputs)).stages
    assert torch.equal(stages[-1].mean((2, 3)), embedding)


def test_answers_named_tensors() -> None:
    class Sum(nn.Module):
        def forward(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
            return a + b

    inputs: Inputs = {"a": torch.rand(3, 2), "b": torch.rand(3, 2)}
    teacher = LiveTeacher(Sum())
    teacher.open(inputs, ())
    assert isinstance(inputs, dict)
    assert torch.equal(teacher(Batch(inputs)).logits, inputs["a"] + inputs["b"])


def test_reads_what_the_batch_has_for_it_by_name() -> None:
    teacher = LiveTeacher(nn.Flatten())
    teacher.open(torch.zeros(1, 3), ())
    theirs, others = torch.tensor([[1.0, 2.0, 3.0]]), torch.ones(1, 3)
    batch = Batch(torch.zeros(1, 3), teacher_inputs={"big": theirs, "teacher": others})
    assert torch.equal(teacher(batch).logits, others)
    teacher.name = "big"
    assert torch.equal(teacher(batch).logits, theirs)
    teacher.name = "small"
    assert torch.equal(teacher(batch).logits, torch.zeros(1, 3))
