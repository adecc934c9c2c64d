from __future__ import annotations

import pytest

from limbeck.errors import LimbeckError
from limbeck.studies.ranks import ranks


def test_mean_ranks_with_ties_and_either_direction() -> None:
    values = {"a": {"x": 3.0, "y": 2.0, "z": 1.0}, "b": {"x": 2.0, "y": 2.0, "z": 1.0}}
    assert ranks(values).mean == {"x": 1.25, "y": 1.75, "z": 3.0}
    assert ranks(values, higher=False).mean == {"z": 1.0, "y": 2.25, "x": 2.75}


def test_critical_difference_of_four_classifiers_on_fourteen_data_sets() -> None:
    values = {str(task): {name: float(n) for n, name in enumerate("wxyz")} for task in range(14)}
    found = ranks(values)
    assert found.critical == pytest.approx(1.25, abs=0.005)  # Demšar 2006, section 3.2.2
    assert found.tasks == 14
    assert found.p is not None
    assert found.p < 1e-6


def test_what_cannot_be_ranked_is_refused() -> None:
    with pytest.raises(LimbeckError, match="two tasks and two contenders or more, not 1 and 2"):
        ranks({"a": {"x": 1.0, "y": 2.0}})
    with pytest.raises(LimbeckError, match="'y' has no value on 'b'"):
        ranks({"a": {"x": 1.0, "y": 2.0}, "b": {"x": 1.0}})
