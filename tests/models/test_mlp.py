import torch
import torch.nn.functional as F
from declared import declared

from limbeck.models import MLP, build, count_parameters


def test_forward_and_features_on_a_table() -> None:
    network = MLP([5, 4], dropout=0.5, in_features=3, num_classes=2)
    rows = torch.rand(6, 3)
    weights = network.state_dict()
    first = F.linear(rows, weights["layers.0.linear.weight"], weights["layers.0.linear.bias"])
    second = F.linear(first.relu(), weights["layers.1.linear.weight"], weights["layers.1.linear.bias"])

    torch.testing.assert_close(
        declared(network, rows),
        {
            "logits": F.linear(second.relu(), weights["classifier.weight"], weights["classifier.bias"]),
            "stages": [first.relu(), second.relu()],
            "preactivations": [first, second],
            "embedding": second.relu(),
        },
    )


def test_dropout_acts_in_training_only() -> None:
    network = MLP([200], dropout=0.5, in_features=3, num_classes=2)
    rows = torch.rand(4, 3)
    assert not torch.equal(network.train()(rows), network(rows))
    assert torch.equal(network.eval()(rows), network(rows))


def test_images_are_flattened() -> None:
    images = torch.rand(2, 3, 4, 5)
    network = build("mlp(hidden=[7])", example=images, num_classes=2)
    assert count_parameters(network) == (3 * 4 * 5 + 1) * 7 + (7 + 1) * 2
    torch.testing.assert_close(network(images), network(images.flatten(1)))


def test_without_hidden_layers_it_is_linear() -> None:
    network = MLP([], in_features=3, num_classes=2)
    rows = torch.rand(4, 3)
    features = declared(network, rows)
    assert features["stages"] == []
    assert torch.equal(features["embedding"], rows)  # type: ignore[arg-type]
    torch.testing.assert_close(network(2 * rows) - network(rows), network(rows) - network(0 * rows))
