from __future__ import annotations

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.outputs import Batch
from limbeck.training.loop import as_batch

X, Y = torch.rand(2, 3), torch.tensor([0, 1])


def test_a_batch_is_taken_as_it_is() -> None:
    batch = Batch(X, Y, index=torch.tensor([4, 5]))
    assert as_batch(batch) is batch


@pytest.mark.parametrize("pair", [(X, Y), [X, Y]], ids=["tuple", "list"])
def test_a_pair_is_inputs_and_targets(pair: object) -> None:
    batch = as_batch(pair)
    assert batch.inputs is X
    assert batch.targets is Y


def test_a_tensor_is_inputs_without_targets() -> None:
    assert as_batch(X).inputs is X
    assert as_batch(X).targets is None
    assert as_batch((X, None)).targets is None


@pytest.mark.parametrize("name", ["labels", "targets"])
def test_a_mapping_names_inputs_and_targets(name: str) -> None:
    item = {"tokens": X, "mask": X, name: Y}
    batch = as_batch(item)
    assert not isinstance(batch.inputs, Tensor)
    assert list(batch.inputs) == ["tokens", "mask"]
    assert batch.targets is Y
    assert list(item) == ["tokens", "mask", name], "the loader's own mapping is left alone"
    assert as_batch({"tokens": X}).targets is None


@pytest.mark.parametrize(
    ("item", "found"),
    [
        ((X, Y, Y), "tuple of 3"),
        ("text", "str"),
        (3, "int"),
        (X.numpy(), "ndarray"),
        ((X.numpy(), Y), "ndarray"),
        ((X, [0, 1]), "list of 2"),
        ({"text": ["a", "b"], "labels": Y}, "list of 2"),
        ({"labels": Y}, "no inputs"),
        (None, "NoneType"),
    ],
)
def test_anything_else_is_refused_by_its_kind(item: object, found: str) -> None:
    with pytest.raises(LimbeckError, match=rf"must yield \(inputs, targets\), .* here it yields {found}$"):
        as_batch(item)
