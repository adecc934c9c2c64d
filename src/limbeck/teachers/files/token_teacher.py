"""A teacher that is a file of what a language model said of each token of the training texts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from limbeck.data.source import Source
from limbeck.data.storage.base import digest
from limbeck.data.storage.sequences import Sequences
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Inputs, Outputs, named
from limbeck.ranked import Ranked
from limbeck.tasks.language import Language
from limbeck.teachers.base import Teacher
from limbeck.teachers.files.token_reading import Said, Top, read_said
from limbeck.teachers.ranks import LEAST


@dataclass(frozen=True)
class TokenCoverage:
    """How far the file reaches.

    Attributes:
        samples: training texts.
        answered: those of which it says something.
        tokens: tokens that are learned.
        told: those of them of which it says something.
        rows: rows of the file.
    """

    samples: int
    answered: int
    tokens: int
    told: int
    rows: int

    @property
    def summary(self) -> str:
        """Both, in words."""
        return (
            f"answers {self.told:,} of the {self.tokens:,} training tokens in the loss, in "
            f"{self.answered:,} of {self.samples:,} samples"
        )


class TokenFileTeacher(Teacher):
    """What somebody else's language model said of the tokens of the training texts.

    At each position it tells some tokens apart, as many as the file has there, and of all others the sum. A
    token of which the file says nothing is one of which nothing is told apart, so that every divergence is 0
    there; it counts in the mean all the same. All is held in memory, 8 bytes for each log-probability.

    A row is about the training sample whose tokens it has. Where it has those of the response alone, several
    samples may have them, and it should name the position of its own in the training split.

    Args:
        path: a file .jsonl or .parquet, see `token_reading`.
        source: the data, whose tokens are those of the file.
    Attributes:
        coverage: how far it reaches.
        notes: sentences on what is odd in it, without full stops.
        digest: of all that it says.
        nll: mean negative log-likelihood in nats of the tokens that it answers; what it does not tell apart
            has equal parts of what is left.
    Raises:
        LimbeckError: for a file that cannot be read, is about other texts or in other tokens, or has an id
            that the tokenizer has not.
    """

    gives = ("logits",)
    partial = True

    def __init__(self, path: Path | str, source: Source) -> None:
        self.path, task, samples = Path(path), source.task, source.train.samples
        assert isinstance(task, Language)
        assert isinstance(samples, Sequences)
        if source.tokens is None:
            raise LimbeckError(
                f"{source.name} has no tokenizer, so nothing says what the tokens of {path} are"
            )
        self.width = task.width
        texts = _Texts(source, repr(str(path)))
        tops: dict[tuple[int, int], Top] = {}
        rows = 0
        for said in read_said(self.path, source.tokens):
            rows += 1
            for sample, place, top in texts.places(said):
                tops[sample, place] = top
        learned = texts.targets != UNLABELED
        told = [key for key in tops if learned[key]]
        if not told:
            raise LimbeckError(
                f"{str(path)!r} says nothing of any token of {source.name} that is in the loss"
            )
        self.coverage = TokenCoverage(
            len(learned), len({sample for sample, _ in told}), int(learned.sum()), len(told), rows
        )
        self._ids, self._logs, self._tail = _table([tops[key] for key in told], task.width)
        self._row = torch.full(texts.targets.shape, len(told))
        self._row[tuple(torch.tensor(told).T)] = torch.arange(len(told))
        self._position = torch.full((source.train.positions,), -1)
        self._position[source.train.index] = torch.arange(len(learned))
        self.digest = digest({"ids": self._ids, "logs": self._logs, "row": self._row})
        self.notes = (*self._remarks(),)
        self.nll = self._nll(texts.targets)

    def open(self, example: Inputs, fields: Sequence[str]) -> None:
        """Has nothing to get ready."""

    def sample(self, inputs: Inputs) -> Outputs:
        """Some of its answers, logits (B, L, V) for as many positions as there are inputs."""
        ids = next(iter(named(inputs).values()))
        rows = torch.arange(ids.numel()) % (len(self._ids) - 1)
        assert self.width is not None
        some = Ranked(self._ids[rows].long(), self._logs[rows], self._tail[rows], self.width, padded=True)
        return Outputs(logits=some.dense()[0].view(*ids.shape, self.width).to(ids.device))

    def __call__(self, batch: Batch) -> Outputs:
        """What the file says of the positions of a batch.

        Raises:
            LimbeckError: for a batch that does not say which training samples it holds.
        """
        if batch.index is None or batch.view is None:
            raise LimbeckError(
                f"the answers in {str(self.path)!r} are about training texts, and this batch holds "
                "others, such as text that a network has written; give a run or a network as the teacher"
            )
        length = next(iter(named(batch.inputs).values())).shape[1]
        rows = self._row[self._position[batch.index.cpu()], :length]
        assert self.width is not None
        made = Ranked(self._ids[rows].long(), self._logs[rows], self._tail[rows], self.width, padded=True)
        device = batch.index.device
        return Outputs(ranked=made.map(lambda tensor: tensor.to(device)))

    def _nll(self, targets: Tensor) -> float:
        there = self._row < len(self._ids) - 1
        rows, wanted = self._row[there], targets[there].unsqueeze(1)
        ids, logs = self._ids[rows], self._logs[rows]
        assert self.width is not None
        others = self.width - (ids < self.width).sum(1)
        spread = self._tail[rows].squeeze(1) - others.clamp(min=1).log()
        found = torch.where(ids == wanted, logs, -math.inf).amax(1)
        return -float(torch.where(found > -math.inf, found, spread).double().mean())

    def _remarks(self) -> Iterable[str]:
        its = self.coverage
        if its.told < its.tokens:
            yield (
                f"of {its.tokens - its.told:,} training tokens in the loss {str(self.path)!r} says "
                "nothing, so that nothing is distilled there"
            )


class _Texts:
    """The training texts, by their tokens.

    Args:
        source: the data.
        file: name of the file, for messages.
    """

    def __init__(self, source: Source, file: str) -> None:
        train = source.train
        assert isinstance(train.samples, Sequences)
        assert isinstance(source.task, Language)
        assert train.targets is not None
        self.targets, self._name, self._width = train.targets, source.name, source.task.width
        inputs = train.samples.take(train.index, torch.zeros_like(train.index))
        lengths = train.samples.tokens.lengths[train.samples.rows(train.index)].tolist()
        self._of_position = {number: row for row, number in enumerate(train.index.tolist())}
        self._ids: list[list[int]] = []
        self._whole: dict[tuple[int, ...], list[int]] = {}
        self._parts: dict[tuple[int, ...], list[int]] = {}
        for row, (ids, targets, length) in enumerate(
            zip(named(inputs)["input_ids"].tolist(), self.targets.tolist(), lengths, strict=True)
        ):
            last = targets[length - 1]
            text = [*ids[:length], *([] if last == UNLABELED else [last])]
            self._ids.append(text)
            self._whole.setdefault(tuple(text), []).append(row)
            response = tuple(text[_start(targets) + 1 :])
            self._parts.setdefault(response, []).append(row)
            if response[-1] == source.task.end:  # an API leaves it out
                self._parts.setdefault(response[:-1], []).append(row)

    def places(self, said: Said) -> Iterable[tuple[int, int, Top]]:
        """The sample and the position in its targets of all that a row says, in all samples of one text.

        Raises:
            LimbeckError: for a row that is about no training text, or about several.
        """
        for row in self._rows(said):
            yield from self._places(said, row)

    def _places(self, said: Said, row: int) -> Iterable[tuple[int, int, Top]]:
        text, start = self._ids[row], 0
        if not said.whole:
            start = _start(self.targets[row].tolist()) + 1
        for place, (token, top) in enumerate(zip(said.tokens, said.tops, strict=True), start):
            if place >= len(text):
                break  # what a row of the data has no room for
            if token != text[place]:
                raise LimbeckError(
                    f"{said.where} has the token {token} at position {place}, where the sample "
                    f"{row} of {self._name} has {text[place]}; it was made of another text, with another "
                    "tokenizer or template"
                )
            if top is not None and place:
                if wrong := next((number for number in top if not 0 <= number < self._width), None):
                    raise LimbeckError(
                        f"{said.where} has the id {wrong}, and the tokenizer of {self._name} has "
                        f"{self._width:,}"
                    )
                yield row, place - 1, top

    def _rows(self, said: Said) -> Sequence[int]:
        if said.sample is not None:
            if said.sample not in self._of_position:
                raise LimbeckError(
                    f"{said.where} is about the sample {said.sample}, and {self._name} has "
                    f"{len(self._ids):,} training samples; they are counted from 0"
                )
            return [self._of_position[said.sample]]
        key = tuple(said.tokens)
        if key in self._whole:
            return self._whole[key]
        found = [] if said.whole else self._parts.get(key, [])
        if not found:
            raise LimbeckError(
                f"{said.where} has the tokens of no training sample of {self._name}; it was made of other "
                "texts, with another tokenizer or template, or should name the position of its own, custom_id"
            )
        if len(found) > 1:
            raise LimbeckError(
                f"{said.where} has a response that {len(found)} training samples of {self._name} have; it "
                "should name the position of its own, custom_id"
            )
        return found


def _start(targets: Sequence[int]) -> int:
    """The first position that is learned."""
    return next(place for place, target in enumerate(targets) if target != UNLABELED)


def _table(tops: Sequence[Top], width: int) -> tuple[Tensor, Tensor, Tensor]:
    """Ids (P + 1, k), their log-probabilities, and of all others (P + 1, 1); the last row tells nothing."""
    most = max(map(len, tops))
    ids = torch.full((len(tops) + 1, most), width, dtype=torch.int32)
    logs = torch.full((len(tops) + 1, most), LEAST)
    tail = torch.zeros(len(tops) + 1, 1)
    for row, top in enumerate(tops):
        numbers = torch.tensor([*top.values()], dtype=torch.float64)
        sum_ = float(numbers.exp().sum())
        scale = math.log(sum_) if sum_ > 1 or len(top) == width else 0.0
        ids[row, : len(top)] = torch.tensor([*top], dtype=torch.int32)
        logs[row, : len(top)] = (numbers - scale).clamp(min=LEAST).float()
        left = 1 - min(sum_, 1.0)
        tail[row] = math.log(left) if left > 0 else LEAST
    return ids, logs, tail
