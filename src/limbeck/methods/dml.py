"""Deep Mutual Learning. Zhang, Xiang, Hospedales & Lu, CVPR 2018, arXiv:1706.00384."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Tap, find, undisturbed
from limbeck.features.calling import uncompiled
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.blocks import full_precision
from limbeck.methods.parts.shapes import class_logits
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs, apply


def mutual_learning(logits: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Mean divergence of one network's output from the others', which do not learn from it (section 2).

    Args:
        logits: (B, C), C at least 2, of the network that learns.
        others: (B, C) of each other network; no gradient flows into them.
    Returns: scalar, the mean over the others of the batch mean of KL(p_other || p).
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    class_logits("mutual_learning", logits=logits)
    return torch.stack([kd(logits, other.detach(), temperature=1.0) for other in others]).mean()


class DML(Method):
    """The student and its peers start together, learn from the labels, and teach each other.

    Every network minimizes its own cross-entropy plus the mean of KL(p_other || p) over the others, all from
    the same predictions in one step. The student is the one that ships; the peers are parts of the method and
    train with the student's optimizer. The student's terms are "ce" and "mutual"; those of its peers,
    "peer1.ce" and so on, always weigh 1.

    Args:
        peers: how many networks learn beside the student, each like it with fresh weights; or which, by the
            names of `limbeck models`, for example ["cnn(channels=[8, 16])"]. They see the same inputs, and
            have the student's normalization unless they bring their own.
    """

    reads = Reads(student=("logits",), batch=("targets",))
    recipe = "dml"
    rows = "classes"

    def __init__(self, peers: Count | str | Sequence[str] = 1) -> None:
        super().__init__()
        self.specs: Sequence[str | None]
        if isinstance(peers, int):
            self.specs = [None] * peers
        else:
            self.specs = [peers] if isinstance(peers, str) else peers
        if not self.specs:
            raise LimbeckError("dml needs at least one peer beside the student")

    def bind(self, context: Context) -> None:
        """Builds the peers, their weights drawn from torch's global generator.

        Raises:
            LimbeckError: for a peer that cannot be built, or has another number of outputs.
        """
        made = [_alike(context) if spec is None else _by_name(spec, context) for spec in self.specs]
        self.peers = nn.ModuleList(peer for peer, _ in made)
        self.points = [points for _, points in made]

    def outputs(self, student: Outputs, batch: Batch, fields: Sequence[str] = ()) -> list[Outputs]:
        """The outputs of all networks for a batch: the student's, as given, then those of its peers.

        Args:
            fields: what the peers are asked for besides their logits.
        """
        from limbeck.tasks.rows import rows_of

        inputs = apply(full_precision, batch.inputs)
        taps = [Tap(peer, points, fields) for peer, points in zip(self.peers, self.points, strict=True)]
        return [student, *(rows_of(batch).of(tap(inputs).map(full_precision)) for tap in taps)]

    def mutual(self, outputs: Sequence[Outputs], batch: Batch) -> dict[str, Term]:
        """The terms of all networks, from what `outputs` gave."""
        assert batch.targets is not None
        logits = [output.logits for output in outputs]
        terms: dict[str, Term] = {}
        for place, own in enumerate(logits):
            name = f"peer{place}." if place else ""
            ce = cross_entropy(own, batch.targets)
            mutual = mutual_learning(own, logits[:place] + logits[place + 1 :])
            terms[f"{name}ce"] = Term(ce, "own" if place else "task")
            terms[f"{name}mutual"] = Term(mutual, "own" if place else "distillation")
        return terms

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
        """The terms of all networks."""
        return self.mutual(self.outputs(student, batch), batch)


def _alike(context: Context) -> tuple[nn.Module, FeaturePoints]:
    """A network like the student, with fresh weights."""
    peer = copy.deepcopy(uncompiled(context.student_network))
    for path, module in reversed(list(peer.named_modules())):  # a parent has the last word on its children
        reset = getattr(module, "reset_parameters", None) or getattr(module, "_reset_parameters", None)
        if reset is not None:
            reset()
        elif module._parameters:
            raise LimbeckError(
                f"dml cannot make a peer like the student: {path or 'the network'} ({type(module).__name__}) "
                "has parameters and no reset_parameters() to draw them anew; give it one, or name the peers, "
                'for example dml(peers=["my_models:make()"])'
            )
    return peer, context.student_points


def _by_name(spec: str, context: Context) -> tuple[nn.Module, FeaturePoints]:
    """A network by its name, with the student's normalization and rescaling unless it has its own."""
    from limbeck import models

    peer = models.build(spec, example=context.example, num_classes=context.width)
    normalization = models.normalization_of(context.student_network)
    if normalization is not None and models.normalization_of(peer) is None:
        models.normalize_inputs(peer, normalization)
    rescaling = models.rescaling_of(context.student_network)
    if rescaling is not None and models.rescaling_of(peer) is None:
        models.rescale_outputs(peer, rescaling)
    peer.to(context.student.logits)  # its device and its precision
    points = find(peer, context.example)
    with undisturbed(peer, context.example), torch.no_grad():
        classes = Tap(peer, points, ())(context.example).logits.shape[-1]
    if classes != context.width:
        raise LimbeckError(
            f"dml: the peer {spec!r} has {classes} outputs and the student {context.width}; they must agree"
        )
    return peer, points
