"""What an import brings with it, seen by a process of its own."""

from __future__ import annotations

import subprocess
import sys


def modules_after(*modules: str) -> set[str]:
    """The modules that a fresh process has after it has imported torch and these."""
    code = f"import sys, torch, {', '.join(modules)}; print(*sys.modules)"
    return set(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout.split()
    )
