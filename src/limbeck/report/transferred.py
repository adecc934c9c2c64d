"""The part of a run's page on what its student is worth on other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck.report.page import Section
from limbeck.report.table import Cell, Table, percent

MODES = {"probe": "linear classifiers on the frozen embedding", "finetune": "all weights trained"}


def transferred(found: Sequence[Mapping[str, Any]]) -> list[Section]:
    """A table for each of the run's `transfer/*.json`; nothing if there are none."""
    tables = [
        Table(
            f"{each['data']['name']}: {MODES[each['mode']]}",
            ["network", "model", "learning rate", "test accuracy (%)", "95 % interval (%)"],
            [_row(network) for network in each["networks"]],
            f"{each['setup']['epochs']} epochs on {each['data']['train']:,} labeled samples, seed "
            f"{each['setup']['seed']}. The learning rate is the best on validation, where there are several.",
        )
        for each in found
    ]
    return [Section("Transfer to other data", tables)] if tables else []


def _row(network: Mapping[str, Any]) -> list[Cell]:
    name, test = network["run"] if network["role"] == "also" else network["role"], network["test"]
    figures = (
        [percent(test["value"]), f"{percent(test['low'])} to {percent(test['high'])}"]
        if test
        else [None, None]
    )
    return [name, network["model"], f"{network['lr']:g}", *figures]
