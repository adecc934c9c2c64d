"""A mistake of the user's: exit code 2, one clear line, no traceback, nothing half-written."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path
from typing import Any

import method_setting  # puts the invented methods into the table
import pytest
import safetensors.torch
import torch
from command import NETWORKS, Command, content

import limbeck
from limbeck import data
from limbeck.errors import LimbeckError
from limbeck.runs import Run

assert method_setting.ALL


@pytest.fixture
def refused(command: Command, teacher: Run, tmp_path: Path) -> Any:
    """Calls a command that should be refused, with "TEACHER" for a teacher's run; gives the message."""

    def call(*arguments: str) -> str:
        before = content(tmp_path)
        answer = command(*(text.replace("TEACHER", str(teacher.path)) for text in arguments))
        assert answer.code == 2
        assert answer.out == ""
        assert answer.err.startswith("limbeck: ")
        assert answer.err.count("\n") == 1
        assert answer.err.endswith("\n")
        assert "Traceback" not in answer.err
        assert content(tmp_path) == before, "nothing is half-written"
        return answer.err.removeprefix("limbeck: ").rstrip("\n").replace(str(teacher.path), "TEACHER")

    return call


DISTILL = ("distill", "--student", "mlp", "--teacher", "TEACHER", "--out", "run")
TRAIN = ("train", "--model", "mlp", "--out", "run")


def test_a_run_does_not_replace_its_own_teacher(refused: Any, teacher: Run) -> None:
    options = ("--student", "mlp(hidden=[4])", "--teacher", "TEACHER", "--out", "TEACHER", "--overwrite")
    assert refused("distill", *options) == (
        "the teacher is in 'TEACHER', which the run would replace; choose another out (--out)"
    )
    assert teacher.finished


def test_a_run_does_not_replace_the_weights_it_starts_from(refused: Any, teacher: Run) -> None:
    weights = "teacher.weights=TEACHER/student.safetensors"
    options = ("--student", "cnn", "--teacher", "mlp(hidden=[16])", "--set", weights, "--out", "TEACHER")
    assert "the teacher is in 'TEACHER'" in refused("distill", *options, "--overwrite")


