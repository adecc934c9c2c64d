"""Runs that keep their weights on the way, and students that are taught by them in turn."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import (
    QUICK,
    STUDENT,
    catch_job,
    content,
    make_student,
    make_teacher,
    plain_network,
    same,
    state_of,
    three_classes,
)

import limbeck
from interrupting import interrupted_after
from limbeck import LimbeckError
from limbeck.config import TeacherConfig
from limbeck.evaluation import results
from limbeck.models import load_state
from limbeck.outputs import Batch, Progress
from limbeck.runs import Run, trust
from limbeck.runs.evaluate import evaluate
from limbeck.runs.filling import fill
from limbeck.runs.modelcard import write_model_card
from limbeck.runs.schedules import schedule_of
from limbeck.teachers import CheckpointTeacher

LOGITS = "0.0*ce + kd(temperature=2)"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A teacher of 7 epochs that kept its weights after 2, 4, 6 and 7."""
    return make_teacher(
        tmp_path_factory.mktemp("runs") / "kept",
        epochs=7,
        settings={"training.trackers": [], "training.keep_every": 2},
    )


def text(run: Run, more: str = "") -> str:
    return f'checkpoints("{run.path}"{more})'


def test_the_weights_of_every_so_many_epochs_and_of_the_last_are_kept(kept: Run, tmp_path: Path) -> None:
    assert list(kept.kept) == [2, 4, 6, 7]
    assert [file.name for file in kept.kept.values()] == [
        f"epoch-000{epoch}.safetensors" for epoch in (2, 4, 6, 7)
    ]
    assert kept.kept[7].read_bytes() == (kept.path / "student.safetensors").read_bytes()
    short = make_teacher(tmp_path / "short", epochs=7)
    assert short.kept == {}
    assert same(state_of(short), state_of(kept)), "keeping changes nothing"
    states = [load_state(file) for file in kept.kept.values()]
    assert not any(same(states[0], other) for other in states[1:])


def test_what_is_kept_after_an_epoch_is_what_a_run_stopped_there_would_have(tmp_path: Path) -> None:
    """With a constant learning rate, the first 2 epochs of 4 are those of a run of 2."""
    settings = {"training.trackers": [], "training.schedule": {"name": "constant"}, "training.keep_every": 2}
    four = make_teacher(tmp_path / "four", epochs=4, settings=settings)
    two = make_teacher(tmp_path / "two", epochs=2, settings=settings)
    assert same(load_state(four.kept[2]), state_of(two))
    loaded = limbeck.load(four.kept[2])
    assert same(dict(loaded.state_dict()), state_of(two)), "it has a card of its own"


def test_the_last_epoch_is_kept_where_another_one_is_shipped(tmp_path: Path) -> None:
    settings = {"training.trackers": [], "training.selection": "validation", "training.keep_every": 1}
    run = make_teacher(tmp_path / "run", epochs=8, lr=2.0, settings=settings)
    figures = [line["validation"]["top1"] for line in run.history]
    best = figures.index(max(figures)) + 1
    assert best < 8, "with such a learning rate"
    assert same(load_state(run.kept[best]), state_of(run))
    assert not same(load_state(run.kept[8]), state_of(run))


def test_another_run_in_its_place_keeps_nothing_of_it(tmp_path: Path) -> None:
    settings = {"training.trackers": [], "training.keep_every": 1}
    make_teacher(tmp_path / "run", epochs=3, settings=settings)
    again = make_teacher(tmp_path / "run", epochs=2, overwrite=True)
    assert again.kept == {}


def test_a_network_that_was_handed_over_is_kept_too(tmp_path: Path) -> None:
    run = limbeck.train(
        model=plain_network(),
        data=three_classes(),
        out=tmp_path / "run",
        **{**QUICK, "settings": {"training.trackers": [], "training.keep_every": 1}},
    )
    assert list(run.kept) == [1, 2]
    assert same(dict(limbeck.load(run.kept[2], network=plain_network()).state_dict()), state_of(run))


