"""The third door in Python: what the commands of the same names do, with the page of the run.

The functions are those of `limbeck.runs`, which know nothing of pages and of studies; here each is told how
to write a page, and `distill` how to take the runs of other seeds in.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

from limbeck import runs
from limbeck.report.writing import write_report
from limbeck.runs import evaluate as evaluating
from limbeck.runs import transfer as transferring
from limbeck.studies.beside import over_seeds

P = ParamSpec("P")
T = TypeVar("T")


def _given(run: Callable[P, T], **defaults: object) -> Callable[P, T]:
    """The function with other defaults."""

    @wraps(run)
    def given(*args: P.args, **kwargs: P.kwargs) -> T:
        for name, value in defaults.items():
            kwargs.setdefault(name, value)
        return run(*args, **kwargs)

    return given


distill = _given(runs.distill, report=write_report, over_seeds=over_seeds)
train = _given(runs.train, report=write_report)
evaluate = _given(evaluating.evaluate, report=write_report)
transfer = _given(transferring.transfer, report=write_report)
