"""Knowledge Distillation Meets Self-Supervision. Xu, Liu, Li & Loy, ECCV 2020, arXiv:2006.07114.

Equations, selection and constants are those of the authors' code, xuguodong03/SSKD.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from limbeck.arguments import Count, NonNegative, Positive, Share
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Networks, Phase, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import gather, unit
from limbeck.methods.parts.companions import check_no_schedule
from limbeck.methods.parts.shapes import class_ids, same_logits
from limbeck.methods.terms import Term
from limbeck.outputs import UNLABELED, Batch, Inputs, Outputs

VIEWS = ("rotated90", "rotated180", "rotated270")
"""The views that the method makes of an image, each turned counterclockwise by so many degrees."""


def sskd(
    student_logits: Tensor,
    teacher_logits: Tensor,
    targets: Tensor,
    temperature: float = 4.0,
    keep: float = 1.0,
) -> Tensor:
    """KD of the rows that the teacher is not too wrong about, T^2 mean KL(p_t || p_s).

    Of class logits and labels, by default, it is the paper's loss of transformed images; of the cosines of
    `similarities` and the images they came from, with T = 0.5 and keep = 0.75, that of self-supervision. The
    mean is over the rows that `selection` keeps, as in the authors' code, so it depends on how a batch is
    split; it is zero where none is kept.

    Args:
        student_logits: (P, C), C at least 2.
        teacher_logits: (P, C).
        targets: (P,) int64 the right column of each row; a row without one (`UNLABELED`) is left out.
        temperature: T > 0, divides both logits.
        keep: share of the rows that the teacher gets wrong, in [0, 1], that are kept.
    Raises:
        LimbeckError: if the logits differ in shape or are no rows of at least 2 columns, and for targets of
            another number or dtype.
    """
    same_logits("sskd", student_logits, teacher_logits)
    class_ids("sskd", student_logits, targets)
    kept = selection(error_levels(teacher_logits, targets), keep)
    divergence = kd(student_logits, teacher_logits, temperature, reduction="none")
    return divergence.where(kept, 0).sum() / kept.sum().clamp(min=1)


def error_levels(logits: Tensor, targets: Tensor) -> Tensor:
    """How many columns of each row have a larger logit than the right one; 0 where the answer is right.

    Args:
        logits: (P, C).
        targets: (P,) int64.
    Returns: (P,) int64; -1 for a row without a target.
    """
    answered = targets != UNLABELED
    right = logits.gather(1, targets.where(answered, 0).unsqueeze(1))
    return (logits > right).sum(1).where(answered, -1)


def selection(levels: Tensor, keep: float) -> Tensor:
    """Which rows are kept: all of level 0, and of the W above it the int(keep * W) of the lowest levels.

    Args:
        levels: (P,) int64, as `error_levels` gives them; a row below 0 is not kept. Of rows on one level,
            the first are kept.
        keep: share of the wrong rows, in [0, 1].
    Returns: (P,) bool.
    """
    wrong = levels > 0
    place = levels.masked_fill(~wrong, torch.iinfo(levels.dtype).max).argsort(stable=True).argsort()
    return (levels == 0) | (wrong & (place < (keep * wrong.sum().double()).floor()))


def similarities(turned: Tensor, upright: Tensor) -> Tensor:
    """Cosines (A, B) of vectors (A, D) of turned images with (B, D) of upright ones."""
    return unit(turned) @ unit(upright).T


def rotations(inputs: Inputs) -> list[Tensor]:
    """Images turned counterclockwise by 90, 180 and 270 degrees.

    Args:
        inputs: (B, C, H, H) images.
    Raises:
        LimbeckError: for what is no image, and for images that are not square.
    """
    if not (isinstance(inputs, Tensor) and inputs.ndim == 4):
        shape = f"shape {tuple(inputs.shape)}" if isinstance(inputs, Tensor) else f"names {', '.join(inputs)}"
        raise LimbeckError(
            f"sskd turns images (B, C, H, W) by quarters, and these inputs, of {shape}, are none; use a "
            "method without further views, such as kd"
        )
    height, width = inputs.shape[2:]
    if height != width:
        raise LimbeckError(
            f"sskd turns images by quarters, so they must be square, not {height}x{width}; give the networks "
            "a square size, or crop or pad the images"
        )
    return [inputs.rot90(quarters, (2, 3)) for quarters in (1, 2, 3)]


def head(width: int) -> nn.Sequential:
    """Linear, ReLU, linear, all of one width: the module that self-supervision puts on an embedding."""
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


class SSKD(Method):
    """On rotated images the student matches the teacher's classes, and which image each was made of.

    Every image is seen upright and turned by 90, 180 and 270 degrees, by the student in one forward, so that
    its batch norms see all four. A head on the frozen teacher's embedding learns in a phase which upright
    image of the batch a turned one came from, by cross-entropy over its cosines with all of them; a trained
    head is reused by every run with the same teacher, data and arguments. A like head on the student's
    embedding learns with the student. The terms are both of turned images alone:

        transformed:      T^2 KL of the class probabilities
        self_supervised:  T^2 KL of the softmax over the cosines with the upright images

    Of the rows that the teacher itself gets wrong, `keep` of them stay, those that it ranks the right answer
    highest in (`selection`). A row without a label has no rank by class and counts for nothing in the first
    term; the second needs no label. Batch and means are those of all processes, and of one piece where
    gradients are accumulated.

    The turned images are those of the view that the policy of the data drew, so the four share their crop and
    their flip; the authors' share the flip and crop each anew.

    Args:
        transformed: weight of the term of class probabilities.
        self_supervised: weight of the term of cosines.
        transformed_temperature: T of the former.
        self_supervised_temperature: T of the latter.
        transformed_keep: share of the rows with a wrong class that stay in the former.
        self_supervised_keep: share of the rows with a wrong image that stay in the latter.
        epochs: number of epochs of the phase; the rate drops after a half and three quarters of them.
        lr: learning rate of the phase.
        seed: of the phase; the run's own seed has no part in it, so that all runs may share a head.
    """

    reads = Reads(
        student=("logits", "embedding"), teacher=("logits", "embedding"), batch=("targets",), makes=VIEWS
    )
    recipe = "0.1*ce + 0.9*kd + sskd"
    rows = "classes"
    one_row_per_sample = True
    min_samples = 2
    views_together = True
    makes_alike = True

    def __init__(
        self,
        transformed: NonNegative = 2.7,
        self_supervised: NonNegative = 10.0,
        *,
        transformed_temperature: Positive = 4.0,
        self_supervised_temperature: Positive = 0.5,
        transformed_keep: Share = 1.0,
        self_supervised_keep: Share = 0.75,
        epochs: Count = 60,
        lr: Positive = 0.05,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.transformed, self.self_supervised = transformed, self_supervised
        self.of_classes = transformed_temperature, transformed_keep
        self.of_images = self_supervised_temperature, self_supervised_keep
        self.epochs, self.lr, self.seed = epochs, lr, seed

    def bind(self, context: Context) -> None:
        """Builds the two heads.

        Raises:
            LimbeckError: for inputs that are no square images.
        """
        assert context.teacher is not None
        rotations(context.example)
        check_no_schedule("sskd trains a head on the embedding of one teacher", context)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.seed)
            self.teacher_head = head(context.teacher.embedding.shape[1])
        self.student_head = head(context.student.embedding.shape[1])
        self._fingerprint = context.fingerprint

    def collect(self, batch: Batch, networks: Networks) -> Batch:
        """The batch with the turned images as further views."""
        return replace(batch, views={**batch.views, **dict(zip(VIEWS, rotations(batch.inputs), strict=True))})

    def phases(self) -> Sequence[Phase]:
        """The training of the teacher's head."""
        from limbeck.optimization import SGD, MultiStep

        settings = f"epochs {self.epochs} lr {self.lr}"
        return [
            Phase(
                name="head",
                trains=[self.teacher_head],
                loss=self._tell_apart,
                reads=Reads(student=(), teacher=("embedding",), makes=VIEWS),
                epochs=self.epochs,
                optimizer=SGD(lr=self.lr),
                schedule=MultiStep(milestones=(self.epochs / 2, self.epochs * 3 / 4)),
                batch_size=64,
                seed=self.seed,
                cache=self._fingerprint and f"sskd head {settings} of {self._fingerprint}",
                freezes=True,
                collect=self.collect,
            )
        ]

    def _tell_apart(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        cosines, origins = _compared(self.teacher_head, teacher)
        right = (cosines.argmax(1) == origins).to(cosines)
        return {"ce": cross_entropy(cosines, origins), "accuracy": Term(right.mean(), "monitor")}

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The two terms."""
        assert batch.targets is not None
        logits, aims = (gather(_turned(each, "logits")).flatten(0, 1) for each in (student, teacher))
        labels = gather(batch.targets).repeat_interleave(len(VIEWS))
        ours, origins = _compared(self.student_head, student)
        theirs, _ = _compared(self.teacher_head, teacher)
        return {
            "transformed": Term(sskd(logits, aims, labels, *self.of_classes), weight=self.transformed),
            "self_supervised": Term(
                sskd(ours, theirs, origins, *self.of_images), weight=self.self_supervised
            ),
        }


def _turned(outputs: Outputs, field: str) -> Tensor:
    """(B, 3, ...) a field of the outputs for the turned images."""
    return torch.stack([outputs.views[view][field] for view in VIEWS], dim=1)


def _compared(head: nn.Module, outputs: Outputs) -> tuple[Tensor, Tensor]:
    """(3B, B) cosines of turned with upright images of all processes, and (3B,) which each was made of."""
    turned, upright = gather(head(_turned(outputs, "embedding"))), gather(head(outputs.embedding))
    origins = torch.arange(len(upright), device=upright.device).repeat_interleave(len(VIEWS))
    return similarities(turned.flatten(0, 1), upright), origins
