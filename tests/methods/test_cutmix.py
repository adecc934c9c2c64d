from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_setting import make_setting
from mixtures import at_step, wrapper_of
from torch import Tensor, nn

from limbeck import Distiller, losses
from limbeck.errors import LimbeckError
from limbeck.methods.declarations import Networks
from limbeck.methods.parts.mixing import partners

OBJECTIVE = "cutmix(0.3*ce + 0.7*kd(temperature=2))"


@pytest.mark.parametrize("step", [1, 2, 5])
def test_a_rectangle_is_the_partners_and_labels_count_by_area(step: int) -> None:
    setting = make_setting(OBJECTIVE, size=(9, 9))
    distiller = setting.distiller(OBJECTIVE)
    batch = at_step(setting, step)
    cutmix = wrapper_of(distiller)
    assert isinstance(batch.inputs, Tensor)
    made = cutmix.collect(batch, Networks(distiller.student, distiller.teachers))
    assert isinstance(made.inputs, Tensor)
    order = partners(torch.arange(16), cutmix.draws, step)
    moved = order != torch.arange(16)
    hole = (made.inputs != batch.inputs)[moved].any(0).any(0)
    rows, columns = hole.any(1).nonzero(), hole.any(0).nonzero()
    if len(rows):
        assert hole[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all(), "a rectangle"
    assert torch.equal(made.inputs, batch.inputs[order].where(hole, batch.inputs))
    share = 1 - hole.double().mean().item()
    found = distiller(batch)
    ours = distiller.student(made.inputs)
    soft = share * F.one_hot(setting.targets, 5) + (1 - share) * F.one_hot(setting.targets[order], 5)
    torch.testing.assert_close(found["cutmix.ce"], F.cross_entropy(ours, soft), rtol=1e-4, atol=1e-5)
    expected = losses.kd(ours, setting.teacher.eval()(made.inputs), temperature=2.0)
    torch.testing.assert_close(found["cutmix.kd"], expected, rtol=1e-4, atol=1e-6)


def test_what_has_no_rectangles_is_refused() -> None:
    with pytest.raises(LimbeckError, match=r"^cutmix cuts rectangles out of images \(B, C, H, W\) of floats"):
        Distiller(nn.Linear(3, 2), None, "cutmix(ce)", example=torch.zeros(2, 3))
