from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from method_setting import SmallNet, make_setting
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.methods import Multilevel
from limbeck.methods.multilevel import Exit, exit_hint


def method_of(distiller: Distiller) -> Multilevel:
    (found,) = (method for method in distiller.objective.wrapped if isinstance(method, Multilevel))
    return found


@pytest.mark.parametrize("compared", ["maps", "pooled"])
def test_the_terms_are_the_equations(compared: str) -> None:
    setting = make_setting("multilevel", dtype=torch.float64)
    method = f'multilevel(ce=0.7, kl=0.2, hint=3, temperature=2, features="{compared}")'
    distiller = setting.distiller(f"0.9*ce + {method}").eval()
    found = distiller(setting.inputs, setting.targets)
    (exit,) = method_of(distiller).exits
    assert isinstance(exit, Exit)

    student = distiller.student
    assert isinstance(student, SmallNet)
    first = student.stage1(setting.inputs)
    last = student.stage2(first)
    output = student.classifier(last.mean((2, 3)))
    features = exit.adapter(first)
    pooled = F.avg_pool2d(features, 2)
    logits = exit.classifier(features.mean((2, 3)))
    q, p = (output / 2).softmax(1), (logits / 2).softmax(1)
    kl = 4 * (q * (q.log() - p.log())).sum(1).mean()
    ce = -logits.log_softmax(1)[torch.arange(len(logits)), setting.targets].mean()
    apart = (
        (pooled - last).square() if compared == "maps" else (features.mean((2, 3)) - last.mean((2, 3))) ** 2
    )
    far = sum(apart.flatten().tolist()) / apart.numel()
    assert found["multilevel.ce"].item() == pytest.approx(ce.item(), rel=1e-9)
    assert found["multilevel.kl"].item() == pytest.approx(kl.item(), rel=1e-9)
    assert found["multilevel.hint"].item() == pytest.approx(far, rel=1e-9)
    own = F.cross_entropy(output, setting.targets)
    total = 0.9 * own + 0.7 * ce + 0.2 * kl + 3 * far
    assert found.total.item() == pytest.approx(total.item(), rel=1e-9)


def test_the_defaults_are_those_of_the_public_code() -> None:
    method = Multilevel()
    assert (method.ce, method.kl, method.temperature, method.pooled) == (0.9, 0.1, 3.0, True)
    assert method.hint == pytest.approx(1e-6 * 128 * 512, rel=0.01)  # its sum over 128 samples as a mean


def test_what_teaches_does_not_learn_from_it() -> None:
    setting = make_setting("multilevel", dtype=torch.float64)
    distiller = setting.distiller("multilevel")
    distiller(setting.inputs, setting.targets).backward()
    student = distiller.student
    assert isinstance(student, SmallNet)
    for part in (student.stage2, student.classifier):
        assert all(parameter.grad is None for parameter in part.parameters())
    assert all(parameter.grad is not None for parameter in student.stage1.parameters())
    assert all(parameter.grad is not None for parameter in method_of(distiller).exits.parameters())


def test_sequences_are_averaged_over_their_valid_tokens() -> None:
    torch.manual_seed(2)
    network, targets = WordNet(6), torch.tensor([0, 2, 1])
    values = []
    for padding in (0, 5):
        torch.manual_seed(3)
        inputs = WordNet.batch(padding)
        distiller = Distiller(network, None, "ce + multilevel", example=inputs)
        values.append({name: term.item() for name, term in distiller(inputs, targets).items()})
    assert values[0] == pytest.approx(values[1], rel=1e-5)
    assert values[0]["multilevel.hint"] > 0


def test_maps_before_a_vector_are_averaged() -> None:
    exit = Exit(torch.rand(2, 3, 4, 4), -torch.rand(2, 5), 4)
    stage = torch.rand(6, 3, 4, 4)
    features, logits = exit(stage)
    torch.testing.assert_close(features, exit.adapter(stage.mean((2, 3))))
    torch.testing.assert_close(logits, exit.classifier(features))
    assert isinstance(exit.adapter[1], nn.Identity), "the deepest features may be negative"


def test_a_row_without_a_label_counts_for_the_divergence_alone() -> None:
    setting = make_setting("multilevel", dtype=torch.float64)
    distiller = setting.distiller("multilevel").eval()
    known, unknown = (
        distiller(Batch(setting.inputs, targets))
        for targets in (setting.targets, torch.full_like(setting.targets, -100))
    )
    assert unknown["multilevel.ce"].item() == 0
    assert unknown["multilevel.kl"].item() == known["multilevel.kl"].item() > 0


@pytest.mark.parametrize("deepest", [torch.rand(2, 4), torch.rand(2, 3, 1, 1), torch.rand(1, 4, 2, 2)])
def test_refuses_features_of_another_form(deepest: Tensor) -> None:
    with pytest.raises(LimbeckError, match="exit_hint"):
        exit_hint(torch.rand(2, 4, 2, 2), deepest)


def test_refuses_a_student_of_one_stage() -> None:
    network = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))
    with pytest.raises(LimbeckError, match="stage"):
        Distiller(network, None, "ce + multilevel", example=torch.rand(2, 4))
    setting = make_setting()
    with pytest.raises(LimbeckError, match="all stages but the deepest, and the student has one stage"):
        Distiller(
            setting.student,
            None,
            "ce + multilevel",
            example=setting.inputs[:2],
            student_features={"stages": ["stage2"]},
        )
