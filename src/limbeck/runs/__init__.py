"""One run, from a config to a directory with a student in it."""

from limbeck.runs.directory import Run, load
from limbeck.runs.run import distill, train

__all__ = ["Run", "distill", "load", "train"]
