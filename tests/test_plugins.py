"""Tables that import an entry when it is looked up."""

from __future__ import annotations

import pytest

from limbeck import plugins
from loaded_modules import modules_after


def test_an_entry_is_what_its_place_says_and_stays_the_same() -> None:
    table = plugins.Table[object]({"pi": "math:pi", "path": "os:path"})
    assert list(table) == ["pi", "path"]
    assert len(table) == 2
    assert table["pi"] == pytest.approx(3.14159, abs=1e-5)
    assert table["path"] is table["path"]
    assert "pi" in table
    assert "tau" not in table
    with pytest.raises(KeyError):
        table["tau"]
    table["tau"] = 6.28
    assert dict(table).keys() == {"pi", "path", "tau"}
    assert table["tau"] == 6.28
    del table["tau"]
    assert list(table) == ["pi", "path"]


def test_an_entry_that_nobody_looks_up_is_not_imported() -> None:
    assert "limbeck.methods.kd" not in modules_after("limbeck.methods")
    assert "limbeck.methods.kd" in modules_after("limbeck.methods.kd")
