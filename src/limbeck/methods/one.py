"""Knowledge Distillation by On-the-Fly Native Ensemble. Lan, Zhu & Gong, NeurIPS 2018, arXiv:1806.04606.

Gate, temperature and terms as in the authors' code, Lan1991Xu/ONE_NeurIPS2018, which adds 1e-7 to the
ensemble's probabilities; they are exact here.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Annotated

import torch
from torch import Tensor, nn

from limbeck.arguments import Limits, NonNegative, Positive
from limbeck.errors import LimbeckError
from limbeck.features import Entered
from limbeck.features.calling import uncompiled
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import full_precision
from limbeck.methods.parts.companions import draw_anew
from limbeck.methods.parts.regressors import projector
from limbeck.methods.parts.shapes import class_logits, vectors
from limbeck.methods.parts.stages import mean_of_positions, valid
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs, apply


def native_ensemble(branches: Sequence[Tensor], ensemble: Tensor, temperature: float = 3.0) -> Tensor:
    """Sum over the branches of their divergence from the ensemble, which does not learn from it (eq. 6).

        L = sum_i T^2 KL(softmax(z_e / T) || softmax(z_i / T))

    Args:
        branches: (B, C) logits z_i of each branch, C at least 2.
        ensemble: (B, C) logits z_e; no gradient flows into them.
        temperature: T > 0.
    Returns: scalar, the sum of the batch means.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    class_logits("native_ensemble", ensemble=ensemble)
    return torch.stack([kd(logits, ensemble.detach(), temperature) for logits in branches]).sum()


def gated(branches: Sequence[Tensor], shares: Tensor) -> Tensor:
    """The ensemble's logits, z_e = sum_i g_i z_i for each sample.

    Args:
        branches: (B, C) logits of each branch.
        shares: (B, number of branches) of the gate.
    Returns: (B, C).
    Raises:
        LimbeckError: for another number of shares than of branches.
    """
    vectors("gated", shares=shares)
    if shares.shape[1] != len(branches):
        raise LimbeckError(
            f"gated: there are {len(branches)} branches and {shares.shape[1]} shares; give one each"
        )
    return (shares.unsqueeze(2) * torch.stack(list(branches), 1)).sum(1)


class Gate(nn.Module):
    """How much each branch counts in the ensemble: average over positions, linear, batch norm, ReLU, softmax.

    The batch norm is over the batch of all processes.

    Args:
        channels: of the shared stage.
        branches: how many there are.
    """

    def __init__(self, channels: int, branches: int) -> None:
        super().__init__()
        self.layers = projector([channels, branches], [1])

    def forward(self, stage: Tensor, mask: Tensor | None = None) -> Tensor:
        """A stage, (B, C, H, W), (B, L, C) or (B, C), to shares (B, branches) with the sum 1.

        Args:
            stage: the shared one.
            mask: (B, L) true where a token is valid; all are without it.
        """
        return self.layers(mean_of_positions(stage, mask)[:, :, None, None]).flatten(1).softmax(1)  # type: ignore[no-any-return]


class ONE(Method):
    """Branches that share the student's lower stages teach each other, as an ensemble; there is no teacher.

    The student itself is branch 0; each other one is a copy, with fresh weights, of what the student has
    behind the shared stage. A gate on that stage says for each sample how much each branch counts in the
    ensemble.

        L = sum_i CE(z_i, y) + CE(z_e, y) + sum_i T^2 KL(softmax(z_e / T) || softmax(z_i / T))

    The ensemble z_e learns by its own cross-entropy alone: in the divergence it is a constant. All terms
    train the shared stages, so the objective's weight is on all of them. They are "ce", "kd", "branch1.ce",
    "branch1.kd" and so on, and "ensemble". What is shipped is the student, without branches and gate.

    Args:
        branches: how many branches there are in all, the student's own included.
        temperature: T.
        stage: last one that the branches share, counted from 0, or from the end; with -1 they share all but
            the classifier.
        rampup: epochs over which the divergence rises to its weight as exp(-5 (1 - epoch / rampup)^2), with
            epochs counted from 0; the paper's equation has none, the authors' scripts 80 of 300 epochs.
    """

    fits_labels = True
    reads = Reads(student=("logits", "stages"), batch=("targets",))
    recipe = "one"
    rows = "classes"
    one_row_per_sample = True
    min_samples = 2

    def __init__(
        self,
        branches: Annotated[int, Limits(ge=2)] = 3,
        temperature: Positive = 3.0,
        stage: int = -2,
        rampup: NonNegative = 0,
    ) -> None:
        super().__init__()
        self.count, self.temperature, self.stage, self.rampup = branches, temperature, stage, rampup
        if rampup:
            self.reads = replace(self.reads, batch=("targets", "progress"))

    def bind(self, context: Context) -> None:
        """Builds the other branches, their weights drawn from torch's global generator, and the gate.

        Raises:
            LimbeckError: for a student without that stage, one that cannot be run from there on, and one with
                weights there that cannot be drawn anew.
        """
        stages = context.student.stages
        if not -len(stages) <= self.stage < len(stages):
            raise LimbeckError(
                f"one(stage={self.stage}) is no stage of the student, which has {len(stages)}; with "
                "one(stage=-1) the branches share all but the classifier"
            )
        shared = full_precision(stages[self.stage])
        example = apply(full_precision, context.example)
        self.branches = nn.ModuleList()
        for _ in range(self.count - 1):
            whole = copy.deepcopy(uncompiled(context.student_network)).to(shared)
            draw_anew(whole, "one cannot make a branch like the student's", "take a method without branches")
            branch = Entered(whole, context.student_points, self.stage, example, "one: the student")
            self.branches.append(branch)
        self.gate = Gate(shared.shape[1 if shared.ndim == 4 else -1], self.count)

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms of each branch and that of the ensemble."""
        targets = batch.targets
        assert targets is not None
        shared = student.stages[self.stage]
        inputs = apply(full_precision, batch.inputs)
        logits = [student.logits, *(branch(shared, inputs) for branch in self.branches)]
        ensemble = gated(logits, self.gate(shared, valid(student, shared)))
        weight = self._risen(batch)
        terms: dict[str, Term] = {}
        for place, own in enumerate(logits):
            name = f"branch{place}." if place else ""
            terms[f"{name}ce"] = Term(cross_entropy(own, targets), "task")
            terms[f"{name}kd"] = Term(native_ensemble([own], ensemble, self.temperature), weight=weight)
        return {**terms, "ensemble": Term(cross_entropy(ensemble, targets), "task")}

    def _risen(self, batch: Batch) -> float:
        """Weight of the divergence."""
        if not self.rampup:
            return 1.0
        assert batch.progress is not None
        return math.exp(-5 * (1 - min(batch.progress.epoch / self.rampup, 1)) ** 2)
