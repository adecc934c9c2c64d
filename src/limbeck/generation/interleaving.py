"""Texts that a language model writes, that two write as one, and that a student writes with corrections."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from limbeck.generation.drawing import Drawing
from limbeck.generation.stepping import most_tokens, stepper
from limbeck.outputs import full_precision

Noise = Callable[[int, Tensor], Tensor]
"""Uniform numbers for a role at positions (B, n), counted from the first token that is written."""

STUDENT, TEACHER = 0, 1
"""The roles for which numbers are drawn."""


@dataclass(frozen=True)
class Written:
    """What was written after some prompts.

    Attributes:
        ids: (B, n) int64 tokens; what stands behind the end of a text means nothing.
        lengths: (B,) int64 how many of them were written, with the end of the text.
        replaced: (B, n) bool, the tokens that the teacher wrote in place of the student's.
        forwards: how many forwards of the teacher there were.
    """

    ids: Tensor
    lengths: Tensor
    replaced: Tensor
    forwards: int = 0

    @property
    def mask(self) -> Tensor:
        """(B, n) bool, the tokens that were written."""
        return torch.arange(self.ids.shape[1], device=self.ids.device) < self.lengths.unsqueeze(1)


def write(
    network: nn.Module,
    prompts: Tensor,
    mask: Tensor,
    *,
    length: int,
    ends: Collection[int],
    noise: Noise,
    drawing: Drawing = Drawing(),  # noqa: B008 (it is frozen)
    role: int = STUDENT,
    width: int | None = None,
    most: int | None = None,
) -> Written:
    """Text by one network: a token at a time, each after all before it.

    Args:
        network: a causal language model in eval mode.
        prompts: (B, m) token ids, padded on the left.
        mask: (B, m) bool, which of them are tokens; at least one of each prompt.
        length: tokens to write at most; fewer where a network reads no longer texts.
        ends: ids that end a text; the end is written, too.
        noise: random numbers.
        drawing: how tokens are drawn.
        role: for whom the numbers are drawn.
        width: ids that there are, where the head of the network has more outputs.
        most: tokens of a text that others read.
    """
    reader = _Reader(network, prompts, mask, width)
    state = _State(mask, length, ends, reader.most, most)
    while state.going:
        place = state.lengths.unsqueeze(1)
        tokens = drawing(reader.read(), noise(role, place))
        accepted = state.append(tokens, torch.ones_like(tokens, dtype=torch.bool))
        reader.take(tokens, accepted)
    return state.written()


@dataclass(frozen=True)
class Blended:
    """What was drawn from a mixture of two networks, with the log-probabilities of what was drawn.

    Attributes:
        written: the texts; `replaced` is False throughout.
        student, teacher, mixture: (B, n) natural logarithms of the probability of each token of them.
    """

    written: Written
    student: Tensor
    teacher: Tensor
    mixture: Tensor


def blend(
    student: nn.Module,
    teacher: nn.Module,
    prompts: Tensor,
    mask: Tensor,
    *,
    share: float,
    length: int,
    ends: Collection[int],
    noise: Noise,
    width: int | None = None,
) -> Blended:
    """Text of which each token is drawn from `share` p_teacher + (1 - `share`) p_student, at temperature 1.

    Args:
        student, teacher: causal language models in eval mode, with one vocabulary.
        prompts: (B, m) token ids, padded on the left.
        mask: (B, m) bool, which of them are tokens; at least one of each prompt.
        share: of the teacher, in [0, 1].
        length: tokens to write at most; fewer where a network reads no longer texts.
        ends: ids that end a text; the end is written, too.
        noise: random numbers.
        width: ids that there are, where a head has more outputs.
    """
    readers = [_Reader(network, prompts, mask, width) for network in (student, teacher)]
    state = _State(mask, length, ends, *(reader.most for reader in readers))
    found: list[Tensor] = []
    while state.going:
        both = torch.stack([full_precision(reader.read()).log_softmax(-1) for reader in readers])
        shares = both.new_tensor([1 - share, share]).log().view(2, 1, 1, 1)
        each = torch.cat([both, (both + shares).logsumexp(0, keepdim=True)])  # student, teacher, mixture
        tokens = Drawing()(each[2], noise(STUDENT, state.lengths.unsqueeze(1)))
        accepted = state.append(tokens, torch.ones_like(tokens, dtype=torch.bool))
        found.append(each.gather(-1, tokens.expand(3, *tokens.shape).unsqueeze(-1)).squeeze(-1))
        for reader in readers:
            reader.take(tokens, accepted)
    return Blended(state.written(), *torch.cat(found, -1))


def interleave(
    student: nn.Module,
    teacher: nn.Module,
    prompts: Tensor,
    mask: Tensor,
    *,
    length: int,
    ends: Collection[int],
    noise: Noise,
    k: int = 25,
    block: int = 5,
    drawing: Drawing = Drawing(),  # noqa: B008
    correction: Drawing = Drawing(),  # noqa: B008
    width: int | None = None,
) -> Written:
    """Text by a student, of which a teacher exchanges the tokens that it ranks badly (SKD, algorithm 1).

    The student proposes a block of tokens, and the teacher reads it in one forward. The proposals before the
    first that is not among the teacher's k most likely next tokens are kept, and the teacher draws that one
    anew. The rest of the block is dropped. The ranks are those of the teacher's raw logits, and the tokens
    that are tested are those that are kept. The texts are those of a block of one token, whatever the block.

    Args:
        student, teacher: causal language models in eval mode, with one vocabulary.
        prompts: (B, m) token ids, padded on the left.
        mask: (B, m) bool, which of them are tokens; at least one of each prompt.
        length: tokens to write at most; fewer where a network reads no longer texts.
        ends: ids that end a text; the end is written, too.
        noise: random numbers.
        k: rank up to which a proposal is kept.
        block: tokens that are proposed at a time.
        drawing: how the student draws.
        correction: how the teacher draws.
        width: ids that there are, where a head has more outputs.
    """
    proposing = _Reader(student, prompts, mask, width)
    checking = _Reader(teacher, prompts, mask, width)
    state = _State(mask, length, ends, proposing.most, checking.most)
    forwards = 0
    while state.going:
        size = min(block, int((state.room - state.lengths)[~state.ended].max()))
        places = state.lengths.unsqueeze(1) + torch.arange(size, device=prompts.device)
        numbers = noise(STUDENT, places)
        drawn: list[Tensor] = []
        for step in range(size):
            drawn.append(drawing(proposing.read(), numbers[:, step : step + 1]))
            if step < size - 1:
                proposing.take(drawn[-1], torch.ones_like(drawn[-1], dtype=torch.bool))
        proposed = torch.cat(drawn, 1)
        logits = checking.read(proposed[:, :-1])
        forwards += 1
        among = logits.topk(min(k, logits.shape[-1]), -1).indices
        fits = (among == proposed.unsqueeze(-1)).any(-1)
        kept = fits.to(torch.uint8).cumprod(1).bool()
        first = ~kept & (kept.sum(1, keepdim=True) == torch.arange(size, device=prompts.device))
        tokens = torch.where(first, correction(logits, noise(TEACHER, places)), proposed)
        accepted = state.append(tokens, kept | first, first)
        proposing.replace(tokens, accepted, size - 1)
        checking.replace(tokens, accepted, size - 1)
    return state.written(forwards)


class _Reader:
    """A network that follows texts as they grow, each by another number of tokens at a time."""

    def __init__(self, network: nn.Module, prompts: Tensor, mask: Tensor, width: int | None) -> None:
        self._step, self.most, self._width = stepper(network), most_tokens(network), width
        self._waiting, self._counts = prompts, mask
        self._visible = mask.new_zeros((len(mask), 0))
        self._seen = torch.zeros(len(mask), dtype=torch.int64, device=mask.device)

    def read(self, more: Tensor | None = None) -> Tensor:
        """(B, 1 + n, V) logits of what follows the text as it is, and each of `more` (B, n)."""
        ids, counts = self._waiting, self._counts
        if more is not None:
            ids, counts = (
                torch.cat([ids, more], 1),
                torch.cat([counts, torch.ones_like(more, dtype=torch.bool)], 1),
            )
        # Proposals may go beyond the last position, as may what stands behind the end of a text.
        last = None if self.most is None else self.most - 1
        positions = (self._seen.unsqueeze(1) + counts.cumsum(1) - 1).clamp(min=0, max=last)
        self._visible = torch.cat([self._visible, counts], 1)
        self._seen = self._seen + counts.sum(1)
        keep = 1 if more is None else 1 + more.shape[1]
        return self._step(ids, positions, self._visible, keep)[..., : self._width]

    def take(self, tokens: Tensor, counts: Tensor) -> None:
        """Has these tokens (B, n) read next, those that count (B, n)."""
        self._waiting, self._counts = tokens, counts

    def replace(self, tokens: Tensor, accepted: Tensor, read: int) -> None:
        """Keeps of the last tokens that were read those that were accepted, and has the next one read.

        Args:
            tokens: (B, n) a block with the teacher's corrections.
            accepted: (B, n) bool, a beginning of each block.
            read: how many of the block were read.
        """
        number = accepted.sum(1, keepdim=True)
        # The last accepted token is always read next: it was not read, or another stood in its place.
        stays = torch.arange(read, device=tokens.device) < number - 1
        if read:
            dropped = (~stays).sum(1)
            self._visible = torch.cat([self._visible[:, :-read], stays], 1)
            self._seen = self._seen - dropped
        last = tokens.gather(1, (number - 1).clamp(min=0))
        self.take(last, number > 0)


class _State:
    """The texts as far as they are written.

    Attributes:
        room: (B,) tokens that may be written, of which all but the last are read.
        lengths: (B,) tokens that are written.
        ended: (B,) bool, the texts that are at their end.
    """

    def __init__(self, mask: Tensor, length: int, ends: Collection[int], *reads: int | None) -> None:
        size, device = len(mask), mask.device
        self._ids = torch.zeros((size, length), dtype=torch.int64, device=device)
        self._replaced = torch.zeros((size, length), dtype=torch.bool, device=device)
        self._ends = torch.tensor(sorted(ends), dtype=torch.int64, device=device)
        self.lengths = torch.zeros(size, dtype=torch.int64, device=device)
        self.room = torch.full_like(self.lengths, length)
        for most in reads:
            if most is not None:
                self.room = self.room.minimum((most + 1 - mask.sum(1)).clamp(min=0))
        self.ended = self.room == 0

    @property
    def going(self) -> bool:
        """Whether some text is not at its end."""
        return not bool(self.ended.all())

    def append(self, tokens: Tensor, accepted: Tensor, replaced: Tensor | None = None) -> Tensor:
        """Writes the beginning of a block (B, n) that is accepted, up to the end of each text.

        Returns: (B, n) bool, what was written.
        """
        place = self.lengths.unsqueeze(1) + torch.arange(tokens.shape[1], device=tokens.device)
        over = torch.isin(tokens, self._ends)
        before = over.cumsum(1) - over.long() > 0
        written = accepted & ~before & (place < self.room.unsqueeze(1)) & ~self.ended.unsqueeze(1)
        rows, columns = written.nonzero(as_tuple=True)
        self._ids[rows, place[rows, columns]] = tokens[rows, columns]
        if replaced is not None:
            self._replaced[rows, place[rows, columns]] = replaced[rows, columns]
        self.lengths = self.lengths + written.sum(1)
        self.ended = self.ended | (written & over).any(1) | (self.lengths >= self.room)
        return written

    def written(self, forwards: int = 0) -> Written:
        """What was written, no longer than the longest text."""
        longest = int(self.lengths.max()) if len(self.lengths) else 0
        return Written(self._ids[:, :longest], self.lengths, self._replaced[:, :longest], forwards)
