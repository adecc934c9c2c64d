from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset, TensorDataset

from class_counts import class_counts
from limbeck.data import Loader, from_dataset, from_tensors
from limbeck.data.split import Split
from limbeck.data.storage.base import Resident
from limbeck.data.storage.torch_dataset import Items
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Inputs
from limbeck.tasks import Regression

IMAGES = torch.randint(0, 256, (30, 3, 4, 5), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
TARGETS = torch.arange(30) % 3


def plain(inputs: Inputs | None) -> Tensor:
    """What is known to be one tensor."""
    assert isinstance(inputs, Tensor)
    return inputs


def inputs_of(split: Split | None) -> Tensor:
    assert split is not None
    assert isinstance(split.samples, Resident)
    assert isinstance(split.samples.inputs, Tensor)
    return split.samples.inputs


def test_tensors_given_for_every_split_are_taken_as_they_are() -> None:
    source = from_tensors(
        IMAGES[:20],
        TARGETS[:20],
        validation=(IMAGES[20:25], TARGETS[20:25]),
        test=(IMAGES[25:], TARGETS[25:]),
        names=["a", "b", "c"],
        views="crop(padding=2)",
        name="mine",
    )
    assert torch.equal(inputs_of(source.train), IMAGES[:20])
    assert torch.equal(inputs_of(source.validation), IMAGES[20:25])
    assert torch.equal(inputs_of(source.test), IMAGES[25:])
    assert source.test is not None
    assert torch.equal(source.test.targets, TARGETS[25:])
    assert (source.name, source.kind, source.task.names) == ("mine", "image", ("a", "b", "c"))
    assert str(source.views) == "crop(padding=2)"
    assert source.mean == pytest.approx((IMAGES[:20].double() / 255).mean((0, 2, 3)).tolist())


def test_a_tenth_of_each_class_is_held_out_for_validation() -> None:
    source = from_tensors(IMAGES, TARGETS)
    assert source.test is None
    assert source.validation is not None
    assert class_counts(source.validation, 3).tolist() == [1, 1, 1]
    assert source.train.index.tolist() == list(range(27))
    assert source.train.positions == 27
    pairs = {
        (bytes(image), target)
        for split in (source.train, source.validation)
        for image, target in zip(inputs_of(split).flatten(1).numpy(), split.targets.tolist(), strict=True)
    }
    assert pairs == {(bytes(i), t) for i, t in zip(IMAGES.flatten(1).numpy(), TARGETS.tolist(), strict=True)}
    assert class_counts(from_tensors(IMAGES, TARGETS, validation=0.5).train, 3).tolist() == [5, 5, 5]
    assert from_tensors(IMAGES, TARGETS, validation=None).validation is None


def test_statistics_are_of_the_training_split_alone() -> None:
    table = torch.cat([torch.zeros(10, 2), torch.full((10, 2), 8.0)])
    source = from_tensors(table[:10], TARGETS[:10], validation=(table[10:], TARGETS[:10]))
    assert (source.kind, source.mean, source.std) == ("table", (0.0, 0.0), (1.0, 1.0))


def test_arrays_and_lists_are_taken() -> None:
    source = from_tensors(IMAGES.numpy(), TARGETS.tolist(), validation=None)
    assert torch.equal(inputs_of(source.train), IMAGES)
    assert source.train.targets.tolist() == TARGETS.tolist()
    assert from_tensors(np.eye(4), np.array([0, 1, 0, 1], dtype=np.uint8)).task.width == 2


def test_token_data_have_no_normalization() -> None:
    tokens = {"input_ids": torch.arange(8).view(4, 2), "attention_mask": torch.ones(4, 2).long()}
    source = from_tensors(tokens, [0, 1, 0, 1], validation=None)
    assert (source.kind, source.mean, source.std) == ("text", (), ())
    assert isinstance(source.example(1), dict)


def test_data_without_labels() -> None:
    source = from_tensors(IMAGES, num_classes=7, test=(IMAGES[:2], [0, 6]))
    assert source.task.width == 7
    assert source.validation is None
    assert not source.train.has_labels
    assert next(iter(Loader(source.train, 8))).targets is None


def test_samples_without_a_label_stay_in_training() -> None:
    targets = TARGETS.clone()
    targets[::2] = UNLABELED
    source = from_tensors(IMAGES, targets, validation=0.2)
    assert source.validation is not None
    assert (source.validation.targets != UNLABELED).all()
    assert (source.train.targets == UNLABELED).sum() == 15


def test_a_class_may_be_missing_from_training() -> None:
    source = from_tensors(IMAGES, TARGETS * 2, num_classes=6, validation=None)
    assert class_counts(source.train, 6).tolist() == [10, 0, 10, 0, 10, 0]


NAN = torch.zeros(30, 4)
NAN[17, 2] = torch.nan


@pytest.mark.parametrize(
    ("inputs", "targets", "options", "message"),
    [
        (
            IMAGES,
            TARGETS,
            {"num_classes": 2},
            "training target 2 at position 2 is out of range: with 2 classes .* 0 to 1",
        ),
        (IMAGES, TARGETS - 1, {}, "training target -1 at position 0 .* or -100 for no label"),
        (IMAGES, TARGETS.float(), {}, "training targets should be class ids, integers, not torch.float32"),
        (IMAGES, ["a"] * 30, {}, "training targets should be class ids, integers: "),
        (IMAGES, TARGETS[:, None], {}, r"one class id a sample, \(N,\), not \(30, 1\)"),
        (IMAGES, TARGETS[:9], {}, "there are 30 training inputs but 9 targets"),
        (IMAGES[:0], TARGETS[:0], {}, "the training data is empty"),
        ({}, TARGETS, {}, "the training data is empty"),
        ({"a": IMAGES, "b": IMAGES[:4]}, TARGETS, {}, "differ in their number of samples: a 30, b 4"),
        (IMAGES, TARGETS * 0, {}, "at least 2 classes, not 1"),
        (IMAGES, TARGETS, {"num_classes": 1}, "at least 2 classes, not 1"),
        (IMAGES, None, {}, "no training sample has a label, .* give num_classes"),
        (IMAGES, TARGETS, {"num_classes": 4, "names": ["a", "b"]}, "2 class names for 4 classes"),
        (NAN, TARGETS, {}, r"training inputs hold nan in sample 17, at \(2,\)"),
        ({"x": NAN / 0}, TARGETS, {}, r"training inputs x hold nan in sample 0, at \(0,\)"),
        (np.array(["a", "b"]), [0, 1], {}, "training inputs should be tensors or arrays of numbers"),
        (
            IMAGES[:, 0],
            TARGETS,
            {},
            r"images should be \(N, channels, height, width\), not \(1, 4, 5\) uint8",
        ),
        (NAN.nan_to_num(), TARGETS, {"views": "crop"}, r'"crop\(padding=4\)" need images'),
        (IMAGES, TARGETS, {"views": "crp"}, "did you mean 'crop'"),
        (IMAGES, TARGETS, {"validation": 1.5}, "a fraction between 0 and 1, not 1.5; None holds nothing out"),
        (IMAGES, TARGETS, {"validation": IMAGES}, r"validation should be \(inputs, targets\), not Tensor"),
        (IMAGES, TARGETS, {"test": (IMAGES, TARGETS + 1)}, "test target 3 at position 2 is out of range"),
        (
            IMAGES,
            TARGETS,
            {"test": (IMAGES[:, :1], TARGETS)},
            r"a test sample is \(1, 4, 5\) uint8, but .* \(3, 4, 5\)",
        ),
        (
            IMAGES,
            TARGETS,
            {"validation": (IMAGES.float(), TARGETS)},
            "a validation sample is .* float32, but",
        ),
        (IMAGES, TARGETS, {"test": (IMAGES[:2], [-100, -100])}, "the test data has no labels to measure by"),
    ],
)
def test_refuses_tensors(inputs: Any, targets: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        from_tensors(inputs, targets, **options)


class Jittered(Dataset[Any]):
    """Images with a random brightness."""

    def __len__(self) -> int:
        return len(IMAGES)

    def __getitem__(self, position: int) -> tuple[Tensor, int]:
        return IMAGES[position] // 2 + torch.randint(0, 100, ()).to(torch.uint8), position % 3


def test_the_random_transforms_of_a_data_set_are_views() -> None:
    source = from_dataset(Jittered(), validation=None)
    assert (source.kind, str(source.views), len(source.mean)) == ("image", "bank(count=2147483648)", 3)
    loaders = [Loader(source.train, size, views=source.views, seed=1, shuffle=False) for size in (30, 7)]
    whole = plain(next(iter(loaders[0])).inputs)
    assert torch.equal(torch.cat([plain(batch.inputs) for batch in loaders[1]]), whole)
    later = plain(next(iter(loaders[0])).inputs)
    changed = (later != whole).flatten(1).any(1)
    assert changed.float().mean() > 0.9  # the second epoch draws other views
    assert whole.dtype == torch.float32
    assert whole.max() <= 1


def test_a_smaller_bank_brings_views_back() -> None:
    source = from_dataset(Jittered(), validation=None, views="bank(count=2)")
    loader = Loader(source.train, 30, views=source.views, shuffle=False)
    looks = [plain(next(iter(loader)).inputs)[0] for _ in range(12)]
    assert len({bytes(look.numpy()) for look in looks}) == 2


def test_other_policies_go_on_top_of_a_data_set() -> None:
    source = from_dataset(TensorDataset(IMAGES, TARGETS), validation=None, views="crop(padding=1, flip=true)")
    tensors = from_tensors(IMAGES, TARGETS, validation=None, views="crop(padding=1, flip=true)")
    for a, b in zip(
        Loader(source.train, 8, views=source.views),
        Loader(tensors.train, 8, views=tensors.views),
        strict=True,
    ):
        assert torch.equal(plain(a.inputs), plain(b.inputs))
        assert torch.equal(plain(a.targets), plain(b.targets))
    assert source.mean == pytest.approx(tensors.mean)
    assert source.std == pytest.approx(tensors.std)


def test_a_part_of_a_data_set_is_held_out_like_a_part_of_tensors() -> None:
    source, tensors = from_dataset(TensorDataset(IMAGES, TARGETS)), from_tensors(IMAGES, TARGETS)
    assert isinstance(source.train.samples, Items)
    assert source.validation is not None
    assert tensors.validation is not None
    assert torch.equal(source.validation.targets, tensors.validation.targets)
    held = next(iter(Loader(source.validation, 3, shuffle=False))).inputs
    assert torch.equal(plain(held), inputs_of(tensors.validation).float() / 255)


def test_float_items_go_to_networks_as_they_are() -> None:
    values = torch.randn(30, 3, 4, 5)
    source = from_dataset(
        TensorDataset(values, TARGETS), test=TensorDataset(values, TARGETS), validation=None
    )
    assert (source.kind, source.mean, source.std) == ("image", (), ())
    assert source.test is not None
    assert torch.equal(plain(next(iter(Loader(source.test, 30, shuffle=False))).inputs), values)


def test_items_without_targets() -> None:
    source = from_dataset(TensorDataset(IMAGES), num_classes=3)
    assert not source.train.has_labels
    assert next(iter(Loader(source.train, 8))).targets is None


class Stream(IterableDataset[Any]):
    def __iter__(self) -> Iterator[Any]:
        return iter([])


@pytest.mark.parametrize(
    ("dataset", "options", "message"),
    [
        (Stream(), {}, r"training data set should have a length and items by position \(map-style\)"),
        (TensorDataset(IMAGES, TARGETS), {"test": 5}, "test data set should have a length"),
        (TensorDataset(IMAGES[:0], TARGETS[:0]), {}, "the training data is empty"),
        (TensorDataset(IMAGES, TARGETS.float()), {}, "target of item 0 should be a class id"),
        (TensorDataset(IMAGES, TARGETS), {"num_classes": 2}, "training target 2 at position 2"),
        (TensorDataset(IMAGES), {}, "give num_classes"),
        (TensorDataset(IMAGES, TARGETS), {"test": TensorDataset(IMAGES)}, "the test data has no labels"),
    ],
)
def test_refuses_data_sets(dataset: Any, options: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        from_dataset(dataset, **options)


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            torch.arange(30) % 10 + 1,
            r"hold 10 different class ids, up to 10, and no sample of class 0; .*num_classes=11",
        ),
        (
            torch.where(TARGETS == 2, 255, TARGETS),
            r"hold 3 .* up to 255, and no sample of class 2, 3, 4, 5, 6, \.\.\.; number",
        ),
        (torch.tensor([0, 5, 1000])[TARGETS], "no sample of class 1, 2, 3, 4, 6, ...; number classes from 0"),
    ],
)
def test_classes_without_a_sample_are_refused(targets: Tensor, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        from_tensors(IMAGES, targets)
    classes = int(targets.max()) + 1
    assert from_tensors(IMAGES, targets, num_classes=classes).task.width == classes
    assert from_tensors(IMAGES, targets, names=list(map(str, range(classes)))).task.width == classes


def test_copies_are_on_one_side_of_the_split() -> None:
    table = torch.randn(40, 3, generator=torch.Generator().manual_seed(0)).repeat(3, 1)
    for source in (
        from_tensors(table, torch.arange(120) % 2, validation=0.25),
        from_dataset(TensorDataset(table, torch.arange(120) % 2), validation=0.25),
    ):
        assert source.validation is not None
        assert (len(source.train), len(source.validation), source.notes) == (90, 30, ())
        parts = [
            part.samples.take(part.index, torch.zeros_like(part.index))
            for part in (source.train, source.validation)
        ]
        train, held = ({tuple(row) for row in plain(part).tolist()} for part in parts)
        assert len(train) == 30
        assert len(held) == 10
        assert not train & held


def test_test_samples_that_are_training_samples_are_counted() -> None:
    test = torch.cat([IMAGES[:4], 255 - IMAGES[:5]])
    source = from_tensors(IMAGES, TARGETS, validation=None, test=(test, TARGETS[:9]))
    assert source.notes == (
        "4 of the 9 test samples are in the training data too, so what is measured on them is too good",
    )
    words = {"ids": torch.arange(30)[:, None], "mask": torch.ones(30, 1, dtype=torch.int64)}
    other = {"ids": words["ids"], "mask": words["mask"] * torch.tensor([[1], [0]]).repeat(15, 1)}
    source = from_tensors(words, TARGETS, validation=(other, TARGETS))
    assert source.notes[0].startswith("15 of the 30 validation samples are in the training data too")
    pairs = TensorDataset(IMAGES, TARGETS)
    assert from_dataset(pairs, validation=None, test=pairs).notes[0].startswith("30 of the 30 test samples")


def test_other_tasks_by_tensors_and_by_data_sets() -> None:
    several = torch.stack([TARGETS == 0, TARGETS > 0], 1).long()
    values = torch.stack([TARGETS.float(), torch.arange(30.0)], 1)
    for task, targets, name in (("multilabel", several, "ab"), ("regression", values, "pq")):
        by_tensors = from_tensors(IMAGES, targets, task=task, names=list(name), validation=0.2)
        by_items = from_dataset(
            TensorDataset(IMAGES, targets), task=task, names=list(name), validation=0.2, views="none"
        )
        for source in (by_tensors, by_items):
            assert (source.task.name, source.task.names) == (task, tuple(name))
            assert source.validation is not None
            assert len(source.validation) == 6
            assert source.train.targets.dtype == targets.dtype
            assert source.train.task is type(source.task)
        assert torch.equal(by_tensors.train.targets, by_items.train.targets)


def test_values_are_scaled_by_what_is_trained_on() -> None:
    values = torch.arange(30.0)[:, None]
    source = from_tensors(IMAGES, values, task="regression", validation=0.5)
    kept = source.train.targets.double()
    assert len(kept) == 15
    assert isinstance(source.task, Regression)
    assert source.task.mean == pytest.approx(kept.mean(0).tolist())
    assert source.task.std == pytest.approx(kept.std(0, correction=0).tolist())


@pytest.mark.parametrize("targets", [torch.arange(40) + 2**40, [1e9 + 1e-3 * row for row in range(40)]])
def test_values_that_float32_cannot_tell_apart_are_refused(targets: Any) -> None:
    with pytest.raises(LimbeckError, match="the training targets lose their differences in column 0"):
        from_tensors(torch.rand(40, 2), targets, task="regression")


@pytest.mark.parametrize("dataset", [False, True])
def test_samples_of_ones_own_may_have_weights(dataset: bool) -> None:
    inputs, weights = torch.arange(30.0).unsqueeze(1), [float(row) for row in range(30)]
    data = TensorDataset(inputs, TARGETS)
    source = (
        from_dataset(data, weights=weights) if dataset else from_tensors(inputs, TARGETS, weights=weights)
    )
    held = source.validation
    assert held is not None
    assert held.weights is None
    assert source.train.weights is not None
    shown = source.train.samples.take(source.train.index, torch.zeros_like(source.train.index))
    assert plain(shown)[:, 0].tolist() == source.train.weights.tolist()
    assert len(shown) + len(held) == 30


@pytest.mark.parametrize(
    ("weights", "said"),
    [
        ([1.0] * 29, r"one number for each of 30 training samples, not \(29,\)"),
        ([1.0] * 28 + [-1.0, 1.0], "the weight of sample 28 is -1"),
        (["a"] * 30, "the weights should be numbers, one for each training sample"),
        (torch.zeros(30), "all weights of the training samples are 0"),
    ],
)
def test_weights_that_are_none_are_refused(weights: Any, said: str) -> None:
    with pytest.raises(LimbeckError, match=said):
        from_tensors(IMAGES, TARGETS, weights=weights)
