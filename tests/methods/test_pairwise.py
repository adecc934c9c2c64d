from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from limbeck import Distiller, LimbeckError
from limbeck.losses import pairwise
from limbeck.methods.pairwise import Pairwise
from limbeck.methods.parts.critic import Critic, SelfAttention
from limbeck.models import MLP
from limbeck.optimization import SGD
from limbeck.outputs import Batch, Progress
from limbeck.tasks import Segmentation
from segmenters import Strided, batch_of
from two_processes import run_in_two_processes


def maps(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def naive(student: Tensor, teacher: Tensor) -> float:
    """One sample (C, H, W), pair of positions by pair of positions."""

    def cosines(maps: Tensor) -> list[float]:
        nodes = maps.flatten(1).T
        return [float(F.cosine_similarity(one, two, dim=0)) for one in nodes for two in nodes]

    ours, theirs = cosines(student), cosines(teacher)
    return sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / len(ours)


def test_it_is_the_papers_equation() -> None:
    student, teacher = maps(2, 3, 2, 4), maps(2, 5, 2, 4, seed=2)
    expected = [naive(*pair) for pair in zip(student, teacher, strict=True)]
    assert pairwise(student, teacher, reduction="none").tolist() == pytest.approx(expected, rel=1e-9)
    assert pairwise(student, teacher).item() == pytest.approx(sum(expected) / 2, rel=1e-9)
    assert pairwise(3 * teacher, teacher).item() == pytest.approx(0, abs=1e-12)


def test_positions_are_pooled_to_nodes() -> None:
    student, teacher = maps(2, 3, 8, 4), maps(2, 5, 4, 8, seed=2)
    nodes = F.avg_pool2d(student, (4, 2)), F.avg_pool2d(teacher, (2, 4))
    expected = sum(naive(*pair) for pair in zip(*nodes, strict=True)) / 2
    assert pairwise(student, teacher, nodes=2).item() == pytest.approx(expected, rel=1e-9)
    nodes = F.avg_pool2d(student, (2, 1)), F.avg_pool2d(teacher, (1, 2))
    expected = sum(naive(*pair) for pair in zip(*nodes, strict=True)) / 2
    assert pairwise(student, teacher).item() == pytest.approx(expected, rel=1e-9)


def test_gradients_and_bad_shapes() -> None:
    student = maps(2, 3, 2, 2).requires_grad_()
    assert torch.autograd.gradcheck(pairwise, (student, maps(2, 2, 2, 2)))
    with pytest.raises(LimbeckError, match=r"pairwise: student has the shape \(2, 3\)"):
        pairwise(torch.zeros(2, 3), torch.zeros(2, 3))
    with pytest.raises(LimbeckError, match="pairwise compares the same samples, not 2 and 3 of them"):
        pairwise(torch.zeros(2, 3, 4, 4), torch.zeros(3, 3, 4, 4))


def test_a_single_node_is_like_nothing() -> None:
    with pytest.raises(LimbeckError, match=r"one node is left of maps 4x4 and 1x1 with nodes=32; take"):
        pairwise(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 1, 1))
    with pytest.raises(LimbeckError, match="with nodes=1; take"):
        pairwise(torch.rand(2, 3, 4, 4), torch.rand(2, 3, 4, 4), nodes=1)


def test_the_last_stages_are_compared() -> None:
    student, teacher = Strided(4, 4).double(), Strided(6, 2, seed=1).double()
    batch = batch_of()
    made = Distiller(
        student, teacher, "ce + pairwise", example=batch.inputs, task=Segmentation(("a", "b", "c"))
    )
    expected = pairwise(student.body(batch.inputs), teacher.body(batch.inputs))
    assert made(batch)["pairwise"].item() == pytest.approx(expected.item(), rel=1e-12)


def test_stages_that_are_no_maps_are_refused() -> None:
    networks = [MLP([8, 8], in_features=4, num_classes=3) for _ in range(2)]
    with pytest.raises(LimbeckError, match=r"pairwise compares maps \(channels, height, width\), not"):
        Distiller(networks[0], networks[1], "pairwise", example=torch.rand(2, 4))


