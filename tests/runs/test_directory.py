from __future__ import annotations

import json
import os
import platform
import sys
from collections.abc import Callable
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
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
from torch import nn

import limbeck
from limbeck import data, evaluation, models
from limbeck.config import make_config
from limbeck.errors import LimbeckError
from limbeck.runs import Run, directory

CONFIG = make_config(settings={"student.model": "mlp", "objective": "ce"})


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_teacher(tmp_path_factory.mktemp("runs") / "teacher")


class TestLoad:
    def test_it_gives_the_student_that_was_trained(
        self, teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        jobs = catch_job(monkeypatch)
        run = make_student(tmp_path / "run", teacher, student="cnn(channels=[2, 4])")
        trained = jobs[0].distiller.student.eval()
        loaded = limbeck.load(run)
        assert type(loaded) is type(trained) is models.CNN
        assert same(loaded.state_dict(), trained.state_dict())
        assert not any(module.training for module in loaded.modules())
        assert models.normalization_of(loaded) == models.normalization_of(trained)
        assert models.normalization_of(loaded) is not None
        test = data.load("digits").test
        assert test is not None
        batch = next(iter(data.Loader(test, 500, shuffle=False)))
        with torch.no_grad():
            assert torch.equal(loaded(batch.inputs), trained(batch.inputs))

    def test_a_run_its_directory_and_its_file_are_the_same(self, teacher: Run) -> None:
        states = [
            limbeck.load(where).state_dict()
            for where in (teacher, teacher.path, str(teacher.path), teacher.path / "student.safetensors")
        ]
        assert all(same(states[0], state) for state in states[1:])

    def test_the_global_generator_is_not_touched(self, teacher: Run) -> None:
        state = torch.get_rng_state()
        limbeck.load(teacher)
        assert torch.equal(state, torch.get_rng_state())

    def test_a_folder_without_a_student_is_refused(self, tmp_path: Path) -> None:
        messages = "holds no student.safetensors; is it the directory of a fini", "there is no '.*nowhere'"
        for where, message in zip((tmp_path, tmp_path / "nowhere"), messages, strict=True):
            with pytest.raises(LimbeckError, match=message):
                limbeck.load(where)

    def test_somebody_elses_weights_are_refused(self, tmp_path: Path) -> None:
        file = tmp_path / "student.safetensors"
        safetensors.torch.save_file({"weight": torch.ones(2)}, file)
        with pytest.raises(
            LimbeckError, match="does not say which network it belongs to; give its name and weig"
        ):
            limbeck.load(tmp_path)

    def test_a_network_that_came_as_an_object_is_refused(self, tmp_path: Path) -> None:
        run = limbeck.train(model=plain_network(), data=three_classes(), out=tmp_path / "run", **QUICK)
        with pytest.raises(
            LimbeckError, match="was handed over as an object and cannot be built from a name"
        ):
            limbeck.load(run)
        again = plain_network()
        models.load_into(again, state_of(run), "the run")

    def test_a_truncated_file_is_refused(self, teacher: Run, tmp_path: Path) -> None:
        whole = (teacher.path / "student.safetensors").read_bytes()
        for share in (0.0, 0.5, 0.99):
            (tmp_path / "student.safetensors").write_bytes(whole[: int(share * len(whole))])
            with pytest.raises(
                LimbeckError, match=r"student\.safetensors' is damaged or no safetensors file"
            ):
                limbeck.load(tmp_path)

    @pytest.mark.parametrize("card", ["{", "3", '{"model": 3}', '{"model": "mlp"}', "{}"])
    def test_a_record_that_makes_no_sense_is_refused(self, card: str, tmp_path: Path) -> None:
        file = tmp_path / "student.safetensors"
        safetensors.torch.save_file({"weight": torch.ones(2)}, file, {"limbeck": card})
        with pytest.raises(LimbeckError, match=r"student\.safetensors' says of its network is damaged"):
            limbeck.load(tmp_path)

    def test_a_weights_file_alone_calls_no_factory(self, tmp_path: Path) -> None:
        file = tmp_path / "downloaded.safetensors"
        touched = tmp_path / "touched"
        card = {
            "model": f'os:mkdir("{touched}")',
            "class_names": ["0", "1"],
            "input_shape": [4],
            "mean": None,
            "std": None,
        }
        safetensors.torch.save_file({"weight": torch.ones(2)}, file, {"limbeck": json.dumps(card)})
        with pytest.raises(LimbeckError, match="a weights file is not trusted to call anything"):
            limbeck.load(file)
        with pytest.raises(LimbeckError, match="a weights file is not trusted to call anything"):
            limbeck.distill(student="mlp", teacher=file, out=tmp_path / "run", **QUICK)
        assert not touched.exists()
        assert not (tmp_path / "run").exists()


class TestRun:
    def test_what_it_says(self, teacher: Run) -> None:
        assert teacher.finished
        assert teacher.config.student.model == "mlp(hidden=[16])"
        assert teacher.config.training.epochs == 2
        assert teacher.result.model_dump(mode="json") == json.loads(
            (teacher.path / "result.json").read_text()
        )
        assert [line["epoch"] for line in teacher.history] == [1, 2]

    def test_an_unfinished_one_has_no_result(self, tmp_path: Path) -> None:
        directory.claim(tmp_path, CONFIG)
        run = Run(tmp_path)
        assert not run.finished
        with pytest.raises(LimbeckError, match="has no result yet; finish it with resume=True"):
            _ = run.result

    def test_its_environment_is_on_record(self, teacher: Run) -> None:
        environment = json.loads((teacher.path / "environment.json").read_text())
        assert environment["packages"]["torch"] == version("torch")
        assert environment["python"] == platform.python_version()
        assert environment["threads"] == torch.get_num_threads()


class TestClaim:
    def test_free_directories_are_numbered(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        assert directory.free_directory("train") == Path("runs/train-1")
        Path("runs/train-1").mkdir(parents=True)
        Path("runs/train-2").mkdir()
        assert directory.free_directory("train") == Path("runs/train-3")
        assert directory.free_directory("distill") == Path("runs/distill-1")

    @pytest.mark.parametrize(
        ("there", "how", "message"),
        [
            ("nothing", {}, None),
            ("nothing", {"overwrite": True}, None),
            ("nothing", {"resume": True}, "there is no run to resume in"),
            ("empty", {}, None),
            ("empty", {"resume": True}, "there is no run to resume in"),
            ("run", {}, "holds another run, which did not come to its end; say overwrite=True"),
            ("run", {"overwrite": True}, None),
            ("run", {"resume": True}, None),
            ("import", {}, "holds an imported network; say overwrite=True"),
            ("import", {"overwrite": True}, None),
            ("import", {"resume": True}, "there is no run to resume in"),
            ("half-made", {}, None),
            ("half-made", {"overwrite": True}, None),
            ("half-made", {"resume": True}, "there is no run to resume in"),
            ("half-made import", {}, None),
            ("strangers", {}, "holds files that are no run; choose another out"),
            ("strangers", {"overwrite": True}, "holds files that are no run; choose another out"),
            ("strangers", {"resume": True}, "there is no run to resume in"),
            ("file", {"overwrite": True}, "is a file; a run needs a directory"),
            ("below a file", {}, "is a file; a run needs a directory"),
        ],
    )
    def test_who_may_write_where(
        self, there: str, how: dict[str, bool], message: str | None, tmp_path: Path
    ) -> None:
        path = tmp_path / "out"
        if there in ("empty", "run", "import", "strangers", "half-made import"):
            path.mkdir()
        if there.startswith("half-made"):
            directory.clear(path)
            directory.write_json(path / "environment.json", {})
        if there == "half-made import":
            (path / "student.safetensors").write_text("half an import")
        if there == "import":
            (path / "import.json").write_text("{}")
        if there == "run":
            directory.claim(path, CONFIG)
        if there == "strangers":
            (path / "thesis.tex").write_text("precious")
        if there in ("file", "below a file"):
            path.write_text("precious")
        if there == "below a file":
            path = path / "out"
        before = content(tmp_path)
        flags = {"resume": False, "overwrite": False, **how}
        if message is None:
            directory.check_claim(path, **flags)
        else:
            with pytest.raises(LimbeckError, match=message):
                directory.check_claim(path, **flags)
        assert content(tmp_path) == before

    def test_overwriting_replaces_what_is_a_runs_and_keeps_what_is_not(self, tmp_path: Path) -> None:
        for name in ("config.yaml", "metrics.jsonl", "result.json", "student.safetensors", "report.html"):
            (tmp_path / name).write_text("old")
        (tmp_path / ".result.json.4711").write_text("what a crash left")
        (tmp_path / ".mine.txt.4711").write_text("old")
        for name in ("checkpoints/last.pt", "trackers/limbeck/events", "notes/mine.txt", "mine.txt"):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text("old")
        directory.claim(tmp_path, CONFIG)
        own = {"config.yaml", "environment.json"}
        assert content(tmp_path).keys() == own | {"mine.txt", "notes/mine.txt", ".mine.txt.4711"}
        assert make_config(tmp_path / "config.yaml") == CONFIG

    @pytest.mark.parametrize("stopped_at", ["environment.json", "config.yaml"])
    @pytest.mark.parametrize("overwrite", [False, True])
    def test_what_was_stopped_before_there_was_a_run_is_started_afresh(
        self,
        stopped_at: str,
        overwrite: bool,
        teacher: Run,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        out = tmp_path / "run"
        if overwrite:
            make_student(out, teacher)
            (out / "mine.txt").write_text("mine")

        def stop(path: Path, text: str) -> None:
            if path.name == stopped_at:
                raise KeyboardInterrupt
            path.write_text(text)

        with monkeypatch.context() as patched:
            patched.setattr(directory, "write_text", stop)
            with pytest.raises(KeyboardInterrupt):
                make_student(out, teacher, overwrite=overwrite)
        assert not (out / "config.yaml").exists()
        run = make_student(out, teacher)  # as it was asked for, without --overwrite
        fresh = make_student(tmp_path / "fresh", teacher)
        assert same(state_of(run), state_of(fresh))
        assert content(out).keys() == content(fresh.path).keys() | ({"mine.txt"} if overwrite else set())

    def test_an_overwritten_run_is_a_whole_new_one(self, teacher: Run, tmp_path: Path) -> None:
        make_student(tmp_path / "run", teacher, epochs=3)
        (tmp_path / "run" / "mine.txt").write_text("mine")
        with pytest.raises(LimbeckError, match="holds another run"):
            make_student(tmp_path / "run", teacher)
        run = make_student(tmp_path / "run", teacher, overwrite=True)
        fresh = make_student(tmp_path / "fresh", teacher)
        assert len(run.history) == 2
        assert same(state_of(run), state_of(fresh))
        assert (run.path / "mine.txt").read_text() == "mine"


class TestSameConfig:
    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"training.epochs": 7}, "was run with training.epochs=30, not 7"),
            (
                {"training.optimizer": {"name": "adam"}},
                "was run with training.optimizer.name='sgd', not 'adam'",
            ),
            ({"seed": 3}, "was run with seed=0, not 3"),
            ({"teacher": "runs/a"}, "was run with teacher.model=None, not 'runs/a'"),
            ({"training.clip": 2.0}, r"was run with training.clip=None, not 2.0"),
        ],
    )
    def test_the_key_that_differs_is_named(
        self, settings: dict[str, Any], message: str, tmp_path: Path
    ) -> None:
        directory.claim(tmp_path, CONFIG)
        assert directory.changed_settings(tmp_path, make_config(settings={"student.model": "mlp"})) == {}
        other = make_config(settings={"student.model": "mlp", **settings})
        with pytest.raises(LimbeckError, match=message):
            directory.changed_settings(tmp_path, other)

    def test_where_it_computes_and_when_it_saves_may_change(self, tmp_path: Path) -> None:
        directory.claim(tmp_path, CONFIG)
        settings = {"training.accumulation": 2, "training.trackers": [], "training.skip_bad_steps": 3}
        other = make_config(settings={"student.model": "mlp", **settings})
        changed = directory.changed_settings(tmp_path, other)
        assert changed == {
            "training.accumulation": (1, 2),
            "training.trackers": (["tensorboard"], []),
            "training.skip_bad_steps": (0, 3),
        }
        directory.change(tmp_path, other, changed, epochs=5)
        assert directory.changed_settings(tmp_path, other) == {}
        assert Run(tmp_path).config == other
        settings_now = {key: list(values) for key, values in changed.items()}
        assert Run(tmp_path).environment["changed"] == [{"epochs": 5, "settings": settings_now}]


