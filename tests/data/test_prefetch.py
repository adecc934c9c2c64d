from __future__ import annotations

import threading
import time
from collections.abc import Callable
from functools import partial

import pytest

from limbeck.data.prefetch import in_order


def jobs(count: int, started: list[int], fail: int | None = None) -> list[Callable[[], int]]:
    def job(number: int) -> int:
        started.append(number)
        time.sleep(0.01 * (number % 3 == 0))  # the first of three comes last
        if number == fail:
            raise ValueError(number)
        return number * number

    return [partial(job, number) for number in range(count)]


@pytest.mark.parametrize("workers", [0, 1, 4, 40])
def test_results_come_in_order(workers: int) -> None:
    assert list(in_order(jobs(20, []), workers)) == [number * number for number in range(20)]
    assert list(in_order([], workers)) == []


def test_no_more_run_ahead_than_there_are_workers() -> None:
    started: list[int] = []
    results = in_order(jobs(20, started), 3)
    assert started == []
    assert next(results) == 0
    time.sleep(0.1)
    assert sorted(started) == [0, 1, 2, 3]
    started.clear()
    assert next(in_order(jobs(20, started), 0)) == 0
    assert started == [0]


def test_an_error_comes_where_its_result_would_and_ends_the_threads() -> None:
    before = set(threading.enumerate())
    results = in_order(jobs(20, [], fail=5), 4)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    with pytest.raises(ValueError, match="5"):
        next(results)
    assert set(threading.enumerate()) == before