def contested(objective: str = "ce + 10*pairwise(adversary=0.01)", width: int = 2) -> Distiller:
    student, teacher = Strided(4, width).double(), Strided(6, 2, seed=1).double()
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return Distiller(
            student,
            teacher,
            objective,
            example=batch_of().inputs,
            task=Segmentation(("a", "b", "c")),
            data=4,
        ).double()


def method_of(distiller: Distiller) -> Pairwise:
    (found,) = [each for each in distiller.objective.modules() if isinstance(each, Pairwise)]
    return found


def naive_critic(critic: Critic, maps: Tensor, images: Tensor) -> Tensor:
    """Scores of maps (B, 3, 4, 4) of images (B, 2, 8, 8), layer by layer."""
    first, _, attention, last = list[Any](critic.layers)
    seen = torch.cat([maps, F.avg_pool2d(images, 2)], 1)
    seen = F.conv2d(seen, first.weight, first.bias, stride=2, padding=1)
    seen = torch.where(seen > 0, seen, 0.1 * seen)
    flat = seen.flatten(2)
    query, key, value = (
        torch.einsum("oc,bcn->bon", layer.weight[:, :, 0, 0], flat) + layer.bias[:, None]
        for layer in (attention.query, attention.key, attention.value)
    )
    nearness = torch.einsum("bcn,bcm->bnm", query, key).softmax(2)
    found = (value[:, :, None] * nearness[:, None]).sum(3)  # each position takes from all others
    joined = flat + attention.scale * found
    scores: Tensor = torch.einsum("c,bcn->bn", last.weight[0, :, 0, 0], joined).mean(1) + last.bias
    return scores


@pytest.mark.parametrize("width", [2, 4])
def test_the_adversary_is_a_wasserstein_gan(width: int) -> None:
    distiller, batch = contested(width=width), batch_of()
    images, method = batch.inputs, method_of(distiller)
    assert isinstance(images, Tensor)
    with torch.no_grad():
        for each in method.critic.modules():
            if isinstance(each, SelfAttention):
                each.scale.fill_(0.7)
    distiller.progress(5, 0, 0.5)
    found = distiller(batch)
    names = ["similarities", "generator", "critic", "distance"]
    assert list(found) == ["ce", *(f"pairwise.{name}" for name in names)]

    student, teacher = (net(images) for net in (distiller.student, Strided(6, 2, seed=1).double()))
    if width == 4:
        student = F.interpolate(student, size=(4, 4), mode="bilinear", align_corners=False)
    fake, real = student.softmax(1), teacher.softmax(1)
    scores = [naive_critic(method.critic, maps, images) for maps in (real, fake)]
    shares = method._shares(batch_of_step(5))[:, None, None, None]
    mixed = (shares * real + (1 - shares) * fake).detach().requires_grad_()
    (slope,) = torch.autograd.grad(naive_critic(method.critic, mixed, images).sum(), mixed)
    penalty = (slope.flatten(1).square().sum(1).sqrt() - 1).square().mean()
    distance = (scores[0] - scores[1]).mean()
    assert found["pairwise.distance"].item() == pytest.approx(distance.item(), rel=1e-9)
    assert found["pairwise.generator"].item() == pytest.approx(-scores[1].mean().item(), rel=1e-9)
    assert found["pairwise.critic"].item() == pytest.approx((10 * penalty - distance).item(), rel=1e-6)
    values = [found[f"pairwise.{name}"].item() for name in names[:3]]
    total = found["ce"].item() + 10 * (values[0] + 0.01 * values[1]) + values[2]
    assert found.total.item() == pytest.approx(total, rel=1e-9)


def batch_of_step(step: int) -> Batch:
    return replace(batch_of(), progress=Progress(step, 0, 0.5))


def test_mixtures_are_drawn_by_sample_and_step() -> None:
    method = method_of(contested())
    shares = method._shares(batch_of_step(5))
    assert torch.equal(shares, method._shares(batch_of_step(5)))
    assert not torch.equal(shares, method._shares(batch_of_step(6)))
    assert ((shares >= 0) & (shares < 1)).all()
    assert len(set(shares.tolist())) == 4


