"""A teacher that has the weights of one checkpoint after the other."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import pytest
import torch
from method_setting import Setting, SmallNet, make_setting
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError
from limbeck.models import save
from limbeck.outputs import Progress
from limbeck.teachers import CheckpointTeacher


@pytest.fixture
def setting() -> Setting:
    return make_setting(dropout=0.5)


def at(inputs: Tensor, fraction: float) -> Batch:
    return Batch(inputs, progress=Progress(0, 0, fraction))


def stages_of(network: SmallNet, count: int = 3) -> list[SmallNet]:
    """The network at several moments of a training: its last weights are its own."""
    made = []
    for number in range(1, count + 1):
        each = copy.deepcopy(network).eval()
        with torch.no_grad():
            for parameter in each.parameters():
                parameter.mul_(number / count)
            for buffer in each.buffers():
                buffer.mul_(1 if number == count else number + 2)
        made.append(each)
    return made


def scheduled(
    network: SmallNet, folder: Path, ahead: float = 0.0
) -> tuple[CheckpointTeacher, list[SmallNet]]:
    """Three checkpoints, at 0.25, 0.5 and 1 of the training, and the networks that they are of."""
    networks = stages_of(network)
    files = {}
    for fraction, each in zip((0.25, 0.5, 1.0), networks, strict=True):
        files[fraction] = folder / f"{fraction}.safetensors"
        save(each, files[fraction], {})
    return CheckpointTeacher(network, files, ahead=ahead), networks


@pytest.mark.parametrize(
    ("fraction", "ahead", "number"),
    [
        (0.0, 0.0, 0),
        (0.25, 0.0, 0),  # saved at this very moment
        (0.2500001, 0.0, 1),
        (0.5, 0.0, 1),
        (0.51, 0.0, 2),
        (1.0, 0.0, 2),
        (0.0, 0.25, 0),
        (0.1, 0.25, 1),
        (0.3, 0.25, 2),
        (0.9, 0.25, 2),  # ahead of what there is
    ],
)
def test_the_first_checkpoint_saved_at_or_after_the_student_s_progress_answers(
    fraction: float, ahead: float, number: int, setting: Setting, tmp_path: Path
) -> None:
    teacher, networks = scheduled(setting.teacher, tmp_path, ahead=ahead)
    teacher.open(setting.inputs[:2], ("logits", "embedding", "stages"))
    answer = teacher(at(setting.inputs, fraction))
    with torch.no_grad():
        expected = networks[number](setting.inputs)
        maps = networks[number].stage1(setting.inputs)
    assert torch.equal(answer.logits, expected)
    assert torch.equal(answer.stages[0], maps)
    assert torch.equal(answer.embedding, networks[number].stage2(maps).mean((2, 3)))


def test_the_answer_depends_on_the_progress_and_not_on_what_came_before(
    setting: Setting, tmp_path: Path
) -> None:
    teacher, _ = scheduled(setting.teacher, tmp_path)
    teacher.open(setting.inputs[:2], ("logits",))
    moments = [0.6, 0.0, 0.4, 0.0, 0.6, 0.4]
    answers = [teacher(at(setting.inputs, moment)).logits for moment in moments]
    for moment, answer in zip(moments, answers, strict=True):
        assert torch.equal(answer, answers[moments.index(moment)])
    assert not torch.equal(answers[0], answers[1])
    assert teacher.shown == 6 * len(setting.inputs)


def test_the_network_that_was_given_and_the_files_stay_as_they_are(setting: Setting, tmp_path: Path) -> None:
    network = setting.teacher.train()
    before = copy.deepcopy(network.state_dict())
    teacher, _ = scheduled(network, tmp_path)
    files = {file: file.read_bytes() for file in tmp_path.iterdir()}
    teacher.open(setting.inputs[:2], ("logits",))
    for fraction in (0.0, 0.4):
        answer = teacher(at(setting.inputs, fraction)).logits
        assert not answer.requires_grad
    assert network.training
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert files == {file: file.read_bytes() for file in tmp_path.iterdir()}
    assert not teacher.network.training


def test_the_network_is_that_of_the_last_checkpoint(setting: Setting, tmp_path: Path) -> None:
    teacher, networks = scheduled(setting.teacher, tmp_path)
    teacher.open(setting.inputs[:2], ("logits",))
    first = teacher(at(setting.inputs, 0.0)).logits
    state = teacher.network.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in networks[-1].state_dict().items())
    assert torch.equal(teacher(at(setting.inputs, 0.0)).logits, first), "and the batches go on"


def test_without_a_progress_the_last_checkpoint_answers_and_a_warning_says_so(
    setting: Setting, tmp_path: Path
) -> None:
    teacher, networks = scheduled(setting.teacher, tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        distiller = Distiller(setting.student, teacher, "kd", example=setting.inputs)
        distiller.progress(0, 0, 0.1)
        told = distiller(setting.inputs).total
        distiller.progress(9, 0, 0.9)
        last = distiller(setting.inputs).total
    assert told.item() != pytest.approx(last.item(), rel=1e-3)
    again = Distiller(
        setting.student, CheckpointTeacher(setting.teacher, _files(tmp_path)), "kd", example=setting.inputs
    )
    with pytest.warns(UserWarning, match="the last of the teacher's checkpoints answers; call"):
        untold = [again(setting.inputs).total for _ in range(2)]
    alone = Distiller(setting.student, networks[-1], "kd", example=setting.inputs)
    setting.student.eval()
    assert again(setting.inputs).total.item() == alone(setting.inputs).total.item()
    assert len(untold) == 2


def _files(folder: Path) -> dict[float, Path]:
    return {float(file.stem): file for file in folder.iterdir()}


def test_the_schedule_is_known_by_all_that_decides_the_answers(setting: Setting, tmp_path: Path) -> None:
    teacher, networks = scheduled(setting.teacher, tmp_path)
    files = _files(tmp_path)
    schedules = [
        teacher.schedule,
        CheckpointTeacher(setting.teacher, files, ahead=0.1).schedule,
        CheckpointTeacher(setting.teacher, {0.3: files[0.25], 0.5: files[0.5], 1.0: files[1.0]}).schedule,
    ]
    assert CheckpointTeacher(setting.teacher, files).schedule == teacher.schedule
    with torch.no_grad():
        next(networks[0].parameters()).add_(1)
    save(networks[0], files[0.25], {})
    schedules.append(CheckpointTeacher(setting.teacher, files).schedule)
    assert len(set(schedules)) == 4
    teacher.open(setting.inputs[:2], ("logits",))
    with pytest.raises(LimbeckError, match=r"0\.25\.safetensors has changed since the run began"):
        teacher(at(setting.inputs, 0.0))


def test_it_goes_where_the_student_goes(setting: Setting, tmp_path: Path) -> None:
    teacher, networks = scheduled(setting.teacher, tmp_path)
    teacher.apply(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    inputs = setting.inputs.double()
    teacher.open(inputs[:2], ("logits",))
    with torch.no_grad():
        assert torch.equal(teacher(at(inputs, 0.1)).logits, networks[0].double()(inputs))


@pytest.mark.parametrize(
    ("fractions", "ahead", "message"),
    [
        ((1.0,), 0.0, "needs two checkpoints or more, not 1; one alone is a teacher like any other"),
        ((), 0.0, "needs two checkpoints or more, not 0"),
        ((0.0, 1.0), 0.0, "at a fraction of the teacher's training above 0 and up to 1, not at 0"),
        ((0.5, 1.5), 0.0, "up to 1, not at 1.5"),
        ((0.5, 1.0), 1.0, "ahead by a fraction of the training from 0 to below 1, not 1"),
        ((0.5, 1.0), -0.1, "from 0 to below 1, not -0.1"),
    ],
)
def test_what_is_no_schedule_is_refused(
    fractions: tuple[float, ...], ahead: float, message: str, setting: Setting, tmp_path: Path
) -> None:
    scheduled(setting.teacher, tmp_path)
    files = dict.fromkeys(fractions, tmp_path / "1.0.safetensors")
    with pytest.raises(LimbeckError) as caught:
        CheckpointTeacher(setting.teacher, files, ahead=ahead)
    assert message in str(caught.value)


def test_a_checkpoint_of_another_network_is_refused_at_once(setting: Setting, tmp_path: Path) -> None:
    scheduled(setting.teacher, tmp_path)
    save(nn.Linear(2, 2), tmp_path / "0.5.safetensors", {})
    with pytest.raises(LimbeckError, match=r"checkpoint .*0\.5\.safetensors does not fit SmallNet"):
        CheckpointTeacher(setting.teacher, _files(tmp_path))
