from __future__ import annotations

import pytest
import torch

from limbeck import Distiller, LimbeckError, data, tasks
from limbeck.data import Loader
from limbeck.outputs import Batch, Outputs
from limbeck.tasks import Restoration
from restorers import Doubling, batch_of

TASK = Restoration(("gray",))


def test_a_row_is_a_pixel_that_counts() -> None:
    batch = batch_of()
    answers = torch.rand(4, 1, 12, 12, dtype=torch.float64)
    rows = TASK.rows(batch, Outputs(logits=answers))
    assert batch.targets is not None
    known = batch.targets != -1
    assert rows.count == int(known.sum()) == int(TASK.count(batch)) == 12 * 8 + 2 * 144
    assert rows.targets is not None
    torch.testing.assert_close(rows.targets[:, 0], (batch.targets[known] / 255).to(rows.targets))
    assert torch.equal(rows.logits(answers)[:, 0], answers[known])
    assert rows.sample is not None
    assert set(rows.sample.tolist()) == {0, 2, 3}


def test_a_batch_without_a_target_counts_zero() -> None:
    batch = batch_of()
    assert batch.targets is not None
    none = Batch(batch.inputs, torch.full_like(batch.targets, -1), index=batch.index)
    student, teacher = Doubling(3).double(), Doubling(4, seed=1).double()
    made = Distiller(student, teacher, 'mae + imitation(loss="l1")', example=batch.inputs, task=TASK)
    losses = made(none)
    assert losses["mae"].item() == 0
    losses.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in student.parameters())


def test_the_error_is_the_mean_over_pixels_that_count() -> None:
    batch = batch_of()
    student = Doubling(3).double()
    made = Distiller(student, None, "mae", example=batch.inputs, task=TASK)
    assert batch.targets is not None
    assert isinstance(batch.inputs, torch.Tensor)
    known = batch.targets != -1
    expected = (student(batch.inputs)[known] - batch.targets[known] / 255).abs().mean()
    assert made(batch)["mae"].item() == pytest.approx(expected.item(), rel=1e-9)


def test_another_factor_is_refused() -> None:
    batch = batch_of()
    with pytest.raises(LimbeckError, match=r"an image of 6 x 6 pixels is the answer and one of 12 x 12"):
        TASK.rows(batch, Outputs(logits=torch.zeros(4, 1, 6, 6))).logits(torch.zeros(4, 1, 6, 6))


@pytest.mark.parametrize(
    ("targets", "message"),
    [
        (
            torch.zeros(2, 1, 4, 4),
            r"images of levels from 0 to 255, integers \(N, C, H, W\).* not torch.float32",
        ),
        (torch.zeros(2, 4, 4, dtype=torch.uint8), r"not torch.uint8 of shape \(2, 4, 4\)"),
        (torch.full((2, 1, 4, 4), 300), "image 0 holds 300 at row 0 and column 0; levels should be 0 to 255"),
        (torch.zeros(3, 1, 4, 4, dtype=torch.int64), "2 training inputs but 3 targets"),
    ],
)
def test_bad_targets_are_named(targets: torch.Tensor, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        data.from_tensors(
            torch.zeros(2, 1, 2, 2, dtype=torch.uint8), targets, task="restoration", validation=None
        )


def test_inputs_and_targets_that_do_not_fit_are_refused() -> None:
    images = torch.zeros(4, 1, 5, 4, dtype=torch.uint8)
    source = data.from_tensors(
        images, torch.zeros(4, 1, 12, 8, dtype=torch.uint8), task="restoration", validation=None
    )
    with pytest.raises(
        LimbeckError, match="images of 12 x 8 pixels and the inputs have 5 x 4 pixels; a target"
    ):
        next(iter(Loader(source.train, 2)))


def test_networks_get_pixels_without_a_normalization() -> None:
    images = torch.randint(256, (8, 3, 4, 4), dtype=torch.uint8)
    source = data.from_tensors(images, images.repeat(1, 1, 2, 2), task="restoration", validation=0.25)
    assert source.mean == ()
    assert source.task == Restoration(("red", "green", "blue"))
    assert tasks.from_record(source.task.record()) == source.task
    assert source.validation is not None
    batch = next(iter(Loader(source.validation, 2, shuffle=False)))
    assert batch.targets is not None
    assert batch.targets.shape == (2, 3, 8, 8)
