"""Batch and Outputs: what flows through limbeck."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Inputs, Mixture, Outputs, Progress, apply, size_of


def batch_of(count: int) -> Batch:
    """A batch with everything in it, each sample known by its number."""
    number = torch.arange(count)
    return Batch(
        inputs={"ids": number[:, None].repeat(1, 3), "mask": number},
        targets=number + 100,
        index=number + 200,
        view=number + 300,
        views={"far": {"ids": number + 400}, "near": number + 500},
        progress=Progress(3, 1, 0.5),
        total=2 * count,
        view_numbers={"near": number + 600},
        teacher_inputs={"big": number + 700},
        teacher_views={"big": {"near": number + 800}},
    )


def numbers_of(inputs: Inputs) -> list[int]:
    tensor = inputs if isinstance(inputs, Tensor) else next(iter(inputs.values()))
    return [int(row.flatten()[0]) for row in tensor]


def test_apply_and_size() -> None:
    tensor = torch.zeros(4, 2)
    doubled = apply(lambda x: x + 1, tensor)
    assert isinstance(doubled, Tensor)
    assert doubled.tolist() == [[1, 1]] * 4
    named = apply(lambda x: x + 1, {"a": tensor, "b": tensor - 1})
    assert isinstance(named, dict)
    assert list(named) == ["a", "b"]
    assert named["b"].sum() == 0
    assert (size_of(tensor), size_of(named)) == (4, 4)


def test_a_mixture_stays_one_and_names_what_a_network_is_called_with() -> None:
    ids = torch.tensor([[3, 4], [5, 6]])
    mixture = Mixture(
        {"ids": ids, "mask": ids > 3}, "ids", torch.stack([ids, ids + 1], 1), torch.rand(2, 2, 2)
    )
    moved = apply(lambda tensor: tensor[1:], mixture)
    assert isinstance(moved, Mixture)
    assert dict(moved) == moved.inputs
    assert size_of(moved) == 1
    assert moved.given.tolist() == [[5, 6]]
    assert moved.ids.tolist() == [[[5, 6], [6, 7]]]
    assert torch.equal(moved.shares, mixture.shares[1:])
    unnamed = Mixture(ids, "", mixture.ids, mixture.shares)
    assert unnamed.given is ids
    assert list(unnamed) == [""]


def test_unlabeled_is_what_torch_ignores() -> None:
    assert torch.nn.CrossEntropyLoss().ignore_index == UNLABELED


def test_a_batch_maps_every_tensor_and_keeps_the_rest() -> None:
    batch = batch_of(4)
    moved = batch.map(lambda tensor: tensor + 1000)
    assert numbers_of(moved.inputs) == [1000, 1001, 1002, 1003]
    assert isinstance(moved.inputs, dict)
    assert moved.inputs["mask"].tolist() == [1000, 1001, 1002, 1003]
    assert moved.targets is not None
    assert moved.targets.tolist() == [1100, 1101, 1102, 1103]
    assert moved.index is not None
    assert moved.index.tolist() == [1200, 1201, 1202, 1203]
    assert moved.view is not None
    assert moved.view.tolist() == [1300, 1301, 1302, 1303]
    assert {name: numbers_of(inputs) for name, inputs in moved.views.items()} == {
        "far": [1400, 1401, 1402, 1403],
        "near": [1500, 1501, 1502, 1503],
    }
    assert {name: number.tolist() for name, number in moved.view_numbers.items()} == {
        "near": [1600, 1601, 1602, 1603]
    }
    assert numbers_of(moved.teacher_inputs["big"]) == [1700, 1701, 1702, 1703]
    assert numbers_of(moved.teacher_views["big"]["near"]) == [1800, 1801, 1802, 1803]
    assert (moved.progress, moved.total) == (Progress(3, 1, 0.5), 8)
    assert numbers_of(batch.inputs) == [0, 1, 2, 3]


def test_a_batch_of_inputs_alone() -> None:
    batch = Batch(torch.ones(3, 1)).map(lambda tensor: tensor * 2)
    assert len(batch) == 3
    assert (batch.targets, batch.index, batch.view, batch.progress, batch.total) == (None,) * 5
    assert batch.views == batch.view_numbers == {}


@pytest.mark.parametrize(
    ("count", "parts", "sizes"),
    [
        (8, 1, [8]),
        (8, 2, [4, 4]),
        (7, 2, [4, 3]),
        (7, 3, [3, 2, 2]),
        (9, 4, [3, 2, 2, 2]),
        (2, 3, [1, 1]),
        (1, 4, [1]),
    ],
)
def test_split(count: int, parts: int, sizes: list[int]) -> None:
    batch = batch_of(count)
    pieces = batch.split(parts)
    assert [len(piece) for piece in pieces] == sizes
    for offset, name in ((0, "inputs"), (100, "targets"), (200, "index"), (300, "view")):
        together = [number for piece in pieces for number in numbers_of(getattr(piece, name))]
        assert together == [offset + place for place in range(count)], name
    for offset, name in ((400, "far"), (500, "near")):
        together = [number for piece in pieces for number in numbers_of(piece.views[name])]
        assert together == [offset + place for place in range(count)], name
    assert {piece.total for piece in pieces} == {2 * count}


def test_to() -> None:
    assert isinstance(inputs := batch_of(2).to("meta").inputs, dict)
    assert all(tensor.device.type == "meta" for tensor in inputs.values())


def outputs() -> Outputs:
    return Outputs(
        logits=torch.zeros(2, 5),
        stages=(torch.zeros(2, 3, 4, 4), torch.zeros(2, 6, 2, 2)),
        boxes={"a": torch.zeros(2, 4)},
        views={"far": Outputs(logits=torch.zeros(2, 5))},
        task="detection",
    )


@pytest.mark.parametrize("name", ["logits", "embedding", "stages", "stem", "preactivations", "mask", "views"])
def test_a_field_is_had_by_attribute_and_by_name(name: str) -> None:
    value = object()
    held = Outputs(**{name: value})
    assert getattr(held, name) is value
    assert held[name] is value
    with pytest.raises(LimbeckError, match=f"the outputs hold no '{name}'"):
        getattr(Outputs(), name)


def test_a_missing_field_says_what_there_is() -> None:
    with pytest.raises(LimbeckError) as caught:
        outputs().embedding  # noqa: B018
    assert str(caught.value) == (
        "the outputs hold no 'embedding' (they hold logits, stages, boxes, views, task); "
        "a method must name it in its `reads`"
    )
    with pytest.raises(LimbeckError, match=r"\(they hold nothing\)"):
        Outputs()["logits"]


def test_outputs_are_a_mapping() -> None:
    held = outputs()
    assert list(held) == ["logits", "stages", "boxes", "views", "task"]
    assert len(held) == 5
    assert "logits" in held
    assert "embedding" not in held
    assert held.get("logits") is held.logits


def test_outputs_map_reaches_every_tensor() -> None:
    mapped = outputs().map(lambda tensor: tensor + 1)
    assert mapped.logits.mean() == 1
    assert [stage.mean() for stage in mapped.stages] == [1, 1]
    assert mapped["boxes"]["a"].mean() == 1
    assert mapped.views["far"].logits.mean() == 1
    assert mapped["task"] == "detection"
    assert outputs().logits.mean() == 0


def test_stages_given_as_a_list_are_mapped_too() -> None:
    mapped = Outputs(stages=[torch.zeros(2, 3), torch.zeros(2, 4)]).map(torch.Tensor.double)
    assert [stage.dtype for stage in mapped.stages] == [torch.float64] * 2


def test_replace_leaves_the_original() -> None:
    held = outputs()
    changed = held.replace(logits=torch.ones(2, 5), embedding=torch.ones(2, 7))
    assert changed.logits.mean() == 1
    assert changed.embedding.shape == (2, 7)
    assert changed.stages is held.stages
    assert "embedding" not in held


def test_repr_shows_shapes_and_no_values() -> None:
    assert repr(outputs()) == (
        "Outputs(logits=(2, 5), stages=[(2, 3, 4, 4), (2, 6, 2, 2)], boxes=dict, views=dict, task=str)"
    )
