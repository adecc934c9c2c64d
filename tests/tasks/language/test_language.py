"""The task of language models: targets, rows, and means that no padding, packing or split changes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, Outputs
from limbeck.methods.terms import Losses
from limbeck.outputs import UNLABELED
from limbeck.tasks import Language, from_record

TASK = Language(7)
OBJECTIVE = "0.5*ce + 0.5*kd(temperature=1)"


class Words(nn.Module):
    """A score for each next token from the present one alone, so that documents cannot mix."""

    def __init__(self, dim: int, seed: int, width: int = 7) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.embedding, self.head = nn.Embedding(7, dim), nn.Linear(dim, width)
        self.double()

    def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        made: Tensor = self.head(self.embedding(input_ids))
        return made


def documents(count: int = 5, seed: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Ids and targets of documents of 2 to 6 positions, the first two of which are a prompt."""
    draw = torch.Generator().manual_seed(seed)
    made = []
    for number in range(count):
        ids = torch.randint(7, (3 + number,), generator=draw)
        made.append((ids[:-1], ids[1:].masked_fill(torch.arange(len(ids) - 1) < 1, UNLABELED)))
    return made


def padded(some: list[tuple[Tensor, Tensor]], length: int) -> Batch:
    ids = torch.stack([torch.cat([each, each.new_zeros(length - len(each))]) for each, _ in some])
    targets = torch.stack(
        [torch.cat([each, each.new_full((length - len(each),), UNLABELED)]) for _, each in some]
    )
    mask = torch.stack([(torch.arange(length) < len(each)).long() for each, _ in some])
    return Batch({"input_ids": ids, "attention_mask": mask}, targets, index=torch.arange(len(some)))


def distiller(width: int = 7) -> Distiller:
    example = padded(documents(2), 6).inputs
    return Distiller(Words(4, 0, width), Words(6, 1), OBJECTIVE, example=example, task=TASK)


def gradients(losses: Losses, module: Distiller, scale: float = 1.0) -> list[Tensor]:
    return [scale * each for each in torch.autograd.grad(losses.total, list(module.student.parameters()))]


def test_targets_are_the_next_tokens() -> None:
    assert Language.as_targets([[1, 2], [3, UNLABELED]], 2, "training").tolist() == [[1, 2], [3, -100]]
    assert Language.as_targets(None, 3, "training").shape == (3, 0)
    with pytest.raises(LimbeckError, match=r"\(N, L\) integers, not torch.float32 of shape \(2, 1\)"):
        Language.as_targets(torch.zeros(2, 1), 2, "training")
    with pytest.raises(LimbeckError, match="target 7 of sample 1 at position 0 is no token id: with a voc"):
        TASK.check(torch.tensor([[0, 6], [7, -100]]), "training")
    with pytest.raises(LimbeckError, match=r"must be int64 of shape \(2, L\)"):
        TASK.check_batch(torch.zeros(2, 3), 2)
    assert Language.labeled(torch.tensor([[0, -100], [-100, -100]])).tolist() == [True, False]


def test_a_record_holds_the_size_of_the_vocabulary_and_no_names() -> None:
    assert TASK.record() == {"name": "language", "vocab_size": 7, "end": None}
    assert from_record(TASK.record()) == TASK
    assert (TASK.outputs, TASK.width, TASK.columns) == ((), 7, 7)
    with pytest.raises(LimbeckError, match="at least 2 ids"):
        Language(1)


def test_a_row_is_a_token_that_is_predicted() -> None:
    batch = padded(documents(3), 6)
    assert batch.targets is not None
    logits = torch.randn(3, 6, 9)  # a head that is padded to 9
    rows = TASK.rows(batch, Outputs(logits=logits))
    valid = batch.targets != UNLABELED
    assert rows.count == int(TASK.count(batch)) == 1 + 2 + 3
    assert torch.equal(rows.logits(logits), logits[valid][:, :7])
    assert rows.targets is not None
    assert rows.targets.tolist() == batch.targets[valid].tolist()
    unlabeled = TASK.rows(Batch(batch.inputs), Outputs(logits=logits))
    assert unlabeled.count == int(TASK.count(Batch(batch.inputs))) == 2 + 3 + 4
    with pytest.raises(LimbeckError, match=r"targets of a batch have the shape \(3, 6\)"):
        TASK.rows(batch, Outputs(logits=logits[:, :5]))


@pytest.mark.parametrize("length", [6, 11])
def test_padding_changes_no_loss(length: int) -> None:
    module = distiller()
    losses, wider = module(padded(documents(), 6)), module(padded(documents(), length))
    assert float(losses.total.detach()) == pytest.approx(float(wider.total.detach()), abs=1e-12)
    for ours, theirs in zip(gradients(losses, module), gradients(wider, module), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_packing_changes_no_loss() -> None:
    module, some = distiller(), documents()
    apart = module(padded(some, 6))
    row = torch.cat([ids for ids, _ in some])[None]
    targets = torch.cat([wanted for _, wanted in some])[None]
    mask = torch.cat([torch.full_like(ids, number) for number, (ids, _) in enumerate(some, 1)])[None]
    packed = module(Batch({"input_ids": row, "attention_mask": mask}, targets, index=torch.arange(1)))
    assert float(apart.total.detach()) == pytest.approx(float(packed.total.detach()), abs=1e-12)
    for ours, theirs in zip(gradients(apart, module), gradients(packed, module), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


@pytest.mark.parametrize("parts", [2, 3, 5])
def test_the_pieces_of_a_batch_add_up(parts: int) -> None:
    module = distiller()
    batch = padded(documents(), 6)
    whole = gradients(module(batch), module)
    total = int(TASK.count(batch))
    sums = [torch.zeros_like(each) for each in whole]
    for piece in batch.split(parts):
        rows = int(TASK.count(piece))
        for sum_, each in zip(sums, gradients(module(piece), module, rows / total), strict=True):
            sum_ += each
    for ours, theirs in zip(sums, whole, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)


def test_a_wider_head_is_cut_and_a_narrower_one_refused() -> None:
    wide, usual = distiller(width=9), distiller()
    with torch.no_grad():
        student, other = wide.student.state_dict(), usual.student.state_dict()
        for key, tensor in student.items():
            tensor[:7] = other[key]
    batch = padded(documents(), 6)
    assert float(wide(batch).total.detach()) == pytest.approx(float(usual(batch).total.detach()), abs=1e-12)
    with pytest.raises(LimbeckError, match=r"have the shape \(2, 6, 5\).*\(B, L, 7\) or wider"):
        distiller(width=5)


def test_chance_is_to_know_how_frequent_each_token_is() -> None:
    targets = torch.tensor([[0, 0, 0, 1], [0, 0, 0, UNLABELED]])  # 6/7 and 1/7: 0.4101 nats
    assert TASK.at_chance({"nll": 0.4102}, targets)
    assert not TASK.at_chance({"nll": 0.41}, targets)
