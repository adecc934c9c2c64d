from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from method_setting import SAMPLES, Answers, make_setting
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, data
from limbeck.data import Loader
from limbeck.losses import correlation_distance, rank_distance
from limbeck.methods import R2KD, Networks
from limbeck.methods.parts.mixing import beta
from limbeck.methods.r2kd import hard_ranks, prune, soft_ranks
from limbeck.models import Normalization, normalize_inputs
from limbeck.optimization import SGD
from limbeck.outputs import Progress
from limbeck.teachers import CachedTeacher


def logits(samples: int = 4, classes: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = 3 * torch.randn(2, samples, classes, generator=generator, dtype=torch.float64)
    return student, teacher


def cosine(first: list[float], second: list[float]) -> float:
    product = math.fsum(a * b for a, b in zip(first, second, strict=True))
    return abs(product) / (math.hypot(*first) * math.hypot(*second) + 1e-8)


@pytest.mark.parametrize("temperature", [0.5, 4.0])
@pytest.mark.parametrize(("samples", "classes"), [(4, 5), (1, 2), (3, 50)])
def test_it_is_the_correlation_of_rows_and_of_columns(temperature: float, samples: int, classes: int) -> None:
    student, teacher = logits(samples, classes)

    def softmax(row: list[float]) -> list[float]:
        powers = [math.exp(z / temperature) for z in row]
        return [power / math.fsum(powers) for power in powers]

    ours, theirs = ([softmax(row) for row in z.tolist()] for z in (student, teacher))
    rows = [cosine(*pair) for pair in zip(ours, theirs, strict=True)]
    columns = [cosine([p[c] for p in ours], [p[c] for p in theirs]) for c in range(classes)]
    expected = temperature**2 * (2 - math.fsum(rows) / samples - math.fsum(columns) / classes)
    assert correlation_distance(student, teacher, temperature).item() == pytest.approx(expected, rel=1e-9)


def test_of_equal_probabilities_it_is_zero_and_four_is_the_temperature() -> None:
    student, teacher = logits()
    assert correlation_distance(student, student + 7).item() == pytest.approx(0, abs=1e-5)
    assert correlation_distance(student, teacher) == correlation_distance(student, teacher, 4.0)


def test_the_hard_rank_distance_is_spearmans_and_has_no_gradient() -> None:
    """Without ties, Spearman's correlation is 1 - 6 sum of d^2 / (C (C^2 - 1))."""
    student, teacher = logits(6, 7)
    expected = 0.0
    for ours, theirs in zip(student.tolist(), teacher.tolist(), strict=True):
        ranks = [[sorted(row).index(z) for z in row] for row in (ours, theirs)]
        squares = sum((a - b) ** 2 for a, b in zip(*ranks, strict=True))
        expected += 6 * squares / (7 * (49 - 1)) / 6
    found = rank_distance(student.requires_grad_(), teacher, "hard")
    assert found.item() == pytest.approx(expected)
    assert not found.requires_grad
    assert rank_distance(student, teacher).requires_grad


def test_ranks_of_equal_logits_are_their_mean() -> None:
    row = torch.tensor([[2.0, 5.0, 2.0, -1.0, 2.0]], requires_grad=True)
    assert hard_ranks(row).tolist() == [[3, 5, 3, 1, 3]]
    assert soft_ranks(row, 1e-3).tolist() == [[3, 5, 3, 1, 3]]
    assert not hard_ranks(row).requires_grad


def test_soft_ranks_are_the_sigmoids_and_become_hard() -> None:
    student, teacher = logits()
    for row, found in zip(student.tolist(), soft_ranks(student, 0.7).tolist(), strict=True):
        expected = [0.5 + math.fsum(1 / (1 + math.exp(-(z - other) / 0.7)) for other in row) for z in row]
        assert found == pytest.approx(expected)
    soft = rank_distance(student, teacher, "soft", 1e-4)
    torch.testing.assert_close(soft, rank_distance(student, teacher, "hard"))
    assert rank_distance(student, teacher, "soft", 1.0) != soft


def test_learning_from_soft_ranks_gives_the_teachers_order() -> None:
    student, teacher = logits(8, 6)
    student.requires_grad_()
    before = rank_distance(student, teacher, "hard").item()
    optimizer = torch.optim.Adam([student], lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        rank_distance(student, teacher).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert rank_distance(student, teacher, "hard").item() < 0.05 < before


def test_shapes_that_the_functions_refuse() -> None:
    student, _ = logits()
    with pytest.raises(LimbeckError, match="correlation_distance compares logits of one shape"):
        correlation_distance(student, torch.zeros(4, 6))
    with pytest.raises(LimbeckError, match="rank_distance compares logits of one shape"):
        rank_distance(student, torch.zeros(4, 6))
    with pytest.raises(LimbeckError, match=r"ranks, and those of two classes .* at least 3 classes"):
        rank_distance(student[:, :2], student[:, 2:4])


def test_pruning_zeroes_the_smallest_weights_of_each_layer() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(16, 5))
    before = copy.deepcopy(network)
    prune(network, 0.3)
    for place in (0, 3):
        old, new = before[place].weight, network[place].weight  # both Tensors
        assert isinstance(old, Tensor)
        assert isinstance(new, Tensor)
        count = round(0.3 * old.numel())
        limit = old.abs().flatten().sort().values[count]
        assert torch.equal(new == 0, old.abs() < limit)
        assert torch.equal(new[new != 0], old[new != 0])
    for name, value in before.state_dict().items():
        assert name in ("0.weight", "3.weight") or torch.equal(value, network.state_dict()[name])
    with pytest.raises(LimbeckError, match=r"the teacher BatchNorm2d has none; .* r2kd\(teacher_share=1\)"):
        prune(nn.BatchNorm2d(3), 0.1)


def method_of(distiller: Distiller) -> R2KD:
    (found,) = [part for part in distiller.objective.modules() if isinstance(part, R2KD)]
    return found


def test_the_terms_are_the_equations() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller(
        "ce + r2kd(temperature=3, correlation_weight=1.5, rank_weight=0.5, softness=0.8, pruned=0.4, "
        "teacher_share=0.6)"
    ).eval()
    batch = Batch(setting.inputs, setting.targets, progress=Progress(step=4))
    losses = distiller(batch)
    teacher = copy.deepcopy(setting.teacher).eval()
    pruned = copy.deepcopy(teacher)
    prune(pruned, 0.4)
    mixed = method_of(distiller).collect(batch, Networks(distiller.student, {})).views["mixed"]
    assert isinstance(mixed, Tensor)
    total = losses["ce"].item()
    for prefix, inputs in (("", setting.inputs), ("mixed_", mixed)):
        with torch.no_grad():
            ours, theirs = distiller.student(inputs), 0.6 * teacher(inputs) + 0.4 * pruned(inputs)
        value, rank = correlation_distance(ours, theirs, 3), rank_distance(ours, theirs, "soft", 0.8)
        assert losses[f"r2kd.{prefix}correlation"].item() == pytest.approx(value.item(), rel=1e-9)
        assert losses[f"r2kd.{prefix}rank"].item() == pytest.approx(rank.item(), rel=1e-9)
        total += 1.5 * value.item() + 0.5 * rank.item()
    assert len(losses) == 5
    assert losses.total.item() == pytest.approx(total)


def test_hard_ranks_move_the_figure_and_nothing_else() -> None:
    gradients = []
    for arguments in ("rank='hard'", "rank_weight=0"):
        setting = make_setting()
        distiller = setting.distiller(f"ce + r2kd({arguments})")
        distiller.progress(0, 0, 0.0)
        losses = distiller(setting.inputs, setting.targets)
        losses.backward()
        gradients.append([p.grad for p in distiller.student.parameters()])
        assert ("r2kd.rank" in losses) == (arguments == "rank='hard'")
    torch.testing.assert_close(*gradients, rtol=0, atol=0)


def test_the_pruned_copy_never_changes() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + r2kd(pruned=0.25)")
    distiller.progress(0, 0, 0.0)
    pruned = method_of(distiller).pruned
    before = {name: tensor.clone() for name, tensor in pruned.state_dict().items()}
    teacher = copy.deepcopy(setting.teacher)
    prune(teacher, 0.25)
    for name, tensor in teacher.state_dict().items():
        assert torch.equal(before[name], tensor)
    optimizer = distiller.optimizer(SGD(lr=0.1))
    learning = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
    for mode in (True, False, True):
        distiller.train(mode)
        assert not any(module.training for module in pruned.modules())
        distiller(setting.inputs, setting.targets).backward()
        optimizer.step()
    assert all(torch.equal(before[name], tensor) for name, tensor in pruned.state_dict().items())
    assert not any(parameter.requires_grad or id(parameter) in learning for parameter in pruned.parameters())
    assert any(name.endswith("pruned.classifier.weight") for name in distiller.state_dict())
    whole = setting.distiller("ce + r2kd(teacher_share=1)")
    whole.progress(0, 0, 0.0)
    assert not any("pruned" in name for name in whole.state_dict())


def mixed_views(
    arguments: str, steps: Sequence[int], inputs: Tensor | None = None
) -> tuple[Tensor, list[Tensor]]:
    setting = make_setting(size=(8, 12))
    given = setting.inputs if inputs is None else inputs
    method = method_of(setting.distiller(f"ce + r2kd({arguments})"))
    found = []
    for step in steps:
        batch = method.collect(Batch(given, progress=Progress(step)), Networks(setting.student, {}))
        mixed = batch.views["mixed"]
        assert isinstance(mixed, Tensor)
        assert batch.inputs is given
        found.append(mixed)
    return given, found


def numbered() -> Tensor:
    """Images (16, 1, 8, 12) that are, all over, their number."""
    return torch.arange(SAMPLES).float().view(-1, 1, 1, 1).expand(-1, 1, 8, 12).contiguous()


def test_cutmix_pastes_a_rectangle_of_another_sample() -> None:
    inputs, views = mixed_views("", range(60), numbered())
    own = torch.arange(SAMPLES).view(-1, 1, 1, 1)
    shares, pasted = [], 0
    for mixed in views:
        foreign = (mixed != own)[:, 0]
        cut = foreign.any(0)
        shares.append(cut.float().mean().item())
        if not cut.any():
            continue
        rows, columns = cut.any(1).nonzero().flatten(), cut.any(0).nonzero().flatten()
        expected = torch.zeros_like(cut)
        expected[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
        assert torch.equal(cut, expected), "one rectangle for the batch"
        partners = mixed[:, 0, rows[0], columns[0]]
        assert sorted(partners.tolist()) == list(range(SAMPLES)), "each sample is pasted once"
        for place in range(SAMPLES):
            assert (mixed[place, 0, cut] == partners[place]).all()
            assert (mixed[place, 0, ~cut] == place).all()
        pasted += 1
    assert pasted > 40
    assert len({round(share, 3) for share in shares}) > 15
    assert torch.equal(inputs, numbered())


def test_the_rectangle_has_the_area_that_is_drawn() -> None:
    """A side is that of the image times sqrt(1 - share), rounded down and then to an even number."""
    _, views = mixed_views("", range(200), numbered())
    method = method_of(make_setting(size=(8, 12)).distiller("ce + r2kd"))
    own = torch.arange(SAMPLES).view(-1, 1, 1, 1)
    whole = 0
    for step, mixed in enumerate(views):
        cut = (mixed != own)[:, 0].any(0)
        side = math.sqrt(1 - beta(1.0, method.draws, step).item())
        high, wide = (2 * (math.floor(size * side) // 2) for size in (8, 12))
        found = int(cut.any(1).sum()), int(cut.any(0).sum())
        if high and wide:
            assert 1 <= found[0] <= high
            assert 1 <= found[1] <= wide
            whole += found == (high, wide)
        else:
            assert found == (0, 0)
    assert whole > 10, "most are cut off at the border, but not all"


def test_mixup_averages_with_one_share_for_the_batch() -> None:
    inputs, views = mixed_views("augmentation='mixup'", range(40))
    method = method_of(make_setting(size=(8, 12)).distiller("ce + r2kd(augmentation='mixup')"))
    for step, mixed in enumerate(views):
        share = beta(0.2, method.draws, step)
        partners = (mixed - share * inputs) / (1 - share)
        if share > 0.9:
            continue  # too little is left of the partner to find it
        distances = (partners.flatten(1).unsqueeze(1) - inputs.flatten(1)).abs().amax(2)
        assert sorted(distances.argmin(1).tolist()) == list(range(SAMPLES))
        assert distances.amin(1).max() < 1e-4


def test_cutout_makes_a_hole_of_nothing_or_of_the_mean() -> None:
    inputs, views = mixed_views("augmentation='cutout', hole=0.5", range(40), numbered() + 1)
    sizes = set()
    for mixed in views:
        hole = (mixed == 0)[:, 0]
        assert (hole == hole[0]).all()
        assert torch.equal(mixed[:, 0][~hole], inputs[:, 0][~hole])
        sizes.add((int(hole[0].any(1).sum()), int(hole[0].any(0).sum())))
    assert max(sizes) == (4, 6)
    assert len(sizes) > 5

    setting = make_setting()
    normalize_inputs(setting.student, Normalization((0.25,), (0.5,)))
    method = method_of(setting.distiller("ce + r2kd(augmentation='cutout')"))
    whole = torch.ones(4, 1, 6, 6)
    holed = method.collect(Batch(whole, progress=Progress()), Networks(setting.student, {})).views["mixed"]
    assert isinstance(holed, Tensor)
    assert set(holed.flatten().tolist()) == {0.25, 1.0}


@pytest.mark.parametrize("augmentation", ["cutmix", "mixup", "cutout"])
def test_the_draw_is_a_function_of_seed_and_step(augmentation: str) -> None:
    _, (first, again, other) = mixed_views(f"augmentation='{augmentation}'", [3, 3, 5])
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_without_augmentation_there_is_no_view_and_inputs_may_be_anything() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + r2kd(augmentation='none')")
    distiller.progress(0, 0, 0.0)
    assert list(distiller(setting.inputs, setting.targets)) == ["ce", "r2kd.correlation", "r2kd.rank"]
    torch.manual_seed(0)
    student, teacher, inputs = WordNet(4), WordNet(6), WordNet.batch()
    with pytest.raises(LimbeckError, match=r"mixes images .* named tensors \(input_ids, attention_mask\)"):
        Distiller(student, teacher, "ce + r2kd", example=inputs)
    words = Distiller(student, teacher, "ce + r2kd(augmentation='none')", example=inputs)
    assert words(inputs, torch.tensor([0, 2, 1])).total.isfinite()


def test_a_teacher_without_a_network_serves_alone() -> None:
    setting = make_setting()
    with pytest.raises(
        LimbeckError, match="r2kd makes a copy of the teacher's network, and this teacher has"
    ):
        Distiller(setting.student, Answers(), "ce + r2kd", example=setting.inputs[:2])
    distiller = Distiller(
        setting.student, Answers(), "ce + r2kd(teacher_share=1)", example=setting.inputs[:2]
    )
    distiller.progress(0, 0, 0.0)
    assert distiller(setting.inputs, setting.targets).total.isfinite()


def test_two_classes_have_no_ranks_to_correlate() -> None:
    setting = make_setting()
    for network in (setting.student, setting.teacher):
        network.classifier = nn.Linear(network.classifier.in_features, 2)
    setting.targets = setting.targets % 2
    with pytest.raises(LimbeckError, match=r"those of two classes .* r2kd\(rank_weight=0\)"):
        setting.distiller("ce + r2kd")
    distiller = setting.distiller("ce + r2kd(rank_weight=0)")
    distiller.progress(0, 0, 0.0)
    losses = distiller(setting.inputs, setting.targets)
    assert list(losses) == ["ce", "r2kd.correlation", "r2kd.mixed_correlation"]


def test_the_clean_samples_may_be_answered_from_a_cache(tmp_path: Path) -> None:
    setting = make_setting()
    images = (255 * setting.inputs).to(torch.uint8)
    source = data.from_tensors(images, setting.targets, validation=None, views="crop(padding=1)")
    arguments: dict[str, Any] = {"example": source.example(), "data": source}
    cached = CachedTeacher(setting.teacher, source, ("logits",), views=1, directory=tmp_path)
    found = []
    for teacher in (cached, make_setting().teacher):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            distiller = Distiller(make_setting().student, teacher, "ce + r2kd", **arguments)
        shown = []
        for epoch in range(3):
            loader = Loader(source.train, 8, views=source.views, views_per_sample=1)
            loader.set_epoch(epoch)
            distiller.progress(epoch, epoch, 0.0)
            losses = [distiller(batch) for batch in loader]
            shown.append(cached.shown)
        found.append([{name: value.item() for name, value in each.items()} for each in losses])
        if teacher is cached:
            asked = [later - earlier for earlier, later in pairwise(shown)]
            assert asked == [SAMPLES, SAMPLES], "the mixed views alone, once the others are known"
    for ours, theirs in zip(*found, strict=True):
        assert ours == {name: pytest.approx(value, rel=1e-2, abs=1e-3) for name, value in theirs.items()}


def test_the_copy_is_of_the_teacher_that_is_named() -> None:
    setting = make_setting()
    other = make_setting().teacher
    with torch.no_grad():
        other.classifier.weight.mul_(-1)
    distiller = Distiller(
        setting.student,
        {"big": setting.teacher, "other": other},
        'ce + kd(teacher="big") + r2kd(teacher="other")',
        example=setting.inputs[:2],
    )
    distiller.progress(0, 0, 0.0)
    copied = method_of(distiller).pruned.get_submodule("classifier").weight
    assert isinstance(copied, Tensor)
    kept = copied != 0
    assert torch.equal(copied[kept], other.classifier.weight[kept])
    assert distiller(setting.inputs, setting.targets).total.isfinite()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("temperature=0", "r2kd: the argument temperature=0"),
        ("pruned=1.5", "r2kd: the argument pruned=1.5"),
        ("alpha=2", "r2kd: the argument alpha=2"),
        ("augmentation='autoaugment'", "'cutmix', 'mixup', 'cutout' or 'none'"),
        ("augmentation='cutout', alpha=0.5", "alpha is for cutmix and mixup; leave it out with cutout"),
        ("augmentation='mixup', hole=0.5", "hole is for cutout; leave it out with mixup"),
        ("rank='hard', softness=2", 'leave it out with rank="hard"'),
        ("teacher_share=1, pruned=0.2", "leave pruned out"),
    ],
)
def test_arguments_that_it_refuses(arguments: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        make_setting().distiller(f"ce + r2kd({arguments})")


def test_an_objective_mixes_images_once() -> None:
    setting = make_setting()
    message = "r2kd draws a further view 'mixed' of each sample, and an objective can have it only once"
    with pytest.raises(LimbeckError, match=message):
        setting.distiller("ce + r2kd + r2kd(augmentation='mixup')")
    both = setting.distiller("ce + r2kd + r2kd(augmentation='none', temperature=2)")
    both.progress(0, 0, 0.0)
    assert both(setting.inputs, setting.targets).total.isfinite()


def test_it_trains_and_goes_on_as_if_nothing_had_happened() -> None:
    setting = make_setting()
    weights = []
    for interrupted in (False, True):
        distiller = setting.distiller("ce + r2kd")
        distiller.progress(0, 0, 0.0)
        optimizer = distiller.optimizer(SGD(lr=0.05))
        for step in range(4):
            if interrupted and step == 2:
                saved = copy.deepcopy(distiller.state_dict()), optimizer.state_dict()
                torch.manual_seed(99)
                distiller = Distiller(
                    make_setting().student, setting.teacher, "ce + r2kd", example=setting.inputs[:2]
                )
                distiller.load_state_dict(saved[0])
                optimizer = distiller.optimizer(SGD(lr=0.05))
                optimizer.load_state_dict(saved[1])
            distiller.progress(step, 0, 0.0)
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
            optimizer.zero_grad()
        weights.append(distiller.state_dict())
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])
