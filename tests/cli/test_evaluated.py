from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from command import Command

from limbeck.evaluation import results
from limbeck.evaluation.results import Evaluation
from limbeck.runs import Run
from limbeck.tasks.classification.findings import ClassificationFindings

QUICK = ("--epochs", "2", "--batch-size", "250", "--set", "training.trackers=[]")


@pytest.fixture
def found(command: Command, teacher: Run) -> tuple[Evaluation, list[list[str]], list[str]]:
    """A full evaluation, the cells of each printed line, and the lines."""
    given = ("--teacher", str(teacher.path), "--student", "mlp(hidden=[5])", "--baseline", "none")
    command("distill", *given, *QUICK, "--out", "run")
    printed = command("evaluate", "run", "--suite", "full", "--baseline", str(teacher.path), "--seed", "2")
    assert printed.code == 0
    evaluation = results.read(Path("run/evaluation.json"))
    assert evaluation is not None
    lines = printed.out.splitlines()
    return (
        evaluation,
        [[cell.strip() for cell in line.strip("│┃").replace("┃", "│").split("│")] for line in lines],
        lines,
    )


def test_every_figure_is_in_a_row(found: tuple[Evaluation, list[list[str]], list[str]]) -> None:
    evaluation, cells, lines = found
    rows = {first: rest for first, *rest in cells}
    student, teacher = evaluation.student, evaluation.networks["teacher"]
    assert teacher.run is not None
    assert lines[:4] == [
        "student: mlp(hidden=[5]), the run run",
        f"teacher: mlp(hidden=[16]), the run {teacher.run}",
        f"baseline: mlp(hidden=[16]), the run {teacher.run}",
        "digits, test split, 500 samples",
    ]
    top1, its, theirs = student.intervals["top1"], student.findings, teacher.findings
    assert isinstance(its, ClassificationFindings)
    assert isinstance(theirs, ClassificationFindings)
    assert rows["top-1 (%)"][0] == f"{100 * top1.value:.2f}"
    intervals = [rest for first, *rest in cells if first == "95 % interval"]
    assert intervals[0][0] == f"{100 * top1.low:.1f} to {100 * top1.high:.1f}"
    assert rows["NLL"][:2] == [f"{each.nll:.3f}" for each in (its, theirs)]
    temperatures = [row[3] for row in cells if len(row) == 6 and row[0] in ("student", "teacher")]
    assert temperatures == [f"{each.calibration.temperature:.2f}" for each in (its, theirs)]
    assert rows["parameters"] == ["385", "1,210", "1,210", "0.318"]
    assert rows["multiply-adds a sample"] == ["370", "1,184", "1,184", f"{370 / 1184:.3f}"]
    assert student.cost.latency is not None
    assert rows["latency, batch 32 (ms)"][0] == f"{student.cost.latency[32].median_ms:.3f}"
    assert rows["throughput (samples/s)"][0] == f"{student.cost.throughput:,.0f}"
    assert evaluation.agreement is not None
    kl = f"{evaluation.agreement.distance:.4f}"
    assert rows["distance to teacher"] == [kl, "", "", ""]
    assert "Distance to the teacher: mean KL(teacher, student) in nats." in lines
    assert evaluation.agreement.agreement is not None
    assert rows["agreement (%)"][0] == f"{100 * evaluation.agreement.agreement:.2f}"
    assert evaluation.cka is not None
    assert evaluation.cka.stages is not None
    assert rows["student 1"] == [f"{value:.3f}" for value in evaluation.cka.stages[0]]
    assert student.robustness is not None
    curve = student.robustness["salt_and_pepper"]
    shown = [f"{100 * value:.1f}" for value in (*curve, sum(curve) / 5)]
    assert rows["salt and pepper"] == ["student", *shown]
    worst = its.confusion.pairs[0]
    rate = its.accuracy.per_class[worst.target]
    assert rate is not None
    assert [str(worst.target), str(worst.predicted), str(worst.samples), str(rate.samples)] in cells
    assert evaluation.seed == 2
    assert f"on {evaluation.machine.processor} (" in lines[-3]
    assert lines[-2:] == ["run/evaluation.json", "run/report.html"]


def test_it_fits_a_terminal_of_80_columns(found: tuple[Evaluation, list[list[str]], list[str]]) -> None:
    assert max(len(line) for line in found[2] if "the run" not in line) <= 80, "a path is as long as it is"
    assert not any("…" in line for line in found[2])


def test_a_run_without_a_teacher_has_no_ratio(command: Command, teacher: Run) -> None:
    printed = command("evaluate", str(teacher.path)).out
    assert "┃ ratio" not in printed
    assert "agreement" not in printed


@pytest.mark.parametrize("name", ["runs/[kd]", "runs[/x]"])
def test_brackets_in_a_name_are_no_markup(command: Command, teacher: Run, name: str) -> None:
    shutil.copytree(teacher.path, name)
    assert f"{name}/evaluation.json" in command("evaluate", name).out.splitlines()
    answer = command("export", name, "--format", "safetensors", "--out", f"{name}/weights.safetensors")
    assert answer.out.splitlines()[0] == f"{name}/weights.safetensors"
    assert (
        f"{name}/report.html"
        in command("train", "--model", "mlp", "--overwrite", "--out", name, *QUICK).out.splitlines()
    )


def test_what_is_refused_without_overwrite(command: Command, teacher: Run) -> None:
    shutil.copytree(teacher.path, "run")
    assert command("evaluate", "run", "--suite", "full", "--noise-samples", "20").code == 0
    answer = command("evaluate", "run")
    assert answer.code == 2
    assert answer.err == (
        "limbeck: 'run/evaluation.json' holds figures that this would lose, of the full suite; measure "
        "as much again, or say overwrite=True (--overwrite).\n"
    )
    assert command("evaluate", "run", "--overwrite").code == 0


def test_bad_input_is_one_sentence(command: Command, teacher: Run) -> None:
    answers = {
        ("--suite", "slow"): "unknown suite 'slow'; there are: full, quick",
        (
            "--noise-samples",
            "9",
        ): "the quick suite shows no noise, so it takes no seed and no number of noisy "
        "samples; measure the full suite, or leave them out",
        ("--baseline", "nowhere"): "'nowhere' is no run's directory: it holds no config.yaml",
    }
    for given, message in answers.items():
        answer = command("evaluate", str(teacher.path), *given)
        assert answer.code == 2
        assert answer.err.strip() == f"limbeck: {message}"


def test_the_supervision_complexity_is_a_table(command: Command, teacher: Run) -> None:
    given = ("--teacher", str(teacher.path), "--student", "mlp(hidden=[5])", "--baseline", "none")
    command("distill", *given, *QUICK, "--out", "run")
    printed = command("evaluate", "run", "--complexity", "--complexity-samples", "20", "--ridge", "0.01")
    assert printed.code == 0
    found = results.read(Path("run/evaluation.json"))
    assert found is not None
    assert found.supervision is not None
    assert (found.supervision.samples, found.supervision.ridge) == (20, 0.01)
    text = " ".join(printed.out.split())
    labels = found.supervision.trained["labels"]
    assert f"│ labels │ {labels.complexity:.4g} │ {labels.relative:.4g} │" in text
    assert text.count("A reconstruction of 2301.12245") == 1
    refused = command("evaluate", "run", "--complexity-samples", "20")
    assert refused.code == 2
    assert "--complexity-samples is for the supervision complexity; add --complexity" in refused.err
