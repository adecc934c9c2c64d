"""A run's config: one model, filled by a file, by flags and by `--set`; and what is said of a wrong one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from limbeck.cli.values import settings as parse_settings
from limbeck.config import RunConfig, make_config
from limbeck.errors import LimbeckError
from limbeck.optimization import SGD, Adam, Cosine, MultiStep, OneCycle


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "run.yaml"


def refusal(file: Path | None = None, text: str | bytes = "", *sets: str) -> str:
    """What is said of a config, with the folder taken out."""
    if file is not None:
        file.write_bytes(text.encode() if isinstance(text, str) else text)
    with pytest.raises(LimbeckError) as caught:
        make_config(file, parse_settings(list(sets)))
    return str(caught.value).replace(f"{file.parent}/" if file else "", "")


def test_a_student_is_enough() -> None:
    config = make_config(None, {"student.model": "lenet"})
    assert config.model_dump(mode="json") == {
        "data": {"name": "digits", "dir": None, "views": None},
        "student": {
            "model": "lenet",
            "weights": None,
            "size": None,
            "features": {},
            "normalize": None,
            "lora": None,
        },
        "teacher": None,
        "teachers": {},
        "objective": None,
        "related": 1024,
        "training": {
            "epochs": 30,
            "max_steps": None,
            "early_stopping": None,
            "samples_per_epoch": None,
            "batch_size": 64,
            "accumulation": 1,
            "optimizer": {
                "name": "sgd",
                "lr": 0.05,
                "momentum": 0.9,
                "nesterov": False,
                "weight_decay": 0.0005,
            },
            "schedule": {"warmup": 0.0, "name": "cosine"},
            "rates": {},
            "layer_decay": None,
            "freeze": [],
            "clip": None,
            "ema": None,
            "precision": "auto",
            "memory_format": "auto",
            "compile": False,
            "device": "auto",
            "sharding": "none",
            "selection": "last",
            "views": None,
            "view_seed": None,
            "checkpoint_every": None,
            "save_every": "10min",
            "skip_bad_steps": 0,
            "keep_every": None,
            "trackers": ["tensorboard"],
        },
        "seed": 0,
    }


WHOLE = """
data: {name: "cifar100(classes=10)", dir: /data/images, views: crop(padding=4)}
student: lenet
teacher:
  model: runs/teacher
  weights: best.safetensors
  features: {stages: [layer1, layer2], embedding: "fc:input"}
objective: >
  ce +
  2*kd
training:
  epochs: 7
  optimizer: {name: adamw, lr: 5e-4, betas: [0.8, 0.9]}
  schedule: {name: multistep, milestones: [3, 5.5], warmup: 1}
  clip: 1
  trackers: []