def test_the_checkpoints_teach_in_turn(kept: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    jobs = catch_job(monkeypatch)
    before = content(kept.path)
    asked: list[tuple[float, int]] = []
    due = CheckpointTeacher.due

    def heard(self: CheckpointTeacher, progress: Progress | None) -> int:
        number = due(self, progress)
        if progress is not None:
            asked.append((progress.fraction, number))
        return number

    monkeypatch.setattr(CheckpointTeacher, "due", heard)
    run = make_student(tmp_path / "run", text(kept), objective=LOGITS, epochs=7)
    assert content(kept.path) == before
    steps = len(asked)
    assert [fraction for fraction, _ in asked] == [step / steps for step in range(steps)]
    for fraction, number in asked:
        expected = next(place for place, epoch in enumerate((2, 4, 6, 7)) if fraction <= epoch / 7)
        assert number == expected
    (teacher,) = jobs[0].distiller.teachers.values()
    assert isinstance(teacher, CheckpointTeacher)
    inputs = jobs[0].source.example(4)
    for epoch, file in kept.kept.items():
        with torch.no_grad():
            expected_logits = limbeck.load(file)(inputs)
        answer = teacher(Batch(inputs, progress=Progress(0, 0, epoch / 7))).logits
        assert torch.equal(answer, expected_logits)

    found = run.result.teachers["teacher"]
    assert found.checkpoints == 4
    assert found.run is not None, "a schedule comes from a run as well"
    assert found.run.model == kept.result.student.model
    assert found.metrics == pytest.approx(kept.result.metrics.on("test")), "the last one is measured"
    assert run.result.teacher_forwards == run.result.samples_seen
    note = (
        f"the teacher is a schedule of 4 checkpoints of '{kept.path}', after the epochs 2, 4, 6, 7; it grows"
    )
    assert any(note in each for each in run.result.notes)
    page = (run.path / "report.html").read_text()
    assert "teacher: 4 checkpoints, later ones later on" in page
    assert "4 checkpoints of its training" in (run.path / "README.md").read_text()
    measured = results.read(run.path / "evaluation.json")
    assert measured is not None
    assert measured.networks["teacher"].run == str(kept.path)
    assert evaluate(run).networks["teacher"].metrics == measured.networks["teacher"].metrics
    write_model_card(run, run.result)


def test_a_student_of_a_schedule_learns_otherwise_than_one_of_the_last(kept: Run, tmp_path: Path) -> None:
    alone = make_student(tmp_path / "alone", kept, objective=LOGITS)
    grown = make_student(tmp_path / "grown", text(kept), objective=LOGITS)
    late = make_student(tmp_path / "late", text(kept, ", ahead=0.99"), objective=LOGITS)
    assert not same(state_of(alone), state_of(grown))
    assert same(state_of(alone), state_of(late)), "from the first step on, it is the last"
    weights = {run.result.teachers["teacher"].weights for run in (alone, grown, late)}
    recipes = {run.result.teachers["teacher"].recipe for run in (alone, grown, late)}
    assert (len(weights), len(recipes)) == (3, 3)


@pytest.mark.parametrize(
    ("more", "epochs", "end"),
    [
        ("", [2, 4, 6, 7], 7),
        (", every=4", [4, 7], 7),
        (", every=3", [6, 7], 7),
        (", upto=6", [2, 4, 6], 6),
        (", upto=5", [2, 4], 4),
        (", every=4, upto=6, ahead=0.5", [4, 6], 6),
    ],
)
def test_some_of_the_checkpoints_may_be_taken(more: str, epochs: list[int], end: int, kept: Run) -> None:
    schedule = schedule_of(text(kept, more))
    assert schedule is not None
    assert list(schedule.files) == epochs
    assert list(schedule.by_fraction) == [epoch / end for epoch in epochs]
    assert schedule.ahead == (0.5 if "ahead" in more else 0)
    assert schedule.is_recorded == (end == 7)


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ("checkpoints()", 'names one run, in quotes: checkpoints("runs/teacher"), not checkpoints()'),
        ("checkpoints(runs)", "names one run, in quotes"),
        ('checkpoints("{kept}", "{kept}")', "names one run, in quotes"),
        ('checkpoints("nowhere")', "needs a run that was trained here, and 'nowhere' is none"),
        ('checkpoints("{kept}", evry=2)', "unknown argument of checkpoints 'evry'; did you mean 'every'?"),
        ('checkpoints("{kept}", every=0)', "every is a number of epochs from 1 on, not 0"),
        ('checkpoints("{kept}", upto=2.5)', "upto is a number of epochs from 1 on, not 2.5"),
        ('checkpoints("{kept}", ahead=1)', "ahead is a fraction of the training from 0 to below 1, not 1"),
        ('checkpoints("{kept}", ahead=true)', "ahead is a fraction of the training"),
        (
            'checkpoints("{kept}", upto=3)',
            "kept its weights after the epochs 2, 4, 6, 7; every=1 and upto=3 leave only 1 of them",
        ),
        (
            'checkpoints("{kept}", every=7)',
            "every=7 leave only 1 of them, and a schedule of teachers needs two",
        ),
        (
            'checkpoints("{plain}")',
            "kept no checkpoints of its training, and a schedule of teachers needs two or more; make it "
            "again with --set training.keep_every=N",
        ),
        ('checkpoints("{one}")', "kept 1 checkpoint of its training, and a schedule of teachers needs two"),
        ('checkpoints("{unfinished}")', "is not finished, so its last checkpoint is missing"),
        (
            'ensemble("{kept}", \'checkpoints("{kept}")\')',
            "the members of an ensemble answer all the time, and checkpoints(",
        ),
    ],
)
def test_what_makes_no_schedule_is_refused_in_a_sentence(
    teacher: str, message: str, kept: Run, tmp_path: Path
) -> None:
    plain, one = tmp_path / "plain", tmp_path / "one"
    if "{plain}" in teacher:
        make_teacher(plain)
    if "{one}" in teacher:
        make_teacher(one, settings={"training.trackers": [], "training.keep_every": 5})
    if "{unfinished}" in teacher:
        shutil.copytree(kept.path, tmp_path / "unfinished")
        (tmp_path / "unfinished" / "result.json").unlink()
    given = teacher.format(kept=kept.path, plain=plain, one=one, unfinished=tmp_path / "unfinished")
    with pytest.raises(LimbeckError) as caught:
        make_student(tmp_path / "run", given)
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"cache_teacher": "logits"}, "another checkpoint every few epochs, .* leave out cache_teacher"),
        ({"settings": {"teacher.weights": "x.pth"}}, "brings the weights of its checkpoints; leave out the"),
        *(
            (
                {"objective": f"ce + {name}"},
                f"{name} .* one teacher.*, and a schedule of checkpoints has another",
            )
            for name in ("bss", "ekd", "ikd", "sskd")
        ),
        ({"settings": {"training.keep_every": 0}}, r"training\.keep_every=0 should be greater than or equal"),
    ],
)
def test_what_does_not_go_with_a_schedule(
    changes: dict[str, Any], message: str, kept: Run, tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError, match=message):
        make_student(tmp_path / "run", text(kept), **changes)


