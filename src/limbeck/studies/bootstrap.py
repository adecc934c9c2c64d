"""What other test samples would say: a bootstrap over the samples that two contenders were tested on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from limbeck.errors import LimbeckError

DRAWS = 10_000


def over_samples(
    treatment: Sequence[NDArray[np.bool_]],
    baseline: Sequence[NDArray[np.bool_]],
    *,
    confidence: float = 0.95,
    draws: int = DRAWS,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of the difference in accuracy, had other test samples been drawn.

    The networks stay as they are, so it says nothing about other seeds; the interval over seeds
    (`limbeck.studies.paired_difference`) says nothing about other samples. Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 13.

    Args:
        treatment: (N,) whether each test sample was decided right, for each seed.
        baseline: the same of what it is compared with, on the same samples.
        confidence: coverage of the interval, in (0, 1).
        draws: number of bootstrap samples.
        seed: random seed of the draws.
    Returns: the interval of treatment minus baseline, as a share.
    Raises:
        LimbeckError: for contenders that were tested on different numbers of samples, and for no samples.
    """
    sizes = {len(each) for each in (*treatment, *baseline)}
    if len(sizes) != 1 or not treatment or not baseline or sizes == {0}:
        raise LimbeckError(
            f"a bootstrap compares networks on the same test samples; these have {sorted(sizes)} of them"
        )
    gain = np.mean(treatment, axis=0) - np.mean(baseline, axis=0)
    # The mean of a draw depends on how often each value comes, and there are few values.
    values, counts = np.unique(gain, return_counts=True)
    drawn = np.random.default_rng(seed).multinomial(len(gain), counts / len(gain), size=draws)
    tail = 100 * (1 - confidence) / 2
    low, high = np.percentile(drawn @ values / len(gain), [tail, 100 - tail])
    return float(low), float(high)
