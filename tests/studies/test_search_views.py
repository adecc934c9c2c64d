from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from limbeck import data
from limbeck.data.views import Schedule, parse
from limbeck.errors import LimbeckError
from limbeck.models import load_state
from limbeck.runs import Run
from limbeck.studies import running
from limbeck.studies.policy_search import PolicySearch
from limbeck.studies.search_views import search_views

MODEL = "cnn(channels=[2])"
ASKED: dict[str, Any] = {"student": MODEL, "epochs": 5, "every": 2, "population": 3, "batch_size": 16}


def source(**settings: Any) -> data.Source:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (60, 1, 8, 8), dtype=torch.uint8, generator=generator)
    targets = torch.arange(60) % 2
    images[targets == 1, :, :4] //= 2
    test = (images[:10], targets[:10])
    return data.from_tensors(images, targets, **{"test": test, "views": "crop(flip=true)", **settings})


def searched(out: Path, **settings: Any) -> PolicySearch:
    return search_views("teacher", **{**ASKED, "data": source(), "out": out, **settings})


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> PolicySearch:
    return searched(tmp_path_factory.mktemp("search") / "a")


@pytest.fixture(scope="module")
def record(done: PolicySearch) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((done.path / "search.json").read_text())
    return found


def run_of(done: PolicySearch, trial: int, number: int) -> Run:
    return Run(done.path / f"trial-{trial}" / f"{number}")


def test_every_trial_is_a_chain_of_ordinary_runs(done: PolicySearch, record: dict[str, Any]) -> None:
    assert [len(trials) for trials in record["rounds"]] == [3, 3, 3]
    for number, trials in enumerate(record["rounds"], 1):
        for place, told in enumerate(trials, 1):
            run = run_of(done, place, number)
            config, result = run.config, run.result
            assert config.data.views == told["views"]
            assert config.training.epochs == (1 if number == 3 else 2)
            assert result.metrics.test is None, "no trial sees the test split"
            assert (result.metrics.validation or {})["top1"] == told["validation top1"]
            weights = None if told["from"] is None else done.path / told["from"] / "student.safetensors"
            assert config.student.weights == weights
            assert (told["from"] is None) == (number == 1)
    seeds = [{run_of(done, place, number).config.seed for place in (1, 2, 3)} for number in (1, 2, 3)]
    assert [len(each) for each in seeds] == [1, 1, 1], "trials of a round differ in their policies alone"
    assert len(set.union(*seeds)) == 3


def test_weights_are_handed_on(done: PolicySearch, record: dict[str, Any]) -> None:
    """A run at a rate of next to nothing ends with the weights it has begun with."""
    config = run_of(done, 1, 2).config
    begun = limbeck.train(
        config,
        data=source(),
        settings={"training.optimizer": {"lr": 1e-30, "weight_decay": 0.0}},
        out=done.path.parent / "still",
        display=False,
    )
    expected = load_state(done.path / record["rounds"][1][0]["from"] / "student.safetensors")
    found = load_state(begun.path / "student.safetensors")
    for name, tensor in expected.items():
        if "running" not in name and "batches" not in name:
            assert torch.equal(found[name], tensor), name


def test_the_rates_are_those_of_the_schedule_in_the_middle_of_each_round(done: PolicySearch) -> None:
    training = done.config.training
    for number, middle in ((1, 1.0), (2, 3.0), (3, 4.5)):
        config = run_of(done, 2, number).config.training
        expected = training.optimizer.lr * 0.5 * (1 + torch.tensor(torch.pi * middle / 5).cos().item())
        assert config.optimizer.lr == pytest.approx(expected)
        assert config.schedule.at(7, 10, 2) == 1


def test_the_last_takes_over_the_first_and_the_others_go_on(record: dict[str, Any]) -> None:
    for number, (before, after) in enumerate(zip(record["rounds"], record["rounds"][1:], strict=False), 1):
        scores = [told["validation top1"] for told in before]
        order = sorted(range(3), key=lambda trial: (-scores[trial], trial))
        for trial in range(3):
            if trial == order[-1]:
                assert after[trial]["from"] == f"trial-{order[0] + 1}/{number}"
            else:
                assert after[trial]["from"] == f"trial-{trial + 1}/{number}"
                assert after[trial]["views"] == before[trial]["views"]