def test_a_run_is_resumed_or_replaced(refused: Any, teacher: Run) -> None:
    assert refused("train", "--out", "TEACHER", "--resume", "--overwrite") == (
        "resume (--resume) continues a run and overwrite (--overwrite) replaces it; say one of them"
    )


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("ce + kdd", "unknown method 'kdd'; did you mean 'kd'?"),
        ("kd(temprature=3)", "unknown argument of kd: 'temprature'; did you mean 'temperature'?"),
        ("kd(temperature=-1)", "kd: the argument temperature=-1 should be greater than 0"),
        ('kd(temperature="hot")', 'kd: the argument temperature="hot" should be a valid number'),
        ("__import__('os')", "unknown method '__import__'; there are: "),
        (
            "__import__('os').system('touch pwned')",
            "the notation has names, numbers, strings, lists, calls, + and *",
        ),
        ("ce**2", "objective 'ce**2': the notation has + and * only"),
        ("ce - kd", "objective 'ce - kd': the notation has + and * only"),
        ("-1*ce + kd", "a weight must be a finite number of at least 0, not -1"),
        (
            "ce.weight",
            "objective 'ce.weight': the notation has names, numbers, strings, lists, calls, + and * only",
        ),
        ("ce*kd", "a term may be multiplied by numbers only"),
        ("kd(temperature=1, temperature=2)", "the argument 'temperature' is given twice"),
        ("kd(**{'a': 1})", "** is not in the notation"),
        ("ce +", "objective 'ce +' is not in the notation: "),
        ("2", "a number alone is no term; write weight*name"),
        ("", "objective '' is not in the notation: it is empty"),
        ("ce", "the objective 'ce' has no use for a teacher; leave it out, or add a method that learns"),
    ],
)
def test_an_objective(objective: str, message: str, refused: Any, tmp_path: Path) -> None:
    assert message in refused(*DISTILL, "--objective", objective)
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--set", "training.epoch=3"), "unknown config key in training: 'epoch'; did you mean 'epochs'?"),
        (("--set", "traning.epochs=3"), "unknown config key: 'traning'; did you mean 'training'?"),
        (
            ("--set", "training.epochs"),
            "--set takes key=value, for example training.epochs=5, not 'training.epochs'",
        ),
        (("--set", "training.epochs=[1"), "--set training.epochs: the value '[1' is not YAML"),
        (
            ("--set", "training.epochs.x=1"),
            "the config value training.epochs={'x': 1} should be a valid integer",
        ),
        (("--epochs", "0"), "the config value training.epochs=0 should be greater than or equal to 1"),
        (("--lr", "-1"), "the config value training.optimizer.lr=-1.0 should be greater than 0"),
        (("--seed", "-3"), "the config value seed=-3 should be greater than or equal to 0"),
        (("--set", "training.clip=0"), "the config value training.clip=0 should be greater than 0"),
        (
            ("--set", "training.optimizer.name=sdg"),
            "the config value training.optimizer.name='sdg' should be one of 'sgd', 'adam', 'adamw'",
        ),
        (
            ("--set", "training.optimizer.lrr=1"),
            "unknown config key in training.optimizer: 'lrr'; did you mean 'lr'?",
        ),
        (("--set", "training.selection=test"), "training.selection='test' should be 'last' or 'validation'"),
        (
            ("--set", "training.trackers=[tensorbord]"),
            "unknown tracker 'tensorbord'; did you mean 'tensorboard'?",
        ),
        (("--set", "data.views=crp"), "unknown views 'crp'; did you mean 'crop'?"),
        (
            ("--set", "data.views=crop(pading=1)"),
            "unknown argument of crop 'pading'; did you mean 'padding'?",
        ),
        (("--set", "student.features.stages=[layers.9]"), "unknown module of MLP 'layers.9'; did you mean"),
        (
            ("--set", "student.features.stagez=layers.0"),
            "unknown feature of MLP 'stagez'; did you mean 'stages'?",
        ),
    ],
)
def test_a_setting(arguments: tuple[str, ...], message: str, refused: Any) -> None:
    assert message in refused(*TRAIN, *arguments)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("student: mlp\ntraning: {}\n", "run.yaml: unknown config key: 'traning'; did you mean 'training'?"),
        (
            "student: mlp\ntraining: {epoch: 3}\n",
            "run.yaml: unknown config key in training: 'epoch'; did you mean",
        ),
        ("student: [mlp\n", "the config 'run.yaml' is not YAML: "),
        (
            "student: mlp\nstudent: cnn\n",
            "the config 'run.yaml' is not YAML: the key 'student' stands twice in line 2",
        ),
        ("- mlp\n", "the config 'run.yaml' must be a mapping with the keys data, student, teacher, "),
        ("!!python/object/apply:os.mkdir [pwned]\n", "the config 'run.yaml' is not YAML: "),
        ("training: {epochs: 3}\n", "the config lacks student (--student, or --model for train)"),
        ("student: mlp\nseed: x\n", "run.yaml: the config value seed='x' should be a valid integer"),
        (
            "student: mlp\nteacher: TEACHER\n",
            "train learns from labels alone; to learn from a teacher, use distill",
        ),
        (None, "the config 'run.yaml' cannot be read: No such file or directory"),
    ],
)
def test_a_file(text: str | None, message: str, refused: Any, tmp_path: Path, teacher: Run) -> None:
    if text is not None:
        Path("run.yaml").write_text(text.replace("TEACHER", str(teacher.path)))
    assert message in refused("train", "run.yaml", "--out", "run")
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "lenett"), "unknown model 'lenett'; did you mean 'lenet5'?"),
        (("--model", "lenet5"), "lenet5 needs images of at least 16 x 16 pixels, not 8 x 8"),
        (("--model", "cnn(chanels=[4])"), "unknown argument of cnn: 'chanels'; did you mean 'channels'?"),
        (("--model", "cnn(num_classes=3)"), "cnn(num_classes=3): num_classes is 10 in the data"),
        (("--model", "runs/gone"), "the student 'runs/gone' is no run directory and no file"),
        (("--model", "my-net"), "the student 'my-net' is no network that `limbeck models` lists, no run dir"),
        (
            ("--model", "bad_input_networks:made()"),
            "unknown factory in bad_input_networks: 'made'; did you mean 'make'?",
        ),
        (("--model", "bad_input_networks:make(clases=3)"), "'clases'; did you mean 'classes'?"),
        (("--model", "bad_input_networks:no_network()"), "not a torch.nn.Module"),
        (("--model", "no_such_module:make()"), "cannot import the module 'no_such_module'"),
        (
            ("--model", "bad_input_networks:make(pixels=9)"),
            "the student cannot take inputs of shape (1, 8, 8): mat1",
        ),
        (("--model", "mlp", "--data", "digit"), "unknown data set 'digit'; did you mean 'digits'?"),
        (
            ("--model", "mlp", "--data", "digits(labelled=9)"),
            "unknown argument of digits 'labelled'; did you mean",
        ),
        (
            ("--model", "mlp", "--data", "digits(labeled=9)"),
            "digits: labeled should be 10 to 1000 scans, not 9",
        ),
        (("--model", "mlp", "--data-dir", "here"), "data set 'digits' has no use for data_dir"),
        ((), "the config lacks student (--student, or --model for train)"),
    ],
)
def test_a_network_or_data(arguments: tuple[str, ...], message: str, refused: Any) -> None:
    Path("bad_input_networks.py").write_text(NETWORKS)
    assert message in refused("train", *arguments, "--out", "run")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--teacher", "mlp"), "the teacher 'mlp' has no weights; give a run's directory"),
        (("--teacher", "mpl"), "unknown model 'mpl'; did you mean 'mlp'?"),
        (("--teacher", "runs/gone"), "the teacher 'runs/gone' is no run directory and no file"),
        *(
            (
                ("--teacher", name),
                f"the teacher {name!r} is no network that `limbeck models` lists, no run dir",
            )
            for name in ("gone", "my-run", "my run")
        ),
        (
            ("--teacher", "good.pt"),
            "the checkpoint 'good.pt' does not say which network it belongs to; give its name",
        ),
        (
            ("--teacher", "bad_input_networks:make(classes=5)"),
            "the teacher has 5 outputs, and digits has 10 classes",
        ),
        (("--objective", "kd"), "kd learns from a teacher, and none was given"),
        ((), "distill needs a teacher (--teacher); to learn from labels alone, use train"),
        (("--teacher", "big=TEACHER", "--teacher", "big=TEACHER"), "two teachers are named 'big'"),
        (
            ("--teacher", "big=TEACHER"),
            "teachers has only 'big'; add the others, or give it alone as teacher",
        ),
        (
            ("--teacher", "big=TEACHER", "--teacher", "TEACHER"),
            "several teachers have a name each, --teacher NAME=TEACHER; 'TEACHER' has none",
        ),
        (
            ("--teacher", "TEACHER", "--set", "teachers.big.cache=logits"),
            "give teacher or teachers, not both",
        ),
        (
            (
                "--teacher",
                "TEACHER",
                "--objective",
                "ce + projected",
                "--student",
                "bad_input_networks:Headless()",
            ),
            "found no embedding in the student Headless; ",
        ),
    ],
)
def test_a_teacher(arguments: tuple[str, ...], message: str, refused: Any) -> None:
    Path("bad_input_networks.py").write_text(NETWORKS)
    torch.save({"w": torch.ones(2)}, "good.pt")
    assert message in refused("distill", "--student", "mlp", "--out", "run", *arguments)


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("pwned",)


