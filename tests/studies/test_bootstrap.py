from __future__ import annotations

import numpy as np
import pytest

from limbeck.errors import LimbeckError
from limbeck.studies.bootstrap import over_samples


def answers(right: int, wins: int, losses: int) -> tuple[np.ndarray, np.ndarray]:
    """Treatment and baseline on 400 samples: alike but for some that only one of them gets right."""
    baseline = np.arange(400) < right
    treatment = baseline.copy()
    treatment[:losses] = False
    treatment[right : right + wins] = True
    return treatment, baseline


def test_interval_is_the_one_of_paired_samples() -> None:
    treatment, baseline = answers(right=300, wins=60, losses=20)
    low, high = over_samples([treatment], [baseline])
    half = 1.96 * ((80 / 400 - 0.1**2) / 400) ** 0.5  # of the mean of 400 values -1, 0 and 1
    assert (low, high) == pytest.approx((0.1 - half, 0.1 + half), abs=0.004)


def test_runs_of_several_seeds_are_averaged_on_each_sample() -> None:
    treatment, baseline = answers(right=300, wins=60, losses=20)
    single, double = (over_samples([treatment] * n, [baseline] * n) for n in (1, 2))
    assert single == double
    low, high = over_samples([treatment, baseline], [baseline, baseline])
    assert (low + high) / 2 == pytest.approx(0.05, abs=0.004)


def test_the_same_seed_draws_the_same() -> None:
    sides = [[each] for each in answers(right=300, wins=60, losses=20)]
    first, again, other = (over_samples(*sides, draws=50, seed=seed) for seed in (3, 3, 4))
    assert first == again != other


def test_different_test_samples_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"on the same test samples; these have \[3, 4\]"):
        over_samples([np.ones(3, dtype=bool)], [np.ones(4, dtype=bool)])
