"""Transfer: what a network's embedding is worth on data that it was not made for.

`linear_probe` is the protocol of the CRD paper (arXiv:1910.10699), as ICD's code runs it: a new
linear classifier on the frozen embedding, 120 epochs of SGD with drops at a quarter, half and three quarters,
on the training views. It differs in three things: the network stays in eval mode, so that its batch norms
do not change, it keeps its own normalization, and the learning rate is chosen on the validation split.
`finetune` trains all weights under a new classifier.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import nn

from limbeck.data import Loader, Source, Split
from limbeck.distiller import Distiller, Features
from limbeck.errors import LimbeckError
from limbeck.evaluation.heads import Heads, NewHead, new_head
from limbeck.evaluation.measure import inference, measure
from limbeck.evaluation.results import Measured
from limbeck.features import Tap, find
from limbeck.optimization import SGD, Cosine, MultiStep, Schedule
from limbeck.outputs import Batch, Inputs, Outputs, apply
from limbeck.seeds import seed_for
from limbeck.tasks import Meter, Task
from limbeck.teachers import CachedTeacher, LiveTeacher, Teacher
from limbeck.training import DivergenceError, ModuleLoop, Trainer


@dataclass(frozen=True)
class Setup:
    """How new classifiers are trained.

    Attributes:
        epochs: how long.
        rates: learning rates to choose from, by the task's primary metric on validation after the
            last epoch.
        batch_size: samples a step.
        views: how many views of each sample are drawn among (see `limbeck.data.Loader`). With a number, a
            probe asks the frozen network once for each and keeps the embeddings in the teachers' cache.
        seed: random seed of the order, the views and the classifier's first weights.
    """

    epochs: int
    rates: tuple[float, ...]
    batch_size: int = 64
    views: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.epochs < 1 or not self.rates or not all(0 < lr < math.inf for lr in self.rates):
            raise LimbeckError(
                f"a transfer needs an epoch or more and learning rates above 0, not epochs={self.epochs} and "
                f"rates {list(self.rates)}"
            )


PROBE = Setup(epochs=120, rates=(1.0, 0.5, 0.1, 0.05, 0.01))
FINETUNE = Setup(epochs=30, rates=(0.05, 0.01))
LARGE = 512
"""Samples in a batch that nothing is learned from."""


@dataclass(frozen=True)
class Transfer:
    """What came out.

    Attributes:
        network: with its new classifier.
        lr: the learning rate that was chosen.
        tried: the task's primary metric on validation by learning rate, None where the training diverged;
            empty where the data has no validation split.
        test: that metric on test; None where the data has no test split.
    """

    network: NewHead
    lr: float
    tried: Mapping[float, Measured | None]
    test: Measured | None


def linear_probe(
    network: nn.Module,
    source: Source,
    trainer: Trainer,
    setup: Setup = PROBE,
    features: Features | None = None,
) -> Transfer:
    """Trains a linear classifier on a frozen network's embedding.

    All learning rates are tried at once, side by side on the same embeddings.

    Args:
        network: is put in eval mode, once; nothing else of it changes.
        source: the data to learn.
        trainer: runs the training.
        setup: see `Setup`.
        features: module paths that override the embedding found.
    Raises:
        LimbeckError: for a network whose embedding cannot be found, data that cannot decide or measure, and
            a task that one linear layer on the embedding of a sample cannot serve.
    """
    _check(source, setup)
    if source.task.scores != "classes":
        raise LimbeckError(
            f"a linear probe learns by cross-entropy, and {source.task.name} has no classes; use finetune"
        )
    network.to(trainer.device)
    body: Teacher = (
        LiveTeacher(network, features)
        if setup.views is None
        else CachedTeacher(network, source, ["embedding"], views=setup.views, features=features)
    )
    example = _example(source, trainer.device)
    body.open(example, ["embedding"])
    assert body.points is not None
    head = new_head(body(Batch(example)).embedding, source.task.width, setup.seed)
    heads = Heads(source.task, body, head, setup.rates)
    drops = MultiStep(milestones=tuple(setup.epochs * part / 4 for part in (1, 2, 3)))
    _fit("probe", heads, heads.optimizer(), drops, source, setup, trainer)

    def measured(heads: Mapping[float, nn.Module], split: Split) -> dict[float, Meter]:
        return _probed(source.task, body, heads, split, trainer)

    lr, tried, test = _chosen(heads.by_rate, source, measured)
    return Transfer(NewHead(network, body.points, heads.by_rate[lr]).eval(), lr, tried, test)


def finetune(
    network: nn.Module,
    source: Source,
    trainer: Trainer,
    setup: Setup = FINETUNE,
    features: Features | None = None,
) -> Transfer:
    """Trains copies of a network with a new linear classifier, all weights, one for each learning rate.

    The arguments are those of `linear_probe`; the schedule is a cosine. A rate that diverges is out.

    Raises:
        LimbeckError: as `linear_probe`.
        DivergenceError: when the training diverges with every rate.
    """
    _check(source, setup)
    network.to(trainer.device)
    example = _example(source, trainer.device)
    points = find(network, example, overrides=features)
    with inference(network):
        head = new_head(Tap(network, points, ["embedding"])(example).embedding, source.task.width, setup.seed)
    tuned: dict[float, NewHead] = {}
    for number, lr in enumerate(setup.rates, start=1):
        each = NewHead(copy.deepcopy(network), points, copy.deepcopy(head)).train()
        distiller = Distiller(
            each, None, source.task.recipe(teacher=False), example=example, task=source.task
        )
        optimizer = distiller.optimizer(SGD(lr=lr))
        try:
            _fit(f"finetune lr={lr}", distiller, optimizer, Cosine(), source, setup, trainer)
        except DivergenceError:
            if number == len(setup.rates) and not tuned:
                raise
            trainer.display.note(f"finetune lr={lr} diverged and counts as lost")
        else:
            tuned[lr] = each

    def measured(networks: Mapping[float, nn.Module], split: Split) -> dict[float, Meter]:
        return {
            lr: measure(source.task, each, _loader(split, trainer), quick=True)
            for lr, each in networks.items()
        }

    lr, tried, test = _chosen(tuned, source, measured)
    lost: dict[float, Measured | None] = dict.fromkeys(setup.rates) if tried else {}
    return Transfer(tuned[lr].eval(), lr, lost | tried, test)


def _check(source: Source, setup: Setup) -> None:
    if source.task.dense:
        raise LimbeckError(
            f"a transfer puts one linear layer on the embedding of a sample, and {source.task.name} decides "
            "on each position of it; train the network on that data instead"
        )
    if source.validation is None and source.test is None:
        raise LimbeckError(f"{source.name} has neither a validation nor a test split to measure on")
    if source.validation is None and len(setup.rates) > 1:
        raise LimbeckError(
            f"{source.name} has no validation split to choose the learning rate on; give just one"
        )


def _example(source: Source, device: torch.device) -> Inputs:
    return apply(lambda tensor: tensor.to(device), source.example())


def _fit(
    name: str,
    module: nn.Module,
    optimizer: torch.optim.Optimizer,
    schedule: Schedule,
    source: Source,
    setup: Setup,
    trainer: Trainer,
) -> None:
    split = source.train.labeled()
    loader = Loader(
        split,
        setup.batch_size,
        views=source.views,
        seed=seed_for(setup.seed, "order"),
        view_seed=setup.seed,
        views_per_sample=setup.views,
        drop_last=0 < len(split) % setup.batch_size < trainer.smallest_batch(module),
        device=trainer.device,
        rank=trainer.accelerator.process_index,
        world=trainer.accelerator.num_processes,
    )

    def epoch(number: int) -> Loader:
        loader.set_epoch(number)
        return loader

    trainer.fit(module, [ModuleLoop(name, module, optimizer, epoch, setup.epochs, schedule)])


def _loader(split: Split, trainer: Trainer) -> Loader:
    return Loader(split, LARGE, shuffle=False, device=trainer.device)


def _probed(
    task: Task, body: Teacher, heads: Mapping[float, nn.Module], split: Split, trainer: Trainer
) -> dict[float, Meter]:
    """A meter for each head that has taken in the split, each sample in no other view than its own."""
    meters = {lr: task.meter(quick=True) for lr in heads}
    with torch.no_grad():
        for batch in _loader(split, trainer):
            # Without their positions, which are not those of training samples that a cache may know.
            embedding = body(Batch(batch.inputs)).embedding
            for lr, head in heads.items():
                meters[lr].update(Outputs(logits=head(embedding)), batch)
    return meters


def _chosen(
    candidates: Mapping[float, nn.Module],
    source: Source,
    measured: Callable[[Mapping[float, nn.Module], Split], Mapping[float, Meter]],
) -> tuple[float, dict[float, Measured], Measured | None]:
    """The learning rate that is best on validation, the first of equal ones.

    Args:
        candidates: networks or heads by learning rate.
        source: the data.
        measured: gives a meter for each candidate that has taken in a split.
    Returns: the rate, the primary metric of each candidate on validation, and that of the chosen one on test.
    """
    task, tried = source.task, dict[float, Measured]()
    if source.validation is not None:
        meters = measured(candidates, source.validation)
        tried = {lr: _figure(task, meter, source.validation) for lr, meter in meters.items()}
    lr = next(iter(candidates))
    for other, figure in tried.items():
        lr = other if task.primary.better(figure.value, tried[lr].value) else lr
    if source.test is None:
        return lr, tried, None
    test = measured({lr: candidates[lr]}, source.test)[lr]
    return lr, tried, _figure(task, test, source.test)


def _figure(task: Task, meter: Meter, split: Split) -> Measured:
    """The primary metric with its interval, where it has one."""
    name = task.primary.name
    if rate := meter.intervals().get(name):
        return Measured(value=rate.value, low=rate.low, high=rate.high, samples=rate.samples)
    samples = int(task.labeled(split.targets).sum())
    return Measured(value=meter.compute()[name], low=None, high=None, samples=samples)