def malicious(path: Path) -> None:
    torch.save({"weight": Malicious()}, path)


def bare_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps(Malicious()))


def truncated(path: Path) -> None:
    torch.save({"weight": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-500])


def truncated_safetensors(path: Path) -> None:
    safetensors.torch.save_file({"weight": torch.ones(1000)}, path)
    path.write_bytes(path.read_bytes()[:-500])


def other_shape(path: Path) -> None:
    torch.save({"1.weight": torch.ones(10, 3), "1.bias": torch.ones(10)}, path)


def other_keys(path: Path) -> None:
    torch.save({"weight": torch.ones(10, 3)}, path)


def absent(path: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("make", "suffix", "message"),
    [
        (malicious, ".pt", "holds a pickled posix.mkdir; a pickle can run code, so it was left unread"),
        (bare_pickle, ".pt", "a pickle can run code, so it was left unread"),
        (truncated, ".pt", "cannot be read: it is damaged, or no checkpoint of torch.save"),
        (truncated_safetensors, ".safetensors", "is damaged or no safetensors file"),
        (other_shape, ".pt", "of 2 tensors, 1 of another shape (1.weight (10, 3) for (10, 64))"),
        (other_keys, ".pt", "2 missing (1.weight, 1.bias); 1 unexpected (weight)"),
        (absent, ".pt", "there is no weights file 'weights.pt'"),
    ],
)
def test_a_checkpoint(make: Any, suffix: str, message: str, refused: Any, tmp_path: Path) -> None:
    Path("bad_input_networks.py").write_text(NETWORKS)
    make(Path(f"weights{suffix}"))
    for role, other in (("teacher", "--student"), ("student", "--teacher")):
        given = ("mlp",) if role == "teacher" else ("TEACHER",)
        found = refused(
            *("distill", other, *given, f"--{role}", "bad_input_networks:make()", "--out", "run"),
            *("--set", f"{role}.weights=weights{suffix}"),
        )
        assert message in found
        assert f"weights{suffix}" in found
    assert not (tmp_path / "pwned").exists()


