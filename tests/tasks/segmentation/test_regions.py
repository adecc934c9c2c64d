"""Where labels of pixels are hard: masks drawn by hand, and a naive loop."""

from __future__ import annotations

import torch

from limbeck.tasks.segmentation.regions import SMALL, near_boundaries, reach, small_regions


def test_a_pixel_is_near_a_boundary_by_a_naive_loop() -> None:
    target = torch.randint(0, 3, (4, 5), generator=torch.Generator().manual_seed(0))
    target = target.repeat_interleave(20, 0).repeat_interleave(20, 1)  # blocks of 20 x 20 pixels
    target[30:45, 50:60] = 255
    far = reach(target)
    assert far == 3  # 2 % of the diagonal of 80 x 100 pixels is 2.6
    near = near_boundaries(target, 255)
    for row in range(80):
        for column in range(100):
            around = target[max(0, row - far) : row + far + 1, max(0, column - far) : column + far + 1]
            others = around[(around != 255) & (around != target[row, column])]
            assert near[row, column] == bool(len(others) and target[row, column] != 255), (row, column)
    assert 0 < int(near.sum()) < 8000


def test_pixels_that_do_not_count_make_no_boundary() -> None:
    target = torch.zeros(40, 40, dtype=torch.uint8)
    target[10:20] = 255
    assert not near_boundaries(target, 255).any()


def test_a_band_of_ignored_pixels_between_two_classes_is_looked_across() -> None:
    target = torch.zeros(1, 100, dtype=torch.int64)
    target[:, 50:51], target[:, 51:] = 255, 1
    assert near_boundaries(target, 255)[0].nonzero().flatten().tolist() == [49, 51]


def test_regions_below_32_times_32_pixels_are_small() -> None:
    target = torch.zeros(100, 100, dtype=torch.int64)
    target[:32, :32] = 1  # 1,024 pixels: not small
    target[50:82, 50:81] = 1  # 992 pixels
    target[90, 90] = target[91, 91] = 2  # they touch at a corner, which makes two regions
    target[95:, 95:] = 255
    small, count = small_regions(target, 255)
    assert SMALL == 1024
    assert count == 3
    assert int(small.sum()) == 992 + 2
    assert small[50:82, 50:81].all()
    assert small[90, 90]
    assert small[91, 91]
