"""`limbeck search-views`: what it prints, and what it refuses."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from command import Command, content

from limbeck.runs import Run
from limbeck.studies.policy_search import PolicySearch

SHORT = ("--epochs", "2", "--every", "1", "--population", "2", "--batch-size", "200")
TEACHER = ("search-views", "--role", "teacher", "--model", "cnn(channels=[2])", "--data", "digits")


def test_it_ends_with_the_command_that_uses_what_it_found(command: Command, tmp_path: Path) -> None:
    answer = command(*TEACHER, *SHORT, "--out", "a b")
    assert answer.code == 0, answer.err
    *trials, last = answer.out.splitlines()
    assert [line.split(":")[0] for line in trials] == [
        f"epochs {epoch} to {epoch}, trial {trial} of 2" for epoch in (0, 1) for trial in (1, 2)
    ]
    assert all(" % on validation, " in line for line in trials)
    file = tmp_path.resolve() / "a b" / "policy.yaml"
    assert last == f"the teacher trains with the policies that won by: limbeck train '{file}'"
    arguments = shlex.split(last.partition(" by: ")[2])[1:]
    assert command(*arguments, "--out", "run").code == 0
    assert Run(tmp_path / "run").finished
    again = command(*TEACHER, *SHORT, "--out", "a b", "--resume")
    assert again.out == answer.out


def test_an_interruption_says_how_to_go_on(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(self: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PolicySearch, "run", interrupted)
    answer = command(*TEACHER, *SHORT, "--out", "a")
    assert answer.code == 130
    assert answer.err == "limbeck: interrupted; --resume with the search's --out goes on\n"


BAD = {
    "role": (("--role", "pupil"), "the role (--role) is teacher or student, not 'pupil'"),
    "both": (("--student", "mlp"), "--model and --student are both the network that is trained; give one"),
    "population": (
        ("--population", "1"),
        "a population (--population) needs 2 trials or more to learn from one another, not 1",
    ),
    "every": (
        ("--every", "3"),
        "every=3 (--every) leaves no second round in 2 epochs; give fewer epochs a round, or more in all "
        "(--epochs)",
    ),
    "data": (
        ("--data", "wine"),
        "wine holds no images, and the views that can be searched need them",
    ),
    "resume": (("--resume",), "there is no search to resume in 'a'"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_and_nothing_is_written(
    command: Command, tmp_path: Path, case: str
) -> None:
    more, message = BAD[case]
    answer = command(*TEACHER, *SHORT, "--out", "a", *more)
    assert (answer.code, answer.out) == (2, "")
    assert answer.err == f"limbeck: {message}\n"
    assert content(tmp_path) == {}
