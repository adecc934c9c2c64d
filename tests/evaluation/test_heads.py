from __future__ import annotations

import torch
from torch import Tensor, nn

from limbeck.evaluation.heads import Heads, NewHead, new_head
from limbeck.features import find
from limbeck.outputs import Batch
from limbeck.tasks import Classification
from limbeck.teachers import LiveTeacher


def test_a_new_head_is_small_and_depends_on_its_seed_alone() -> None:
    embedding = torch.rand(3, 400)
    state = torch.get_rng_state()
    first, again, other = (new_head(embedding, 50, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.get_rng_state(), state)
    assert first.weight.shape == (50, 400)
    assert abs(first.weight.std().item() - 0.01) < 1e-3
    assert (first.bias == 0).all()
    assert torch.equal(first.weight, again.weight)
    assert not torch.equal(first.weight, other.weight)


class Words(nn.Module):
    """Mean of word vectors, then a classifier; takes named tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.classifier = nn.Embedding(9, 4), nn.Linear(4, 2)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        vectors = self.words(input_ids) * attention_mask.unsqueeze(2)
        logits: Tensor = self.classifier(vectors.sum(1) / attention_mask.sum(1, keepdim=True))
        return logits


def test_the_new_head_answers_for_named_tensors() -> None:
    network = Words().eval()
    texts = {"input_ids": torch.tensor([[1, 2], [3, 0]]), "attention_mask": torch.tensor([[1, 1], [1, 0]])}
    points = find(network, texts)
    head = new_head(torch.zeros(1, 4), 3, seed=0)
    mean = torch.stack([network.words.weight[[1, 2]].mean(0), network.words.weight[3]])
    torch.testing.assert_close(NewHead(network, points, head)(**texts), head(mean))


def test_heads_have_a_loss_and_a_rate_each_and_no_body() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 5)).eval()
    inputs, targets = torch.rand(8, 4), torch.arange(8) % 3
    body = LiveTeacher(network)
    body.open(inputs, ["embedding"])
    heads = Heads(Classification(("a", "b", "c")), body, new_head(torch.zeros(1, 6), 3, seed=0), (0.5, 0.1))
    assert heads.state_dict().keys() == {"heads.0.weight", "heads.0.bias", "heads.1.weight", "heads.1.bias"}
    assert [group["lr"] for group in heads.optimizer().param_groups] == [0.5, 0.1]
    losses = heads.train()(Batch(inputs, targets))
    assert not network.training
    assert list(losses) == ["lr=0.5", "lr=0.1"]
    assert torch.equal(losses["lr=0.5"], losses["lr=0.1"]), "they start alike"
    torch.testing.assert_close(losses.total, 2 * losses["lr=0.1"])
