import pytest
import torch
import torch.nn.functional as F
from declared import declared

from limbeck.errors import LimbeckError
from limbeck.models import LeNet5, count_parameters


@pytest.mark.parametrize(("num_classes", "parameters"), [(10, 61_706), (100, 69_356), (200, 77_856)])
@pytest.mark.parametrize("size", [28, 32])
def test_parameters(num_classes: int, parameters: int, size: int) -> None:
    assert count_parameters(LeNet5(in_channels=1, size=size, num_classes=num_classes)) == parameters


def test_the_forward_is_the_one_of_the_paper_with_relu_and_max_pooling() -> None:
    network = LeNet5(in_channels=1, size=32, num_classes=10)
    images = torch.rand(3, 1, 32, 32)
    weights = network.state_dict()
    first = F.conv2d(images, weights["conv1.weight"], weights["conv1.bias"])
    assert first.shape == (3, 6, 28, 28)
    second = F.conv2d(F.max_pool2d(first.relu(), 2), weights["conv2.weight"], weights["conv2.bias"])
    assert second.shape == (3, 16, 10, 10)
    maps = F.max_pool2d(second.relu(), 2).flatten(1)
    hidden = F.linear(maps, weights["fc1.weight"], weights["fc1.bias"]).relu()
    embedding = F.linear(hidden, weights["fc2.weight"], weights["fc2.bias"]).relu()
    logits = F.linear(embedding, weights["fc3.weight"], weights["fc3.bias"])

    torch.testing.assert_close(
        declared(network, images),
        {
            "logits": logits,
            "stages": [first.relu(), second.relu()],
            "preactivations": [first, second],
            "embedding": embedding,
        },
    )


def test_28_pixels_are_padded_to_32() -> None:
    small, large = (LeNet5(in_channels=1, size=size, num_classes=10) for size in (28, 32))
    large.load_state_dict(small.state_dict())
    images = torch.rand(2, 1, 28, 28)
    torch.testing.assert_close(small(images), large(F.pad(images, (2, 2, 2, 2))))


@pytest.mark.parametrize("size", [16, 17, 30, 45, [28, 16], [16, 40]])
def test_other_sizes(size: int | list[int]) -> None:
    height, width = [size, size] if isinstance(size, int) else size
    network = LeNet5(in_channels=2, size=size, num_classes=4)
    assert network(torch.rand(2, 2, height, width)).shape == (2, 4)


@pytest.mark.parametrize("size", [8, 15, [32, 15]])
def test_too_small_images_are_refused(size: int | list[int]) -> None:
    with pytest.raises(LimbeckError, match="lenet5 needs images of at least 16 x 16 pixels"):
        LeNet5(in_channels=1, size=size, num_classes=10)
