"""Sources that spoil the training split of another: wrong labels, and classes of unequal size.

Validation and test stay as they are, and so do views and normalization. What is spoiled is a function of the
wrapper's own seed, whatever the seed of the run.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Literal

import torch
from pydantic import Field, InstanceOf
from torch import Tensor

from limbeck.arguments import checked_arguments
from limbeck.data.source import Source
from limbeck.data.split import pick, stratified
from limbeck.data.storage.base import digest
from limbeck.errors import LimbeckError
from limbeck.notation import Call
from limbeck.outputs import UNLABELED
from limbeck.seeds import seed_for
from limbeck.tasks import Classification


def noisy_labels(
    source: InstanceOf[Source],
    /,
    rate: Annotated[float, Field(ge=0, lt=1)],
    kind: Literal["symmetric", "pair"] = "symmetric",
    seed: int = 0,
) -> Source:
    """Training labels of which some are wrong: exactly round(rate * N) of N, every class in proportion.

    Both kinds are those of Co-teaching (Han et al. 2018, arXiv:1804.06872): with "symmetric" a wrong label
    is any other class, all equally likely; with "pair" it is the next class, and the first after the last,
    the usual asymmetric noise (Patrini et al. 2017, arXiv:1609.03683, have named pairs in its place).
    Samples without a label stay without one.

    Args:
        source: whose training labels to spoil.
        rate: the share of wrong labels.
        kind: what a wrong label is.
        seed: random seed that decides which labels are wrong, and how.
    """
    given = {"rate": rate, "kind": kind, "seed": seed}
    checked_arguments("noisy_labels", noisy_labels, (source,), given)
    _check_task("noisy_labels", source)
    if source.noise is not None:
        raise LimbeckError(f"the labels of {source.name} are noisy already; once is enough")
    targets = source.train.labeled().targets
    which = seed_for(seed, "which labels are wrong")  # not the draw of another wrapper with the same seed
    wrong = stratified(source.train.targets, round(rate * len(targets)), which).to(targets.device)
    steps = torch.ones(len(wrong), dtype=torch.int64)
    if kind == "symmetric":
        generator = torch.Generator().manual_seed(seed_for(seed, "wrong labels"))
        steps = torch.randint(1, source.task.width, (len(wrong),), generator=generator)
    noisy = source.train.targets.clone()
    noisy[wrong] = (noisy[wrong] + steps.to(noisy)) % source.task.width
    # Of the same noise, what else the data set was made with decides which samples it falls on.
    labels = digest({"index": source.train.index, "targets": noisy})
    return replace(
        source,
        name=_name("noisy_labels", source, given),
        train=replace(source.train, targets=noisy),
        noise=f"{Call('noisy_labels', (), given)} with labels {labels}" if len(wrong) else None,
    )


def imbalanced(
    source: InstanceOf[Source],
    /,
    ratio: Annotated[float, Field(ge=1, allow_inf_nan=False)],
    profile: Literal["exponential", "step"] = "exponential",
    seed: int = 0,
) -> Source:
    """A training split whose classes are thinned out, so that the largest is `ratio` times the smallest.

    Of C classes of n samples each, class i keeps n / ratio^(i / (C - 1)) with "exponential" (Cui et al. 2019,
    arXiv:1901.05555); with "step" the first half keeps n and the last C // 2 classes n / ratio (Buda et al.
    2018, arXiv:1710.05381). Fractions are dropped. Classes that were of unequal size are thinned out by the
    same factors. Samples without a label are kept.

    Args:
        source: whose training split to thin out.
        ratio: ratio of the largest class to the smallest.
        profile: how the sizes fall.
        seed: random seed that decides which samples are kept.
    """
    given = {"ratio": ratio, "profile": profile, "seed": seed}
    checked_arguments("imbalanced", imbalanced, (source,), given)
    _check_task("imbalanced", source)
    classes, train = source.task.width, source.train.labeled()
    rank = torch.arange(classes, dtype=torch.float64)
    fall = rank / (classes - 1) if profile == "exponential" else (rank >= classes - classes // 2).double()
    counts = torch.tensor(source.task.counts(train.targets))
    sizes = (counts / ratio**fall).long()
    for name, size, count in zip(source.task.names, sizes.tolist(), counts.tolist(), strict=True):
        if size == 0 < count:
            raise LimbeckError(
                f"imbalanced: ratio={ratio:g} leaves class {name!r} of {source.name} none of its {count} "
                "training samples; give a smaller ratio"
            )
    return replace(
        source, name=_name("imbalanced", source, given), train=source.train.select(_kept(source, sizes, seed))
    )


def _check_task(wrapper: str, source: Source) -> None:
    if source.train.task is not Classification:
        raise LimbeckError(
            f"{wrapper} is for classification, and {source.name} is for the task {source.task.name}"
        )


def _kept(source: Source, sizes: Tensor, seed: int) -> Tensor:
    """Rows of the training split: those drawn of each class, and those without a label."""
    targets = source.train.targets
    kept = targets.cpu() == UNLABELED
    kept[pick(targets, sizes, seed_for(seed, "imbalanced"))] = True
    return kept.nonzero().flatten().to(targets.device)


def _name(wrapper: str, source: Source, given: Mapping[str, float | str]) -> str:
    """The text that makes the wrapped source, if the inner one's name makes it."""
    return str(Call(wrapper, (Call(source.name),), given))
