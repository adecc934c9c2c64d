from __future__ import annotations

import torch

from limbeck.shares import here


def test_a_tensor_that_is_not_sharded_is_all_here() -> None:
    """Sharded ones are in tests/training/test_sharding.py."""
    weight = torch.nn.Parameter(torch.ones(3))
    found = here(weight)
    assert not found.requires_grad
    assert found.data_ptr() == weight.data_ptr()
