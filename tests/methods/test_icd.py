from __future__ import annotations

import copy
import math

import pytest
import reference_values
import torch
from method_setting import make_setting
from reference_values import has_reference
from torch import Tensor

from limbeck.errors import LimbeckError
from limbeck.losses import icd
from limbeck.methods import ICD
from limbeck.objective import parse


def scalar(value: float) -> Tensor:
    return torch.tensor(value, dtype=torch.float64)


def embeddings(samples: int = 5, dim: int = 7, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, samples, dim, generator=generator, dtype=torch.float64).to(dtype)
    return student, teacher


def naive(student: Tensor, teacher: Tensor, a: float, b: float, alpha: float, limit: float) -> float:
    """The paper's equations, one number after the other."""
    rows, columns = student.tolist(), teacher.tolist()
    size = len(rows)

    def cosine(u: list[float], v: list[float]) -> float:
        return math.fsum(x * y for x, y in zip(u, v, strict=True)) / (math.hypot(*u) * math.hypot(*v))

    def softmax(scores: list[float]) -> list[float]:
        return [math.exp(score) / sum(map(math.exp, scores)) for score in scores]

    scale = min(max(math.exp(a), 0.0), limit)
    scores = [[scale * cosine(u, v) + b for v in columns] for u in rows]
    p = [softmax(row) for row in scores]
    q = [softmax([scores[i][j] for i in range(size)]) for j in range(size)]  # row j: over the students
    contrast = -sum(math.log(p[i][i]) for i in range(size)) / size
    divergence = sum(q[i][j] * math.log(q[i][j] / p[i][j]) for i in range(size) for j in range(size)) / size
    return contrast + alpha * divergence


@pytest.mark.parametrize(
    ("a", "b", "alpha", "limit"), [(1.0, 0.0, 0.5, 10.0), (2.6, -0.4, 2.0, 10.0), (0.3, 1.0, 0.0, 1.2)]
)
def test_it_is_the_papers_equation(a: float, b: float, alpha: float, limit: float) -> None:
    student, teacher = embeddings()
    found = icd(student, teacher, scalar(a), scalar(b), alpha, limit).item()
    assert found == pytest.approx(naive(student, teacher, a, b, alpha, limit), rel=1e-12)


@has_reference
@pytest.mark.parametrize(
    ("name", "log_scale", "bias", "alpha"),
    [("icd", 1.0, 0.0, 0.5), ("icd_hot", 5.0, 0.7, 0.5), ("icd_alpha2", 1.0, 0.0, 2.0)],
)
def test_it_gives_the_published_values(name: str, log_scale: float, bias: float, alpha: float) -> None:
    inputs = reference_values.inputs()
    parameters = torch.tensor(log_scale), torch.tensor(bias)
    found = icd(inputs["student_embedding"], inputs["teacher_embedding"], *parameters, alpha)
    assert found.item() == reference_values.value(name)


def test_gradients_of_both_sides_and_of_the_scale() -> None:
    student, teacher = embeddings(4, 3)
    log_scale = scalar(1.0)
    for tensor in (student, teacher, log_scale):
        tensor.requires_grad_()
    assert torch.autograd.gradcheck(lambda s, t, a: icd(s, t, a, scalar(0.2)), (student, teacher, log_scale))


def test_the_scale_learns_below_its_limit_only_and_the_bias_never() -> None:
    for start, learns in ((1.0, True), (2.4, False), (1e3, False)):
        log_scale, bias = scalar(start).requires_grad_(), scalar(0.5).requires_grad_()
        icd(*embeddings(), log_scale, bias).backward()  # type: ignore[no-untyped-call]
        assert log_scale.grad is not None
        assert bias.grad is not None
        assert (log_scale.grad.abs().item() > 1e-6) == learns
        assert bias.grad.abs().item() < 1e-15


def test_equal_scores_cost_the_logarithm_of_the_batch() -> None:
    same = torch.ones(6, 4)
    assert icd(same, same, torch.tensor(1.0), torch.tensor(0.0)).item() == pytest.approx(math.log(6))


