"""Speculative KD: the teacher corrects what the student writes. Xu et al., ICLR 2025, arXiv:2410.11325."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.arguments import Count, NonNegative, Share
from limbeck.generation import Drawing, Noise, Written, interleave
from limbeck.methods.base import Method
from limbeck.methods.declarations import Context, Networks
from limbeck.methods.parts.rewriting import Prompts
from limbeck.methods.parts.writers import Writer
from limbeck.methods.terms import Term
from limbeck.outputs import Batch, Outputs


class SKD(Writer):
    """Wraps methods that compare next tokens: they see text of the student, corrected by its teacher.

        L = base(x, y),   y_t = a ~ q(. | x, y_<t) if a is among the k most likely of p(. | x, y_<t)
                          y_t ~ p(. | x, y_<t)     otherwise

    The student q proposes a token after the prompt x, which the teacher p keeps or draws anew (algorithm 1).
    With k = 1 a greedy teacher writes all, with k the size of the vocabulary the student does, as in
    `on_policy`. The more the student has learned, the less is exchanged.

    Tokens are proposed in blocks, each of which the teacher reads in one forward; the text is that of the
    rule token by token. The ranks are those of the teacher's raw logits. The published code tests logits
    after the temperature and top-p, which leaves a handful of tokens in the running, and so another rule.

    As in `on_policy`, what is written is no label, and the teacher answers live. The terms "tokens" and
    "replaced" are the mean length of the texts that were written last, and the share of tokens in them that
    are the teacher's.

    Args:
        base: the methods, such as `kd(temperature=1)`.
        k: rank up to which a proposed token is kept.
        block: tokens that are proposed at a time.
        temperature: at which the student draws; 0.5 in the published settings, as are the next three.
        top_p: the share of probability that it draws from.
        teacher_temperature: at which the teacher draws.
        teacher_top_p: the share of probability that it draws from.
        fraction: share of the steps in which text is written; the others learn from the data.
        length: most tokens of a text; it ends sooner at the id that ends a document, and where a network
            reads no longer texts.
        beginning: tokens that are given of a text that has no prompt, at most half of it.
    """

    name = "skd"
    recipe = "skd(kd(temperature=1))"
    asks = True

    def __init__(
        self,
        base: Method,
        k: Count = 25,
        *,
        block: Count = 5,
        temperature: NonNegative = 0.5,
        top_p: Share = 0.5,
        teacher_temperature: NonNegative = 0.2,
        teacher_top_p: Share = 0.5,
        fraction: Share = 1.0,
        length: Count = 128,
        beginning: Count = 16,
    ) -> None:
        super().__init__(base, length=length, beginning=beginning, fraction=fraction)
        self.k, self.block = k, block
        self.drawing = Drawing(temperature, top_p)
        self.correction = Drawing(teacher_temperature, teacher_top_p)

    def bind(self, context: Context) -> None:
        """Draws a seed."""
        super().bind(context)
        self.replaced: Tensor
        self.register_buffer("replaced", torch.zeros(()))

    def written(self, prompts: Prompts, sample: Tensor, numbers: Noise, networks: Networks) -> Written:
        """Text by the student, with what the teacher has exchanged."""
        return interleave(
            networks.student,
            self.teacher_of(networks, len(sample)),
            prompts.ids,
            prompts.mask,
            length=self.length,
            ends=self.ends,
            width=self.width,
            noise=numbers,
            k=self.k,
            block=self.block,
            drawing=self.drawing,
            correction=self.correction,
        )

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> dict[str, Term]:
        """The terms of what is wrapped, and the figures."""
        if "replaced" in batch.figures:
            tokens = batch.figures["tokens"].sum().clamp(min=1)
            self.replaced.copy_(batch.figures["replaced"].sum() / tokens)
        return {**super().forward(student, teacher, batch), "replaced": Term(self.replaced, "monitor")}
