from __future__ import annotations

import pytest
import torch

from limbeck.methods.parts.mixing import beta


@pytest.mark.parametrize("alpha", [0.2, 1.0])
def test_shares_are_of_the_beta_distribution(alpha: float) -> None:
    seed = torch.tensor(5)
    shares = torch.stack([beta(alpha, seed, step) for step in range(3000)]).double()
    assert 0 <= shares.min() < 0.02 < 0.98 < shares.max() <= 1
    assert shares.mean().item() == pytest.approx(0.5, abs=0.03)
    assert shares.var().item() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.06)
