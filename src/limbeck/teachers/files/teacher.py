"""A teacher that is a file of answers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from limbeck.data.source import Source
from limbeck.data.storage.base import digest
from limbeck.errors import LimbeckError
from limbeck.features import probabilities
from limbeck.outputs import Batch, Inputs, Outputs, size_of
from limbeck.teachers.base import Teacher
from limbeck.teachers.files.answer import Answer, Classes, merged
from limbeck.teachers.files.coverage import Coverage, contradictions, example, forms_of, remarks
from limbeck.teachers.files.matching import Matched, Samples
from limbeck.teachers.files.reading import classes_in, read_answers


class FileTeacher(Teacher):
    """Answers about training samples that somebody else's model gave, such as an LLM.

    Its logits are the logarithms of probabilities, `NEVER` for a probability of 0, or logits as the file has
    them. Of an answer that tells the probabilities of some classes alone, the others have equal parts of what
    is left, and `known` says which those are. A sample without an answer has a row that counts for nothing,
    `answered`.

    A batch must know `index` and `view` of its samples, and an answer holds for every view of a sample. The
    file is read once.

    Args:
        path: a file .jsonl, .json, .csv, .parquet or .arrow.
        source: the data, of which it answers training samples.
    Attributes:
        path: as given.
        coverage: how many samples have an answer.
        notes: sentences on what is odd in the file, without full stops.
        unknown: a clause on answers about samples that are not in the data; empty if there are none.
        counted: a clause on ids that look like numbers of rows where those of the data are others, or None.
        digest: of all answers by the position of their sample.
    Raises:
        LimbeckError: for a task that does not choose one class for each sample, data without names of its
            classes, a file that cannot be read or holds what is no answer, and one about other data.
    """

    gives = ("logits",)

    def __init__(self, path: Path | str, source: Source) -> None:
        self.path = Path(path)
        name = repr(str(path))
        _check_data(self.path, source)
        names = source.task.names
        rows, self.notes = read_answers(self.path, names)
        samples = Samples(source)
        matched = samples.match(rows)
        if not matched.of:
            raise LimbeckError(_none(name, source, matched, samples))
        classes = Classes(names)
        answers = [
            merged([row.answer for row in some if row.answer], classes, some[0].where)
            for some in matched.of.values()
        ]
        self._logits = torch.from_numpy(np.stack([each.logits for each in answers])).float()
        self._known = torch.from_numpy(np.stack([each.known for each in answers]))
        _check_logits(name, answers, self._logits)
        row_of = {position: row for row, position in enumerate(matched.of)}
        places = [row_of.get(samples.representatives[each], -1) for each in source.train.index.tolist()]
        self._place = torch.full((source.train.positions,), -1)
        self._place[source.train.index] = torch.tensor(places)
        there = self._place[source.train.index] >= 0
        self.coverage = Coverage(
            samples=len(there),
            answered=int(there.sum()),
            idle=int((~there & ~source.task.labeled(source.train.targets)).sum()),
            forms=forms_of([answers[row] for row in places if row >= 0]),
            repeated=sum(len(some) > 1 for some in matched.of.values()),
            contradictory=len(contradictions(matched)),
            rows=len(rows) - matched.empty,
            elsewhere=matched.elsewhere,
            unknown=len(matched.unknown),
        )
        self.unknown = f", {example(matched)}{samples.hint(matched)}" if matched.unknown else ""
        self.counted = samples.counted(rows)
        self.notes += remarks(name, self.coverage, matched, names, rows, samples.hint(matched))
        self.gaps = self.coverage.gaps
        self.partial = any(each.partial for each in answers)
        self.digest = digest({"logits": self._logits, "known": self._known, "place": self._place})

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Has nothing to get ready."""

    def sample(self, inputs: Inputs) -> Outputs:
        """Some of its answers, as many as there are inputs, though not about these."""
        return Outputs(logits=self._logits[torch.arange(size_of(inputs)) % len(self._logits)])

    def answered(self, batch: Batch) -> Tensor | None:
        """(B,) bool, the samples with an answer; None if all training samples have one."""
        return self._places(batch) >= 0 if self.gaps else None

    def __call__(self, batch: Batch) -> Outputs:
        """What the file says of the samples of a batch, in whatever view.

        Raises:
            LimbeckError: for a batch that does not say which training samples it holds.
        """
        places = self._places(batch)
        rows = places.clamp(min=0)
        outputs = Outputs(logits=self._logits[rows])
        if self.partial:
            outputs = outputs.replace(known=self._known[rows])
        if not self.gaps:
            return outputs
        there = (places >= 0).double()
        share = batch.answered[self.name].to(there) if self.name in batch.answered else there.mean()
        return outputs.replace(answered=there / share.clamp(min=torch.finfo(there.dtype).tiny))

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the answers; they stay in single precision."""
        self._known, self._place = function(self._known), function(self._place)
        self._logits = self._logits.to(self._known.device)

    def _places(self, batch: Batch) -> Tensor:
        """(B,) rows of the tables for the samples, -1 without an answer."""
        if batch.index is None or batch.view is None:
            raise LimbeckError(
                f"the answers in {str(self.path)!r} are about training samples, and this batch does not say "
                "which it holds; give its index and its view, which is 0 where samples have no views, and "
                "leave the distiller in training mode"
            )
        return self._place[batch.index]


def _check_data(path: Path, source: Source) -> None:
    task = source.task
    if not (task.scores == "classes" and task.one_row_per_sample):
        raise LimbeckError(
            f"{str(path)!r} is a file of answers, which teaches to choose one class for each sample, and "
            f"{source.name} is for {task.name}; give a run or a network as the teacher"
        )
    if not task.names:
        there = ", ".join(f'"{name}"' for name in classes_in(path))
        raise LimbeckError(
            f"the data {source.name} has no labels, so nothing says what its classes are; name those that "
            f"{str(path)!r} has answers about, names=[{there}]"
        )


def _check_logits(name: str, answers: Sequence[Answer], logits: Tensor) -> None:
    given = [number for number, answer in enumerate(answers) if answer.form == "logits"]
    if given and probabilities(logits[given])[1]:
        raise LimbeckError(
            f"the logits in {name} are probabilities, all of them from 0 to 1 with the sum 1; call them "
            "probabilities"
        )


def _none(name: str, source: Source, matched: Matched, samples: Samples) -> str:
    count, elsewhere = len(matched.unknown) + matched.elsewhere, matched.elsewhere
    if not count:
        return f"no row of {name} has an answer; fill in its labels"
    are = "is" if elsewhere == 1 else "are"
    held = f", and {elsewhere:,} {are} about samples held out for test or validation"
    hint = samples.hint(matched)
    shown = f", {example(matched)}" if hint and samples.has_ids else ""
    none = "the only answer" if count == 1 else f"none of the {count:,} answers"
    return (
        f"{none} in {name} is about {'no' if count == 1 else 'a'} training sample of {source.name}"
        f"{held if elsewhere else ''}{shown}{hint}; `limbeck answers template` writes a file of the "
        "samples that there are"
    )
