"""The causal language model of limbeck: what it sees, documents in one row, and decoding token by token."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck import LimbeckError, models
from limbeck.features import find
from limbeck.features.calling import call
from limbeck.models import GPT, KVCache

FORMS: list[dict[str, Any]] = [
    {},
    {"positions": "learned", "context": 16},
    {"norm": "layer", "feed": "gelu", "tie": False},
]


def made(**settings: Any) -> GPT:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = GPT(**{"dim": 16, "depth": 2, "heads": 2, "vocab_size": 11, **settings})
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)  # so that what is attended to matters
    return network.eval()


def some(length: int, seed: int = 0) -> Tensor:
    return torch.randint(11, (1, length), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_no_token_sees_a_later_one(form: dict[str, Any]) -> None:
    network, ids = made(**form), some(9)
    changed = ids.clone()
    changed[0, 6] = (changed[0, 6] + 1) % 11
    before, after = network(ids), network(changed)
    assert before.shape == (1, 9, 11)
    torch.testing.assert_close(before[:, :6], after[:, :6], rtol=0, atol=1e-6)
    assert (before[:, 6:] - after[:, 6:]).abs().amax(-1).min() > 1e-3


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_a_document_of_a_row_answers_as_it_does_alone(form: dict[str, Any]) -> None:
    network, documents = made(**form), [some(4, 1), some(6, 2), some(3, 3)]
    ids = torch.cat([*documents, torch.zeros(1, 2, dtype=torch.int64)], 1)
    mask = torch.tensor([[1] * 4 + [2] * 6 + [3] * 3 + [0] * 2])
    position = torch.tensor([[*range(4), *range(6), *range(3), 0, 0]])
    apart = torch.cat([network(each) for each in documents], 1)
    for given in ({"position_ids": position}, {}):
        together = network(ids, attention_mask=mask, **given)[:, :13]
        torch.testing.assert_close(together, apart, rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_decoding_token_by_token_gives_the_same(form: dict[str, Any]) -> None:
    network, ids = made(**form), some(10)
    whole, cache = network(ids), KVCache()
    parts = [network(ids[:, :4], cache=cache), network(ids[:, 4:6], cache=cache)]
    parts += [network(ids[:, place : place + 1], cache=cache) for place in range(6, 10)]
    assert len(cache) == 10
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


@torch.no_grad()
def test_prompts_of_different_lengths_are_decoded_together() -> None:
    network, long, short = made(), some(6, 4), some(4, 5)
    ids = torch.cat([long, torch.cat([torch.zeros(1, 2, dtype=torch.int64), short], 1)])
    mask = torch.tensor([[1] * 6, [0, 0, 1, 1, 1, 1]])
    cache = KVCache()
    first = network(ids[:, :4], mask[:, :4], cache=cache)
    second = network(ids[:, 4:], mask, cache=cache)
    torch.testing.assert_close(first[1:, 2:], network(short)[:, :2], rtol=0, atol=1e-5)
    torch.testing.assert_close(second[:1], network(long)[:, 4:], rtol=0, atol=1e-5)
    torch.testing.assert_close(second[1:], network(short)[:, 2:], rtol=0, atol=1e-5)
    cache.select(torch.tensor([1]))
    third = network(some(1, 6), torch.cat([mask[1:], torch.ones(1, 1, dtype=torch.int64)], 1), cache=cache)
    wanted = network(torch.cat([short, some(1, 6)], 1))[:, -1:]
    torch.testing.assert_close(third, wanted, rtol=0, atol=1e-5)


def test_it_is_made_by_name_for_a_vocabulary() -> None:
    inputs = {"input_ids": some(5), "attention_mask": torch.ones(1, 5, dtype=torch.int64)}
    facts = {"vocab_size": 11}
    network = models.build("gpt(dim=8, depth=2, heads=2)", example=inputs, num_classes=11, facts=facts)
    assert isinstance(network, GPT)
    assert network.head.weight is network.embedding.weight
    points = find(network, inputs, dense=True)
    assert (str(points.embedding), len(points.stages)) == ("pool(head:input)", 2)
    assert call(network, inputs).shape == (1, 5, 11)
    wider = models.build("gpt(dim=8, depth=1, heads=2, vocab_size=16)", example=inputs, facts=facts)
    assert call(wider, inputs).shape == (1, 5, 16)


def test_what_it_cannot_be_is_said() -> None:
    with pytest.raises(LimbeckError, match="heads=3 divides into even parts, not dim=16"):
        made(heads=3)
    with pytest.raises(LimbeckError, match="16 learned positions, and a document has 17 tokens"):
        made(positions="learned", context=16)(some(17))
