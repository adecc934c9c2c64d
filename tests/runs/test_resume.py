from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
import resumable
import torch
from accelerate import Accelerator
from small_runs import content, plain_network, same, state_of, three_classes, timeless, without_times

import limbeck
from interrupting import interrupted_after
from limbeck.errors import LimbeckError
from limbeck.runs import Run, making
from limbeck.training.history import History

MOMENTS = {
    "before there was a run": ".config.yaml 1",
    "in the first epoch of a phase": "teacher 3",
    "in the second epoch of a phase": "teacher 7",
    "in the first epoch of the training": "student 3",
    "in the middle of the training": "student 8",
    "between a line of the history and its checkpoint": "line 4",
    "while a checkpoint is written": "checkpoint 4",
    "while the result is written": ".result.json 1",
    "in a phase, and again in the training": "teacher 7,student 8",
    "twice in the same epoch": "student 8,student 2",
}
"""When a run is killed. Phase and training have five steps an epoch; the phase has two epochs."""


GROWN = {
    "in a phase, under a teacher that grows": "teacher 7",
    "in the training, under the second of its checkpoints": "student 8",
    "while the weights of an epoch are kept": ".epoch-0003.safetensors 1",
    "between weights that are kept and the checkpoint": "checkpoint 5",
}
"""When a run is killed whose teacher is a schedule of four checkpoints."""


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return resumable.run(tmp_path_factory.mktemp("undisturbed"))


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The directories of the runs that were killed."""
    return _killed(tmp_path_factory.mktemp("killed"), MOMENTS)


@pytest.fixture(scope="module")
def schedule(tmp_path_factory: pytest.TempPathFactory) -> str:
    teacher = limbeck.train(
        model="resumable:teacher()",
        epochs=4,
        batch_size=resumable.BATCH,
        settings={"training.trackers": [], "training.keep_every": 1},
        out=tmp_path_factory.mktemp("grown") / "teacher",
        display=False,
    )
    return f'checkpoints("{teacher.path}")'


@pytest.fixture(scope="module")
def grown(schedule: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Path], Run]:
    """The directories of the runs under a schedule that were killed, and the run that was not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SCHEDULE", schedule)
        return (
            _killed(tmp_path_factory.mktemp("killed"), GROWN),
            resumable.run(tmp_path_factory.mktemp("undisturbed")),
        )


