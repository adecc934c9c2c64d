from __future__ import annotations

import math

import pytest
import torch
from method_setting import make_setting
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.methods.rtk import RTK, representative
from limbeck.objective import parse


def test_the_keys_that_are_kept_are_like_the_others() -> None:
    near = torch.tensor([[1.0, 0.0], [1.0, 0.1], [1.0, -0.1], [-1.0, 0.0]])
    odd = torch.tensor([[0.0, 1.0], [1.0, 0.0], [0.0, 1.0], [0.1, 1.0]])
    kept = representative(torch.stack([near, odd]), keep=0.5)
    assert kept.tolist() == [[True, True, False, False], [True, False, False, True]]
    assert representative(near[None], keep=0.75).tolist() == [[True, True, True, False]]
    assert representative(near[None], keep=1).all()
    assert representative(near[None], keep=0.01).tolist() == [[True, False, False, False]]


@pytest.mark.parametrize("keep", [0.3, 0.5, 0.8])
def test_it_is_the_mean_cosine_with_the_others(keep: float) -> None:
    keys = torch.randn(6, 5, 3, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    kept = representative(keys, keep)
    for sample, found in zip(keys.tolist(), kept.tolist(), strict=True):
        scores = []
        for place, key in enumerate(sample):
            others = [other for index, other in enumerate(sample) if index != place]
            cosines = [
                math.fsum(a * b for a, b in zip(key, other, strict=True))
                / math.hypot(*key)
                / math.hypot(*other)
                for other in others
            ]
            scores.append(math.fsum(cosines) / len(cosines))
        best = sorted(range(5), key=lambda place: -scores[place])[: math.ceil(5 * keep)]
        assert found == [place in best for place in range(5)]


def test_with_all_kept_it_is_afd_attention() -> None:
    setting = make_setting("rtk", dtype=torch.float64)
    values = []
    for objective in ("rtk(keep=1)", "afd_attention"):
        distiller = setting.distiller(objective)
        losses = distiller(setting.inputs, setting.targets)
        losses.backward()
        gradient = next(iter(distiller.student.parameters())).grad
        assert gradient is not None
        values.append([losses.total.item(), gradient.tolist()])
    assert values[0] == values[1]


def test_the_stages_left_out_count_for_nothing() -> None:
    setting = make_setting("rtk", dtype=torch.float64)
    whole, half = (setting.distiller(objective) for objective in ("rtk(keep=1)", "rtk(keep=0.5)"))
    one = setting.distiller("rtk(keep=1)")
    (method,) = (each for each in one.objective.wrapped if isinstance(each, RTK))

    def first(queries: Tensor) -> Tensor:
        return torch.tensor([1.0, 0.0]).expand(len(queries), 2).to(queries)

    method.select = first  # type: ignore[method-assign]
    found, all_of_it, kept = (each(setting.inputs).total.item() for each in (one, whole, half))
    assert kept == pytest.approx(found, rel=1e-12), "of two equal scores the shallower stage is kept"
    assert 0 < kept < all_of_it


@pytest.mark.parametrize("keep", [0, 1.5, -1])
def test_refuses_shares(keep: float) -> None:
    with pytest.raises(LimbeckError, match="keep="):
        parse(f"rtk(keep={keep})")
