"""A run of a language model with the cache of its teacher, and with text that it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import limbeck
from interrupting import interrupted_after
from language_models import write_stories
from limbeck.runs import Run

COMMON: dict[str, Any] = {
    "batch_size": 8,
    "display": False,
    "settings": {"training.trackers": [], "training.precision": "fp32", "teacher.trust": True},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = write_stories(tmp_path_factory.mktemp("stories"), 40)
    return f'language(path="{file}", separator="\\n\\n", block=24, vocab_size=280)'


@pytest.fixture(scope="module")
def teacher(data: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    settings = {name: value for name, value in COMMON["settings"].items() if "trust" not in name}
    return limbeck.train(
        model="gpt(dim=16, depth=1, heads=2)",
        data=data,
        epochs=2,
        out=tmp_path_factory.mktemp("run") / "teacher",
        **{**COMMON, "settings": settings},
    )


def distilled(data: str, teacher: Run, out: Path, objective: str, **changes: Any) -> Run:
    return limbeck.distill(
        student="gpt(dim=8, depth=1, heads=2)",
        teacher=teacher,
        data=data,
        objective=objective,
        out=out,
        **{**COMMON, "epochs": 2, **changes},
    )


@pytest.mark.parametrize("divergence", ["forward", "reverse"])
def test_with_its_cache_a_teacher_teaches_what_it_teaches_live(
    divergence: str, data: str, teacher: Run, tmp_path: Path
) -> None:
    objective = f'0.5*ce + 0.5*kd(temperature=1, divergence="{divergence}")'
    live = distilled(data, teacher, tmp_path / "live", objective)
    cached = distilled(data, teacher, tmp_path / "cached", objective, cache_teacher="logits")
    nll = [run.result.metrics.on("test")["nll"] for run in (live, cached)]
    assert nll[0] == pytest.approx(nll[1], abs=0.01)
    assert cached.result.teachers["teacher"].cached == ("logits",)


@pytest.mark.parametrize(
    "objective",
    [
        "on_policy(ce + kd(temperature=1), fraction=0.5, length=4)",
        "skd(kd(temperature=1), k=5, length=4)",
        "seqkd(ce, length=4)",
        "minillm(ce, length=4)",
        "0.5*ce + 0.5*okd(rank=2)",
    ],
)
def test_what_writes_goes_on_as_if_nothing_had_happened(
    data: str, teacher: Run, tmp_path: Path, objective: str
) -> None:
    whole = distilled(data, teacher, tmp_path / "whole", objective)
    with interrupted_after(1):
        distilled(data, teacher, tmp_path / "killed", objective)
    resumed = distilled(data, teacher, tmp_path / "killed", objective, resume=True)
    weights = [(run.path / "student.safetensors").read_bytes() for run in (whole, resumed)]
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("objective", "share"),
    [
        ("on_policy(kd(temperature=1), length=4)", 1),  # answers for what the student has written
        ("skd(kd(temperature=1), k=5, length=4)", 2),  # corrects it, and answers for it
        ("minillm(length=4)", 2),  # writes it together with the student, and answers for it
        ("minillm(ce, length=4)", 3),  # and for the data
        ("seqkd(ce, length=4)", 0.5),  # writes once for each sample, in the first of two epochs
        ("seqkd(ce + kd(temperature=1), length=4)", 1.5),
    ],
)
def test_what_a_teacher_is_shown_as_text_is_written_is_counted(
    data: str, teacher: Run, tmp_path: Path, objective: str, share: float
) -> None:
    result = distilled(data, teacher, tmp_path / "run", objective).result
    assert result.samples_seen is not None
    assert result.teacher_forwards == share * result.samples_seen
