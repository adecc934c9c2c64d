from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from method_setting import make_setting
from token_networks import WordNet
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import srrl
from limbeck.methods import SRRL
from limbeck.methods.parts.regressors import GlobalBatchNorm2d
from limbeck.models import MLP
from limbeck.optimization import SGD


def numbers(*sizes: int) -> list[Tensor]:
    """(3, size) tensors."""
    generator = torch.Generator().manual_seed(5)
    return [torch.randn(3, size, generator=generator, dtype=torch.float64) for size in sizes]


def test_it_is_the_sum_of_two_means_of_squares() -> None:
    student, teacher, student_logits, teacher_logits = numbers(4, 4, 6, 6)
    expected = [
        sum((a - b) ** 2 for a, b in zip(s.tolist(), t.tolist(), strict=True)) / 4
        + sum((a - b) ** 2 for a, b in zip(x.tolist(), y.tolist(), strict=True)) / 6
        for s, t, x, y in zip(student, teacher, student_logits, teacher_logits, strict=True)
    ]
    given = (student, teacher, student_logits, teacher_logits)
    assert srrl(*given, reduction="none").tolist() == pytest.approx(expected, rel=1e-12)
    assert srrl(*given).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


def test_gradients_and_full_precision() -> None:
    student, teacher, student_logits, teacher_logits = numbers(2, 2, 3, 3)
    given = (student.requires_grad_(), teacher, student_logits.requires_grad_(), teacher_logits)
    assert torch.autograd.gradcheck(srrl, given)
    first, second, third, fourth = (tensor.bfloat16() for tensor in given)
    short = srrl(first, second, third, fourth)
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(srrl(*given).item(), rel=0.05)


def method_of(distiller: Distiller) -> SRRL:
    return next(method for method in distiller.objective.wrapped if isinstance(method, SRRL))


@pytest.mark.parametrize("at", ["map", "embedding"])
def test_the_terms_are_the_equations(at: str) -> None:
    setting = make_setting(size=(5, 8))
    distiller = setting.distiller(f'srrl(at="{at}")').eval()
    connector = method_of(distiller).connector
    student, teacher = copy.deepcopy(setting.student).eval(), copy.deepcopy(setting.teacher).eval()
    last = student.stage2(student.stage1(setting.inputs))
    embedding = teacher.stage2(teacher.stage1(setting.inputs)).mean((2, 3))
    if at == "map":
        connected = connector(last).mean((2, 3))
    else:
        connected = connector(last.mean((2, 3))[:, :, None, None])[:, :, 0, 0]
    losses = distiller(setting.inputs)
    assert losses["srrl.embedding"].item() == pytest.approx(F.mse_loss(connected, embedding).item(), rel=1e-5)
    ours, theirs = teacher.classifier(connected), teacher(setting.inputs)
    assert losses["srrl.logits"].item() == pytest.approx(F.mse_loss(ours, theirs).item(), rel=1e-5)
    total = srrl(connected, embedding, ours, theirs).item()
    assert losses.total.item() == pytest.approx(total, rel=1e-5)


def test_the_connector_is_a_convolution_batch_norm_and_relu() -> None:
    connector = method_of(make_setting().distiller("srrl")).connector
    assert [type(part) for part in connector] == [nn.Conv2d, GlobalBatchNorm2d, nn.ReLU]
    assert [tuple(p.shape) for p in connector.parameters()] == [(8, 6, 1, 1), (8,), (8,)]


def test_a_gradient_goes_through_the_classifier_to_the_student_but_never_to_it() -> None:
    setting = make_setting()
    distiller = setting.distiller("srrl")
    method = method_of(distiller)
    optimizer = distiller.optimizer(SGD())
    before = {name: value.clone() for name, value in method.classifier.state_dict().items()}
    distiller(setting.inputs)["srrl.logits"].backward()
    assert all(p.grad is not None and p.grad.abs().max() > 0 for p in method.connector.parameters())
    assert distiller.student.stage1[0].weight.grad.abs().max() > 0  # type: ignore[index, union-attr]
    optimizer.step()
    assert all(p.grad is None for p in method.classifier.parameters())
    for name, value in method.classifier.state_dict().items():
        assert torch.equal(value, before[name])
        assert torch.equal(value, setting.teacher.classifier.state_dict()[name])


def test_an_embedding_with_negative_numbers_is_within_reach() -> None:
    student, teacher = WordNet(4), WordNet(6)  # whose embedding is a mean of tanh
    distiller = Distiller(student, teacher, "srrl(at='embedding')", example=WordNet.batch())
    connector = method_of(distiller).connector
    assert [type(part) for part in connector] == [nn.Conv2d, GlobalBatchNorm2d]
    distiller(WordNet.batch()).backward()


def test_in_a_token_model_padding_does_not_count() -> None:
    torch.manual_seed(0)
    distiller = Distiller(WordNet(4), WordNet(6), "srrl(at='embedding')", example=WordNet.batch()).eval()
    one, other = distiller(WordNet.batch()).total.item(), distiller(WordNet.batch(padding=5)).total.item()
    assert one == pytest.approx(other, rel=1e-6)


def test_what_cannot_be_connected_is_refused() -> None:
    student, teacher = (MLP([6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(LimbeckError, match=r"its last stage is \(6,\); write srrl\(at='embedding'\)"):
        Distiller(student, teacher, "srrl", example=torch.rand(2, 4))
    curved = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3), nn.Softplus())
    with pytest.raises(LimbeckError, match="srrl reuses the teacher's classifier, one linear layer"):
        Distiller(
            student,
            curved,
            "srrl(at='embedding')",
            example=torch.rand(2, 4),
            teacher_features={"embedding": "2:input"},
        )
    with pytest.raises(LimbeckError, match="'map' or 'embedding'"):
        make_setting().distiller("srrl(at='logits')")
