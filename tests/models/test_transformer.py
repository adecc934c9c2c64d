import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.features import Tap, find
from limbeck.models import Transformer, build, count_parameters

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 0, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]])


def small(dropout: float = 0.1) -> Transformer:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Transformer(
            dim=6, depth=2, heads=3, expansion=2, dropout=dropout, vocab_size=10, num_classes=4
        )
    return network.double().eval()


def encode(network: Transformer, ids: Tensor) -> list[Tensor]:
    """(L, dim) input of the first block and output of each, one query and one head at a time."""
    weights = network.state_dict()
    length, dim, heads = len(ids), 6, 3
    size = dim // heads
    angles = [[at / 10_000 ** (2 * pair / dim) for pair in range(dim // 2)] for at in range(length)]
    positions = [[wave(angle) for angle in row for wave in (math.sin, math.cos)] for row in angles]
    states = weights["embedding.weight"][ids] + torch.tensor(positions, dtype=torch.float64)
    found = [states]
    for number in range(2):
        block = {
            key.removeprefix(f"blocks.{number}."): value
            for key, value in weights.items()
            if key.startswith(f"blocks.{number}.")
        }

        def linear(name: str, inputs: Tensor, block: dict[str, Tensor] = block) -> Tensor:
            return F.linear(inputs, block[f"{name}.weight"], block[f"{name}.bias"])

        def norm(name: str, inputs: Tensor, block: dict[str, Tensor] = block) -> Tensor:
            return F.layer_norm(inputs, (dim,), block[f"{name}.weight"], block[f"{name}.bias"])

        query, key, value = torch.split(linear("projections", norm("attention_norm", states)), dim, dim=1)
        mixed = torch.zeros_like(states)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for at in range(length):
                scores = torch.stack([query[at, part] @ key[to, part] for to in range(length)])
                weight = (scores / math.sqrt(size)).softmax(0)
                mixed[at, part] = sum(weight[to] * value[to, part] for to in range(length))
        states = states + linear("mixing", mixed)
        states = states + linear("feed.2", F.gelu(linear("feed.0", norm("feed_norm", states))))
        found.append(states)
    return found


def test_forward_and_features() -> None:
    network = small()
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    outputs = Tap(network, find(network, inputs), ["stem", "stages", "embedding"])(inputs)
    for row, length in enumerate((7, 3)):
        stem, *states = encode(network, IDS[row, :length])
        torch.testing.assert_close(outputs.stem[row, :length], stem)
        for stage, state in zip(outputs.stages, states, strict=True):
            torch.testing.assert_close(stage[row, :length], state)
            assert not stage[row, length:].any()
        torch.testing.assert_close(outputs.embedding[row], network.norm(states[-1]).mean(0))
    torch.testing.assert_close(outputs.logits, network.classifier(outputs.embedding))
    assert torch.equal(outputs.mask, MASK.bool())


def test_what_follows_the_end_of_a_text_makes_no_difference() -> None:
    network = small()
    full = network(IDS, MASK)
    torch.testing.assert_close(network(torch.where(MASK.bool(), IDS, 7), MASK), full)
    torch.testing.assert_close(network(IDS[1:, :3], MASK[1:, :3]), full[1:])
    torch.testing.assert_close(network(IDS[1:, :3]), full[1:])  # without a mask every token counts
    assert not torch.allclose(network(IDS[1:]), full[1:])


def test_the_order_of_the_words_makes_one() -> None:
    network = small()
    assert not torch.allclose(network(IDS[:1]), network(IDS[:1].flip(1)))


def test_a_text_without_a_token_has_finite_logits_and_gradients() -> None:
    network = small()
    logits = network(IDS, MASK * torch.tensor([[1], [0]]))
    torch.testing.assert_close(logits[1], network.classifier.bias)
    logits.sum().backward()
    gradients = [parameter.grad for parameter in network.parameters()]
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients)


def test_dropout_acts_in_training_only() -> None:
    network = small(dropout=0.5)
    assert torch.equal(network(IDS, MASK), network(IDS, MASK))
    assert not torch.equal(network.train()(IDS, MASK), network(IDS, MASK))


def test_parameters_of_the_defaults() -> None:
    network = build("transformer", example={"input_ids": IDS}, num_classes=5, facts={"vocab_size": 1000})
    block = 2 * (2 * 128) + (128 + 1) * 3 * 128 + (128 + 1) * 128 + (128 + 1) * 512 + (512 + 1) * 128
    assert count_parameters(network) == 1000 * 128 + 2 * block + 2 * 128 + 5 * (128 + 1)


def test_bfloat16() -> None:
    network = small()
    expected = F.softmax(network(IDS, MASK), dim=1)
    found = F.softmax(network.bfloat16()(IDS, MASK).double(), dim=1)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


@pytest.mark.parametrize("spec", ["transformer(dim=10)", "transformer(dim=9, heads=3)"])
def test_refuses(spec: str) -> None:
    with pytest.raises(LimbeckError, match=r"transformer needs an even dim that heads=\d divides, not dim="):
        build(spec, example={"input_ids": IDS}, num_classes=5, facts={"vocab_size": 1000})


def test_each_token_may_have_logits_of_its_own() -> None:
    whole = small()
    network = Transformer(
        dim=6, depth=2, heads=3, expansion=2, per_token=True, vocab_size=10, num_classes=4
    ).double()
    network.load_state_dict(whole.state_dict())
    logits = network.eval()(IDS, MASK)
    weights = network.state_dict()
    for row, ids in enumerate(IDS):
        states = encode(whole, ids[MASK[row].bool()])[-1]
        states = F.layer_norm(states, (6,), weights["norm.weight"], weights["norm.bias"])
        expected = F.linear(states, weights["classifier.weight"], weights["classifier.bias"])
        torch.testing.assert_close(logits[row, : len(states)], expected)
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    points = find(network, inputs, dense=True)
    embedding = Tap(network, points, ("embedding",), positions=True)(inputs).embedding
    torch.testing.assert_close(network.classifier(embedding), logits)