def test_the_policies_of_the_winner_become_a_schedule(done: PolicySearch, record: dict[str, Any]) -> None:
    scores = [told["validation top1"] for told in record["rounds"][-1]]
    trial, number = scores.index(max(scores)), 3
    history: list[str] = []
    while True:
        told = record["rounds"][number - 1][trial]
        history.insert(0, told["views"])
        if told["from"] is None:
            break
        trial, number = int(told["from"].split("/")[0].removeprefix("trial-")) - 1, number - 1
    chosen = parse(limbeck.config.make_config(done.path / "policy.yaml").data.views or "")
    parts = chosen.policies if isinstance(chosen, Schedule) else (chosen,)
    starts = chosen.starts if isinstance(chosen, Schedule) else (0,)
    of_epoch = [
        next(str(part) for part, start in zip(parts[::-1], starts[::-1], strict=True) if start <= epoch)
        for epoch in range(5)
    ]
    assert of_epoch == [history[epoch // 2] for epoch in range(5)]
    assert all("flip=true" in views for views in history), "mirror images are the data's choice"


def test_the_file_of_the_policies_is_a_run(done: PolicySearch, tmp_path: Path) -> None:
    head = (done.path / "policy.yaml").read_text().splitlines()[0]
    assert head.startswith("# The teacher's views as limbeck search-views found them: trial ")
    assert done.command == f'limbeck.train("{done.path}/policy.yaml", data=...)'
    run = limbeck.train(
        done.path / "policy.yaml", data=source(), out=tmp_path / "run", epochs=3, display=False
    )
    views = run.result.data.views
    assert views is not None
    assert views.policy == limbeck.config.make_config(done.path / "policy.yaml").data.views
    assert run.result.metrics.test is not None


def test_policies_are_drawn_by_the_seed(record: dict[str, Any], tmp_path: Path) -> None:
    short: dict[str, Any] = {"epochs": 2, "every": 1, "population": 2}
    first = [told["values"] for told in record["rounds"][0]]
    for seed, same in ((0, True), (1, False)):
        other = searched(tmp_path / f"{seed}", seed=seed, **short)
        there = json.loads((other.path / "search.json").read_text())["rounds"]
        assert ([told["values"] for told in there[0]] == first[:2]) is same


@pytest.mark.parametrize("stopped_at", [1, 5])
def test_a_killed_search_goes_on_to_the_same_end(
    done: PolicySearch, record: dict[str, Any], tmp_path: Path, monkeypatch: Any, stopped_at: int
) -> None:
    left = stopped_at

    def stopping(*args: Any, **kwargs: Any) -> Run:
        nonlocal left
        if left == 0:
            raise KeyboardInterrupt
        left -= 1
        return limbeck.runs.train(*args, **kwargs)

    monkeypatch.setattr(running, "train", stopping)
    with pytest.raises(KeyboardInterrupt):
        searched(tmp_path / "a")
    finished = sorted((tmp_path / "a").rglob("result.json"))
    assert len(finished) == stopped_at
    assert not (tmp_path / "a" / "policy.yaml").exists()
    times = [file.stat().st_mtime_ns for file in finished]
    monkeypatch.undo()
    searched(tmp_path / "a", resume=True)
    assert [file.stat().st_mtime_ns for file in finished] == times, "what was done is not repeated"
    assert json.loads((tmp_path / "a" / "search.json").read_text()) == record
    assert (tmp_path / "a" / "policy.yaml").read_text() == (done.path / "policy.yaml").read_text()


def test_another_search_is_not_resumed(done: PolicySearch) -> None:
    with pytest.raises(LimbeckError, match=r"was searched with population=3, not 4; resume it with what"):
        searched(done.path, resume=True, population=4)
    with pytest.raises(LimbeckError, match=r"was searched with config.training.batch_size=16, not 8"):
        searched(done.path, resume=True, batch_size=8)
    with pytest.raises(LimbeckError, match=r"is not empty; say resume=True \(--resume\) to go on, or choose"):
        searched(done.path)


def test_a_student_is_searched_for_with_its_teacher(tmp_path: Path) -> None:
    teacher = limbeck.train(model=MODEL, data=source(), epochs=12, out=tmp_path / "t", display=False)
    lines: list[str] = []
    done = search_views(
        "student",
        student=MODEL,
        teacher=teacher,
        data=source(),
        objective="rolewise(ce + kd)",
        epochs=2,
        every=1,
        population=2,
        out=tmp_path / "s",
        note=lines.append,
    )
    results = [Run(done.path / f"trial-{trial}" / f"{r}").result for trial in (1, 2) for r in (1, 2)]
    assert all(result.teachers for result in results)
    assert [line.split(":")[0] for line in lines] == [
        f"epochs {epoch} to {epoch}, trial {trial} of 2" for epoch in (0, 1) for trial in (1, 2)
    ]
    assert done.command.startswith("limbeck.distill(")


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "role": ({"role": "pupil"}, r"the role \(--role\) is teacher or student, not 'pupil'"),
    "population": ({"population": 1}, "needs 2 trials or more to learn from one another, not 1"),
    "every": ({"every": 0}, r"every \(--every\) is 1 epoch or more, not 0"),
    "one round": ({"every": 5}, r"every=5 \(--every\) leaves no second round in 5 epochs"),
    "more than all": ({"every": 6}, "leaves no second round"),
    "table": ({"data": "breast_cancer"}, "holds no images"),
    "no validation": (
        {"data": source(validation=None)},
        "has no validation split, and policies are never chosen by the test split",
    ),
    "taught": ({"teacher": "runs/a"}, "leave out the teacher, or search for the student's"),
    "untaught": ({"role": "student"}, r"searched with its teacher; give one \(--teacher\)"),
    "views": ({"settings": {"training.views": 4}}, r"leave out training\.views"),
    "bound": (
        {"settings": {"training.max_steps": 3}},
        r"training\.max_steps would bound each anew; leave it",
    ),
    "patience": (
        {"settings": {"training.early_stopping": {"patience": 1}}},
        r"training\.early_stopping would bound each anew",
    ),
    "model": ({"student": "cnnn"}, "did you mean 'cnn'"),
    "objective": ({"objective": "ce + kdd"}, "did you mean 'kd'"),
    "network": ({"student": torch.nn.Linear(2, 2)}, "name them, or give their runs"),
    "parts": ({"objective": "dml"}, "what 'dml' trains besides the student would start anew in each"),
    "resume": ({"resume": True}, "there is no search to resume in"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_refused_and_nothing_written(case: str, tmp_path: Path) -> None:
    settings, message = BAD[case]
    asked = {"role": "teacher", "data": source(), "out": tmp_path / "out", **ASKED, **settings}
    with pytest.raises(LimbeckError, match=message):
        search_views(**asked)
    assert not list(tmp_path.iterdir())


def test_a_file_and_other_things_are_not_written_over(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(LimbeckError, match="is a file; a search needs a directory"):
        searched(tmp_path / "file")
    with pytest.raises(LimbeckError, match=r"is not empty; choose another out"):
        searched(tmp_path)
    with pytest.raises(LimbeckError, match=r"needs the directory of the search, out \(--out\)"):
        search_views("teacher", data=source(), resume=True, **ASKED)


def test_without_a_number_a_trial_has_few_epochs(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(PolicySearch, "run", lambda self: None)
    assert searched(tmp_path / "a", epochs=None).config.training.epochs == 20
    file = tmp_path / "file.yaml"
    file.write_text("student: cnn\ntraining: {epochs: 7}\n")
    assert searched(tmp_path / "b", config=file, epochs=None).config.training.epochs == 7
