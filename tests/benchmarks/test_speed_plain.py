"""benchmarks/speed: the plain loop does what it is compared with."""

import numpy as np
import pytest
import torch
from benchmarks.speed.plain import Images, PlainLoop, accuracy, bare_step, distillation
from torch import Tensor, nn

from limbeck.data.views import Crop
from limbeck.losses import kd

PICTURE = torch.arange(3 * 32 * 32).remainder(251).to(torch.uint8).view(1, 3, 32, 32)


def images(count: int = 6) -> Images:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    return Images(pixels, torch.arange(count) % 5, (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))


def test_an_image_lies_in_one_piece() -> None:
    assert images().images[1].flags["C_CONTIGUOUS"]


def linear() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 32, 5))


def test_its_kd_is_limbecks() -> None:
    student, teacher = torch.randn(2, 8, 5, generator=torch.Generator().manual_seed(1))
    assert float(distillation(student, teacher)) == pytest.approx(float(kd(student, teacher, 4.0)), rel=1e-5)


def test_its_images_are_views_of_limbecks_crop() -> None:
    crop, dataset = Crop(padding=4, flip=True), Images(PICTURE, torch.tensor([3]), (0, 0, 0), (1, 1, 1))
    every = PICTURE.expand(crop.count, -1, -1, -1)
    views = crop.render(every, torch.zeros(crop.count, dtype=torch.int64), torch.arange(crop.count))
    assert isinstance(views, Tensor)
    for _ in range(20):
        shown, label = dataset[0]
        assert label == 3
        assert bool((views == (shown * 255).round()).flatten(1).all(1).any())


def test_its_images_are_normalized() -> None:
    white = torch.full((1, 3, 32, 32), 255, dtype=torch.uint8)
    dataset = Images(white, torch.tensor([0]), (0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
    shown, _ = dataset[0]
    assert {float(value) for value in np.unique(shown.numpy())} <= {-2.0, 2.0}  # the border, the image


@pytest.mark.parametrize("modern", [False, True])
def test_an_epoch_sees_every_image_once_and_learns(modern: bool) -> None:
    student = linear()
    before = student[1].weight.clone()  # type: ignore[index]
    loop = PlainLoop(student, linear(), images(), batch_size=4, workers=0, modern=modern)
    loop.epoch()
    assert loop.losses.count == loop.top1.count == 6
    assert not torch.equal(student[1].weight, before)  # type: ignore[index]


def test_accuracy_by_hand() -> None:
    logits = torch.eye(6)[[0, 1, 5]] + torch.linspace(0.5, 0, 6)
    first, fifth = accuracy(logits, torch.tensor([0, 2, 4]))
    # Row 2 ranks 5, 0, 1, 2, 3: class 4 is not among its first five.
    assert float(first) == pytest.approx(100 / 3)
    assert float(fifth) == pytest.approx(200 / 3)


def test_the_bare_step_learns() -> None:
    student = linear()
    before = student[1].weight.clone()  # type: ignore[index]
    bare_step(student, bf16=False, device="cpu")(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    assert not torch.equal(student[1].weight, before)  # type: ignore[index]
