from __future__ import annotations

import pytest

from limbeck.training.length import Length


@pytest.mark.parametrize(
    ("most", "total", "epochs", "in_epochs", "last"),
    [
        (None, 12, 3, 3, 4),
        (99, 12, 3, 3, 4),
        (12, 12, 3, 3, 4),
        (9, 9, 3, 2.25, 1),
        (8, 8, 2, 2, 4),
        (1, 1, 1, 0.25, 1),
    ],
)
def test_a_bound_cuts_the_last_epoch_short(
    most: int | None, total: int, epochs: int, in_epochs: float, last: int
) -> None:
    length = Length.of(4, 3, most)
    assert (length.total, length.epochs, length.in_epochs) == (total, epochs, in_epochs)
    assert [length.steps(epoch) for epoch in range(epochs)] == [4] * (epochs - 1) + [last]
