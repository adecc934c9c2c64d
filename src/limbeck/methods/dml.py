"""Deep Mutual Learning. Zhang, Xiang, Hospedales & Lu, CVPR 2018, arXiv:1706.00384."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from limbeck.arguments import Count
from limbeck.errors import LimbeckError
from limbeck.methods.base import Method
from limbeck.methods.ce import cross_entropy
from limbeck.methods.declarations import Context, LossTerms, Reads
from limbeck.methods.kd import kd
from limbeck.methods.parts.companions import built, like_student, outputs_of
from limbeck.methods.parts.shapes import class_logits
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs


def mutual_learning(logits: Tensor, others: Sequence[Tensor]) -> Tensor:
    """Mean divergence of one network's output from the others', which do not learn from it (section 2).

        L = mean_k mean_i KL(p_k || p),   p = softmax(z),   k over the others

    Args:
        logits: (B, C), C at least 2, of the network that learns.
        others: (B, C) of each other network; no gradient flows into them.
    Returns: scalar.
    Raises:
        LimbeckError: if the shapes differ or are no rows of at least 2 classes.
    """
    class_logits("mutual_learning", logits=logits)
    return torch.stack([kd(logits, other.detach(), temperature=1.0) for other in others]).mean()


class DML(Method):
    """The student and its peers start together, learn from the labels, and teach each other.

    Every network minimizes its own cross-entropy plus `mutual_learning`, all from the same predictions in one
    step. The student is the one that ships; the peers are parts of the method and train with the student's
    optimizer. The student's terms are "ce" and "mutual"; those of its peers, "peer1.ce" and so on, always
    weigh 1.

    Args:
        peers: how many networks learn beside the student, each like it with fresh weights; or which, by the
            names of `limbeck models`, for example ["cnn(channels=[8, 16])"]. They see the same inputs, and
            have the student's normalization unless they bring their own.
    """

    fits_labels = True
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
        made = [
            like_student(self.name, context) if spec is None else built(self.name, spec, context)
            for spec in self.specs
        ]
        self.peers = nn.ModuleList(peer for peer, _ in made)
        self.points = [points for _, points in made]

    def outputs(self, student: Outputs, batch: Batch, fields: Sequence[str] = ()) -> list[Outputs]:
        """The outputs of all networks for a batch: the student's, as given, then those of its peers.

        Args:
            fields: what the peers are asked for besides their logits.
        """
        peers = zip(self.peers, self.points, strict=True)
        return [student, *(outputs_of(peer, points, batch, fields) for peer, points in peers)]

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
