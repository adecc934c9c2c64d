"""A run that is planned, and its commented config."""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from limbeck.advice.situation import Situation
from limbeck.advice.students import Measured, Target
from limbeck.advice.suggestion import Suggestion
from limbeck.config import RunConfig
from limbeck.errors import LimbeckError
from limbeck.runs.job import prepare
from limbeck.yaml_text import dump_yaml, parse_yaml

WIDTH = 100


@dataclass(frozen=True)
class Plan:
    """What a run is to be of.

    Attributes:
        data: data set, in the notation.
        data_dir: where its files lie; None where it needs none.
        teacher: as `limbeck distill --teacher` takes it; None for none.
        taught_by: what the teacher is, for people; empty without one.
        student: the student with what it takes.
        target: what it may take.
        given: what is at hand.
        suggestions: objectives, the first first; none where the guide has nothing.
    """

    data: str
    data_dir: Path | None
    teacher: str | None
    taught_by: str
    student: Measured
    target: Target
    given: Situation
    suggestions: Sequence[Suggestion]

    def yaml(self, file: Path) -> str:
        """The config with comments.

        Args:
            file: where it will be, for the command that starts it.
        """
        place = {} if self.data_dir is None else {"dir": str(self.data_dir)}
        lines = [*_comment(f"Written by limbeck init. It starts with: {self.command(file)}"), ""]
        samples = "" if self.given.samples is None else f"{self.given.samples:,} training samples, "
        lines += _comment(f"{self.given.task}: {samples}labels: {self.given.labels}")
        lines += [_key("data", {"name": self.data, **place} if place else self.data), ""]
        target = f"; the target is {self.target}" if str(self.target) else ""
        lines += _comment(f"{self.student}{target}")
        lines += [_key("student", self.student.model), ""]
        if self.teacher is not None:
            lines += _comment(self.taught_by)
            lines += [_key("teacher", self.teacher), ""]
        lines += self._objective()
        lines += [
            *_comment("Where none is named, the optimizer is SGD, or AdamW for gpt and for transformers."),
            "training:",
            "  epochs: 30",
            "  batch_size: 64",
            "  # optimizer: {name: sgd, lr: 0.05, momentum: 0.9, weight_decay: 5.0e-4}",
            "  # selection: validation  # the epoch that was best on the validation split, not the last",
            "",
            *_comment("One seed gives no interval: run it with --seed 1 to 4 too, and limbeck compare."),
            "seed: 0",
        ]
        return "\n".join(lines) + "\n"

    def checked(self, file: Path) -> Plan:
        """The same with the first suggestion that a run can begin with; all it needs is built for that.

        Args:
            file: where the config will be.
        Raises:
            LimbeckError: what is wrong with the first, where none can.
        """
        refused: LimbeckError | None = None
        for number in range(max(1, len(self.suggestions))):
            plan = replace(self, suggestions=self.suggestions[number:])
            try:
                prepare(RunConfig.model_validate(parse_yaml(plan.yaml(file))))
            except LimbeckError as error:
                refused = refused or error
            else:
                return plan
        assert refused is not None, "one was tried"
        raise refused

    def command(self, file: Path) -> str:
        """What starts the run: without a teacher the student learns from labels alone."""
        return shlex.join(["limbeck", "train" if self.teacher is None else "distill", str(file)])

    def _objective(self) -> list[str]:
        if not self.suggestions:
            return [*_comment("The objective is left out: it is the recipe of the data's task."), ""]
        first, *others = self.suggestions
        lines = _comment(f"{first.at_hand}: {first.because}.")
        near = first.findings[: first.near]
        lines += _comment(
            "; ".join(map(str, near[:2]))
            if near
            else "limbeck has not measured it on such data beside the student alone."
        )
        if others:
            lines += _comment(f"Others to try: {'; '.join(each.objective for each in others)}")
        return [*lines, _key("objective", first.objective), ""]


def _comment(text: str) -> list[str]:
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="# ",
        subsequent_indent="# ",
        break_long_words=False,
        break_on_hyphens=False,
    )


def _key(name: str, value: Any) -> str:
    return dump_yaml({name: value}, width=10_000).rstrip("\n")
