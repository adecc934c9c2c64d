"""The first samples of a data set, to try a benchmark out with."""

from __future__ import annotations

from dataclasses import replace

import torch

from limbeck.data import Source
from limbeck.data.split import Split


def few(source: Source, samples: int) -> Source:
    """A data set with the first samples of each split alone."""

    def first(split: Split) -> Split:
        return split.select(torch.arange(min(samples, len(split))))

    assert source.validation is not None
    assert source.test is not None
    return replace(
        source, train=first(source.train), validation=first(source.validation), test=first(source.test)
    )
