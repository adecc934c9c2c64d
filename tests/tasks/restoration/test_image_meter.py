from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from limbeck import LimbeckError
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Restoration
from limbeck.tasks.restoration.bicubic import resized_bicubic
from limbeck.tasks.restoration.quality import psnr, ssim

TASK = Restoration(("gray",))


def image(seed: int, side: int = 20) -> Tensor:
    """(1, side, side) levels that vary slowly."""
    draw = torch.Generator().manual_seed(seed)
    small = torch.randint(256, (1, side // 4, side // 4), generator=draw, dtype=torch.uint8)
    return resized_bicubic(small, side, side).long()


def batch_of(*targets: Tensor) -> Batch:
    whole = torch.stack(targets)
    inputs = resized_bicubic(whole.clamp(min=0).to(torch.uint8), 10, 10).float() / 255
    return Batch(inputs, whole, index=torch.arange(len(whole)))


def test_figures_are_means_over_images_without_borders() -> None:
    first, second = image(0), image(1)
    answers = torch.stack((first, second)).float() / 255
    answers[0, :, 3, 3] += 0.1  # inside: 25.5 levels, which rounds to 26 or 25 by what was there
    answers[1, :, 0, :] = 0  # in the border of 2 pixels, which does not count
    meter = TASK.meter()
    meter.update(Outputs(logits=answers), batch_of(first, second))
    found = TASK.measure(meter, None)
    rounded = (255 * answers[0, 0].double()).round().clamp(0, 255)
    expected = psnr(rounded[2:-2, 2:-2], first[0, 2:-2, 2:-2])
    assert found.images[0].psnr == pytest.approx(expected)
    assert found.images[0].ssim == pytest.approx(ssim(rounded[2:-2, 2:-2], first[0, 2:-2, 2:-2]))
    assert found.images[1].psnr == math.inf
    enlarged = resized_bicubic(255 * batch_of(first).inputs[0].double(), 20, 20)  # type: ignore[index]
    plain = psnr(enlarged[0, 2:-2, 2:-2].clamp(0, 255), first[0, 2:-2, 2:-2])
    assert found.images[0].bicubic == pytest.approx(plain, rel=1e-6)
    assert meter.compute()["psnr"] == math.inf


def test_what_is_around_an_image_does_not_count() -> None:
    whole = image(2)
    padded = torch.full((1, 20, 20), -1)
    padded[:, :16, :18] = whole[:, :16, :18]
    meter = TASK.meter()
    answer = torch.rand(1, 1, 20, 20, generator=torch.Generator().manual_seed(3))
    meter.update(Outputs(logits=answer), batch_of(padded))
    levels = (255 * answer[0, 0, :16, :18].double()).round()
    assert TASK.measure(meter, None).images[0].psnr == pytest.approx(
        psnr(levels[2:-2, 2:-2], whole[0, 2:14, 2:16])
    )


def test_without_targets_nothing_is_measured() -> None:
    meter = TASK.meter(quick=True)
    empty = torch.full((1, 20, 20), -1)
    meter.update(Outputs(logits=torch.zeros(1, 1, 20, 20)), batch_of(empty))
    with pytest.raises(LimbeckError, match="none of the 1 images has a target"):
        meter.compute()


def test_a_quick_meter_has_the_first_metric_alone() -> None:
    meter = TASK.meter(quick=True)
    meter.update(Outputs(logits=torch.zeros(1, 1, 20, 20)), batch_of(image(0)))
    assert list(meter.compute()) == ["psnr"]


def test_the_part_where_the_student_is_worst_is_shown() -> None:
    target = image(4, 160)
    batch = Batch(
        resized_bicubic(target.to(torch.uint8), 80, 80)[None].float() / 255, target[None], torch.arange(1)
    )
    teacher = target[None].float() / 255
    student = teacher.clone()
    student[..., 100:110, 120:130] = 1 - student[..., 100:110, 120:130]
    comparison = TASK.comparison()
    comparison.update(Outputs(logits=student), Outputs(logits=teacher), batch)
    found = comparison.compute()
    (example,) = found.examples
    assert example.size == (64, 64)
    words = example.target.split()
    row, column = int(words[words.index("row") + 1]), int(words[words.index("column") + 1].rstrip(";"))
    assert row <= 100 <= 110 <= row + 64
    assert column <= 120 <= 130 <= column + 64
    bicubic, ours, theirs, truth = example.levels()
    assert theirs == truth != ours
    assert len(bicubic) == 64 * 64 * 3
    assert found.agreement is None
    assert found.distance == pytest.approx(
        float((student.mul(255).round() - teacher.mul(255).round()).abs().mean()), rel=1e-6
    )
