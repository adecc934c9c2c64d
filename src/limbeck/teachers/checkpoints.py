"""A teacher that grows with its student, the checkpoints of one training in turn. A reconstruction.

It is the online distillation of "Supervision Complexity and its Role in Knowledge Distillation" (2301.12245),
of which no code was published. The paper's is that the student learns from teachers at ever later stages of
their training, whose targets are ever more complex. Which checkpoint answers at which moment was chosen here:
the first that was saved as far into the teacher's training as the student's has come, plus `ahead`.
"""

from __future__ import annotations

import copy
import hashlib
import math
import warnings
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models.weights import fingerprint, load_into, load_state, state_fingerprint
from limbeck.outputs import Batch, Inputs, Outputs, Progress
from limbeck.teachers.base import Teacher
from limbeck.teachers.live import LiveTeacher


class CheckpointTeacher(Teacher):
    """One network that answers with the weights of a moment of its own training, the later the further the
    student has come.

    At the fraction f of the student's training it has the first checkpoint that was saved at or after the
    fraction f + `ahead` of the teacher's. A batch that does not tell its progress is answered by the last
    checkpoint. In a phase before the training, f is the fraction of the phase.

    The weights are exchanged within one network. Every checkpoint is read once at the beginning, and again
    when its turn comes; which one answers depends on the progress alone. What a method copies of the teacher
    before training, such as its classifier, is of the last checkpoint.

    Args:
        network: the network, which is copied and stays as it is.
        checkpoints: at least two checkpoints by the fraction of the teacher's training at which they were
            saved, in (0, 1].
        read: a function that gives the tensors of a checkpoint, by the network's keys; it reads a weights
            file if none is given.
        ahead: how far the teacher is ahead, a fraction of the training in [0, 1).
        features: module paths that override what is found in the network, by field of the Outputs.
    Attributes:
        fractions: those of the checkpoints, in their order.
    Raises:
        LimbeckError: for fewer checkpoints than two, fractions that are none, and a checkpoint that is of
            another network.
    """

    def __init__(
        self,
        network: nn.Module,
        checkpoints: Mapping[float, Any],
        *,
        read: Callable[[Any], Mapping[str, Tensor]] = load_state,
        ahead: float = 0.0,
        features: Mapping[str, str | Sequence[str]] | None = None,
    ) -> None:
        if len(checkpoints) < 2:
            raise LimbeckError(
                f"a schedule of teachers needs two checkpoints or more, not {len(checkpoints)}; one alone is "
                "a teacher like any other"
            )
        if strange := [fraction for fraction in checkpoints if not 0 < fraction <= 1]:
            raise LimbeckError(
                "a checkpoint was saved at a fraction of the teacher's training above 0 and up to 1, not at "
                f"{strange[0]:g}"
            )
        if not 0 <= ahead < 1:
            raise LimbeckError(
                f"a teacher may be ahead by a fraction of the training from 0 to below 1, not {ahead:g}"
            )
        self.fractions = tuple(sorted(checkpoints))
        self.ahead = ahead
        self._checkpoints = [checkpoints[fraction] for fraction in self.fractions]
        self._read = read
        self._live = LiveTeacher(copy.deepcopy(network), features)
        self._digests = [self._load(checkpoint) for checkpoint in self._checkpoints]
        self._placed = len(self._checkpoints) - 1
        known = repr((fingerprint(self._live.network), self.fractions, self.ahead, self._digests))
        self.schedule = hashlib.sha256(known.encode()).hexdigest()[:16]
        self._untold = 0  # batches without a progress since it was opened

    @property
    def network(self) -> nn.Module:
        """The network with the weights of the last checkpoint, until the next batch asks for others."""
        self._place(len(self._checkpoints) - 1)
        return self._live.network

    @property
    def shown(self) -> int:
        """How many samples the network was shown, with whatever weights."""
        return self._live.shown

    def due(self, progress: Progress | None) -> int:
        """The number of the checkpoint that answers when the student's training has come so far."""
        last = len(self.fractions) - 1
        at = math.inf if progress is None else progress.fraction + self.ahead
        return min(bisect_left(self.fractions, at), last)

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Finds the features in the network."""
        self._live.width, self._live.dense = self.width, self.dense
        self._live.open(example, fields)
        self.points = self._live.points
        self._untold = 0

    def __call__(self, batch: Batch) -> Outputs:
        """One forward of the network, with the weights that are due."""
        if batch.progress is None:
            self._warn()
        self._place(self.due(batch.progress))
        return self._live(replace(batch, inputs=self.inputs_of(batch), teacher_inputs={}))

    def compiled(self) -> AbstractContextManager[None]:
        """A context in which the network runs compiled, whatever weights it has."""
        return self._live.compiled()

    def apply(self, function: Callable[[Tensor], Tensor]) -> None:
        """Moves the network."""
        self._live.apply(function)

    def _place(self, number: int) -> None:
        if number == self._placed:
            return
        if self._load(self._checkpoints[number]) != self._digests[number]:
            raise LimbeckError(
                f"the teacher's checkpoint {self._checkpoints[number]} has changed since the run began; put "
                "the old one back, or start another run"
            )
        self._placed = number

    def _load(self, checkpoint: Any) -> str:
        """Gives the network the weights of a checkpoint; their fingerprint."""
        state = self._read(checkpoint)
        load_into(self._live.network, state, f"the teacher's checkpoint {checkpoint}")
        return state_fingerprint(state)

    def _warn(self) -> None:
        """Says that nobody tells the progress; the distiller's own example is the first that does not."""
        self._untold += 1
        if self._untold == 2:
            warnings.warn(
                "the batches do not tell how far training has come, so the last of the teacher's checkpoints "
                "answers; call distiller.progress(step, epoch, fraction) before each step",
                stacklevel=3,
            )
