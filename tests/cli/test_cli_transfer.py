from __future__ import annotations

from pathlib import Path

import pytest
from command import Command, content

from limbeck.runs import Run


@pytest.fixture
def run(command: Command, teacher: Run) -> Path:
    """A student's run."""
    options = ("--student", "mlp(hidden=[6])", "--teacher", teacher.path, "--epochs", "1", "--out", "run")
    given = ("--set", "training.trackers=[]", "--baseline", "none")
    assert command("distill", *options, *given).code == 0
    return Path("run")


def test_a_table_for_each_mode(command: Command, run: Path, teacher: Run) -> None:
    options = ("--data", "digits(labeled=40)", "--epochs", "1", "--lr", "0.1", "--lr", "0.01", "--seed", "2")
    answer = command("transfer", run, *options, "--also", teacher.path)
    assert answer.code == 0
    for mode in ("probe", "finetune"):
        assert f"{mode} on digits(labeled=40, seed=0), 1 epochs, seed 2" in answer.out
        assert (run / "transfer" / f"digits_labeled=40_seed=0-{mode}-seed2.json").is_file()
    assert answer.out.count("student") == answer.out.count("teacher ") == 2
    assert "95 % interval" in answer.out
    assert "probe: student run" in answer.err


def test_one_mode(command: Command, run: Path) -> None:
    answer = command(
        "transfer", run, "--data", "digits(labeled=40)", "--mode", "probe", "--epochs", "1", "--lr", "1"
    )
    assert answer.code == 0
    assert "finetune" not in answer.out
    assert len(list((run / "transfer").iterdir())) == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "--data", "wine"], "normalizes inputs of shape (B, 1, ...), and got (2, 13)"),
        (["run", "--data", "digits", "--epochs", "0"], "an epoch or more and learning rates above 0"),
        (["run", "--data", "digits", "--lr", "-1"], "an epoch or more and learning rates above 0"),
        (["run", "--data", "noisy_labels(digits, rate=1.5)"], "rate=1.5 should be less than 1"),
        (["nowhere", "--data", "digits"], "'nowhere' is no run's directory: it holds no config.yaml"),
        (
            ["run", "--data", "digits", "--also", "nowhere"],
            "there is no 'nowhere'; give the",
        ),
        (["run", "--data", "digits", "--mode", "half"], "'half' is not one of 'probe'"),
        (["run"], "Missing option '--data'"),
    ],
)
def test_a_mistake_is_a_sentence(command: Command, run: Path, arguments: list[str], message: str) -> None:
    before = content(run)
    answer = command("transfer", *arguments)
    assert answer.code == 2
    assert answer.out == ""
    assert message in " ".join(answer.err.split())
    assert "Traceback" not in answer.err
    assert content(run) == before
