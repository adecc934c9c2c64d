"""What a Distiller refuses, and in which words."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import Setting, SmallNet, make_setting
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, Outputs
from limbeck.checks import targets_in_range
from limbeck.methods import KD, DataFacts, Method, Reads
from limbeck.outputs import UNLABELED
from limbeck.tasks import Classification
from limbeck.teachers import LiveTeacher


@pytest.fixture
def setting() -> Setting:
    return make_setting()


def refused(message: str) -> Any:
    """Expects a LimbeckError of exactly this message."""
    return pytest.raises(LimbeckError, match=f"^{re.escape(message)}$")


def test_a_student_is_a_network(setting: Setting) -> None:
    with refused("the student must be an nn.Module, not 'lenet'"):
        Distiller("lenet", example=setting.inputs)  # type: ignore[arg-type]


def test_a_teacher_is_a_network_or_a_teacher(setting: Setting) -> None:
    with refused("the teacher must be an nn.Module, a Teacher or None, not 'resnet110'"):
        Distiller(setting.student, "resnet110", "kd", example=setting.inputs)  # type: ignore[arg-type]


def test_an_example_is_one_tensor_or_named_ones(setting: Setting) -> None:
    with refused("the example must be a tensor or named tensors, not a list"):
        Distiller(setting.student, example=[setting.inputs])  # type: ignore[arg-type]


def test_an_objective_is_text_or_a_method(setting: Setting) -> None:
    with pytest.raises(LimbeckError, match="text in the notation or a method, not <class "):
        Distiller(setting.student, setting.teacher, KD, example=setting.inputs)  # type: ignore[arg-type]


@pytest.mark.parametrize("live", [False, True])
def test_student_and_teacher_share_no_parameter(setting: Setting, live: bool) -> None:
    setting.student.stage1 = copy.deepcopy(setting.teacher.stage1)
    setting.student.stage1[0] = setting.teacher.stage1[0]
    message = (
        "the student's stage1.0.weight is the teacher's too, so training would change the teacher; "
        "copy.deepcopy one of them"
    )
    with refused(message):
        teacher = LiveTeacher(setting.teacher) if live else setting.teacher
        Distiller(setting.student, teacher, "kd", example=setting.inputs)


def test_student_and_teacher_share_no_buffer(setting: Setting) -> None:
    shared = torch.zeros(2)
    setting.student.register_buffer("seen", shared)
    setting.teacher.register_buffer("counts", shared)
    with refused(
        "the student's seen is the teacher's too, so training would change the teacher; "
        "copy.deepcopy one of them"
    ):
        Distiller(setting.student, setting.teacher, "kd", example=setting.inputs)


def test_student_and_teacher_share_no_memory(setting: Setting) -> None:
    """A parameter of its own over the first rows of the teacher's."""
    ours, theirs = setting.student.stage1[0], setting.teacher.stage1[0]
    assert isinstance(ours, nn.Conv2d)
    assert isinstance(theirs, nn.Conv2d)
    ours.weight = nn.Parameter(theirs.weight.detach()[: ours.out_channels])
    with refused(
        "the student's stage1.0.weight is the teacher's too, so training would change the teacher; "
        "copy.deepcopy one of them"
    ):
        Distiller(setting.student, setting.teacher, "kd", example=setting.inputs)


def test_a_student_of_which_nothing_is_trained_gets_no_optimizer(setting: Setting) -> None:
    setting.student.requires_grad_(False)
    distiller = Distiller(setting.student, setting.teacher, "ce + kd", example=setting.inputs)
    with refused(
        "nothing of the student SmallNet is trained: it has no parameter with requires_grad=True; "
        "call student.requires_grad_(True), or for those parts that are to learn"
    ):
        distiller.optimizer(lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    with pytest.raises(LimbeckError, match=r"^the losses depend on no parameter that is trained; compute"):
        distiller(setting.inputs, setting.targets).backward()


def test_features_of_a_teacher_that_makes_its_own_outputs_are_refused(setting: Setting) -> None:
    features = {"embedding": "classifier:input"}
    for teacher in (LiveTeacher(setting.teacher), None):
        with refused("teacher_features are for one teacher that is given as a network"):
            Distiller(setting.student, teacher, "kd", example=setting.inputs, teacher_features=features)


def test_a_method_that_needs_a_teacher_says_so(setting: Setting) -> None:
    with refused("kd learns from a teacher, and none was given"):
        Distiller(setting.student, None, "ce + kd", example=setting.inputs)


def test_a_method_inside_another_needs_the_teacher_too(setting: Setting) -> None:
    with refused("projected learns from a teacher, and none was given"):
        Distiller(setting.student, None, "around(projected)", example=setting.inputs)


def test_a_teacher_nobody_asks_is_refused(setting: Setting) -> None:
    with refused(
        "the objective '0.5*ce' has no use for a teacher; leave it out, or add "
        "a method that learns from one, such as kd, or cosine for embeddings"
    ):
        Distiller(setting.student, setting.teacher, "0.5*ce", example=setting.inputs)


class Keyed(Method):
    """Must know which data it is trained on."""

    reads = Reads(data=("fingerprint",))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return F.mse_loss(student.logits, torch.zeros_like(student.logits))


def test_what_a_method_must_know_of_the_data_is_asked_for(setting: Setting) -> None:
    with refused("remembered needs the size of the training set; give Distiller(data=...)"):
        Distiller(setting.student, objective="ce + remembered", example=setting.inputs)
    with refused("keyed needs the fingerprint of the training set; give Distiller(data=...)"):
        Distiller(setting.student, objective=Keyed(), example=setting.inputs, data=16)
    Distiller(setting.student, objective=Keyed(), example=setting.inputs, data=DataFacts(fingerprint="ab"))


def test_student_and_teacher_tell_as_many_classes_apart(setting: Setting) -> None:
    with refused("the student has 5 outputs and the teacher 7; they must agree"):
        Distiller(setting.student, SmallNet(4, classes=7), "kd", example=setting.inputs)


def test_a_feature_that_is_not_found_is_named(setting: Setting) -> None:
    with pytest.raises(LimbeckError, match="found no embedding in the student Flatten; name the modules"):
        Distiller(nn.Flatten(), SmallNet(4, classes=36), "projected", example=setting.inputs)
    with pytest.raises(
        LimbeckError, match="unknown module of SmallNet 'clasifier'; did you mean 'classifier'"
    ):
        Distiller(
            setting.student,
            setting.teacher,
            "projected",
            example=setting.inputs,
            student_features={"embedding": "clasifier:input"},
        )


# A batch


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("ce", "ce needs the targets of the batch; give targets="),
        ("ce + label_smoothing", "ce and label_smoothing need the targets of the batch; give targets="),
        ("remembered", "remembered needs the index of the batch; give index="),
    ],
)
def test_what_a_batch_lacks_is_named(setting: Setting, objective: str, message: str) -> None:
    with refused(message):
        setting.distiller(objective)(setting.inputs)


