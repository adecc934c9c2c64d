from __future__ import annotations

import math

import pytest
import torch
from method_setting import make_setting
from torch import Tensor

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.methods import RTK
from limbeck.methods.afd_attention import linked_attention
from limbeck.methods.rtk import most_representative, representativeness
from limbeck.objective import parse


@pytest.mark.parametrize(
    ("keep", "expected"),
    [
        (0.1, [[0, 0, 1, 0], [1, 0, 0, 0]]),
        (0.5, [[1, 0, 1, 0], [1, 1, 0, 0]]),
        (0.51, [[1, 0, 1, 1], [1, 1, 1, 0]]),
        (1.0, [[1, 1, 1, 1], [1, 1, 1, 1]]),
    ],
)
def test_the_highest_scores_of_each_sample_are_kept(keep: float, expected: list[list[float]]) -> None:
    scores = torch.tensor([[0.5, -2.0, 0.9, 0.1], [3.0, 3.0, 3.0, 3.0]])
    assert most_representative(scores, keep).tolist() == expected


def test_a_share_that_is_a_whole_number_is_not_rounded_up() -> None:
    assert most_representative(torch.rand(1, 10), 0.7).sum() == 7  # 0.7 * 10 > 7


def test_a_stage_s_score_is_its_mean_similarity_with_all() -> None:
    queries = torch.randn(3, 4, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    found = representativeness(queries)
    for sample in range(3):
        for t in range(4):
            similar = [float(queries[sample, t] @ queries[sample, u]) for u in range(4)]
            assert found[sample, t].item() == pytest.approx(sum(similar) / 4 / math.sqrt(5), rel=1e-9)


def test_of_two_stages_one_is_ahead() -> None:
    assert representativeness(torch.tensor([[[3.0], [1.0]]])).tolist() == [[6, 2]]


def test_other_ranks_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"queries has the shape \(3, 4\)"):
        representativeness(torch.rand(3, 4))
    with pytest.raises(LimbeckError, match=r"scores has the shape \(3,\)"):
        most_representative(torch.rand(3), 0.5)


def losses_of(objective: str) -> tuple[Distiller, Tensor]:
    setting = make_setting()
    distiller = setting.distiller(objective)
    total = distiller(setting.inputs, setting.targets).total
    total.backward()
    return distiller, total


def test_when_all_are_kept_it_is_afd_attention() -> None:
    (first, expected), (second, found) = losses_of("afd_attention"), losses_of("rtk(keep=1)")
    assert torch.equal(found, expected)
    for ours, theirs in zip(first.parameters(), second.parameters(), strict=True):
        assert (ours.grad is None) == (theirs.grad is None)
        assert ours.grad is None or theirs.grad is None or torch.equal(ours.grad, theirs.grad)


def test_only_the_stages_kept_are_matched() -> None:
    class Deepest(RTK):
        name = "deepest"

        def select(self, queries: Tensor) -> Tensor:
            return torch.tensor([0.0, 2.0]).expand(len(queries), 2)

    setting = make_setting()
    torch.manual_seed(0)
    distiller = Distiller(setting.student, setting.teacher, Deepest(), example=setting.inputs[:2]).eval()
    method = next(distiller.objective.wrapped)
    assert isinstance(method, RTK)
    ours, theirs = [setting.inputs], [setting.inputs]
    for stage in ("stage1", "stage2"):
        ours.append(setting.student.get_submodule(stage)(ours[-1]))
        theirs.append(setting.teacher.get_submodule(stage)(theirs[-1]))
    links = method.attention(method.attention.queries(theirs[1:]), ours[1:])
    expected = 2 * linked_attention(ours[1:], theirs[2:], links[:, 1:])
    found = distiller(setting.inputs, setting.targets)["deepest"]
    torch.testing.assert_close(found, expected)


def test_the_default_keeps_half_of_the_stages_without_gradient() -> None:
    queries = torch.tensor([[[1.0, 0.0], [2.0, 0.1], [-1.0, 0.0]]], requires_grad=True)
    weights = RTK().select(queries)  # the first two are alike, and the third is their opposite
    assert weights.tolist() == [[1, 1, 0]]
    assert not weights.requires_grad


@pytest.mark.parametrize("argument", ["keep=0", "keep=1.1", "dim=0", 'keep="all"'])
def test_arguments_that_make_no_sense_are_refused(argument: str) -> None:
    with pytest.raises(LimbeckError, match="rtk: the argument"):
        parse(f"rtk({argument})")
