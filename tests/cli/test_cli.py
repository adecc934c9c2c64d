from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from command import NETWORKS, Command, content
from printed import rows_of

import limbeck
from limbeck.runs import Run
from limbeck.training.step import Step

QUICK = ("--epochs", "2", "--batch-size", "250", "--set", "training.trackers=[]")
STUDENT = "mlp(hidden=[6])"
NO_BASELINE = ("--baseline", "none")


def run_anew(*command: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=120)


def test_help_does_not_wait_for_torch() -> None:
    script = (
        "import sys\n"
        "from limbeck.cli import main\n"
        "for arguments in (['--help'], ['distill', '--help'], [], ['methods']):\n"
        "    sys.argv = ['limbeck', *arguments]\n"
        "    try:\n"
        "        main()\n"
        "    except SystemExit:\n"
        "        pass\n"
        "    if arguments != ['methods']:\n"
        "        assert 'rich' not in sys.modules\n"
        "assert not {'torch', 'numpy', 'sklearn'} & sys.modules.keys()\n"
    )
    done = run_anew(sys.executable, "-c", script)
    assert done.returncode == 0, done.stderr
    assert "Distills a large trained network into a small one." in done.stdout
    assert "--objective" in done.stdout


@pytest.mark.parametrize("group", [(), ("cache",), ("answers",), ("study",)])
def test_no_command_is_described_by_half_a_sentence(command: Command, group: tuple[str, ...]) -> None:
    lines = command(*group, "--help").out.partition("Commands:\n")[2].splitlines()
    described = [line for line in lines if re.match(r"  [a-z]", line)]
    assert described
    assert all(line.endswith(".") and not line.endswith("...") for line in described[:24]), described


