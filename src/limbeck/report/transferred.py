"""The part of a run's page on what its student is worth on other data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from limbeck import tasks
from limbeck.report.page import Block, Section
from limbeck.report.table import Table
from limbeck.tasks import Metric
from limbeck.tasks.wording import Cell, axis, figure, span

MODES = {"probe": "linear heads on the frozen embedding", "finetune": "all weights trained"}


def transferred(found: Sequence[Mapping[str, Any]]) -> list[Section]:
    """A table for each of the run's `transfer/*.json`; nothing if there are none."""
    body: list[Block] = [_table(each) for each in found if "task" in each]
    if older := [each["data"]["name"] for each in found if "task" not in each]:
        names = ", ".join(dict.fromkeys(older))
        body.append(
            f"What an earlier version measured on {names} is not shown; limbeck transfer measures it again."
        )
    return [Section("Transfer to other data", body)] if body else []


def _table(found: Mapping[str, Any]) -> Table:
    metric = tasks.from_record(found["task"]).primary
    return Table(
        f"{found['data']['name']}: {MODES[found['mode']]}",
        ["network", "model", "learning rate", f"test {axis(metric)}", "95 % interval"],
        [_row(network, metric) for network in found["networks"]],
        f"{found['setup']['epochs']} epochs on {found['data']['train']:,} labeled samples, seed "
        f"{found['setup']['seed']}. The learning rate is the best on validation, where there are several.",
    )


def _row(network: Mapping[str, Any], metric: Metric) -> list[Cell]:
    name, test = network["run"] if network["role"] == "also" else network["role"], network["test"] or {}
    value, low, high = (test.get(key) for key in ("value", "low", "high"))
    ends = None if low is None or high is None else span(metric, low, high)
    return [name, network["model"], f"{network['lr']:g}", figure(metric, value, percent=1), ends]
