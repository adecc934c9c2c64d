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


def test_what_the_task_is_like_decides_on_logits_and_positions() -> None:
    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 5, 1)

        def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
            maps = self.conv(x).relu()
            scores = self.head(maps)
            return maps.mean((2, 3)), scores.mean((2, 3)), maps, scores

    network, x = Both(), torch.randn(3, 1, 8, 8)
    pooled, logits, maps, scores = network(x)
    teacher = LiveTeacher(network, width=5)
    teacher.open(x, ("embedding",))
    outputs = teacher(Batch(x))
    assert torch.equal(outputs.logits, logits)
    assert torch.equal(outputs.embedding, pooled)
    teacher.dense = True
    teacher.open(x, ("embedding",))
    outputs = teacher(Batch(x))
    assert torch.equal(outputs.logits, scores)
    assert torch.equal(outputs.embedding, maps)


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
    before = copy.deepcopy(setting.teacher.state_dict())
    for part in (setting.teacher, setting.teacher.stage1):
        part.train()
        assert torch.equal(teacher(Batch(setting.inputs)).logits, expected)
    assert all(torch.equal(tensor, before[name]) for name, tensor in setting.teacher.state_dict().items())
    assert not any(
        module.training for module in setting.teacher.modules() if any(True for _ in module.parameters())
    )


def test_a_dropout_that_is_the_students_too_drops_for_the_student_alone() -> None:
    drop, x = nn.Dropout(0.5), torch.randn(8, 6)
    student = nn.Sequential(nn.Linear(6, 64), drop, nn.Linear(64, 3))
    network = nn.Sequential(nn.Linear(6, 64), drop, nn.Linear(64, 3))
    teacher = LiveTeacher(network)
    teacher.open(x, ())
    student.train()
    expected = network[2](network[0](x))
    for _ in range(2):
        assert torch.equal(teacher(Batch(x)).logits, expected)
        assert drop.training
        assert not torch.equal(student(x), student(x))


def test_buffers_that_the_network_writes_even_in_eval_mode_stay_as_they_were() -> None:
    class Counting(nn.Module):
        calls: torch.Tensor
        center: torch.Tensor

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("calls", torch.zeros(()))
            self.register_buffer("center", torch.zeros(3))
            self.fc = nn.Linear(6, 3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            logits: torch.Tensor = self.fc(x) - self.center
            self.calls += 1
            self.center = logits.mean(0)
            return logits

    network, x = Counting(), torch.randn(4, 6)
    teacher = LiveTeacher(network)
    teacher.open(x, ())
    for _ in range(3):
        assert torch.equal(teacher(Batch(x)).logits, network.fc(x))
    assert network.calls == 0
    assert network.center.tolist() == [0, 0, 0]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("autocast", [False, True])
def test_a_network_in_another_precision_runs_in_it_and_answers_in_float32(
    dtype: torch.dtype, autocast: bool
) -> None:
    setting = make_setting()
    network = setting.teacher.to(dtype)
    expected = network.eval()(setting.inputs.to(dtype))
    teacher = LiveTeacher(network)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        teacher.open(setting.inputs[:2], ("embedding", "stages"))
        outputs = teacher(Batch(setting.inputs))
    assert outputs.logits.dtype == outputs.embedding.dtype == outputs.stages[0].dtype == torch.float32
    assert torch.equal(outputs.logits, expected.float())
    assert {p.dtype for p in network.parameters()} == {dtype}
    assert {b.dtype for b in network.buffers() if b.is_floating_point()} <= {dtype}


def test_a_network_in_float32_answers_inputs_in_float64_in_their_precision(setting: Setting) -> None:
    logits = opened(setting)(Batch(setting.inputs.double())).logits
    assert logits.dtype == torch.float64
    assert torch.equal(logits.float(), setting.teacher(setting.inputs))


@pytest.mark.parametrize("exported", [False, True])
def test_a_program_answers_with_its_logits(exported: bool) -> None:
    network, x = nn.Sequential(nn.Linear(6, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)).eval(), torch.randn(5, 6)
    program: nn.Module = torch.jit.script(network)
    if exported:
        batch = ({0: torch.export.Dim("batch")},)
        program = torch.export.export(network, (x,), dynamic_shapes=batch).module()
    teacher = LiveTeacher(program)
    teacher.open(x, ("logits",))
    assert torch.allclose(teacher(Batch(x)).logits, network(x))
    with pytest.raises(LimbeckError, match="whose inside cannot be seen, so it has logits but no embedding"):
        teacher.open(x, ("embedding",))


def test_a_network_that_was_never_run_has_no_weights_to_teach_with() -> None:
    network = nn.Sequential(nn.LazyLinear(4), nn.ReLU(), nn.Linear(4, 3))
    with pytest.raises(LimbeckError, match=r"lazy module that was never run, so its 0\.weight has no shape"):
        LiveTeacher(network)
    network(torch.randn(2, 6))
    LiveTeacher(network)


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