class Late(Method):
    """Reads the progress, and another view."""

    def __init__(self, reads: str) -> None:
        super().__init__()
        self.reads = Reads(batch=("progress",)) if reads == "progress" else Reads(views=("strong",))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        return student.logits.mean()


@pytest.mark.parametrize(
    ("reads", "message"),
    [
        ("progress", "late needs the progress of the batch; call distiller.progress(...) before each step"),
        ("views", "the objective reads a further view 'strong' of each sample; give views="),
    ],
)
def test_how_to_give_what_is_no_tensor_is_said(setting: Setting, reads: str, message: str) -> None:
    distiller = Distiller(setting.student, objective=Late(reads), example=setting.inputs)
    with refused(message):
        distiller(setting.inputs)


def test_inputs_are_one_tensor_or_named_ones(setting: Setting) -> None:
    with refused("the inputs of a batch must be a tensor or named tensors, not a tuple"):
        setting.distiller("ce")((setting.inputs, setting.inputs), setting.targets)


def test_a_batch_comes_alone(setting: Setting) -> None:
    with refused("a Batch holds targets, index, views and weights itself; give it alone"):
        setting.distiller("ce")(Batch(setting.inputs, setting.targets), setting.targets)


@pytest.mark.parametrize("name", ["targets", "index", "view"])
@pytest.mark.parametrize(
    ("tensor", "found"),
    [
        (torch.zeros(15, dtype=torch.int64), "int64 of shape (15,)"),
        (torch.zeros(16, 1, dtype=torch.int64), "int64 of shape (16, 1)"),
        (torch.zeros(16), "float32 of shape (16,)"),
        (torch.zeros(16, dtype=torch.int32), "int32 of shape (16,)"),
    ],
    ids=["fewer", "a column", "floats", "short integers"],
)
def test_each_sample_has_one_whole_number(setting: Setting, name: str, tensor: Tensor, found: str) -> None:
    distiller = setting.distiller("kd")
    said = re.escape(f"the {name} of a batch of 16 must be int64 of shape (16,), not {found}")
    with pytest.raises(LimbeckError, match=f"^{said}"):
        distiller(setting.inputs, **{name: tensor})


@pytest.mark.parametrize("target", [5, -1, -99])
def test_targets_are_classes_the_student_tells_apart(setting: Setting, target: int) -> None:
    targets = setting.targets.clone()
    targets[3] = target
    message = (
        f"the batch's target {target} at position 3 is out of range: with 5 classes it should be 0 to 4, "
        f"or {UNLABELED} for no label; the student has 5 outputs"
    )
    with refused(message):
        setting.distiller("ce")(setting.inputs, targets)


def test_the_whole_range_of_targets_is_taken() -> None:
    targets_in_range(torch.tensor([0, 4, UNLABELED]), Classification.of_width(5))
    with pytest.raises(LimbeckError, match="target 4 at position 1 is out of range"):
        targets_in_range(torch.tensor([0, 4, UNLABELED]), Classification.of_width(4))


@pytest.mark.parametrize(
    ("targets", "remedy"),
    [
        (torch.zeros(16, 1, dtype=torch.int64), "; use targets.squeeze(1)"),
        (
            torch.zeros(16, 3),
            '; use targets.argmax(1) where one class is right, task="multilabel" where several may be',
        ),
        (torch.zeros(16), '; use targets.long() if they are class ids, task="regression" if they are values'),
        (torch.zeros(16, dtype=torch.int32), "; use targets.long()"),
        (torch.zeros(15, dtype=torch.int64), "not int64 of shape (15,)"),
        (torch.zeros(16, dtype=torch.int64).numpy(), "not ndarray; use torch.as_tensor(targets)"),
    ],
)
def test_targets_of_another_form_are_refused_with_what_would_be_right(
    setting: Setting, targets: Any, remedy: str
) -> None:
    with pytest.raises(LimbeckError) as caught:
        setting.distiller("ce")(setting.inputs, targets)
    assert str(caught.value).endswith(remedy)
