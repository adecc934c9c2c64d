from __future__ import annotations

import pytest
import reference_values
import torch
import torch.nn.functional as F
from method_setting import SmallNet, make_setting
from reference_values import has_reference
from token_networks import WordNet
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import fsp
from limbeck.models import CNN, TextCNN
from limbeck.objective import parse
from limbeck.training import phase_loops

Stages = list[Tensor]
Shapes = list[tuple[int, ...]]

SHAPES: Shapes = [(2, 4, 6), (3, 4, 6), (2, 4, 6)]


def stages(shapes: Shapes, samples: int = 3, seed: int = 9) -> tuple[Stages, Stages]:
    generator = torch.Generator().manual_seed(seed)

    def some() -> Stages:
        return [torch.randn(samples, *shape, generator=generator, dtype=torch.float64) for shape in shapes]

    return some(), some()


def naive(student: Stages, teacher: Stages) -> list[float]:
    """Each sample's loss, for maps of one size."""

    def flow(lower: Tensor, upper: Tensor) -> list[float]:
        size = lower[0].numel()
        return [
            sum(x * y for x, y in zip(a.flatten().tolist(), b.flatten().tolist(), strict=True)) / size
            for a in lower
            for b in upper
        ]

    found = []
    for place in range(len(student[0])):
        total = 0.0
        for layer in range(len(student) - 1):
            ours, theirs = (flow(s[layer][place], s[layer + 1][place]) for s in (student, teacher))
            total += sum((a - b) ** 2 for a, b in zip(ours, theirs, strict=True)) / len(ours)
        found.append(total)
    return found


def test_it_is_the_papers_equation_as_a_mean() -> None:
    student, teacher = stages(SHAPES)
    expected = naive(student, teacher)
    assert fsp(student, teacher, reduction="none").tolist() == pytest.approx(expected, rel=1e-12)
    assert fsp(student, teacher).item() == pytest.approx(sum(expected) / 3, rel=1e-12)
    assert fsp(teacher, teacher).item() == 0


def test_the_larger_of_two_neighbors_is_pooled_along_either_axis() -> None:
    student, teacher = stages([(2, 8, 3), (3, 4, 6)])
    small = [
        [F.avg_pool2d(lower, (2, 1)), F.avg_pool2d(upper, (1, 2))] for lower, upper in (student, teacher)
    ]
    assert fsp(student, teacher, reduction="none").tolist() == pytest.approx(naive(*small), rel=1e-12)
    assert fsp(student, small[1]).item() == pytest.approx(sum(naive(*small)) / 3, rel=1e-12), (
        "sizes may differ"
    )


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    student, teacher = (
        [inputs[f"{role}_stage{place}"] for place in range(3)] for role in ("student", "teacher")
    )
    assert fsp(student, teacher).item() == reference_values.value("fsp_sum")


def test_tokens_are_places_and_padding_is_none() -> None:
    student, teacher = stages([(4, 5), (4, 3)])
    ours, theirs = ([s.transpose(1, 2).unsqueeze(2) for s in hidden] for hidden in (student, teacher))
    assert fsp(student, teacher).item() == pytest.approx(fsp(ours, theirs).item(), rel=1e-12)
    mask = torch.tensor([[True] * 4, [True, True, False, False], [True, True, True, False]])
    expected = [
        fsp([s[i : i + 1, mask[i]] for s in student], [t[i : i + 1, mask[i]] for t in teacher]).item()
        for i in range(3)
    ]
    assert fsp(student, teacher, mask, "none").tolist() == pytest.approx(expected, rel=1e-12)


def test_gradients_full_precision_and_silent_stages() -> None:
    student, teacher = stages([(2, 4, 2), (3, 2, 4)])
    learning = [stage.requires_grad_() for stage in student]
    assert torch.autograd.gradcheck(lambda *student: fsp(student, teacher), learning)
    short = fsp([s.bfloat16() for s in student], [t.bfloat16() for t in teacher])
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(fsp(student, teacher).item(), rel=0.05)
    silent = [torch.zeros_like(stage).requires_grad_() for stage in student]
    fsp(silent, teacher).backward()  # type: ignore[no-untyped-call]
    assert all(stage.grad is not None and stage.grad.isfinite().all() for stage in silent)