def _killed(folder: Path, when: dict[str, str]) -> dict[str, Path]:
    here = Path(__file__).parent
    paths = [str(here.parent / "methods"), *filter(None, [os.environ.get("PYTHONPATH")])]
    script = subprocess.run(
        [sys.executable, str(here / "resumable.py"), str(folder), *when.values()],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert script.returncode == 0, script.stderr
    moments = [moment for chain in when.values() for moment in chain.split(",")]
    assert script.stdout.splitlines() == [f"{moment}: SIGKILL" for moment in moments], script.stderr
    return {each: folder / str(number) for number, each in enumerate(when)}


@pytest.mark.parametrize("when", MOMENTS)
def test_a_killed_run_ends_as_if_nothing_had_happened(
    when: str, killed: dict[str, Path], undisturbed: Run
) -> None:
    _ends_alike(killed[when], undisturbed)


@pytest.mark.parametrize("when", GROWN)
def test_so_does_one_with_a_teacher_that_grows(
    when: str, schedule: str, grown: tuple[dict[str, Path], Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SCHEDULE", schedule)
    killed, undisturbed = grown
    _ends_alike(killed[when], undisturbed)
    assert undisturbed.result.teachers["teacher"].checkpoints == 4


def _ends_alike(killed: Path, undisturbed: Run) -> None:
    """Goes on with a killed run, and compares it with one that was not."""
    assert not Run(killed).finished
    run = resumable.run(killed)
    for weights in (
        "student.safetensors",
        *(f"checkpoints/epoch-000{epoch}.safetensors" for epoch in (3, 4)),
    ):
        assert (run.path / weights).read_bytes() == (undisturbed.path / weights).read_bytes()
    assert timeless(run.history) == timeless(undisturbed.history)
    assert without_times(run.result) == without_times(undisturbed.result)
    assert content(run.path).keys() == content(undisturbed.path).keys(), "no litter is left"
    last = [
        torch.load(each.path / "checkpoints" / "last.pt", weights_only=True) for each in (run, undisturbed)
    ]
    assert same(last[0]["root"], last[1]["root"]), "memory, adversary and all"


def test_the_undisturbed_run_is_worth_the_comparison(undisturbed: Run) -> None:
    loops = [line["phase"] for line in undisturbed.history]
    assert loops == ["projected.code"] * 2 + ["training"] * 4
    rates = [line["lr"] for line in undisturbed.history[2:]]
    assert rates[0] < rates[1] > rates[2] > rates[3] > 0
    assert len({line["terms"]["total"] for line in undisturbed.history}) == 6


def test_a_finished_run_is_given_back_untouched(undisturbed: Run) -> None:
    before = content(undisturbed.path)
    assert resumable.run(undisturbed.path) == undisturbed
    assert limbeck.distill(out=undisturbed.path, resume=True) == undisturbed
    assert content(undisturbed.path) == before


def begun(folder: Path, **changes: Any) -> dict[str, Any]:
    """The settings of a run that was interrupted in its second epoch."""
    settings: dict[str, Any] = {
        "student": "mlp(hidden=[6])",
        "objective": "label_smoothing",
        "epochs": 3,
        "batch_size": 250,
        "settings": {"training.trackers": []},
        "display": False,
    }

    with interrupted_after(2):
        limbeck.distill(out=folder, **{**settings, **changes})
    return settings


def test_only_the_directory_is_needed(tmp_path: Path) -> None:
    settings = begun(tmp_path / "run")
    whole = limbeck.distill(out=tmp_path / "whole", **settings)
    run = limbeck.distill(out=tmp_path / "run", resume=True, display=False)
    assert same(state_of(run), state_of(whole))
    assert [line["epoch"] for line in run.history] == [1, 2, 3]


def test_a_training_is_resumed_by_train(tmp_path: Path) -> None:
    begun(tmp_path / "run", objective="2*ce")
    assert limbeck.train(out=tmp_path / "run", resume=True, display=False).finished


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"epochs": 4}, r"was run with training\.epochs=3, not 4"),
        ({"lr": 0.3}, r"was run with training\.optimizer\.lr=0\.05, not 0\.3"),
        ({"student": "mlp"}, r"was run with student\.model='mlp\(hidden=\[6\]\)', not 'mlp'"),
        ({"objective": "2*ce"}, r"was run with objective='label_smoothing', not '2\*ce'"),
        ({"settings": {"training.clip": 1.0}}, r"was run with training\.clip=None, not 1\.0"),
    ],
)
def test_other_settings_are_refused_by_name(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    begun(tmp_path / "run")
    before = content(tmp_path)
    with pytest.raises(LimbeckError, match=message + "; resume it without new settings"):
        limbeck.distill(out=tmp_path / "run", resume=True, **changes)
    assert content(tmp_path) == before


def test_it_goes_on_as_an_error_told_it_to(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(tmp_path / "run")
    changes: dict[str, Any] = {"skip_bad_steps": 2, "settings": {"training.accumulation": 2}}
    run = limbeck.distill(out=tmp_path / "run", resume=True, **changes)
    assert "the run goes on with training.accumulation=2, in place of 1" in capsys.readouterr().err
    assert len(run.history) == 3
    assert (run.config.training.accumulation, run.config.training.skip_bad_steps) == (2, 2)
    (changed,) = run.environment["changed"]
    assert changed["settings"] == {"training.accumulation": [1, 2], "training.skip_bad_steps": [0, 2]}


def on_digits(epochs: int, more: Mapping[str, Any] = MappingProxyType({})) -> dict[str, Any]:
    """Arguments of a short training."""
    given = {"model": "mlp", "data": "digits", "epochs": epochs, "batch_size": 250, "display": False}
    return {**given, "settings": {"training.trackers": [], **more}}


def test_a_directory_that_is_removed_is_made_again_before_the_next_checkpoint(tmp_path: Path) -> None:
    settings = on_digits(5, {"training.checkpoint_every": 1})
    path = tmp_path / "run"
    whole = limbeck.train(out=tmp_path / "whole", **settings)
    add, epochs = History.add, list[int]()

    def added(history: History, line: Any) -> None:
        epochs.append(line["epoch"])
        if line["epoch"] == 3:
            shutil.rmtree(path)
        elif line["epoch"] == 4:
            raise KeyboardInterrupt  # as by kill, after the checkpoint of epoch 3
        add(history, line)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(History, "add", added)
        with pytest.raises(KeyboardInterrupt):
            limbeck.train(out=path, **settings)
    run = limbeck.train(out=path, resume="auto", display=False)
    assert epochs == [1, 2, 3, 4]
    assert [line["epoch"] for line in run.history] == [1, 2, 3, 4, 5]
    assert same(state_of(run), state_of(whole))


def test_a_run_does_not_write_into_another_one_that_took_its_removed_directory(tmp_path: Path) -> None:
    settings = on_digits(3)
    path = tmp_path / "run"
    other: dict[str, Any] = {}

    def another(epoch: int, figures: Mapping[str, float]) -> None:
        if not other:
            shutil.rmtree(path)
            limbeck.train(out=path, seed=1, **settings)
            other.update(content(path))

    with pytest.raises(LimbeckError, match=r"was removed in the meantime, and holds another run now$"):
        limbeck.train(out=path, watch=another, **settings)
    assert content(path) == other


def test_lines_that_are_lost_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begun(tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"")
    run = limbeck.distill(out=tmp_path / "run", resume=True)
    assert "has 0 of 1 lines that were written; the others are lost" in capsys.readouterr().err
    assert [line["epoch"] for line in run.history] == [2, 3]


def test_a_line_with_damaged_bytes_stops_nothing(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    (tmp_path / "run" / "metrics.jsonl").write_bytes(b"\xff\n{half a line")
    run = limbeck.distill(out=tmp_path / "run", resume=True, display=False)
    assert [line["epoch"] for line in run.history] == [2, 3]


def test_a_torn_checkpoint_is_refused_and_nothing_is_changed(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    checkpoint = tmp_path / "run" / "checkpoints" / "last.pt"
    checkpoint.write_bytes(checkpoint.read_bytes()[:-1000])
    before = content(tmp_path)
    with pytest.raises(LimbeckError, match=r"checkpoints/last\.pt' cannot be read: it is damaged"):
        limbeck.distill(out=tmp_path / "run", resume=True)
    assert content(tmp_path) == before


def test_a_run_of_objects_goes_on_with_the_objects(tmp_path: Path) -> None:
    begun(tmp_path / "run", student=plain_network(), data=three_classes())
    with pytest.raises(LimbeckError, match="the student <Sequential> was handed over as an object; hand"):
        limbeck.distill(out=tmp_path / "run", resume=True)
    with pytest.raises(LimbeckError, match=r"last\.pt' is of another module: size mismatch for student"):
        limbeck.distill(student=plain_network(5), data=three_classes(), out=tmp_path / "run", resume=True)
    network = plain_network()
    run = limbeck.distill(
        student=network, data=three_classes(), out=tmp_path / "run", resume=True, display=False
    )
    assert same(state_of(run), network.state_dict())
    assert len(run.history) == 3


def test_resuming_needs_a_directory_with_a_run(tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r"resume=True \(--resume\) needs the directory of the run"):
        limbeck.distill(resume=True)
    with pytest.raises(LimbeckError, match="there is no run to resume in"):
        limbeck.distill(out=tmp_path / "nowhere", resume=True)
    assert not (tmp_path / "nowhere").exists()


def test_processes_that_do_not_see_the_same_run_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # As on two machines, each with a disk of its own.
    begun(tmp_path / "run")
    monkeypatch.setattr(making, "gather_object", lambda mine: [*mine, (False, False)])
    monkeypatch.setattr(Accelerator, "num_processes", 2)
    before = content(tmp_path)
    with pytest.raises(LimbeckError, match=r"^some of the processes see a run in '.*run' and others do"):
        limbeck.distill(out=tmp_path / "run", resume="auto", display=False)
    assert content(tmp_path) == before
