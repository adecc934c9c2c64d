"""What an import brings with it, seen by a process of its own that is a fork of one with torch in it."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

_FORKS = """
import os, sys, torch
for line in sys.stdin:
    child = os.fork()
    if not child:
        for module in line.split():
            __import__(module)
        print(*sys.modules, flush=True)
        os._exit(0)
    if os.waitpid(child, 0)[1]:
        print(flush=True)
"""


@cache
def _process() -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", _FORKS], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


def modules_after(*modules: str) -> set[str]:
    """The modules that a fresh process has after it has imported torch and these."""
    process = _process()
    assert process.stdin is not None
    assert process.stdout is not None
    print(*modules, file=process.stdin, flush=True)
    found = set(process.stdout.readline().split())
    assert found, f"cannot import {', '.join(modules)}"
    return found
