from __future__ import annotations

import pytest

from limbeck.report.table import Table, aligned
from limbeck.tasks.wording import Cell


def test_columns_of_figures_stand_under_each_other() -> None:
    rows: list[list[Cell]] = [
        ["a", 1, "85.1 ± 3.3", "+4.1 to +8.0", "12.3 s", "0.1*ce + 0.9*kd", "0, 1", None],
        ["2", 0.5, "90.0", "-1.0 to +2.0", "0:02:05", "ce", "2", 3],
    ]
    table = Table("t", list("abcdefgh"), rows)
    assert aligned(table) == ["text", "number", "number", "number", "number", "text", "text", "number"]


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="a row of 'sizes' has 1 cells for 2 columns"):
        Table("sizes", ["a", "b"], [[1, 2], [3]])