def test_the_installed_command_and_the_module_are_the_same(tmp_path: Path) -> None:
    command = Path(sys.executable).parent / "limbeck"
    answers = [
        run_anew(*start, "data", "digits", cwd=tmp_path)
        for start in ([str(command)], [sys.executable, "-m", "limbeck"])
    ]
    assert answers[0].stdout == answers[1].stdout
    assert answers[0].stdout.startswith("digits(labeled=None, seed=0)\n")
    assert [answer.returncode for answer in answers] == [0, 0]
    refused = run_anew(str(command), "distill", "--student", "mpl", "--teacher", "x", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr == "limbeck: unknown model 'mpl'; did you mean 'mlp'?\n"
    assert not list(tmp_path.iterdir())


def test_without_arguments_it_says_what_it_can_do(command: Command) -> None:
    answer = command()
    assert answer.code == 2
    names = ("quickstart", "train", "distill", "evaluate", "import", "export", "inspect")
    for name in (*names, "methods", "tasks", "models", "data"):
        assert f" {name} " in answer.out + answer.err


def test_from_a_teacher_to_a_measured_student(command: Command, tmp_path: Path) -> None:
    trained = command("train", "--model", "mlp(hidden=[16])", "--out", "teacher", *QUICK)
    assert trained.code == 0
    *epochs, last = trained.err.splitlines()
    assert [line.split()[:2] for line in epochs] == [["training", "1/2"], ["training", "2/2"]]
    assert last.startswith("the network ended no better than chance, with ")
    assert "network mlp(hidden=[16])" in trained.out
    assert "1,210" in trained.out

    trusted = ("--set", "teacher.trust=true", *NO_BASELINE, *QUICK)
    distilled = command("distill", "--student", STUDENT, "--teacher", "teacher", "--out", "student", *trusted)
    assert distilled.code == 0
    run = Run(tmp_path / "student")
    result = run.result
    assert result.agreement is not None
    metrics, taught_by = result.metrics.on("test"), result.teachers["teacher"].metrics or {}
    assert result.objective == "0.1*ce + 0.9*kd(temperature=4)"
    lines = distilled.out.splitlines()
    assert lines[0].strip() == "0.1*ce + 0.9*kd(temperature=4)"
    rows = {line.strip("│ ").split("│")[0].strip(): line for line in lines if line.startswith("│")}
    assert "460" in rows["parameters"]
    assert "1,210" in rows["parameters"]
    assert f"{100 * metrics['top1']:.2f} %" in rows["top-1 on test"]
    assert f"{100 * taught_by['top1']:.2f} %" in rows["top-1 on test"]
    assert f"{100 * result.agreement:.2f} %" in rows["agreement"]
    assert lines[-3:] == [
        f"trained in {result.seconds:.1f} s; selection: last epoch",
        "student/student.safetensors",
        "student/report.html",
    ]

    measured = command("evaluate", "student")
    assert measured.code == 0
    cells = [[cell.strip() for cell in line.strip("│").split("│")] for line in measured.out.splitlines()]
    shown = {first: rest for first, *rest in cells}
    assert shown["top-1 (%)"][0] == f"{100 * metrics['top1']:.2f}"
    assert shown["top-1 (%)"][1] == f"{100 * taught_by['top1']:.2f}"
    assert shown["NLL"][0] == f"{metrics['nll']:.3f}"
    assert shown["agreement (%)"][0] == f"{100 * result.agreement:.2f}"
    assert measured.out.splitlines()[-2:] == ["student/evaluation.json", "student/report.html"]

    inspected = command("inspect", "student")
    assert inspected.code == 0
    assert "MLP, 460 parameters" in inspected.out
    assert "(2, 10)" in inspected.out


def test_the_student_alone_is_beside_it_unless_it_is_left_out(command: Command, teacher: Run) -> None:
    given = (
        "distill",
        "--student",
        STUDENT,
        "--teacher",
        teacher.path,
        "--set",
        "teacher.trust=true",
        *QUICK,
    )
    answer = command(*given, "--out", "run")
    assert answer.code == 0, answer.err
    plan = next(line for line in answer.err.splitlines() if line.startswith("afterwards"))
    assert plan == (
        "afterwards the student is trained alone, by ce in as many steps, in run-alone; that takes up to as "
        'long again; baseline="none" (--baseline none) leaves it out'
    )
    assert answer.err.splitlines().index(plan) < answer.err.splitlines().index("the student alone, by ce")
    result, alone = Run(Path("run")).result, Run(Path("run-alone")).result
    assert result.alone is not None
    rows = {cells[0]: cells[1:] for cells in rows_of(answer.out)}
    metrics = [each.metrics.on("test") for each in (result, alone)]
    taught_by = result.teachers["teacher"].metrics
    assert taught_by is not None
    for label, name in (("top-1", "top1"), ("macro F1", "macro_f1"), ("ECE", "ece")):
        shown = [f"{100 * found[name]:.2f} %" for found in (*metrics, taught_by)]
        assert rows[f"{label} on test"] == shown
    points = 100 * (metrics[0]["top1"] - metrics[1]["top1"])
    assert answer.out.splitlines()[-5:-3] == [
        f"against the student alone: {points:+.2f} points of top-1 on the test split, from 1 seed, which "
        "gives no interval",
        "the student alone: run-alone, by ce in 8 steps as well",
    ]
    assert 'href="../run-alone/report.html"' in Path("run/report.html").read_text()

    second = command(*given, "--out", "second", "--seed", "1")
    assert "mean over 2 seeds, 95 % interval" in second.out
    assert "no verdict from so few" in second.out
    assert command("evaluate", "run").code == 0
    measured = command("evaluate", "run", "--suite", "full", "--noise-samples", "5")
    assert measured.code == 0, measured.err
    assert "baseline: " + STUDENT in measured.out
    compared = command("compare", "run", "run-alone", "second", "second-alone")
    assert compared.code == 0, compared.err

    assert command(*given, "--out", "without", *NO_BASELINE).code == 0
    assert not Path("without-alone").exists()
    refused = command(*given, "--out", "other", "--lr", "0.2", "--baseline", "run-alone")
    assert refused.code == 2
    assert "was run with training.optimizer.lr=0.05, not 0.2" in refused.err
    assert not Path("other").exists()


def test_long_paths_are_printed_whole(command: Command, tmp_path: Path) -> None:
    out = tmp_path / ("deep" * 20) / ("er" * 20)
    answer = command("train", "--model", STUDENT, "--out", out, *QUICK)
    assert f"{out}/student.safetensors" in answer.out.splitlines()


def test_a_file_flags_and_settings_fill_the_same_config(
    command: Command, teacher: Run, tmp_path: Path
) -> None:
    config: dict[str, Any] = {
        "data": {"name": "digits(labeled=100)"},
        "student": {"model": STUDENT},
        "teacher": {"model": str(teacher.path)},
        "objective": "ce + kd",
        "training": {
            "epochs": 1,
            "batch_size": 100,
            "optimizer": {"name": "adamw", "lr": 0.002},
            "trackers": [],
        },
        "seed": 5,
    }
    Path("run.yaml").write_text(yaml.safe_dump(config))
    assert command("distill", "run.yaml", *NO_BASELINE, "--out", "file").code == 0
    flags = [
        *("--data", "digits(labeled=100)", "--student", STUDENT, "--teacher", str(teacher.path)),
        *("--objective", "ce + kd", "--epochs", "1", "--batch-size", "100", "--lr", "2e-3", "--seed", "5"),
        *("--set", "training.optimizer.name=adamw", "--set", "training.trackers=[]"),
    ]
    assert command("distill", *flags, *NO_BASELINE, "--out", "flags").code == 0
    settings = [
        *("data=digits(labeled=100)", f"student={STUDENT}", f"teacher={teacher.path}", "objective=ce + kd"),
        *("training={epochs: 1, batch_size: 100, trackers: []}", "seed=5"),
        *("training.optimizer={name: adamw, lr: 2e-3}",),
    ]
    assert (
        command(
            *("distill", *[part for text in settings for part in ("--set", text)]),
            *(*NO_BASELINE, "--out", "settings"),
        ).code
        == 0
    )
    texts = [Path(name, "config.yaml").read_text() for name in ("file", "flags", "settings")]
    assert texts[0] == texts[1] == texts[2]
    weights = [Path(name, "student.safetensors").read_bytes() for name in ("file", "flags", "settings")]
    assert weights[0] == weights[1] == weights[2]
    assert Run(Path("file")).config.training.optimizer.lr == 0.002


def test_several_teachers_have_names(command: Command, teacher: Run) -> None:
    teachers = ("--teacher", f"big={teacher.path}", "--teacher", f"small={teacher.path}")
    sets = ("--set", "teachers.small.cache=logits")
    objective = ("--objective", 'ce + kd(teacher="big") + kd(teacher="small")')
    given = (*teachers, *objective, *sets, *NO_BASELINE, *QUICK)
    answer = command("distill", "--student", STUDENT, *given, "--out", "run")
    assert answer.code == 0, answer.err
    run = Run(Path("run"))
    assert {name: (each.model, each.cache) for name, each in run.config.teachers.items()} == {
        "big": (str(teacher.path), None),
        "small": (str(teacher.path), "logits"),
    }
    assert list(run.result.teachers) == ["big", "small"]
    assert "big " in answer.out
    assert "small " in answer.out


def test_one_teacher_may_be_made_of_several(command: Command, teacher: Run) -> None:
    text = f'ensemble("{teacher.path}", "{teacher.path}", of="probabilities", weights=[1, 2])'
    given = ("distill", "--student", STUDENT, "--out", "run", *NO_BASELINE, *QUICK)
    assert command(*given, "--teacher", text).code == 0
    config = Run(Path("run")).config
    assert config.teacher is not None
    assert config.teacher.model == text
    assert config.objective == "0.1*ce + 0.9*kd(temperature=4)"
    into_its_own = command(*given[:3], "--out", teacher.path, "--overwrite", "--teacher", text)
    assert into_its_own.code == 2
    assert "the teacher is in" in into_its_own.err
    assert teacher.finished


def test_an_objective_that_is_left_out_is_the_recipe_of_the_task(command: Command) -> None:
    given = ("train", "--model", "mlp(hidden=[4])", "--epochs", "1", "--set", "training.trackers=[]")
    assert command(*given, "--data", "diabetes", "--out", "values").code == 0
    assert Run(Path("values")).result.objective == "mse"
    assert command(*given, "--data", "wine", "--out", "classes").code == 0
    assert Run(Path("classes")).result.objective == "ce"


def test_flags_override_the_file(command: Command) -> None:
    Path("run.yaml").write_text("student: mlp\nseed: 3\ntraining: {epochs: 9, trackers: []}\n")
    answer = command(
        "train", "run.yaml", "--model", STUDENT, "--epochs", "1", "--set", "seed=4", "--out", "run"
    )
    assert answer.code == 0
    config = Run(Path("run")).config
    assert (config.student.model, config.training.epochs, config.seed) == (STUDENT, 1, 4)
    assert Path("run.yaml").read_text() == "student: mlp\nseed: 3\ntraining: {epochs: 9, trackers: []}\n"


def test_tensorboard_follows_a_run_by_default(command: Command) -> None:
    assert command("train", "--model", STUDENT, "--epochs", "1", "--out", "run").code == 0
    assert Run(Path("run")).config.training.trackers == ("tensorboard",)
    assert list(Path("run/trackers/limbeck").glob("events.out.tfevents*"))


@pytest.mark.parametrize(
    ("number", "name", "code"), [(signal.SIGTERM, "SIGTERM", 143), (signal.SIGINT, "SIGINT", 130)]
)
def test_a_signal_stops_any_command_in_a_sentence(
    number: signal.Signals, name: str, code: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limbeck.cli.doctor.examination", lambda: signal.raise_signal(number))
    answer = command("doctor")
    assert (answer.code, answer.out, answer.err) == (code, "", f"limbeck: stopped by {name}\n")


def test_resuming_and_overwriting(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*arguments: Any) -> None:
        raise KeyboardInterrupt

    given = ("train", "--model", STUDENT, "--out", "run", *QUICK)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limbeck.training.fitting.Fitting._track", interrupt)
        answer = command(*given)
    assert answer.code == 130
    assert answer.err == (
        "limbeck: stopped by SIGINT; --resume or --resume auto with the run's --out goes on\n"
    )
    assert not Run(Path("run")).finished

    assert command(*given).code == 2
    assert command("train", "--resume", "--out", "run").code == 0
    resumed = Path("run/student.safetensors").read_bytes()
    assert command(*given[:3], "--out", "whole", *QUICK).code == 0
    assert Path("whole/student.safetensors").read_bytes() == resumed

    again = command("train", "--resume", "--out", "run")
    assert (again.code, again.err) == (0, ""), "a finished run is shown again"
    assert "top-1 on test" in again.out
    assert command(*given, "--overwrite", "--seed", "9").code == 0
    assert Run(Path("run")).config.seed == 9
    assert Path("run/student.safetensors").read_bytes() != resumed


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_has_a_run_saved_and_one_command_line_goes_on(
    number: int, code: int, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = (
        "train",
        "--model",
        STUDENT,
        *QUICK,
        "--set",
        "training.selection=validation",
        "--save-every",
        "1h",
    )
    auto = (*given, "--resume", "auto", "--out", "run")
    asked = iter(range(100))

    def step(self: Step, *arguments: Any, call: Any = Step.__call__) -> None:
        call(self, *arguments)
        if next(asked) == 2:
            os.kill(os.getpid(), number)

    with monkeypatch.context() as patch:
        patch.setattr(Step, "__call__", step)
        answer = command(*auto)
    assert answer.code == code
    assert answer.err.endswith(
        f"limbeck: stopped by {signal.Signals(number).name}; step 3 of training is done, and the last "
        "checkpoint is run/checkpoints/last.pt; --resume or --resume auto with the run's --out goes on\n"
    )
    assert not Run(Path("run")).finished
    assert command(*auto).code == 0
    assert command(*given, "--out", "whole").code == 0
    assert Path("whole/student.safetensors").read_bytes() == Path("run/student.safetensors").read_bytes()
    again = command(*auto)
    assert (again.code, again.err) == (0, ""), "a finished run is shown again"
    assert Run(Path("run")).config.training.save_every == "1h"


def test_what_resume_takes(command: Command) -> None:
    answer = command("train", "--resume", "run.yaml", "--model", STUDENT)
    assert answer.code == 2
    assert "--resume stands alone or takes auto, not 'run.yaml'; a config goes before it" in answer.err
    assert "needs the directory of the run, out (--out)" in command("train", "--resume", "auto").err
    answer = command("train", "--model", STUDENT, "--save-every", "often")
    assert "training.save_every='often' should be a number of steps (500) or a time (10min)" in answer.err


def test_a_factory_of_ones_own(command: Command, teacher: Run) -> None:
    Path("own_cli_networks.py").write_text(NETWORKS)
    student = "own_cli_networks:make(classes=10)"
    given = ("--student", student, "--teacher", teacher.path, *NO_BASELINE)
    answer = command("distill", *given, "--out", "run", *QUICK)
    assert answer.code == 0
    assert Run(Path("run")).result.student.parameters == 650
    assert limbeck.load("run").state_dict().keys() == {"1.weight", "1.bias"}
    assert "Sequential, 650 parameters" in command("inspect", student).out
    assert "(2, 7)" in command("inspect", "own_cli_networks:make(classes=7)").out


def test_inspect_with_a_shape_instead_of_data(command: Command) -> None:
    answer = command("inspect", "cnn(channels=[2, 4])", "--input", "3x12x10", "--classes", "7")
    assert answer.code == 0
    for shape in ("(2, 7)", "(2, 2, 12, 10)", "(2, 4, 6, 5)"):
        assert shape in answer.out


def test_quickstart_gets_its_directory_and_seed(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[Any] = []
    monkeypatch.setattr(
        "limbeck.cli.quickstart.quickstart", lambda out, seed, console: called.append((out, seed))
    )
    assert command("quickstart").code == 0
    assert command("quickstart", "--out", "there", "--seed", "7").code == 0
    assert called == [(Path("quickstart"), 0), (Path("there"), 7)]


def test_a_bug_is_not_taken_for_a_mistake_of_the_users(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: Any, **options: Any) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr("limbeck.doors.train", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        command("train", "--model", "mlp")


def test_a_diverging_run_says_where(command: Command, teacher: Run) -> None:
    answer = command(
        "distill", "--student", STUDENT, "--teacher", teacher.path, "--lr", "1e20", "--out", "run", *QUICK
    )
    assert answer.code == 2
    message = answer.err.splitlines()[-1]
    assert message.startswith("limbeck: ")
    assert "became NaN or infinite at step" in message
    assert "of training; the weights were not updated by it." in message
    assert "student.safetensors" not in content(Path("run"))
    assert json.loads(json.dumps(answer.out)) == ""