@pytest.mark.parametrize(
    ("student", "teacher"),
    [
        ([(2, 3, 4, 4)], [(2, 3, 4, 4)]),
        ([(2, 3, 4, 4)] * 2, [(2, 3, 4, 4)] * 3),
        ([(2, 3, 4, 4)] * 2, [(2, 3, 4, 4), (2, 5, 4, 4)]),
        ([(2, 3, 4, 4)] * 2, [(2, 3, 4, 4), (2, 4, 3)]),
        ([(2, 3, 4, 4), (2, 4, 3)], [(2, 3, 4, 4), (2, 4, 3)]),
        ([(2, 4, 3), (2, 5, 3)], [(2, 4, 3), (2, 5, 3)]),
        ([(2, 3)] * 2, [(2, 3)] * 2),
    ],
)
def test_what_has_no_flow_to_compare_is_refused(student: Shapes, teacher: Shapes) -> None:
    with pytest.raises(LimbeckError, match="fsp compares at least two stages of the student"):
        fsp([torch.ones(shape) for shape in student], [torch.ones(shape) for shape in teacher])


def points(network: SmallNet, inputs: Tensor) -> Stages:
    """The stem and the stages."""
    stem, first = network.eval().stage1[0](inputs), network.stage1(inputs)
    return [stem, first, network.stage2(first)]


def value_in_the_phase(distiller: Distiller, batch: Batch) -> float:
    (stage,) = phase_loops(distiller, lambda phase: lambda epoch: [])
    with stage.open() as (module, _):
        losses = module.eval()(batch)
    assert list(losses) == ["fsp.initialize"]
    value: float = losses.total.item()
    return value


def test_the_flow_begins_at_the_stem_and_goes_through_all_stages_or_those_that_are_named() -> None:
    setting = make_setting("fsp")
    taken = [points(network, setting.inputs) for network in (setting.student, setting.teacher)]
    for text, places in (("fsp", [0, 1, 2]), ("fsp(pairs=[[-1, 1]])", [0, 2])):
        found = value_in_the_phase(setting.distiller(f"ce + {text}"), Batch(setting.inputs, setting.targets))
        ours, theirs = ([side[place] for place in places] for side in taken)
        expected = fsp(ours, theirs)
        assert found == pytest.approx(expected.item(), rel=1e-4)


def test_the_phase_brings_the_flows_nearer_each_other() -> None:
    setting = make_setting("fsp", norm=False)
    distiller = setting.distiller("ce + fsp(lr=0.5)")
    theirs = points(setting.teacher, setting.inputs)
    before = fsp(points(setting.student, setting.inputs), theirs).item()
    limbeck.prepare(distiller, [Batch(setting.inputs, setting.targets)], display=False, device="cpu")
    assert isinstance(distiller.student, SmallNet)
    assert fsp(points(distiller.student, setting.inputs), theirs).item() < before / 2


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    student, teacher = (TextCNN(5, 2, [1, 3], vocab_size=20, num_classes=3) for _ in range(2))
    distiller = Distiller(student, teacher, "ce + fsp", example=WordNet.batch())
    one, other = (value_in_the_phase(distiller, Batch(WordNet.batch(padding))) for padding in (0, 5))
    assert one > 0
    assert one == pytest.approx(other, rel=1e-5)


class Patches(nn.Module):
    """A map in the stem, hidden states after it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block, self.classifier = nn.Conv2d(1, 4, 3), nn.Linear(4, 4), nn.Linear(4, 5)

    def feature_points(self) -> dict[str, str | list[str]]:
        return {"stem": "stem", "stages": ["block"], "embedding": "classifier:input"}

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(self.block(self.stem(x).flatten(2).transpose(1, 2)).mean(1))
        return logits


def test_stages_that_do_not_fit_are_named() -> None:
    setting = make_setting()
    with pytest.raises(
        LimbeckError,
        match=r"not the stems of the student \(3, 6, 6\) and the teacher \(4, 6, 6\); take a student as wide",
    ):
        setting.distiller("ce + fsp")
    setting = make_setting("fsp")
    with pytest.raises(
        LimbeckError, match=r"not stage 1 of the student \(8, 3, 3\) and stage 0 of the teacher \(4, 6, 6\)"
    ):
        setting.distiller("ce + fsp(pairs=[[1, 0]])")
    small, large = (CNN([2, 4], in_channels=1, size=8, num_classes=3) for _ in range(2))
    with pytest.raises(LimbeckError, match="found no stem in CNN; name the modules"):
        Distiller(small, large, "ce + fsp", example=torch.rand(2, 1, 8, 8))
    with pytest.raises(LimbeckError, match=r"flow between maps .* not from \(4, 4, 4\) to \(16, 4\)"):
        Distiller(Patches(), Patches(), "ce + fsp", example=setting.inputs[:2])


def test_arguments_that_make_no_sense_are_refused() -> None:
    with pytest.raises(LimbeckError, match="fsp: the argument"):
        parse("fsp(pairs=[])")
