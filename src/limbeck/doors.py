"""The third door in Python: what the commands of the same names do, with the page of the run.

The functions are those of `limbeck.runs`, which know nothing of pages; here each is told how to write one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from limbeck import runs
from limbeck.report.writing import write_report
from limbeck.runs import evaluate as evaluating
from limbeck.runs import transfer as transferring

P = ParamSpec("P")
T = TypeVar("T")


def _with_page(run: Callable[P, T]) -> Callable[P, T]:
    """The function, which writes the page of its run unless it is told otherwise by `report`."""

    @wraps(run)
    def with_page(*args: P.args, **kwargs: P.kwargs) -> T:
        kwargs.setdefault("report", write_report)
        return run(*args, **kwargs)

    return with_page


distill = _with_page(runs.distill)
train = _with_page(runs.train)
evaluate = _with_page(evaluating.evaluate)
transfer = _with_page(transferring.transfer)