seed: 3
"""


def test_a_file_flags_and_settings_fill_the_same_model(file: Path) -> None:
    file.write_text(WHOLE)
    from_file = make_config(file)
    sets = [
        "data.name=cifar100(classes=10)",
        "data.dir=/data/images",
        "data.views=crop(padding=4)",
        "student=lenet",
        "teacher=runs/teacher",
        "teacher.weights=best.safetensors",
        "teacher.features.stages=[layer1, layer2]",
        "teacher.features.embedding=fc:input",
        "objective=ce + 2*kd",
        "training.epochs=7",
        "training.optimizer=adamw",
        "training.optimizer.lr=5e-4",
        "training.optimizer.betas=[0.8, 0.9]",
        "training.schedule={name: multistep, milestones: [3, 5.5], warmup: 1}",
        "training.clip=1",
        "training.trackers=[]",
        "seed=3",
    ]
    from_sets = make_config(None, parse_settings(sets))
    assert from_file.training.optimizer == Adam(name="adamw", lr=0.0005, betas=(0.8, 0.9))
    assert from_file.training.schedule == MultiStep(milestones=(3, 5.5), warmup=1)
    assert from_file.data.dir == Path("/data/images")
    assert from_file.teacher is not None
    assert from_file.teacher.features == {"stages": ["layer1", "layer2"], "embedding": "fc:input"}
    assert from_sets.model_copy(update={"objective": from_file.objective}) == from_file
    assert str(from_file.objective).split() == str(from_sets.objective).split() == ["ce", "+", "2*kd"]


def test_settings_win_over_the_file_and_leave_the_rest(file: Path) -> None:
    file.write_text(WHOLE)
    settings = {
        "training.epochs": 9,
        "student.weights": "a.pt",
        "training.clip": None,
        "teacher.model": "mlp",
    }
    config = make_config(file, settings)
    assert (config.training.epochs, config.training.clip, config.seed) == (9, None, 3)
    assert (config.student.model, config.student.weights) == ("lenet", Path("a.pt"))
    assert config.teacher is not None
    assert (config.teacher.model, config.teacher.weights) == ("mlp", Path("best.safetensors"))
    assert make_config(file, {"teacher": None}).teacher is None
    assert file.read_text() == WHOLE
    assert settings["training.epochs"] == 9


@pytest.mark.parametrize("settings", [{}, {"teacher.model": "lenet"}, {"objective": None}])
def test_an_objective_that_is_left_out_is_up_to_the_task(settings: dict[str, Any]) -> None:
    assert make_config(None, {"student.model": "mlp", **settings}).objective is None


@pytest.mark.parametrize(
    ("short", "whole"),
    [
        ("training: {optimizer: adam}", {"training.optimizer": {"name": "adam"}}),
        ("training: {schedule: one_cycle}", {"training.schedule": {"name": "one_cycle"}}),
        ("data: digits", {"data.name": "digits"}),
        ("teacher: lenet", {"teacher": {"model": "lenet"}}),
        (
            "teachers: {big: runs/a, small: lenet}",
            {"teachers.big.model": "runs/a", "teachers.small": {"model": "lenet"}},
        ),
    ],
)
def test_a_name_alone_is_enough(file: Path, short: str, whole: dict[str, Any]) -> None:
    file.write_text(f"student: mlp\n{short}\n")
    assert make_config(file) == make_config(None, {"student": {"model": "mlp"}, **whole})


@pytest.mark.parametrize(
    ("file_says", "key", "value"),
    [
        ("training: {optimizer: adam}", "training.optimizer.lr", 0.5),
        ("training: {schedule: one_cycle}", "training.schedule.warmup", 0.5),
        ("data: digits", "data.views", "crop(padding=1)"),
        ("teacher: lenet", "teacher.weights", Path("x.pt")),
        ("training:", "training.epochs", 3),
    ],
)
def test_a_short_form_can_be_set_further(file: Path, file_says: str, key: str, value: object) -> None:
    file.write_text(f"student: mlp\n{file_says}\n")
    found: Any = make_config(file, {key: value})
    for part in key.split("."):
        found = getattr(found, part)
    assert found == value


def test_numbers_as_people_write_them(file: Path) -> None:
    file.write_text("student: mlp\ntraining: {optimizer: {lr: 5e-4, weight_decay: 1E-2}, epochs: 1e1}\n")
    config = make_config(file)
    assert config.training.optimizer == SGD(lr=0.0005, weight_decay=0.01)
    assert config.training.epochs == 10


@pytest.mark.parametrize("text", ["5e-4~", "2e5_teacher", "1e3/run"])
def test_a_text_that_begins_as_a_number_is_a_text(text: str, file: Path) -> None:
    file.write_text(f"student: {text}\n")
    assert make_config(file).student.model == text
    assert make_config(None, parse_settings([f"student.model={text}"])).student.model == text


def test_a_text_that_would_be_a_number_is_written_between_quotes(file: Path) -> None:
    config = make_config(None, {"student.model": "1e3"})
    file.write_text(config.to_yaml())
    assert make_config(file) == config


@pytest.mark.parametrize(
    ("text", "kind"), [("2001-99-99", "timestamp"), ("0b_", "int"), ("!!float x", "float")]
)
def test_what_looks_like_a_number_or_a_date_and_is_none_is_refused(text: str, kind: str, file: Path) -> None:
    said = refusal(file, f"student: mlp\nseed: {text}\n")
    assert said.startswith("the config 'run.yaml' is not YAML: ")
    assert f" is no {kind} (" in said
    assert said.endswith("; put a text between quotes in line 2")
    assert refusal(None, "", f"seed={text}") == f"--set seed: the value {text!r} is not YAML"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"teacher.model": "runs/größer teacher: 1", "objective": 'mgd(ce, scheme="stable")', "seed": 12345},
        {"training.optimizer": Adam(lr=1e-7, betas=(0.1, 0.2)), "training.schedule": OneCycle(warmup=0.3)},
        {"training.clip": 1e-300, "training.view_seed": -1, "training.trackers": ["wandb", "comet_ml"]},
        {"data.dir": Path("a b/c"), "student.features": {"stages": ["a.0", "a.1"], "stem": "b"}},
        {"training.schedule": MultiStep(milestones=(1, 2.5), factor=0.2)},
        {"teachers.big": {"model": "runs/a", "cache": "logits"}, "teachers.small.model": "runs/b"},
        {"teacher": 'ensemble("runs/a", "runs/b", of="probabilities", weights=[1, 2])'},
    ],
)
def test_yaml_gives_the_config_back(file: Path, settings: dict[str, Any]) -> None:
    config = make_config(None, {"student.model": "mlp", **settings})
    file.write_text(config.to_yaml(), encoding="utf-8")
    assert make_config(file) == config
    assert RunConfig.model_validate(json.loads(config.model_dump_json())) == config
    assert list(yaml.safe_load(config.to_yaml())) == list(RunConfig.model_fields), (
        "in reading order, all of it"
    )


def test_a_config_does_not_change() -> None:
    config = make_config(None, {"student.model": "mlp"})
    with pytest.raises(ValueError, match="frozen"):
        config.training.epochs = 5  # type: ignore[misc]
    assert config.training.schedule == Cosine()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("dta=3", "unknown config key: 'dta'; did you mean 'data'?"),
        ("training.epoch=5", "unknown config key in training: 'epoch'; did you mean 'epochs'?"),
        ("student.modl=x", "unknown config key in student: 'modl'; did you mean 'model'?"),
        ("teacher.modl=x", "unknown config key in teacher: 'modl'; did you mean 'model'?"),
        (
            "training.optimizer.momentun=1",
            "unknown config key in training.optimizer: 'momentun'; did you mean 'momentum'?",
        ),
        (
            "training.optimizer={name: adam, momentum: 0.9}",
            "unknown config key in training.optimizer: 'momentum'; there are: betas, lr, name, weight_decay",
        ),
        (
            "training.schedule={name: multistep, milestones: [3], gamma: 2}",
            "unknown config key in training.schedule: 'gamma'; there are: factor, milestones, name, warmup",
        ),
        ("training.epochs=0", "the config value training.epochs=0 should be greater than or equal to 1"),
        (
            "training.epochs=five",
            "the config value training.epochs='five' should be a valid integer, unable to parse string as an "
            "integer",
        ),
        ("training.epochs=", "the config value training.epochs=None should be a valid integer"),
        ("training.clip=0", "the config value training.clip=0 should be greater than 0"),
        ("training.clip=.inf", "the config value training.clip=inf should be a finite number"),
        (
            "training.precision=fp8",
            "the config value training.precision='fp8' should be 'auto', 'fp32', 'bf16' or 'fp16'",
        ),
        (
            "training.memory_format=nhwc",
            "the config value training.memory_format='nhwc' should be 'auto', 'contiguous' or "
            "'channels_last'",
        ),
        ("training.compile=fast", "the config value training.compile='fast' should be False, True or 'auto'"),
        ("training.optimizer.lr=-1", "the config value training.optimizer.lr=-1 should be greater than 0"),
        (
            "training.optimizer.lr=.nan",
            "the config value training.optimizer.lr=nan should be a finite number",
        ),
        (
            "training.optimizer=sophia",
            "the config value training.optimizer.name='sophia' should be one of 'sgd', 'adam', 'adamw', "
            "'lion', 'muon'",
        ),
        (
            "training.optimizer.name=sophia",
            "the config value training.optimizer.name='sophia' should be one of 'sgd', 'adam', 'adamw', "
            "'lion', 'muon'",
        ),
        (
            "training.optimizer={name: adam, betas: [0.9, 1]}",
            "the config value training.optimizer.betas.1=1 should be less than 1",
        ),
        (
            "training.optimizer={momentum: 0, nesterov: true}",
            "the config value training.optimizer={'momentum': 0, 'nesterov': True} should have a momentum "
            "above 0 for nesterov",
        ),
        (
            "training.optimizer=5",
            "the config value training.optimizer=5 should be a mapping with some of the keys name, lr, "
            "momentum, nesterov, weight_decay",
        ),
        ("training.schedule=multistep", "the config lacks training.schedule.milestones"),
        (
            "training.schedule={name: multistep, milestones: 5}",
            "the config value training.schedule.milestones=5 should be a list",
        ),
        (
            "training.trackers=wandb",
            "the config value training.trackers='wandb' should be a list, as in training.trackers=[wandb]",
        ),
        ("student.features=5", "the config value student.features=5 should be a mapping"),
        (
            "student=5",
            "the config value student=5 should be a mapping with some of the keys model, weights, size, "
            "features",
        ),
        ("student={}", "the config lacks student.model (--student)"),
        ("teacher={weights: x}", "the config lacks teacher.model"),
        ("data.dir=5", "the config value data.dir=5 should be a path"),
        ("objective=5", "the config value objective=5 should be a valid string"),
        (
            "training.early_stopping=true",
            "the config value training.early_stopping=True should be how many epochs may pass without an "
            "improvement, such as 5, or null",
        ),
        ("seed=-1", "the config value seed=-1 should be greater than or equal to 0"),
        ("seed.x=1", "the config value seed={'x': 1} should be a valid integer"),
        ("training..epochs=5", "unknown config key in training: ''; there are: "),
    ],
)
def test_a_wrong_setting_is_named(file: Path, setting: str, message: str) -> None:
    assert refusal(file, "student: lenet", setting).startswith(message), "without the file, which is right"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("training: {epoch: 5}", "run.yaml: unknown config key in training: 'epoch'; did you mean 'epochs'?"),
        (
            "training: {epochs: 0}",
            "run.yaml: the config value training.epochs=0 should be greater than or equal to 1",
        ),
        (
            "training: fast",
            "run.yaml: the config value training='fast' should be a mapping with some of the keys epochs, ",
        ),
        (
            "training:",
            "run.yaml: the config value training=None should be a mapping with some of the keys epochs, ",
        ),
        (
            "training: {optimizer: sophia}",
            "run.yaml: the config value training.optimizer.name='sophia' should be one of 'sgd', 'adam', "
            "'adamw'",
        ),
        (
            "1: 2",
            "run.yaml: unknown config key: '1'; there are: data, objective, related, seed, student, teacher, "
            "teachers, training",
        ),
        (
            "seed: 2024-01-01",
            "run.yaml: the config value seed=datetime.date(2024, 1, 1) should be a valid integer",
        ),
        ("seed: 1\nseed: 2", "the config 'run.yaml' is not YAML: the key 'seed' stands twice in line 3"),
        (
            "training:\n  epochs: 3\n  epochs: 4",
            "the config 'run.yaml' is not YAML: the key 'epochs' stands twice in line 4",
        ),
        ("a: b: c", "the config 'run.yaml' is not YAML: mapping values are not allowed here in line 2"),
        (
            "data: [",
            "the config 'run.yaml' is not YAML: expected the node content, but found '<stream end>' in "
            "line 2",
        ),
        (
            "data: !!python/object/apply:os.system [x]",
            "the config 'run.yaml' is not YAML: could not determine a constructor for the tag "
            "'tag:yaml.org,2002:python/object/apply:os.system' in line 2",
        ),
        ("data: &a [*a]", "run.yaml: the config value data=[[...]] should be a mapping"),
    ],
)
def test_a_wrong_file_is_named(file: Path, text: str, message: str) -> None:
    assert refusal(file, f"student: lenet\n{text}").startswith(message)


@pytest.mark.parametrize("text", ["", "# nothing", "5", "- student", "lenet"])
def test_a_config_is_a_mapping(file: Path, text: str) -> None:
    assert refusal(file, text) == (
        "the config 'run.yaml' must be a mapping with the keys data, student, teacher, teachers, objective, "
        "related, training, seed"
    )


def test_a_student_must_be_named(file: Path) -> None:
    assert (
        refusal(file, "stduent: lenet") == "run.yaml: unknown config key: 'stduent'; did you mean 'student'?"
    )
    assert refusal() == "the config lacks student (--student, or --model for train)"
    assert (
        refusal(file, "teacher: lenet")
        == "run.yaml: the config lacks student (--student, or --model for train)"
    )


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in ((tmp_path / "none.yaml", "No such file or directory"), (tmp_path, "Is a directory")):
        with pytest.raises(LimbeckError) as caught:
            make_config(path)
        assert str(caught.value) == f"the config {str(path)!r} cannot be read: {reason}"
    assert refusal(tmp_path / "run.yaml", b"\xff\xfe").startswith(
        "the config 'run.yaml' is not YAML: 'utf-8' codec"
    )


def test_a_setting_cannot_go_inside_a_number(file: Path) -> None:
    assert (
        refusal(file, "student: mlp\nseed: 3", "seed.x=1")
        == "'seed.x' cannot be set: seed is 3, which has no parts"
    )


def test_yaml_may_merge_mappings(file: Path) -> None:
    file.write_text("student: &net {model: mlp, weights: a.pt}\nteacher: {<<: *net, model: lenet}\n")
    teacher = make_config(file).teacher
    assert teacher is not None
    assert (teacher.model, teacher.weights) == ("lenet", Path("a.pt"))


def test_a_part_given_whole_and_its_values_given_apart_both_count() -> None:
    settings = {
        "training.epochs": 5,
        "training": {"batch_size": 500, "optimizer": {"lr": 0.2}},
        "student": "cnn",
    }
    training = make_config(None, settings).training
    assert (training.epochs, training.batch_size, training.optimizer.lr) == (5, 500, 0.2)
    assert training.optimizer.name == "sgd"


class TestTeachers:
    TWO = "student: mlp\nteachers: {big: runs/a, small: {model: runs/b, size: 32}}\n"

    def test_each_is_set_by_its_name(self, file: Path) -> None:
        file.write_text(self.TWO)
        sets = {"teachers.big.cache": "logits", "teachers.big.features": {"stem": "conv"}}
        config = make_config(file, sets)
        assert config.teacher is None
        assert list(config.taught_by) == list(config.teachers) == ["big", "small"]
        big, small = config.teachers.values()
        assert (big.model, big.cache, big.features) == ("runs/a", "logits", {"stem": "conv"})
        assert (small.model, small.cache, small.size) == ("runs/b", None, 32)

    def test_one_teacher_is_called_teacher(self) -> None:
        config = make_config(None, {"student": "mlp", "teacher": "runs/a", "teacher.size": 64})
        assert {name: each.size for name, each in config.taught_by.items()} == {"teacher": 64}
        assert make_config(None, {"student": "mlp"}).taught_by == {}

    def test_one_takes_the_place_of_several(self, file: Path) -> None:
        file.write_text(self.TWO)
        config = make_config(file, {"teachers": None, "teacher.model": "runs/c"})
        assert {name: each.model for name, each in config.taught_by.items()} == {"teacher": "runs/c"}

    @pytest.mark.parametrize(
        ("text", "sets", "message"),
        [
            ("teacher: a\nteachers: {b: b, c: c}", [], "run.yaml: give teacher or teachers, not both"),
            (TWO, ["teacher=runs/c"], "give teacher or teachers, not both"),
            (
                TWO,
                ["teacher.cache=logits"],
                "there are several teachers; set teachers.big.cache in place of teacher.cache",
            ),
            (
                "teachers: {big: runs/a}",
                [],
                "run.yaml: teachers has only 'big'; add the others, or give it alone as teacher",
            ),
            (
                "teachers: {1st: runs/a, b: runs/b}",
                [],
                "run.yaml: the name of a teacher has letters, digits and _ only, such as big; not '1st'",
            ),
            (
                "teachers: {student: runs/a, b: runs/b}",
                [],
                "run.yaml: a teacher cannot be named 'student'; choose another name, such as big",
            ),
            (
                "teachers: {big: runs/a, big: runs/b}",
                [],
                "the config 'run.yaml' is not YAML: the key 'big' stands twice in line 2",
            ),
            (
                "teachers: [runs/a, runs/b]",
                [],
                "run.yaml: the config value teachers=['runs/a', 'runs/b'] should",
            ),
            (
                TWO,
                ["teachers.big.cach=logits"],
                "unknown config key in teachers.big: 'cach'; did you mean 'cache'?",
            ),
            (
                TWO,
                ["teachers.big.cache=stages"],
                "the config value teachers.big.cache='stages' should be 'logits', 'embedding', ",
            ),
            (
                TWO,
                ["teachers.big.cache_budget=much"],
                "the config value teachers.big.cache_budget='much' should be a size such as \"20GB\"",
            ),
            (
                TWO,
                ["teachers.big.cache_budget='0 GB'"],
                "the config value teachers.big.cache_budget='0 GB' should be a size such as \"20GB\"",
            ),
            (TWO, ["teachers.huge.cache=logits"], "run.yaml: the config lacks teachers.huge.model"),
            (
                "teacher: a",
                ["teacher.size=0"],
                "the config value teacher.size=0 should be greater than or equal",
            ),
        ],
    )
    def test_teachers_that_do_not_go_together(
        self, text: str, sets: list[str], message: str, file: Path
    ) -> None:
        whole = text if text == self.TWO else f"student: mlp\n{text}"
        assert refusal(file, whole, *sets).startswith(message)
