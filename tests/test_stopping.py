from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading

import pytest

from limbeck.stopping import Interrupted, Terminated, stoppable


@pytest.mark.parametrize(("number", "kind"), [(signal.SIGINT, Interrupted), (signal.SIGTERM, Terminated)])
def test_a_signal_is_raised_where_it_comes(number: int, kind: type[BaseException]) -> None:
    before = signal.getsignal(number)
    with stoppable() as stopping:
        stopping.saved = "it is kept"
        with pytest.raises(kind, match=f"{signal.Signals(number).name}; it is kept") as raised:
            os.kill(os.getpid(), number)
    assert stopping.asked == number
    assert signal.getsignal(number) is before
    if isinstance(raised.value, SystemExit):
        assert raised.value.code == 143


def test_who_is_patient_looks_for_himself() -> None:
    with stoppable() as stopping:
        stopping.patient = True
        os.kill(os.getpid(), signal.SIGTERM)
        assert stopping.asked == signal.SIGTERM


def test_inside_another_it_is_that_ones() -> None:
    with stoppable() as outer, stoppable() as inner:
        assert inner is outer


def test_other_handlers_stay() -> None:
    def handler(number: int, frame: object) -> None:
        pass

    before = signal.signal(signal.SIGTERM, handler)
    try:
        with stoppable():
            assert signal.getsignal(signal.SIGTERM) is handler
    finally:
        signal.signal(signal.SIGTERM, before)


def test_other_threads_leave_signals_alone() -> None:
    found = []

    def look() -> None:
        with stoppable() as stopping:
            found.append((signal.getsignal(signal.SIGINT), stopping.asked))

    thread = threading.Thread(target=look)
    thread.start()
    thread.join()
    assert found == [(signal.default_int_handler, 0)]


TWICE = """
import os, signal
from limbeck.stopping import stoppable

with stoppable() as stopping:
    stopping.patient = True
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("and still", flush=True)
"""


def test_a_second_signal_ends_the_process_at_once() -> None:
    done = subprocess.run([sys.executable, "-c", TWICE], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (130, "still here\n")
