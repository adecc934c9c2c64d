"""The examples that a comparison names."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from limbeck.tasks.measuring import Example

EXAMPLES = 12
"""Samples that a comparison names."""


class Worst:
    """The samples that are worst by some figure, of equally bad ones the first, as examples."""

    def __init__(self) -> None:
        self._found: list[tuple[float, Example]] = []

    def add(self, badness: Tensor, candidates: Tensor, example: Callable[[int], Example]) -> None:
        """Takes in a batch.

        Args:
            badness: (B,) of each sample.
            candidates: (B,) bool, the samples that may be named.
            example: makes the example of the sample at a position in the batch.
        """
        places = candidates.nonzero().flatten()
        worst = places[badness[places].argsort(descending=True, stable=True)][:EXAMPLES]
        self._found += [(float(badness[place]), example(place)) for place in worst.tolist()]
        self._found = sorted(self._found, key=lambda pair: -pair[0])[:EXAMPLES]

    @property
    def examples(self) -> tuple[Example, ...]:
        """Those found, the worst first."""
        return tuple(example for _, example in self._found)
