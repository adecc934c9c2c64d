"""Sequence-level KD: the teacher's own text is the data. Kim & Rush, EMNLP 2016, arXiv:1606.07947."""

from __future__ import annotations

import torch
from torch import Tensor

from limbeck.arguments import Count, NonNegative, Share
from limbeck.generation import Drawing, Noise, Written, noise, write
from limbeck.generation.interleaving import TEACHER
from limbeck.methods.base import Method
from limbeck.methods.declarations import Networks
from limbeck.methods.parts.rewriting import Prompts
from limbeck.methods.parts.writers import Writer


class SeqKD(Writer):
    """Wraps methods that learn next tokens: the labels are what the teacher writes after each prompt.

        L = base(x, y),   y_t = argmax p(. | x, y_<t), or y_t ~ p(. | x, y_<t)

    The teacher p writes one text y after the prompt x of each sample of the training set, the first time that
    the sample is seen, and it is kept in memory. Where the tokens are drawn, they are the same in every epoch
    and after a resume. The paper takes the best text that beam search finds; here it is the greedy one, or a
    drawn one. The paper's objective is `ce` alone; `seqkd(ce + kd(temperature=1))` adds the teacher's
    probabilities, for which it is asked live.

    The term "tokens" is the mean length of the texts that were learned last.

    Args:
        base: the methods, such as `ce`.
        temperature: at which the teacher draws; 0 takes the most likely tokens.
        top_p: the share of probability that it draws from.
        fraction: share of the steps that learn from the teacher's text; the others learn from the data.
        length: most tokens of a text; it ends sooner at the id that ends a document, and where a network
            reads no longer texts.
        beginning: tokens that are given of a text that has no prompt, at most half of it.
    """

    name = "seqkd"
    recipe = "seqkd(ce)"
    labeled = True
    asks = True

    def __init__(
        self,
        base: Method,
        *,
        temperature: NonNegative = 0.0,
        top_p: Share = 1.0,
        fraction: Share = 1.0,
        length: Count = 128,
        beginning: Count = 16,
    ) -> None:
        super().__init__(base, length=length, beginning=beginning, fraction=fraction)
        self.drawing = Drawing(temperature, top_p)
        self._kept: dict[int, Tensor] = {}

    def written(self, prompts: Prompts, sample: Tensor, numbers: Noise, networks: Networks) -> Written:
        """Text by the teacher, from memory where it was written before."""
        new = [place for place, number in enumerate(sample.tolist()) if number not in self._kept]
        if new:
            chosen = torch.tensor(new, device=prompts.ids.device)
            some = prompts.mask[chosen].any(0)
            made = write(
                self.teacher_of(networks, len(new)),
                prompts.ids[chosen][:, some],
                prompts.mask[chosen][:, some],
                length=self.length,
                ends=self.ends,
                width=self.width,
                most=self.read_by_all(networks),
                noise=lambda role, place: noise(int(self.draws), 0, role, sample[chosen], place),
                drawing=self.drawing,
                role=TEACHER,
            )
            for place, ids, length in zip(new, made.ids, made.lengths.tolist(), strict=True):
                self._kept[int(sample[place])] = ids[:length].cpu()
        texts = [self._kept[number] for number in sample.tolist()]
        ids = torch.nn.utils.rnn.pad_sequence(texts, batch_first=True).to(prompts.ids.device)
        lengths = torch.tensor([len(text) for text in texts], device=ids.device)
        return Written(ids, lengths, torch.ones_like(ids, dtype=torch.bool))
