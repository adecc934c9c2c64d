"""Doors for a user's own data: tensors in memory, and `torch` data sets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from limbeck import tasks
from limbeck.data import checks
from limbeck.data.checks import InputsLike, TargetsLike
from limbeck.data.kinds import Kind, kind_of, statistics, statistics_of_levels
from limbeck.data.source import PIXELS, Source
from limbeck.data.split import Split, copies, held_out
from limbeck.data.storage.base import Resident, digests, spread
from limbeck.data.storage.streamed import Encoded
from limbeck.data.storage.torch_dataset import Items
from limbeck.data.views import Views, parse
from limbeck.errors import LimbeckError
from limbeck.outputs import Inputs, apply


def from_tensors(
    inputs: InputsLike,
    targets: TargetsLike | None = None,
    *,
    task: str = "classification",
    weights: TargetsLike | None = None,
    validation: tuple[InputsLike, TargetsLike] | float | None = 0.1,
    test: tuple[InputsLike, TargetsLike] | None = None,
    num_classes: int | None = None,
    names: Sequence[str] | None = None,
    views: str | Views = "none",
    kind: Kind | None = None,
    name: str = "tensors",
) -> Source:
    """A source of tensors or arrays in memory.

    Args:
        inputs: training inputs: images (N, C, H, W), best as uint8 (networks see them as floats in [0, 1]),
            tables (N, F), token ids (N, L), or a mapping of named tensors that networks take as keywords.
        targets: as the task has them: (N,) class ids, -100 where a sample has none; None if no sample has.
        task: what the targets are, a name of `limbeck tasks`.
        weights: (N,) how much each training sample counts in the terms that fit the labels, such as `ce`:
            finite numbers of at least 0, of which only the ratios matter. What is measured is not weighted.
        validation: inputs and targets; or the fraction of each class to hold out of the training data
            (see `limbeck.data.split.held_out`; `Batch.index` then counts what is kept); or None.
        test: inputs and targets; without them a run reports no test metrics.
        num_classes: of classification, where the training targets do not show all classes.
        names: names of the outputs of a network, in their order: classes, labels or values.
        views: the policy that training draws from, such as "crop(padding=4, flip=true)".
        kind: "image", "table", "text" or "other", if the shapes mislead.
        name: what records and reports call the data.
    Raises:
        LimbeckError: naming the part, the position and the value at fault.
    """

    meant = tasks.named(task)

    def split(
        which: str, pair: tuple[InputsLike, TargetsLike | None], weights: TargetsLike | None = None
    ) -> Split:
        if not isinstance(pair, tuple) or len(pair) != 2:
            raise LimbeckError(f"{which} should be (inputs, targets), not {type(pair).__name__}")
        tensors = checks.as_inputs(pair[0], which)
        labels = checks.as_targets(pair[1], tensors, which, meant)
        return Split.whole(Resident(tensors), labels, meant, _weights(weights, labels))

    return assemble(
        split("training", (inputs, targets), weights),
        validation if isinstance(validation, float | None) else split("validation", validation),
        None if test is None else split("test", test),
        names=names,
        width=num_classes,
        views=views,
        kind=kind,
        name=name,
    )


def from_dataset(
    train: Dataset[Any],
    *,
    validation: Dataset[Any] | float | None = 0.1,
    test: Dataset[Any] | None = None,
    task: str = "classification",
    weights: TargetsLike | None = None,
    num_classes: int | None = None,
    names: Sequence[str] | None = None,
    views: str | Views = "bank",
    kind: Kind | None = None,
    name: str = "dataset",
) -> Source:
    """A source of map-style `torch` data sets, whose items are fetched anew for every batch.

    An item is (input, target), an input alone, or a mapping. In a mapping the target is under "label(s)" or
    "target(s)"; what remains is given to networks by name, or plainly if it is one value under "image",
    "img" or "input(s)". An input is a tensor, an array (channels first) or a PIL image, which becomes uint8.
    Floats go to networks as they are, without normalization.

    Random transforms in the data set become views: `random`, `numpy` and `torch` are seeded from (index,
    view) before each item. With the views "none" every item is always in its view 0, as it is in validation
    and test; "bank(count=4)" draws among four; any other policy is applied on top.

    Args:
        train: training data.
        validation: a data set, best without random transforms; or a fraction, or None, as in `from_tensors`.
        test: a data set; without one a run reports no test metrics.
        task: as in `from_tensors`, like all that follow; a target is a vector where the task has several.
        weights: (N,) how much each training sample counts, as in `from_tensors`.
        num_classes: of classification, where the training targets do not show all classes.
        names: names of the outputs of a network, in their order.
        views: the policy that training draws from.
        kind: "image", "table", "text" or "other", if the shapes mislead.
        name: what records and reports call the data.
    Raises:
        LimbeckError: naming the part, the item and what it should be.
    """

    meant = tasks.named(task)

    def split(which: str, dataset: Dataset[Any], weights: TargetsLike | None = None) -> Split:
        by_position = hasattr(dataset, "__getitem__") and not isinstance(dataset, IterableDataset)
        if not by_position or not hasattr(dataset, "__len__"):
            raise LimbeckError(f"the {which} data set should have a length and items by position (map-style)")
        if not len(dataset):
            raise LimbeckError(f"the {which} data is empty")
        items = Items.of(dataset, meant, which)
        return Split.whole(items, items.targets, meant, _weights(weights, items.targets))

    return assemble(
        split("training", train, weights),
        validation if isinstance(validation, float | None) else split("validation", validation),
        None if test is None else split("test", test),
        names=names,
        width=num_classes,
        views=views,
        kind=kind,
        name=name,
    )


def assemble(
    train: Split,
    validation: Split | float | None,
    test: Split | None,
    *,
    names: Sequence[str] | None,
    width: int | None = None,
    views: str | Views,
    kind: Kind | None,
    name: str,
    contents: Mapping[str, Sequence[bytes]] | None = None,
) -> Source:
    """A source of splits; a fraction for the validation split is held out of the training split.

    Args:
        names: names of the outputs; None for numbers.
        width: how many outputs there are, where there are no names and the training targets do not show it.
        contents: bytes for each sample of "train", "validation" and "test", equal for equal samples; those of
            samples in memory if none are given.
    Raises:
        LimbeckError: naming what does not fit together.
    """
    task = train.task.of(names, width, train.targets)
    task.check(train.targets, "training")
    if isinstance(validation, float):
        train, validation = _hold_out(train, validation)
        task = train.task.of(task.names, None, train.targets)  # what it measures is of what is left
    first = _first(train)
    for which, split in (("validation", validation), ("test", test)):
        if split is not None:
            task.check(split.targets, which)
            checks.check_alike(_first(split), first, which, any_size=task.restores)
            if not split.has_labels:
                raise LimbeckError(
                    f"the {which} data has no labels to measure by; give it labels, or another split that has"
                )
    kind = kind or kind_of(first)
    mean, std = ((), ()) if task.restores else _normalization(train, first, kind)
    source = Source(
        name=name,
        kind=kind,
        train=train,
        validation=validation,
        test=test,
        task=task,
        views=parse(views) if isinstance(views, str) else views,
        mean=mean,
        std=std,
        preparation=PIXELS if _of_pixels(first) else Source.preparation,
        notes=tuple(_repeats(train, {"validation": validation, "test": test}, contents)),
    )
    source.example(1)  # views that cannot show these inputs say so now
    return source


def _hold_out(train: Split, fraction: float) -> tuple[Split, Split | None]:
    """What is left to train on, and the validation split; None if no class has a labeled sample to spare."""
    if not 0 < fraction < 1:
        raise LimbeckError(
            f"validation should be a fraction between 0 and 1, not {fraction}; None holds nothing out"
        )
    kept, held = held_out(train.task.strata(train.targets), fraction, copies(_contents(train)))
    if not len(held):
        return train, None
    left = train.select(kept)
    return (
        Split.whole(train.samples.select(kept), left.targets, train.task, left.weights),
        Split.whole(train.samples.select(held), train.targets[held], train.task),
    )


def _weights(given: TargetsLike | None, targets: Tensor) -> Tensor | None:
    """(N,) beside the targets of the training split, on their device; None for none."""
    return None if given is None else checks.as_weights(given, len(targets)).to(targets.device)


def _contents(split: Split) -> Sequence[bytes]:
    """Bytes for each sample, equal for equal samples; nothing where it would take a pass over files."""
    samples = split.samples
    if isinstance(samples, Items):
        return samples.contents
    if not isinstance(samples, Resident):
        return ()
    return digests(apply(lambda tensor: tensor[split.index.to(tensor.device)], samples.inputs))


def _repeats(
    train: Split, others: Mapping[str, Split | None], contents: Mapping[str, Sequence[bytes]] | None
) -> Iterator[str]:
    """Sentences on samples of other splits that are in the training split too."""
    known = set(_contents(train) if contents is None else contents["train"])
    for which, split in others.items():
        if split is None or not known:
            continue
        found = _contents(split) if contents is None else contents[which]
        if twins := sum(sample in known for sample in found):
            yield (
                f"{twins} of the {len(split)} {which} samples are in the training data too, so what is"
                " measured on them is too good"
            )


def _of_pixels(inputs: Inputs) -> bool:
    """Whether networks get them in [0, 1]; see `limbeck.data.storage.base.Samples.render`."""
    return isinstance(inputs, Tensor) and inputs.dtype == torch.uint8 and inputs.ndim == 4


def _first(split: Split) -> Inputs:
    """A batch of one sample as stored."""
    return split.samples.take(split.index[:1], torch.zeros_like(split.index[:1]))


def _normalization(train: Split, first: Inputs, kind: Kind) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Of images and tables in memory, and of uint8 images in a data set as 1,000 of them show."""
    if kind not in ("image", "table") or not isinstance(first, Tensor):
        return (), ()
    samples = train.samples
    if isinstance(samples, Resident):
        return statistics(samples.inputs)
    if isinstance(samples, Encoded):
        return statistics_of_levels(samples.levels)
    if first.dtype != torch.uint8:
        return (), ()
    probe = spread(len(samples), 1000)
    return statistics(samples.take(probe, torch.zeros_like(probe)))
