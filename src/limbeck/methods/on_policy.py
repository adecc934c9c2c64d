"""Generalized KD: the student learns on text that it writes. Agarwal et al., ICLR 2024, arXiv:2306.13649."""

from __future__ import annotations

from torch import Tensor

from limbeck.arguments import Count, NonNegative, Share
from limbeck.generation import Drawing, Noise, Written, write
from limbeck.methods.base import Method
from limbeck.methods.declarations import Networks
from limbeck.methods.parts.rewriting import Prompts
from limbeck.methods.parts.writers import Writer


class OnPolicy(Writer):
    """Wraps methods that compare next tokens: in a share of the steps, they see what the student writes.

        L = base(x, y),   y_t ~ q(. | x, y_<t)

    The student q continues the prompts x of the batch, and its teacher answers for every token of that (GKD,
    algorithm 1). No gradient flows into the choice of tokens. What a student writes is no label: `ce` passes
    it over. A cache has no answers for it, so the teacher is asked live.

    The tokens are drawn by numbers that are a function of the run's seed, the step, the sample and the place
    in the text: a resumed run writes the same, and so do two processes. A mean is over all tokens that were
    written in a step, by all processes and in all pieces of a batch. In a loop of another library, each piece
    counts by the tokens that its data had.

    The term "tokens" is the mean length of the texts that were written last.

    Args:
        base: the methods, such as `kd(divergence="jsd", temperature=1)`.
        fraction: share of the steps in which the student writes; the others learn from the data.
        temperature: at which tokens are drawn; 0 takes the most likely ones.
        top_p: the share of probability that tokens are drawn from, the most likely ones first.
        length: most tokens of a text; it ends sooner at the id that ends a document, and where a network
            reads no longer texts.
        beginning: tokens that are given of a text that has no prompt, at most half of it.
    """

    name = "on_policy"
    recipe = 'on_policy(kd(temperature=1, divergence="jsd"))'

    def __init__(
        self,
        base: Method,
        *,
        fraction: Share = 1.0,
        temperature: NonNegative = 1.0,
        top_p: Share = 1.0,
        length: Count = 128,
        beginning: Count = 16,
    ) -> None:
        super().__init__(base, length=length, beginning=beginning, fraction=fraction)
        self.drawing = Drawing(temperature, top_p)

    def written(self, prompts: Prompts, sample: Tensor, numbers: Noise, networks: Networks) -> Written:
        """Text by the student."""
        return write(
            networks.student,
            prompts.ids,
            prompts.mask,
            length=self.length,
            ends=self.ends,
            width=self.width,
            most=self.read_by_all(networks),
            noise=numbers,
            drawing=self.drawing,
        )