def test_a_student_does_not_start_from_all_of_them(kept: Run, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match="is a schedule of teachers and no student, which may start"):
        make_student(tmp_path / "run", kept, student=text(kept))
    started = make_student(tmp_path / "started", kept, student=str(kept.kept[4]), objective="kd")
    assert started.result.student.parameters == kept.result.student.parameters


def test_a_run_does_not_replace_its_own_schedule(kept: Run) -> None:
    before = content(kept.path)
    with pytest.raises(LimbeckError, match="which the run would replace"):
        make_student(kept.path, text(kept), overwrite=True)
    assert content(kept.path) == before


def test_a_teacher_that_moved_is_found_and_one_that_changed_is_refused(kept: Run, tmp_path: Path) -> None:
    """A run that was interrupted goes on from another place, but not with another checkpoint."""
    shutil.copytree(kept.path, tmp_path / "a" / "teacher")
    arguments = {"objective": LOGITS, "epochs": 3}

    with pytest.MonkeyPatch.context() as patch, interrupted_after(2):
        patch.chdir(tmp_path / "a")
        make_student(Path("run"), 'checkpoints("teacher")', **arguments)
    (tmp_path / "a").rename(tmp_path / "b")
    shutil.copytree(tmp_path / "b", tmp_path / "c")
    run = limbeck.distill(out=tmp_path / "b" / "run", resume=True, display=False)
    whole = make_student(tmp_path / "whole", text(kept), **arguments)
    assert same(state_of(run), state_of(whole))

    shutil.copy(kept.kept[4], Run(tmp_path / "c" / "teacher").kept[2])
    with pytest.raises(LimbeckError, match="the weights of the teacher have changed since the run in"):
        limbeck.distill(out=tmp_path / "c" / "run", resume=True, display=False)


def test_a_phase_that_asks_the_schedule_is_kept_apart_from_one_that_asks_the_last(
    kept: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    objective = "mgd(kd, epochs=2)"
    alone = make_student(tmp_path / "alone", kept, objective=objective)
    grown = make_student(tmp_path / "grown", text(kept), objective=objective)
    again = make_student(tmp_path / "again", text(kept), objective=objective)
    phases = [[line for line in run.history if line["phase"] != "training"] for run in (alone, grown, again)]
    assert not any(line.get("cached") for line in (*phases[0], *phases[1]))
    assert all(line.get("cached") for line in phases[2])
    assert same(state_of(grown), state_of(again))


def test_it_is_one_of_several_teachers(kept: Run, tmp_path: Path) -> None:
    run = limbeck.distill(
        student=STUDENT,
        teacher={"grown": text(kept), "old": kept},
        objective='0.5*kd(teacher="grown") + 0.5*kd(teacher="old")',
        out=tmp_path / "run",
        **QUICK,
    )
    assert {name: each.checkpoints for name, each in run.result.teachers.items()} == {"grown": 4, "old": None}
    assert any("the teacher 'grown' is a schedule of 4" in note for note in run.result.notes)


def test_the_last_checkpoint_is_held_against_what_its_run_recorded(kept: Run) -> None:
    task = kept.data().task
    validation = kept.result.metrics.validation
    assert validation is not None
    assert trust._recorded(TeacherConfig(model=text(kept)), task) == validation["top1"]
    early = TeacherConfig(model=text(kept, ", upto=4"))
    assert trust._recorded(early, task) is None, "nothing was recorded of an earlier one"


def test_a_cache_is_not_filled_with_it(kept: Run) -> None:
    with pytest.raises(LimbeckError, match="another checkpoint every few epochs"):
        list(fill(teacher=text(kept), data="digits"))


def test_a_method_that_reads_stages_learns_from_it(tmp_path: Path) -> None:
    settings = {"training.trackers": [], "training.keep_every": 1}
    teacher = make_teacher(tmp_path / "teacher", model="cnn(channels=[4, 8])", settings=settings)
    run = make_student(
        tmp_path / "run", text(teacher), student="cnn(channels=[3, 6])", objective="kd + at + simkd"
    )
    assert run.result.teachers["teacher"].checkpoints == 2
