"""limbeck init."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from command import Command, content

from limbeck.advice.students import Target
from limbeck.cli.init import _target
from limbeck.config import make_config
from limbeck.objective import parse
from limbeck.runs import Run
from limbeck.runs.job import prepare


class Terminal(io.StringIO):
    """A person who types lines."""

    def isatty(self) -> bool:
        return True


def test_flags_suffice_and_what_is_written_is_a_run(command: Command, teacher: Run) -> None:
    given = ("--data", "digits(labeled=100)", "--teacher", teacher.path, "--max-size", "20kB")
    answer = command("init", *given, "--student", "cnn(channels=[4, 8])")
    assert answer.code == 0
    assert answer.out.endswith("run.yaml\nstart it with: limbeck distill run.yaml\n")
    written = make_config(Path("run.yaml"))
    assert (written.data.name, written.student.model) == ("digits(labeled=100)", "cnn(channels=[4, 8])")
    assert written.teacher is not None
    assert written.teacher.model == str(teacher.path)
    assert written.objective == "0.1*ce + 0.9*kd"
    assert str(prepare(written).distiller.objective) == str(parse("0.1*ce + 0.9*kd"))
    text = Path("run.yaml").read_text()
    assert "# 678 parameters, 2.8 kB in float32, " in text
    assert "the target is 20.0 kB" in text
    assert "# few labels, many samples without: the teacher's answers need no label." in text


def test_a_student_is_proposed_that_meets_the_target(command: Command) -> None:
    answer = command("init", "--data", "iris", "--teacher", "none", "--max-size", "2kB")
    assert answer.code == 0
    assert answer.out.endswith("run.yaml\nstart it with: limbeck train run.yaml\n"), "there is no teacher"
    assert (
        Path("run.yaml")
        .read_text()
        .startswith("# Written by limbeck init. It starts with: limbeck train run.yaml\n")
    )
    assert make_config(Path("run.yaml")).student.model == "mlp(hidden=[32])"  # 259 parameters, 1,036 bytes
    assert make_config(Path("run.yaml")).teacher is None


def test_what_it_writes_without_a_teacher_can_be_started(command: Command) -> None:
    assert command("init", "--data", "iris", "--teacher", "none").code == 0
    started = command("train", "run.yaml", "--epochs", "1", "--out", "made")
    assert started.code == 0, started.err
    assert Path("made/student.safetensors").is_file()


def test_a_latency_is_taken_as_it_is() -> None:
    assert _target("any", 1234.5678) == Target(None, 1234.5678)
    assert _target("5kB", None) == Target(5000, None)


def test_a_person_is_asked_until_it_will_do(
    command: Command, teacher: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    typed = [
        "digts",
        "digits",
        "runs/nothing",
        str(teacher.path),
        "huge",
        "3kB",
        "any",
        "cnn(channels=[64])",
        "",
    ]
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(typed) + "\n"))
    answer = command("init", "--out", "asked.yaml")
    assert answer.code == 0
    for message in ("did you mean 'digits'", "'runs/nothing'", "not 'huge'", "name a smaller one"):
        assert message in answer.out
    assert make_config(Path("asked.yaml")).student.model == "cnn(channels=[4, 8])"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--teacher", "none"), "init needs --data where there is no terminal to ask at"),
        (("--data", "digits"), "init needs --teacher where there is no terminal to ask at"),
        (("--data", "digits", "--teacher", "cnn"), "the teacher 'cnn' has no weights"),
        (("--data", "digits", "--teacher", "none", "--student", "cn"), "did you mean"),
        (("--data", "digits", "--teacher", "none", "--max-size", "2 kilo"), "not '2 kilo'"),
        (("--data", "digits", "--teacher", "none", "--max-latency", "0"), "above 0, or any, not '0'"),
        (("--data", "digits", "--teacher", "none", "--max-size", "1kB"), "the smallest student that limbeck"),
        (("--data", "digits", "--teacher", "none", "--out", "no/run.yaml"), "there is no directory 'no'"),
        (("--data", "digits", "--teacher", "none", "--out", "there.yaml"), "'there.yaml' exists"),
    ],
)
def test_mistakes_write_nothing(
    command: Command, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    Path("there.yaml").write_text("seed: 0\n")
    before = content(tmp_path)
    answer = command("init", *arguments)
    assert answer.code == 2
    assert message in answer.err
    assert content(tmp_path) == before


def test_a_person_says_what_a_table_is_for(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [f"{number},{number % 7},{number % 3}" for number in range(60)]
    Path("values.csv").write_text("\n".join(["one,two,label", *rows]) + "\n", encoding="utf-8")
    typed = ['table(path="values.csv")', "regresion", "regression", "none", "any", "any", ""]
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(typed) + "\n"))
    answer = command("init")
    assert answer.code == 0, answer.err
    assert "Task (limbeck tasks lists what there is) [classification]: " in answer.out
    assert "unknown task 'regresion'" in answer.out
    assert make_config(Path("run.yaml")).data.name == 'table(path="values.csv", task="regression")'


def test_data_for_one_task_alone_are_not_asked_about(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("\n".join(["iris", "none", "any", "any", ""]) + "\n"))
    assert "Task (" not in command("init").out
    assert make_config(Path("run.yaml")).data.name == "iris"
