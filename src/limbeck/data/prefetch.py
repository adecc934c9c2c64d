"""Work that is done ahead of its time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

T = TypeVar("T")


def in_order(jobs: Iterable[Callable[[], T]], workers: int) -> Iterator[T]:
    """What the jobs return, in their order.

    Args:
        jobs: functions that may run at the same time.
        workers: how many jobs run ahead of the one that is asked for, each in a thread; 0 runs each when
            it is asked for.
    """
    if not workers:
        yield from (job() for job in jobs)
        return
    pool = ThreadPoolExecutor(workers)
    try:
        left = iter(jobs)
        running = deque(pool.submit(job) for job in islice(left, workers))
        while running:
            done = running.popleft().result()
            running.extend(pool.submit(job) for job in islice(left, 1))
            yield done
    finally:
        pool.shutdown(cancel_futures=True)