def test_it_normalizes_and_computes_in_full_precision() -> None:
    student, teacher = embeddings(dtype=torch.bfloat16)
    one, zero = torch.tensor(1.0), torch.tensor(0.0)
    short = icd(student, teacher, one, zero)
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(
        icd(student.float() * 1e12, teacher.float() * 1e-9, one, zero).item(), rel=1e-5
    )


def test_one_sample_has_no_negatives() -> None:
    with pytest.raises(LimbeckError, match="a batch of one has no negatives"):
        icd(*embeddings(1), scalar(1.0), scalar(0.0))
    setting = make_setting()
    distiller = setting.distiller("ce + icd")
    with pytest.raises(LimbeckError, match=r"icd .* at least 2 in a batch, not 1"):
        distiller(setting.inputs[:1], setting.targets[:1])


def test_its_terms_add_up_to_the_loss() -> None:
    setting = make_setting()
    distiller = setting.distiller("icd(alpha=2.0, dim=6)").eval()
    losses = distiller(setting.inputs, setting.targets)
    assert list(losses) == ["icd.contrast", "icd.invariance"]
    assert losses.total.item() == pytest.approx(
        (losses["icd.contrast"] + 2 * losses["icd.invariance"]).item()
    )
    assert losses["icd.invariance"].item() > 0


def test_projectors_of_both_sides_the_scale_and_the_bias_belong_to_the_method() -> None:
    setting = make_setting()
    distiller = setting.distiller("icd(dim=6)")
    method = next(distiller.objective.wrapped)
    assert isinstance(method, ICD)
    shapes = {name: tuple(parameter.shape) for name, parameter in method.named_parameters()}
    assert shapes == {
        "project_student.weight": (6, 6),
        "project_student.bias": (6,),
        "project_teacher.weight": (6, 8),
        "project_teacher.bias": (6,),
        "log_scale": (),
        "bias": (),
    }
    assert (method.log_scale.item(), method.bias.item()) == (1.0, 0.0)
    before = copy.deepcopy(method.state_dict())
    optimizer = distiller.optimizer(lambda parameters: torch.optim.SGD(parameters, lr=0.1))
    distiller(setting.inputs, setting.targets).backward()
    optimizer.step()
    moved = {name for name, value in method.state_dict().items() if not torch.equal(value, before[name])}
    assert moved >= {"project_student.weight", "project_teacher.weight", "log_scale"}


def test_a_fixed_scale_is_outside_the_limit_and_does_not_learn() -> None:
    setting = make_setting()
    distiller = setting.distiller("icd(learn_scale=False)").eval()
    method = next(distiller.objective.wrapped)
    assert isinstance(method, ICD)
    losses = distiller(setting.inputs, setting.targets)
    losses.backward()
    assert method.log_scale.grad is None
    assert method.bias.grad is None
    assert method.project_teacher.weight.grad is not None

    student, teacher = (
        tap_embedding(network, setting.inputs) for network in (setting.student, setting.teacher)
    )
    similarity = torch.nn.functional.cosine_similarity(
        method.project_student(student)[:, None], method.project_teacher(teacher)[None], dim=2
    )
    expected = torch.nn.functional.cross_entropy(similarity / 0.07, torch.arange(len(student)))
    assert losses["icd.contrast"].item() == pytest.approx(expected.item(), rel=1e-5)


def tap_embedding(network: torch.nn.Module, inputs: Tensor) -> Tensor:
    seen: list[Tensor] = []
    network = copy.deepcopy(network).eval()
    network.get_submodule("classifier").register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    network(inputs)
    return seen[0]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("icd(alpha=-0.5)", "alpha=-0.5 should be greater than or equal to 0"),
        ("icd(dim=0)", "dim=0 should be greater"),
        ("icd(max_scale=0)", "max_scale=0 should be greater than 0"),
        ("icd(scale=20)", "add learn_scale=False"),
        ("icd(learn_scale=False, max_scale=10)", "max_scale limits the learned scale"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        parse(text)
