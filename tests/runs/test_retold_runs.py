"""Student and teacher with different tokenizers, through the third door."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from interrupting import interrupted_after
from language_models import llama, tokens, write_stories
from limbeck import Distiller, data
from limbeck.data import Loader
from limbeck.errors import LimbeckError
from limbeck.outputs import Batch
from limbeck.runs import Run

transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
SETTINGS = {"training.trackers": [], "training.optimizer": {"name": "adamw"}, "training.precision": "fp32"}
FAST: dict[str, Any] = {"epochs": 2, "batch_size": 4, "lr": 1e-2, "settings": SETTINGS, "display": False}
OBJECTIVES = ("ce + 1.5*uld", "0.5*ce + 0.5*gold")


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> str:
    file = write_stories(tmp_path_factory.mktemp("texts"))
    return f'language(path="{file}", separator="\\n\\n", block=16)'


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> str:
    return f"hf:{llama(tmp_path_factory.mktemp('pretrained') / 'student')}"


@pytest.fixture(scope="module")
def teacher(texts: str, tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("teacher")
    model = llama(folder / "llama", reads=tokens(size=420, seed=5))
    return limbeck.train(model=f"hf:{model}", data=texts, out=folder / "run", **{**FAST, "epochs": 6})


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_student_learns_from_other_tokens(
    objective: str, student: str, teacher: Run, texts: str, tmp_path: Path
) -> None:
    given = {"student": student, "teacher": teacher, "data": texts, "objective": objective, **FAST}
    run = limbeck.distill(out=tmp_path / "whole", **given)
    result = run.result
    assert result.agreement is None
    measured = result.teachers["teacher"].metrics
    assert measured is not None
    assert measured["nll"] == pytest.approx(teacher.result.metrics.on("test")["nll"], rel=0.2)
    assert any("the teacher has a tokenizer of its own; " in note for note in result.notes)
    assert limbeck.evaluate(run).networks["teacher"].metrics == measured
    assert "What the networks write" in (run.path / "report.html").read_text()
    with interrupted_after(1):
        limbeck.distill(out=tmp_path / "parts", **given)
    parts = limbeck.distill(out=tmp_path / "parts", resume=True)
    weights = [dict(limbeck.load(each).named_parameters()) for each in (run, parts)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"objective": "ce + kd"},
            "another tokenizer: .*; give networks that share a tokenizer, or learn",
        ),
        ({"objective": "ce + uld + kd"}, "or learn by uld or gold, which align different tokenizers"),
        ({"objective": "on_policy(uld)"}, "and teacher has a tokenizer of its own; take a teacher with"),
        (
            {"objective": "ce + uld", "cache_teacher": "logits"},
            "a cache keeps what a teacher says of the tokens of the data, and this one has a tokenizer",
        ),
    ],
)
def test_what_is_no_use_for_other_tokens_is_refused(
    changes: dict[str, Any], message: str, student: str, teacher: Run, texts: str, tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError, match=message):
        limbeck.distill(
            student=student, teacher=teacher, data=texts, out=tmp_path / "run", **{**FAST, **changes}
        )
    assert not (tmp_path / "run").exists(), "nothing is written before"


@pytest.mark.parametrize("objective", [*OBJECTIVES, "gold(matched=0.5)"])
def test_padding_and_pieces_change_no_gradient(
    objective: str, student: str, teacher: Run, texts: str
) -> None:
    source = data.load(texts, tokens=lambda: tokens())
    reads = tokens(size=420, seed=5)
    batch = next(iter(Loader(source.train, 6, seed=3, teacher_preparations={"teacher": reads})))
    example = batch.map(lambda tensor: tensor[:2])
    learner: Any = transformers.AutoModelForCausalLM.from_pretrained(student.removeprefix("hf:"))
    distiller = Distiller(
        learner.double(),
        limbeck.load(teacher).double(),
        objective,
        example=example.inputs,
        teacher_example=example.teacher_inputs,
        task=source.task,
    )
    whole = gradient(distiller, [batch])
    parts = gradient(distiller, batch.split(3))
    torch.testing.assert_close(parts, whole, rtol=1e-9, atol=1e-12)


def gradient(distiller: Distiller, batches: list[Batch]) -> torch.Tensor:
    """Of the mean over the tokens of all batches."""
    distiller.student.zero_grad()
    counts = [int(distiller.task.count(each)) for each in batches]
    for batch, count in zip(batches, counts, strict=True):
        (distiller(batch).total * count / sum(counts)).backward()
    return torch.cat([p.grad.flatten() for p in distiller.student.parameters() if p.grad is not None])
