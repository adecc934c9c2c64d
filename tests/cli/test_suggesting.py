"""limbeck suggest."""

from __future__ import annotations

import pytest
from command import Command

from limbeck.runs import Run


def test_what_is_at_hand_is_read_off_data_and_teacher(command: Command, teacher: Run) -> None:
    answer = command("suggest", "--data", "digits(labeled=100)", "--teacher", teacher.path)
    assert answer.code == 0
    text = " ".join(answer.out.split())
    assert text.startswith(
        "classification of images: 1,000 training samples, some with a label; a network as the teacher"
    )
    assert "1. 0.1*ce + 0.9*kd for few labels, many samples without:" in text
    assert "not measured on such data elsewhere: " in text
    assert "(benchmarks/methods)" in text


def test_evidence_of_such_data_is_cited_with_its_seeds(command: Command) -> None:
    given = ("--task", "classification", "--inputs", "text", "--samples", "9000", "--teacher", "network")
    text = " ".join(command("suggest", *given).out.split())
    assert "1. ce + icd for texts with all labels" in text
    assert "measured on such data: +0.88 points of top-1 against the student alone (5 seeds" in text
    assert (
        "a training step takes 1.71 to 2.74 times that of the student alone, 1.05 with --cache-teacher"
        in text
    )


def test_where_nothing_was_measured_it_says_so(command: Command) -> None:
    text = command("suggest", "--task", "regression", "--teacher", "network").out
    assert "not measured beside the student alone in limbeck's benchmarks for this task" in text


def test_what_only_a_cache_makes_affordable_says_so(command: Command) -> None:
    given = ("--inputs", "image", "--samples", "8000", "--teacher", "network", "--budget", "1.5")
    text = " ".join(command("suggest", *given).out.split())
    assert "1.01 with --cache-teacher logits, which alone is within the budget (" in text


def test_the_student_alone_is_what_others_are_compared_with(command: Command) -> None:
    text = " ".join(command("suggest", "--task", "segmentation", "--teacher", "none").out.split())
    assert "this is the student alone, beside which the others are measured" in text


def test_where_the_guide_has_nothing_it_says_where_to_look(command: Command) -> None:
    text = " ".join(command("suggest", "--task", "similarity", "--teacher", "several").out.split())
    assert "The guide has nothing for this; `limbeck tasks similarity` shows the methods" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "digits", "--samples", "5"), "--samples stands in place of --data"),
        (("--data-dir", "somewhere"), "--data-dir is where the files of --data lie"),
        (("--teacher", "runs/nothing"), "there is no teacher 'runs/nothing'"),
        (("--labels", "none"), "there is nothing to learn from"),
        (("--budget", "0"), "at least 1, not 0"),
        (("--data", "digts"), "did you mean 'digits'"),
    ],
)
def test_mistakes(command: Command, arguments: tuple[str, ...], message: str) -> None:
    answer = command("suggest", *arguments)
    assert (answer.code, answer.out) == (2, "")
    assert message in answer.err
