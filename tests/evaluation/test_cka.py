from __future__ import annotations

from itertools import permutations

import pytest
import torch
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.evaluation import LinearCKA, hsic


def features(seed: int, n: int = 64, width: int = 5) -> Tensor:
    return torch.randn(n, width, generator=torch.Generator().manual_seed(seed))


def kernel(values: Tensor) -> Tensor:
    return values.double() @ values.double().T


def cka(first: Tensor, second: Tensor, batch: int = 64) -> float:
    """Of the whole, given in batches."""
    found = LinearCKA()
    for ours, theirs in zip(torch.split(first, batch), torch.split(second, batch), strict=True):
        found.add([ours], [theirs])
    values = found.values()
    assert values is not None
    return float(values)


def test_hsic_is_the_u_statistic() -> None:
    # Song et al. 2012, Eq. 4: the mean over all quadruples of different samples
    first, second = kernel(features(0, 7)), kernel(features(1, 7, 3))
    terms = [
        first[i, j] * (second[i, j] + second[q, r] - 2 * second[i, q])
        for i, j, q, r in permutations(range(7), 4)
    ]
    assert float(hsic(first, second)) == pytest.approx(float(torch.stack(terms).mean()), rel=1e-9)


def test_hsic_takes_stacks_of_kernels() -> None:
    stack = torch.stack([kernel(features(seed, 9)) for seed in range(3)])
    found = hsic(stack[:, None], stack[None, :2])
    assert found.shape == (3, 2)
    assert found[2, 1] == pytest.approx(float(hsic(stack[2], stack[1])))


def test_hsic_needs_four_samples() -> None:
    with pytest.raises(LimbeckError, match="at least 4 samples, not 3"):
        hsic(torch.eye(3), torch.eye(3))


def test_it_is_one_for_the_same_up_to_rotation_shift_and_scale() -> None:
    values = features(0)
    rotation = torch.linalg.qr(features(9, 5)).Q
    assert cka(values, values) == pytest.approx(1, abs=1e-9)
    assert cka(values, 100 + 3 * values @ rotation) == pytest.approx(1, abs=1e-4)


def test_it_is_about_zero_for_unrelated_features_however_wide() -> None:
    # the biased estimate gives 0.9 here
    assert abs(cka(features(0, 64, 500), features(1, 64, 500))) < 0.05


def test_one_batch_is_the_ratio_of_hsics() -> None:
    first, second = features(0), features(0)[:, :3] + features(1, 64, 3)
    a, b = kernel(first), kernel(second)
    expected = hsic(a, b) / (hsic(a, a) * hsic(b, b)).sqrt()
    assert cka(first, second) == pytest.approx(float(expected), rel=1e-5)


def test_batches_are_averaged_before_the_ratio() -> None:
    first, second = features(0), features(0)[:, :3] + features(1, 64, 3)
    parts = [
        (kernel(a), kernel(b)) for a, b in zip(torch.split(first, 16), torch.split(second, 16), strict=True)
    ]
    cross, ours, theirs = (
        torch.stack([hsic(*pair) for pair in pairs]).mean()
        for pairs in (parts, [(a, a) for a, _ in parts], [(b, b) for _, b in parts])
    )
    assert cka(first, second, batch=16) == pytest.approx(float(cross / (ours * theirs).sqrt()), rel=1e-5)
    assert cka(first, second, batch=16) == pytest.approx(cka(first, second), abs=0.1)


def test_a_matrix_of_stages_and_a_last_batch_too_small() -> None:
    maps = features(0, 32, 2 * 3 * 3).view(32, 2, 3, 3)
    found = LinearCKA()
    found.add([maps, maps.mean((2, 3))], [features(1, 32), maps, maps[:, :1]])
    values = found.values()
    assert values is not None
    assert values.shape == (2, 3)
    assert values[0, 1] == pytest.approx(1, abs=1e-6)
    assert values[0, 2] == pytest.approx(cka(maps.flatten(1), maps[:, :1].flatten(1)), rel=1e-6)
    found.add([maps[:3], maps[:3, :, 0, 0]], [features(1, 3), maps[:3], maps[:3, :1]])
    after = found.values()
    assert after is not None
    assert torch.equal(values, after)


def test_without_a_batch_there_is_no_value() -> None:
    assert LinearCKA().values() is None


def test_constant_features_have_none() -> None:
    assert torch.tensor(cka(torch.ones(64, 5), features(0))).isnan()


def test_a_small_last_batch_counts_by_its_samples() -> None:
    for seed in range(5):
        first = features(seed, 260)
        second = first[:, :3] + 2 * features(seed + 50, 260, 3)
        even = cka(first, second, batch=130)
        assert cka(first, second, batch=256) == pytest.approx(even, abs=0.03)


@pytest.mark.parametrize("batch", [4, 5, 7])
def test_it_stays_within_one(batch: int) -> None:
    for seed in range(20):
        assert abs(cka(features(seed, 30, 3), features(seed + 50, 30, 3), batch)) <= 1