def test_a_place_that_cannot_be_written_to_is_refused_before_anything_is_trained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda place, mode: Path(place) != tmp_path)
    with pytest.raises(LimbeckError, match=f"'{tmp_path}' cannot be written to; choose another out"):
        limbeck.train(model=STUDENT, out=tmp_path / "deep" / "run", **QUICK)


def test_a_module_and_its_evaluation_agree(teacher: Run) -> None:
    source = data.load("digits")
    assert source.test is not None
    loader = data.Loader(source.test, 100, shuffle=False)
    found = evaluation.metrics(source.task, limbeck.load(teacher), loader)
    assert found == pytest.approx(teacher.result.metrics.test)
    assert isinstance(limbeck.load(teacher), nn.Module)


def _dies_after(calls: int, place: Path, work: Callable[[], None]) -> bool:
    """Has a process do the work and die where it would do more system calls below a place than so many.

    Returns: whether it died.
    """
    child = os.fork()
    if child == 0:
        left = calls

        def look(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal left
            if event.startswith(("open", "os.")) and str(place) in str(arguments[:2]):
                if left == 0:
                    os._exit(1)
                left -= 1

        sys.addaudithook(look)
        work()
        os._exit(0)
    return os.WEXITSTATUS(os.waitpid(child, 0)[1]) == 1


def test_wherever_a_run_is_killed_before_there_is_one_it_starts_afresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed at every place, then a second time there and a third time before it, and then no more."""
    monkeypatch.setattr(directory, "environment", dict)  # which takes time

    def begin() -> None:
        directory.check_claim(run, resume=False, overwrite=False)
        directory.claim(run, CONFIG, precision="fp32")

    for place in count():
        run = tmp_path / str(place)
        died = _dies_after(place, run, begin)
        for again in (place, place // 2):
            if not (run / "config.yaml").exists():
                _dies_after(again, run, begin)
        if not (run / "config.yaml").exists():
            begin()
        assert make_config(run / "config.yaml") == CONFIG
        with pytest.raises(LimbeckError, match="holds another run"):
            directory.check_claim(run, resume=False, overwrite=False)
        if not died:
            break
    assert place > 10
