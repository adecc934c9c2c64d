"""The examples that a comparison names."""

from __future__ import annotations

import torch

from limbeck.tasks.measuring import Example
from limbeck.tasks.parts.worst import EXAMPLES, Worst


def test_the_worst_of_all_batches_are_kept_and_of_equally_bad_ones_the_first() -> None:
    badness = torch.randint(5, (40,), generator=torch.Generator().manual_seed(0)).float()
    candidates = torch.arange(40) % 3 > 0
    worst = Worst()
    for first in range(0, 40, 8):

        def example(place: int, first: int = first) -> Example:
            return Example(index=first + place, target="", student="", teacher="")

        worst.add(badness[first : first + 8], candidates[first : first + 8], example)
    expected = sorted((-float(badness[i]), i) for i in range(40) if candidates[i])[:EXAMPLES]
    assert [each.index for each in worst.examples] == [i for _, i in expected]
    assert len(worst.examples) == EXAMPLES
