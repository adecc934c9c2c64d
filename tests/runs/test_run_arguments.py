"""A run's arguments: one declaration, and everything that takes them agrees with it."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import typer
from torch import nn

import limbeck
from limbeck import data
from limbeck.cli.app import app
from limbeck.config import make_config
from limbeck.errors import LimbeckError
from limbeck.methods import KD
from limbeck.runs import Run
from limbeck.runs.arguments import RunArguments, TeacherLike
from limbeck.runs.filling import fill

FIELDS = {field.name for field in dataclasses.fields(RunArguments)}
OF_THE_DIRECTORY = {"out", "resume", "overwrite"}
AROUND = {"display", "report", "watch"}
BESIDE = {"baseline", "over_seeds"}


def options_of(command: str, *group: str) -> dict[str, Any]:
    """The parameters of a command by name, each with its default."""
    found: Any = typer.main.get_command(app)
    for name in (*group, command):
        found = found.commands[name]
    return {parameter.name: parameter for parameter in found.params if parameter.name != "help"}


class TestOneDeclaration:
    def test_distill_takes_all_of_them(self) -> None:
        assert inspect.signature(limbeck.distill).parameters.keys() == (
            FIELDS | OF_THE_DIRECTORY | AROUND | BESIDE
        )
        assert options_of("distill").keys() == FIELDS | OF_THE_DIRECTORY | {"baseline", "dry_run"}

    def test_train_takes_those_that_need_no_teacher(self) -> None:
        named = FIELDS - {"student", "teacher", "cache_teacher", "cache_budget"} | {"model", "friendly_to"}
        assert inspect.signature(limbeck.train).parameters.keys() == named | OF_THE_DIRECTORY | AROUND
        assert options_of("train").keys() == named | OF_THE_DIRECTORY | {"dry_run"}

    def test_a_cache_is_filled_by_some_of_them(self) -> None:
        assert options_of("fill", "cache").keys() == inspect.signature(fill).parameters.keys() < FIELDS

    @pytest.mark.parametrize("command", ["distill", "train"])
    def test_every_argument_comes_through(self, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
        made: list[RunArguments] = []

        def stop(arguments: RunArguments, *rest: Any, **options: Any) -> None:
            made.append(arguments)
            raise LimbeckError("stop")

        monkeypatch.setattr("limbeck.runs.run._settle", stop)
        run: Any = getattr(limbeck, command)
        given = {
            name: f"<{name}>"
            for name in inspect.signature(run).parameters
            if name not in OF_THE_DIRECTORY | AROUND | BESIDE | {"friendly_to"}
        }
        with pytest.raises(LimbeckError, match="stop"):
            run(**given)
        found = {name: value for name, value in vars(made[0]).items() if value is not None}
        if command == "train":
            found["model"] = found.pop("student")
        assert found == given


class TestValues:
    @pytest.mark.parametrize(
        ("given", "task", "wanted"),
        [
            ("corpus.txt", "language", 'language(path="corpus.txt")'),
            ("me/stories", "language", 'language(path="me/stories")'),
            ("language(block=8)", "language", "language(block=8)"),
            ('table(path="x.csv")', "regression", 'table(path="x.csv", task="regression")'),
        ],
    )
    def test_a_task_becomes_part_of_the_data(self, given: str, task: str, wanted: str) -> None:
        assert RunArguments(data=given, task=task).values == {"data.name": wanted}

    @pytest.mark.parametrize(
        ("given", "task", "message"),
        [
            ("digits", "language", "the data set digits is not for the task language"),
            ("wine", "regression", "the data set wine is for one task alone; leave out the task"),
            ('text(task="multilabel")', "regression", "names its task itself; leave out task=regression"),
            ("x.csv", "regression", "'x.csv' is no data set that limbeck knows; say what it holds"),
            (None, "language", "goes with the data; name that too"),
            ("digits", "langauge", "unknown task 'langauge'; did you mean 'language'"),
        ],
    )
    def test_a_task_that_does_not_fit_is_refused(self, given: str | None, task: str, message: str) -> None:
        with pytest.raises(LimbeckError, match=re.escape(message)):
            _ = RunArguments(data=given, task=task).values

    def test_each_has_a_key_of_the_config(self) -> None:
        given: dict[str, Any] = {
            "data": "cifar10",
            "data_dir": "files",
            "student": "mlp",
            "teacher": "lenet",
            "objective": "kd",
            "epochs": 3,
            "max_steps": 9,
            "early_stopping": 2,
            "ema": 0.9,
            "freeze": ["stem"],
            "layer_decay": 0.5,
            "device": "cpu",
            "precision": "bf16",
            "batch_size": 8,
            "views": 4,
            "cache_teacher": "both",
            "cache_budget": "20GB",
            "lr": 0.3,
            "compile": True,
            "seed": 5,
            "save_every": "10min",
            "skip_bad_steps": 3,
        }
        assert given.keys() == FIELDS - {"config", "settings", "task"}
        arguments = RunArguments(**given)
        assert arguments.values == {
            "data.name": "cifar10",
            "data.dir": "files",
            "student.model": "mlp",
            "teacher.model": "lenet",
            "teacher.cache": "both",
            "teacher.cache_budget": "20GB",
            "objective": "kd",
            "training.epochs": 3,
            "training.max_steps": 9,
            "training.early_stopping": {"patience": 2},
            "training.ema": 0.9,
            "training.freeze": ["stem"],
            "training.layer_decay": 0.5,
            "training.device": "cpu",
            "training.precision": "bf16",
            "training.batch_size": 8,
            "training.views": 4,
            "training.optimizer.lr": 0.3,
            "training.compile": True,
            "seed": 5,
            "training.save_every": "10min",
            "training.skip_bad_steps": 3,
        }
        made = arguments.made().model_dump(mode="json")
        made["training"]["early_stopping"].pop("min_delta")
        for key, value in arguments.values.items():
            found: Any = made
            for part in key.split("."):
                found = found[part]
            assert found == value, key

    def test_nothing_is_left_to_the_config(self, tmp_path: Path) -> None:
        assert RunArguments().values == {}
        file = tmp_path / "run.yaml"
        file.write_text("student: mlp\nseed: 3\n")
        assert RunArguments().made(file) == RunArguments(config=file).made() == make_config(file)

    def test_settings_win_over_the_others_and_they_over_the_config(self) -> None:
        config = make_config(None, {"student": "mlp", "seed": 3, "training.epochs": 5, "training.clip": 1})
        made = RunArguments(config=config, epochs=6, seed=4, settings={"seed": 5}).made(Path("not read"))
        assert (made.training.clip, made.training.epochs, made.seed) == (1, 6, 5)

    def test_objects_are_written_by_what_they_are(self) -> None:
        source = data.from_tensors(torch.rand(4, 3), torch.tensor([0, 1, 0, 1]), validation=None)
        student, objective = nn.Linear(3, 2), KD(temperature=2)
        arguments = RunArguments(
            student=student, data=source, objective=objective, teacher=Run(Path("runs/a"))
        )
        assert arguments.values == {
            "data.name": "<tensors>",
            "student.model": "<Linear>",
            "teacher.model": "runs/a",
            "objective": "kd(temperature=2)",
        }
        assert arguments.objects == {"student": student, "data": source, "objective": objective}


class TestSeveralTeachers:
    def test_they_are_keys_of_teachers(self) -> None:
        network = nn.Linear(3, 2)
        teachers: dict[str, TeacherLike] = {
            "big": Run(Path("runs/a")),
            "small": Path("runs/b"),
            "own": network,
        }
        arguments = RunArguments(student="mlp", teacher=teachers, cache_teacher="logits")
        made = arguments.made()
        assert made.teacher is None
        assert {name: (each.model, each.cache) for name, each in made.teachers.items()} == {
            "big": ("runs/a", "logits"),
            "small": ("runs/b", "logits"),
            "own": ("<Linear>", "logits"),
        }
        assert arguments.objects == {"teacher": {"own": network}}
        assert RunArguments(teacher={"a": "runs/a", "b": "runs/b"}).objects == {}
        assert RunArguments(teacher=network).objects == {"teacher": network}

    @pytest.mark.parametrize(
        ("teachers", "message"),
        [
            (
                {"big": "runs/a"},
                "teachers has only 'big'; add the others, or give it alone as teacher",
            ),
            (
                {"a.b": "runs/a", "c": "runs/b"},
                "the name of a teacher has letters, digits and _ only, such as big; not 'a.b'",
            ),
            (
                {"student": "runs/a", "c": "runs/b"},
                "a teacher cannot be named 'student'; choose another name, such as big",
            ),
        ],
    )
    def test_names_that_are_none(self, teachers: dict[str, str], message: str) -> None:
        with pytest.raises(LimbeckError) as caught:
            RunArguments(student="mlp", teacher=teachers).made()
        assert str(caught.value) == message
