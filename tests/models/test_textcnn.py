import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck.features import FeaturePoints, Tap, find
from limbeck.models import TextCNN, build, count_parameters

IDS = torch.tensor([[3, 1, 4, 1, 5, 9, 2], [6, 5, 3, 0, 0, 0, 0]])
MASK = torch.tensor([[1, 1, 1, 1, 1, 1, 1], [1, 1, 1, 0, 0, 0, 0]])


def small() -> TextCNN:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return TextCNN(dim=3, channels=2, widths=[2, 3], vocab_size=10, num_classes=4).eval()


def windows(network: TextCNN, ids: Tensor) -> Tensor:
    """(L, channels of all widths) by Eq. 2: a filter on the words around each, zeros beyond the ends."""
    words, rows = network.embedding.weight[ids], []
    for at in range(len(ids)):
        row = []
        for convolution in network.windows.convolutions:
            weight, bias = convolution.weight, convolution.bias
            assert isinstance(weight, Tensor)
            assert isinstance(bias, Tensor)
            width = weight.shape[2]
            for feature in range(len(weight)):
                total = bias[feature]
                for place in range(width):
                    word = at + place - width // 2
                    if 0 <= word < len(ids):
                        total = total + weight[feature, :, place] @ words[word]
                row.append(total)
        rows.append(torch.stack(row))
    return torch.stack(rows)


def test_forward_and_features() -> None:
    network = small()
    inputs = {"input_ids": IDS, "attention_mask": MASK}
    points = find(network, inputs)
    outputs = Tap(network, points, ["stem", "stages", "preactivations", "embedding"])(inputs)
    for row, length in enumerate((7, 3)):
        before = windows(network, IDS[row, :length])
        features = torch.cat([before, torch.zeros(7 - length, 4)])
        torch.testing.assert_close(outputs.preactivations[0][row], features)
        torch.testing.assert_close(outputs.stages[0][row], features.relu())
        torch.testing.assert_close(outputs.embedding[row], before.relu().amax(0))
    torch.testing.assert_close(outputs.stem, network.embedding(IDS))
    torch.testing.assert_close(outputs.logits, network.classifier(outputs.embedding))
    assert torch.equal(outputs.mask, MASK.bool())
    assert isinstance(points, FeaturePoints)


def test_what_follows_the_end_of_a_text_makes_no_difference() -> None:
    network = small()
    full = network(IDS, MASK)
    other = network(torch.where(MASK.bool(), IDS, 7), MASK)
    assert torch.equal(full, other)
    torch.testing.assert_close(network(IDS[1:, :3], MASK[1:, :3]), full[1:])
    torch.testing.assert_close(network(IDS[1:, :3]), full[1:])  # without a mask every token counts
    assert not torch.allclose(network(IDS[1:]), full[1:])


def test_a_text_without_a_token_has_finite_logits_and_gradients() -> None:
    network = small()
    logits = network(IDS[:1], torch.zeros(1, 7))
    torch.testing.assert_close(logits[0], network.classifier.bias)
    logits.sum().backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in network.parameters())


def test_dropout_acts_in_training_only() -> None:
    network = TextCNN(dim=3, channels=100, dropout=0.5, vocab_size=10, num_classes=4).eval()
    assert torch.equal(network(IDS, MASK), network(IDS, MASK))
    assert not torch.equal(network.train()(IDS, MASK), network(IDS, MASK))


def test_the_paper_s_sizes_are_the_defaults() -> None:
    network = build("textcnn", example={"input_ids": IDS}, num_classes=5, facts={"vocab_size": 1000})
    assert isinstance(network, TextCNN)
    convolutions = sum(100 * (300 * width + 1) for width in (3, 4, 5))
    assert count_parameters(network) == 1000 * 300 + convolutions + 5 * (300 + 1)
    assert network.embedding.weight.abs().max() <= 0.25
    assert network.dropout.p == 0.5


def test_bfloat16() -> None:
    network = small()
    expected = F.softmax(network(IDS, MASK), dim=1)
    found = F.softmax(network.bfloat16()(IDS, MASK).float(), dim=1)
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0)


def test_each_token_may_have_logits_of_its_own() -> None:
    whole = TextCNN(dim=4, channels=3, widths=[3], vocab_size=10, num_classes=2).eval()
    network = TextCNN(dim=4, channels=3, widths=[3], per_token=True, vocab_size=10, num_classes=2).eval()
    network.load_state_dict(whole.state_dict())
    ids, mask = torch.tensor([[3, 1, 4, 1, 5]]), torch.tensor([[1, 1, 1, 1, 0]])
    logits = network(ids, mask)
    assert logits.shape == (1, 5, 2)
    tokens = network.embedding(ids[:, :4])[0]
    around = torch.cat([torch.zeros(1, 4), tokens, torch.zeros(1, 4)])
    (convolution,) = network.windows.convolutions
    weight, bias = convolution.weight, convolution.bias
    assert isinstance(weight, Tensor)
    assert isinstance(bias, Tensor)
    for place in range(4):
        features = torch.einsum("ocw,wc->o", weight, around[place : place + 3]) + bias
        torch.testing.assert_close(logits[0, place], network.classifier(features.relu()))