def test_neither_side_learns_from_the_others_loss() -> None:
    plain, distiller = contested("ce + 10*pairwise"), contested("ce + 10*pairwise(adversary=0.01)")
    generator = contested("ce + 10*pairwise(adversary=0.01)")
    for each in (plain, distiller, generator):
        each.progress(5, 0, 0.5)
    for each in (plain, distiller):
        each(batch_of()).backward()
    method = method_of(distiller)
    own = distiller(batch_of())["pairwise.critic"]
    expected = torch.autograd.grad(own, [*method.critic.parameters()])
    for parameter, gradient in zip(method.critic.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    losses = generator(batch_of())
    both = losses["ce"] + 10 * (losses["pairwise.similarities"] + 0.01 * losses["pairwise.generator"])
    theirs = torch.autograd.grad(both, [*generator.student.parameters()])
    for parameter, gradient in zip(distiller.student.parameters(), theirs, strict=True):
        torch.testing.assert_close(parameter.grad, gradient)
    pairs = zip(plain.student.parameters(), distiller.student.parameters(), strict=True)
    assert any(not torch.equal(one.grad, two.grad) for one, two in pairs)  # type: ignore[arg-type]


def test_the_critic_learns_to_tell_them_apart_by_an_optimizer_of_its_own() -> None:
    distiller = contested("ce + 10*pairwise(adversary=0.01, critic_lr=0.001)")
    optimizer = distiller.optimizer(SGD(lr=1e-9, momentum=0, weight_decay=0))
    main, own = optimizer.parts  # type: ignore[attr-defined]
    assert isinstance(own, torch.optim.Adam)
    assert (own.param_groups[0]["lr"], own.param_groups[0]["betas"]) == (0.001, (0.5, 0.999))
    claimed = {id(parameter) for parameter in method_of(distiller).critic.parameters()}
    assert {id(each) for each in own.param_groups[0]["params"]} == claimed
    assert not claimed & {id(each) for each in main.param_groups[0]["params"]}
    distances = []
    for step in range(100):
        distiller.progress(step, 0, 0.5)
        found = distiller(batch_of())
        found.backward()
        optimizer.step()
        optimizer.zero_grad()
        distances.append(found["pairwise.distance"].item())
    assert abs(distances[0]) < 0.01, "at first it cannot tell"
    assert distances[-1] > 0.1


def test_without_an_adversary_there_is_no_critic() -> None:
    assert not any("critic" in name for name in contested("ce + pairwise").state_dict())
    with pytest.raises(LimbeckError, match="without an adversary there is no critic; leave penalty out"):
        Pairwise(penalty=3)
    with pytest.raises(LimbeckError, match="the critic needs maps of 2 x 2 at least, not 1 x 1"):
        Distiller(
            Strided(4, 8).double(),
            Strided(6, 8).double(),
            "ce + pairwise(adversary=0.1)",
            example=batch_of().inputs,
            task=Segmentation(("a", "b", "c")),
        )


def gradients_of(places: slice) -> dict[str, Tensor]:
    """The gradient of some samples."""
    distiller, whole = contested("10*pairwise(adversary=0.01)"), batch_of()
    assert isinstance(whole.inputs, Tensor)
    assert whole.index is not None
    distiller.progress(5, 0, 0.5)
    distiller(Batch(whole.inputs[places], index=whole.index[places])).backward()
    return {name: each.grad for name, each in distiller.named_parameters() if each.grad is not None}


def gradients_of_half(rank: int, world: int) -> dict[str, Tensor]:
    """The mean over both processes of the gradients, each of half a batch."""
    found = gradients_of(slice(2 * rank, 2 * rank + 2))
    for each in found.values():
        torch.distributed.all_reduce(each)
    return {name: each / world for name, each in found.items()}


def test_two_processes_give_the_gradient_of_one() -> None:
    expected = gradients_of(slice(0, 4))
    assert any("critic" in name for name in expected)
    ranks = run_in_two_processes(
        [(gradients_of_half, ())], paths=[Path(__file__).parent, *map(Path, sys.path)]
    )
    for found in ranks[0]:
        assert found.keys() == expected.keys()
        for name, gradient in expected.items():
            torch.testing.assert_close(found[name], gradient, rtol=1e-8, atol=1e-12, msg=name)
