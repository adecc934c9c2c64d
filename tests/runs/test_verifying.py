"""The cache of a language model is compared with its teacher, from the command line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from command import Command

import limbeck
from language_models import write_stories
from limbeck.runs import Run
from limbeck.teachers.ranks import Ranks

TEACHER = ("--set", "teacher.top=16")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = write_stories(tmp_path_factory.mktemp("stories"), 40)
    return f'language(path="{file}", separator="\\n\\n", block=24, vocab_size=280)'


@pytest.fixture(scope="module")
def teacher(data: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    return limbeck.train(
        model="gpt(dim=16, depth=1, heads=2)",
        data=data,
        epochs=1,
        batch_size=8,
        out=tmp_path_factory.mktemp("run") / "teacher",
        display=False,
        settings={"training.trackers": [], "training.precision": "fp32"},
    )


def test_a_cache_says_what_its_teacher_says(
    command: Command, data: str, teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    given = ("--teacher", teacher.path, "--data", data, *TEACHER, "--set", "training.precision=fp32")
    empty = command("cache", "verify", *given)
    assert (empty.code, "has none of the training samples" in empty.err) == (2, True)
    assert command("cache", "fill", *given).code == 0
    found = command("cache", "verify", *given, "--samples", "5", "--batch-size", "2")
    assert found.code == 0
    assert " tokens of 5 samples are told apart in the cache; their NLL is " in found.out
    words = found.out.split()
    cached, live = (float(words[words.index(before) + 1]) for before in ("is", "and"))
    assert cached == pytest.approx(live, abs=2e-3)

    def other(self: Ranks, logits: object) -> np.ndarray:  # type: ignore[type-arg]
        raise AssertionError("nothing is asked for again")

    monkeypatch.setattr(Ranks, "pack", other)
    unpack = Ranks.unpack
    monkeypatch.setattr(
        Ranks,
        "unpack",
        lambda self, kept, length: unpack(self, kept, length).map(
            lambda each: each - 0.1 if each.is_floating_point() else each
        ),
    )
    wrong = command("cache", "verify", *given)
    assert wrong.code == 1
    assert wrong.out.endswith("remove it with `limbeck cache clear`.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data", "digits"), "give that too (--teacher)"),
        (("abc", "--teacher", "runs/none"), "leave out the name"),
    ],
)
def test_what_does_not_go_together(command: Command, arguments: tuple[str, ...], message: str) -> None:
    found = command("cache", "verify", *arguments)
    assert found.code == 2
    assert found.err.count("\n") == 1
    assert message in found.err
