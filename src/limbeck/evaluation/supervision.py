"""The supervision complexity of the targets that a student learned from, as an evaluation measures it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import torch
from torch import Tensor, nn

from limbeck.data import Loader, Source, Split
from limbeck.data.preparation import Preparation
from limbeck.data.split import stratified
from limbeck.errors import LimbeckError
from limbeck.evaluation.complexity import (
    RIDGE,
    Kernel,
    isotropic_complexity,
    supervision_complexity,
    tangent_kernel,
)
from limbeck.evaluation.contenders import Contender
from limbeck.evaluation.measure import answer_of, inference
from limbeck.evaluation.results import Supervision, TargetComplexity
from limbeck.outputs import Inputs, joined
from limbeck.seeds import seed_for

SAMPLES = 128
FULL = 4096
"""Rows up to which the whole kernel is computed; beyond, its mean over the outputs."""
TEMPERATURES = (1.0, 4.0)


def supervision(
    source: Source,
    student: Contender,
    teachers: Iterable[tuple[str, Contender]],
    *,
    initial: nn.Module | None = None,
    samples: int = SAMPLES,
    ridge: float | None = None,
    kernel: Kernel | None = None,
    temperatures: Sequence[float] = TEMPERATURES,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Supervision:
    """Measures how hard labels and soft targets are for a student; see `limbeck.evaluation.complexity`.

    All of it is of training samples as they are, without a view: it says something of what the student was
    given to learn, and nothing of a split that it is measured on.

    Args:
        source: the data.
        student: the student as it is.
        teachers: whose softened answers are measured, by name.
        initial: the student before it was trained; None if that is not known.
        samples: how many training samples, each class in proportion.
        ridge: share of the mean of the kernel's diagonal that is added to it; `RIDGE` if None.
        kernel: which kernel (see `tangent_kernel`); if None, the whole one up to `FULL` rows.
        temperatures: temperatures of the teachers' answers.
        seed: random seed of the samples, and of the order of the labels that are shuffled.
        device: where to run.
    Raises:
        LimbeckError: for another task than classification, more samples than the training split has labels
            of, a ridge below 0, and a network whose kernel cannot be computed.
    """
    task = source.task
    if not (task.scores == "classes" and task.one_row_per_sample):
        raise LimbeckError(
            f"the supervision complexity is of targets that are one class for each sample, and {source.name} "
            f"is for {task.name}; leave out complexity (--complexity)"
        )
    ridge = RIDGE if ridge is None else ridge
    if not ridge >= 0:
        raise LimbeckError(f"the ridge is a share of the kernel's diagonal from 0 on, not {ridge:g}")
    split = _drawn(source, samples, seed)
    kernel = kernel or ("full" if samples * task.width <= FULL else "mean")
    names, targets = ["labels", "labels, shuffled"], [*_labels(source, split, seed)]
    for name, teacher in teachers:
        logits = _answers(source, teacher, split, device)
        for temperature in temperatures:
            names.append(f"{name}, temperature {temperature:g}")
            targets.append((logits / temperature).softmax(1))
    of_all = torch.stack(targets)

    def of(network: nn.Module) -> dict[str, TargetComplexity]:
        inputs = joined([batch.inputs for batch in _batches(split, student.preparation, device)])
        answer = _logits_of(source, student)
        gram = tangent_kernel(network.to(device), inputs, kernel=kernel, answer=answer).cpu()
        found = supervision_complexity(gram, of_all, ridge=ridge)
        alike = isotropic_complexity(of_all)
        return {
            name: TargetComplexity(complexity=one, relative=one / other if other > 1e-12 else None)
            for name, one, other in zip(names, found.tolist(), alike.tolist(), strict=True)
        }

    return Supervision(
        samples=samples,
        seed=seed,
        ridge=ridge,
        kernel=kernel,
        trained=of(student.network),
        initial=None if initial is None else of(initial),
    )


def _drawn(source: Source, samples: int, seed: int) -> Split:
    """Some labeled samples of the training split."""
    labeled = source.train.labeled()
    if not 2 <= samples <= len(labeled):
        raise LimbeckError(
            f"the supervision complexity is measured on 2 to {len(labeled)} training samples, as many as "
            f"{source.name} has labels of, not on {samples}"
        )
    return labeled.select(stratified(source.task.strata(labeled.targets), samples, seed))


def _labels(source: Source, split: Split, seed: int) -> tuple[Tensor, Tensor]:
    """(n, C) the labels, and the same ones given to samples by chance."""
    labels = torch.nn.functional.one_hot(split.targets.cpu(), source.task.width).double()
    generator = torch.Generator().manual_seed(seed_for(seed, "shuffled labels"))
    return labels, labels[torch.randperm(len(labels), generator=generator)]


def _answers(source: Source, teacher: Contender, split: Split, device: torch.device | str) -> Tensor:
    """(n, C) float64 logits on the CPU."""
    answer = answer_of(source.task, teacher.network.to(device), teacher.features)
    with inference(teacher.network):
        batches = _batches(split, teacher.preparation, device)
        return torch.cat([answer(batch.inputs).logits.double().cpu() for batch in batches])


def _batches(split: Split, preparation: Preparation, device: torch.device | str) -> Loader:
    size = min(len(split), split.samples.most)
    return Loader(split, size, shuffle=False, device=device, preparation=preparation)


def _logits_of(source: Source, student: Contender) -> Callable[[nn.Module, Inputs], Tensor]:
    made: list[Callable[[Inputs], Tensor]] = []

    def logits(network: nn.Module, inputs: Inputs) -> Tensor:
        if not made:
            answer = answer_of(source.task, network, student.features)
            made.append(lambda given: answer(given).logits)
        return made[0](inputs)

    return logits
