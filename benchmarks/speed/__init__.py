"""How fast limbeck is, beside loops in plain PyTorch, and what it costs besides."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The directory that `python -m benchmarks.speed` runs in."""
