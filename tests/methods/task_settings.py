"""A small setting of each task that has methods of its own; samples differ in what there is to decide."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import language_pair
import torch
from torch import Tensor, nn

import detectors
import restorers
import segmenters
from language_models import stories, tokens, write_rows
from limbeck import Batch, Distiller, Trainer
from limbeck.data import Loader
from limbeck.data.language.source import from_language
from limbeck.models import GPT
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.tasks import Restoration, Segmentation
from limbeck.tasks.segmentation.meter import IGNORED
from limbeck.training import step as steps
from limbeck.training.guard import step_unless
from scripted_loop import ScriptedLoop
from two_processes import as_launched

Gradients = list[dict[str, Tensor]]
"""By parameter, of each step."""

OBJECTIVES = {
    "cwd": "ce + 3*cwd",
    "rdd": "rdd(switch=0.5, hardest=0.3) + kd(temperature=1)",  # the second step is of the second stage
    "fcos": "fcos",
    "giou": "fcos + kd(temperature=1) + giou",
    "metakd_sr": "mae + metakd_sr(strength=20, step=0.5, every=1)",
    "okd": "0.5*ce + 0.5*okd",
    "on_policy": "on_policy(kd(temperature=1), length=8)",
    "seqkd": "seqkd(ce + kd(temperature=1), temperature=1, length=8)",
    "skd": "skd(kd(temperature=1), k=3, temperature=1, top_p=1, length=8)",
    "minillm": "minillm(0.7*ce + 0.3*kd(temperature=1), mixture=0.3, length=8)",
    "pseudo_boxes": "fcos + pseudo_boxes(least=0.05)",
    "uld": "ce + 1.5*uld",
    "gold": "0.5*ce + 0.5*gold",
}
"""What each method of a task is tried in."""


def _distiller(student: nn.Module, teacher: nn.Module, objective: str, **settings: Any) -> Distiller:
    """The same for the same arguments; without the teacher where nothing reads it."""
    torch.manual_seed(5)  # of the parts that methods make
    return Distiller(student, teacher if parse(objective).all_reads.teacher else None, objective, **settings)


def segmentation(objective: str) -> tuple[Distiller, Batch]:
    """Five images, of which a third of the pixels does not count, and one image not at all."""
    batch = segmenters.batch_of(5)
    student, teacher = segmenters.TwoHeads(4, 0), segmenters.TwoHeads(6, 1)
    for network in (student, teacher):
        network.main.head.weight.data.mul_(5)  # some pixels are easy
    task = Segmentation(("a", "b", "c"))
    return _distiller(student, teacher, objective, example=batch.inputs, task=task), batch


def unlabeled(objective: str) -> tuple[Distiller, Batch]:
    """The same, with no pixel that counts in the first half."""
    made, batch = segmentation(objective)
    assert batch.targets is not None
    batch.targets[:3] = IGNORED
    return made, batch


def detection(objective: str) -> tuple[Distiller, Batch]:
    """Four images: with two boxes, with one, with none, and one whose boxes are not known."""
    student, teacher = detectors.detector().double(), detectors.detector(6, seed=1).double()
    for part in student.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.eval()
    batch = detectors.boxed_batch()
    batch = replace(batch, inputs=batch.inputs.double())  # type: ignore[union-attr]
    return _distiller(student, teacher, objective, example=batch.inputs, task=detectors.TASK), batch


def restoration(objective: str) -> tuple[Distiller, Batch]:
    """Four images, of which some pixels and one image do not count."""
    student, teacher = restorers.Doubling(3).double(), restorers.Doubling(4, seed=1).double()
    batch = restorers.batch_of()
    return _distiller(student, teacher, objective, example=batch.inputs, task=Restoration(("gray",))), batch


def language(objective: str) -> tuple[Distiller, Batch]:
    """Three texts, of which other numbers of tokens are learned; or nine of a teacher with other tokens."""
    if "uld" in objective or "gold" in objective:
        return _of_two_tokenizers(objective)
    student, teacher = (language_pair.network(seed, 16, dropout=0.0).double() for seed in (0, 1))
    batch = language_pair.batch().map(lambda tensor: tensor[[0, 2, 1]])
    return _distiller(student, teacher, objective, example=batch.inputs, task=language_pair.TASK), batch


def _of_two_tokenizers(objective: str) -> tuple[Distiller, Batch]:
    others = tokens(size=420, seed=5)
    with tempfile.TemporaryDirectory() as folder:
        rows = [{"prompt": each.split()[0], "response": each} for each in stories(40)]
        file = write_rows(Path(folder) / "pairs.jsonl", rows)
        source = from_language(path=str(file), tokens=tokens(), block=40)
        batch = next(iter(Loader(source.train, 9, seed=3, teacher_preparations={"teacher": others})))
    networks: list[nn.Module] = []
    for seed, width, vocabulary in ((0, 8, source.task.width), (1, 12, len(others.tokenizer))):
        torch.manual_seed(seed)
        networks.append(GPT(dim=width, depth=1, heads=2, tie=False, vocab_size=vocabulary).double())
    student, teacher = networks
    examples: dict[str, Any] = {"example": batch.inputs, "teacher_example": batch.teacher_inputs}
    return _distiller(student, teacher, objective, **examples, task=source.task), batch


SETTINGS: Mapping[str, Callable[[str], tuple[Distiller, Batch]]] = {
    "segmentation": segmentation,
    "segmentation, half unlabeled": unlabeled,
    "detection": detection,
    "restoration": restoration,
    "language": language,
}


def trained(
    task: str, objective: str, rank: int = 0, world: int = 1, accumulation: int = 1
) -> dict[str, Any]:
    """What a process learns in two steps with its share of a batch: gradients, and the terms of the epoch."""
    made, whole = SETTINGS[task](objective)
    batch = replace(whole.split(world)[rank], total=len(whole))
    trainer = Trainer(device="cpu", precision="fp32", display=False, accumulation=accumulation)
    lines: list[dict[str, Any]] = []
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]
    gradients: Gradients = []

    def looked_at(*arguments: Any) -> None:
        gradients.append({name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None})
        step_unless(*arguments)

    @contextmanager
    def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        yield made, made.optimizer(SGD(lr=0.05))

    rows = None if made.task.even else made.task.count
    loop = ScriptedLoop("training", opened, lambda epoch: [batch] * 2, 1, rows=rows, collected=made.collected)
    with mock.patch.object(steps, "step_unless", looked_at):
        trainer.fit(made, [loop])
    return {"gradients": gradients, "terms": lines[-1]["terms"], "rows": int(made.task.count(batch))}


def trained_together(rank: int, world: int, task: str, objective: str) -> dict[str, Any]:
    """The same in one of two processes."""
    as_launched(rank, world)
    return trained(task, objective, rank, world)
