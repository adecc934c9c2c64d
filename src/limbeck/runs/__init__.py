"""One run, from a config to a directory with a student in it."""

from limbeck.optional import need

need("limbeck.runs", "data", "run")

from limbeck.runs.directory import Run, load
from limbeck.runs.run import distill, train

__all__ = ["Run", "distill", "load", "train"]