@pytest.mark.parametrize(
    ("there", "arguments", "message"),
    [
        ("run", (), "'run' holds another run; say overwrite=True (--overwrite) or resume=True (--resume)"),
        (
            "run",
            ("--resume", "--epochs", "5"),
            "'run' was run with training.epochs=1, not 5; resume it without new",
        ),
        ("strangers", (), "'run' holds files that are no run; choose another out (--out)"),
        ("strangers", ("--overwrite",), "'run' holds files that are no run; choose another out (--out)"),
        ("file", (), "'run' is a file; a run needs a directory"),
        ("nothing", ("--resume",), "there is no run to resume in 'run'"),
    ],
)
def test_an_output_directory(
    there: str, arguments: tuple[str, ...], message: str, refused: Any, command: Command
) -> None:
    if there == "run":
        assert command(*TRAIN, "--epochs", "1", "--set", "training.trackers=[]").code == 0
    elif there == "strangers":
        Path("run").mkdir()
        Path("run/thesis.tex").write_text("precious")
    elif there == "file":
        Path("run").write_text("precious")
    assert message in refused(*TRAIN, "--set", "training.trackers=[]", *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--resume"), "resume=True (--resume) needs the directory of the run, out (--out)"),
        (("train", "--out", "--seed", "3"), "--out needs a value, and --seed is the next option"),
        (
            ("cache", "fill", "--data", "--teacher=x"),
            "--data needs a value, and --teacher=x is the next option",
        ),
        (("evaluate", "nowhere"), "'nowhere' is no run's directory: it holds no config.yaml"),
        (("inspect", "mpl"), "unknown model 'mpl'; did you mean 'mlp'?"),
        (("inspect", "run/gone"), "the model 'run/gone' is no run directory and no file"),
        (
            ("inspect", "mlp", "--classes", "3"),
            "--classes goes with --input; a data set has classes of its own",
        ),
        (("methods", "kdd"), "unknown method 'kdd'; did you mean 'kd'?"),
        (
            ("tasks", "regresion"),
            "unknown task 'regresion'; did you mean 'regression'; if a package brings it, install that "
            "package",
        ),
        (("models", "lenet"), "unknown model 'lenet'; did you mean 'lenet5'?"),
        (("data", "digit"), "unknown data set 'digit'; did you mean 'digits'?"),
    ],
)
def test_other_commands(arguments: tuple[str, ...], message: str, refused: Any) -> None:
    assert refused(*arguments) == message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--mdel", "mlp"), "No such option"),
        (("train", "--epochs", "many"), "Invalid value for '--epochs'"),
        (("destill",), "No such command 'destill'"),
        (("evaluate",), "Missing argument"),
        (("methods", "kd", "ce"), "Got unexpected extra argument"),
    ],
)
def test_a_command_line_that_does_not_parse(
    arguments: tuple[str, ...], message: str, command: Command, tmp_path: Path
) -> None:
    answer = command(*arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert message in answer.err
    assert "Traceback" not in answer.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("inputs", "targets", "message"),
    [
        (torch.rand(4, 3), torch.tensor([0, 1, 2, 7]), "7"),
        (torch.rand(4, 3), torch.tensor([0, 1, -1, 2]), "-1"),
        (torch.rand(0, 3), torch.zeros(0, dtype=torch.int64), "the training data is empty"),
        (torch.rand(4, 3), torch.tensor([0, 1]), "2 targets"),
    ],
)
def test_data_from_tensors(inputs: torch.Tensor, targets: torch.Tensor, message: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        data.from_tensors(inputs, targets, num_classes=3, validation=None)
    assert message in str(caught.value)
    assert "training" in str(caught.value)


def test_targets_that_the_student_has_no_logit_for(tmp_path: Path) -> None:
    source = data.from_tensors(torch.rand(20, 4), torch.arange(20) % 5, validation=None)
    with pytest.raises(LimbeckError, match="the student has 3 outputs, and tensors has 5 classes"):
        limbeck.train(model=torch.nn.Linear(4, 3), data=source, out=tmp_path / "run", display=False)
    assert not (tmp_path / "run").exists()


BUGGY = ["train", "--model", "her_networks:buggy", "--data", "digits", "--epochs", "1", "--out", "run"]
SENTENCE = "limbeck: her_networks:buggy: name 'widht' is not defined (NameError at her_networks.py:2)\n"


@pytest.mark.parametrize("flag", ["first", "last", "environment"])
def test_the_traceback_of_her_own_code_is_there_on_demand(
    flag: str, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "her_networks.py").write_text("def buggy(width=2):\n    return widht\n")
    monkeypatch.delitem(sys.modules, "her_networks", raising=False)
    plain = command(*BUGGY)
    assert (plain.code, plain.err) == (2, SENTENCE)
    if flag == "environment":
        monkeypatch.setenv("LIMBECK_DEBUG", "1")
    arguments = {"first": ["--debug", *BUGGY], "last": [*BUGGY, "--debug"], "environment": BUGGY}[flag]
    answer = command(*arguments)
    assert answer.code == 2
    assert answer.err.startswith("Traceback (most recent call last):")
    assert "    return widht\n" in answer.err
    assert answer.err.endswith(SENTENCE)
    assert not (tmp_path / "run").exists()
