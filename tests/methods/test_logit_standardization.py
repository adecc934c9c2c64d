from __future__ import annotations

import statistics

import pytest
import torch
from method_setting import Setting, make_setting
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller, LimbeckError, Outputs
from limbeck.losses import dgkd, dkd, kd
from limbeck.methods import KD, LogitStandardization, Method, Reads, Term
from limbeck.methods.declarations import LossTerms
from limbeck.methods.logit_standardization import standardize
from limbeck.objective import parse


def rows(samples: int = 4, classes: int = 5, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(samples, classes, generator=generator, dtype=torch.float64) + 1


def test_it_is_the_papers_z_score() -> None:
    logits = rows()
    expected = [
        [(z - statistics.fmean(row)) / (statistics.stdev(row) + 1e-7) for z in row] for row in logits.tolist()
    ]
    for found, row in zip(standardize(logits).tolist(), expected, strict=True):
        assert found == pytest.approx(row, rel=1e-12)
    assert standardize(torch.tensor([[1.0, 3.0]])).tolist()[0] == pytest.approx([-(0.5**0.5), 0.5**0.5])


def test_it_knows_no_shift_and_no_scale() -> None:
    logits = rows()
    torch.testing.assert_close(standardize(5 * logits + 2), standardize(logits), rtol=1e-6, atol=0)
    assert torch.autograd.gradcheck(standardize, logits.requires_grad_())


@pytest.mark.parametrize("flat", [0.0, 0.1, -7.3])
def test_equal_logits_become_zero_and_get_no_gradient(flat: float) -> None:
    logits = torch.full((2, 100), flat, requires_grad=True)
    found = standardize(logits)
    (found * torch.arange(100.0)).sum().backward()  # type: ignore[no-untyped-call]
    assert found.abs().max() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_extreme_and_half_precision() -> None:
    logits = torch.tensor([[1e4, 0.0, -1e4], [1e-30, 0.0, 0.0]], requires_grad=True)
    found = standardize(logits)
    found.square().sum().backward()  # type: ignore[no-untyped-call]
    assert found[0].tolist() == pytest.approx([1, 0, -1])
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    short = rows().bfloat16()
    assert torch.equal(standardize(short), standardize(short.float()))


def test_the_logits_of_several_teachers_are_standardized_too() -> None:
    setting = make_setting()
    teachers = {name: setting.named[name] for name in ("small", "big")}
    inside = 'kd(teacher="small") + dgkd(teachers=["small", "big"], drop=0)'
    objective = f'ce + logit_standardization({inside}, teacher="big")'
    distiller = Distiller(setting.student, dict(teachers), objective, example=setting.inputs[:2])
    losses = distiller.eval()(setting.inputs, setting.targets)
    with torch.no_grad():
        ours = standardize(distiller.student(setting.inputs))
        small, big = (standardize(teacher(setting.inputs)) for teacher in teachers.values())
    torch.testing.assert_close(losses["logit_standardization.kd"].detach(), kd(ours, small))
    torch.testing.assert_close(losses["logit_standardization.dgkd"].detach(), dgkd(ours, [small, big]))


def outputs() -> tuple[Outputs, Outputs, Batch]:
    student, teacher = rows(), rows(seed=1)
    return Outputs(logits=student), Outputs(logits=teacher), Batch(student, torch.tensor([0, 4, 2, 2]))


def test_the_wrapped_methods_see_both_standardized_and_keep_the_rest() -> None:
    student, teacher, batch = outputs()
    method = LogitStandardization(KD(temperature=2) + 0.5 * KD(temperature=3))
    terms = method.terms(student, teacher, batch)
    pair = standardize(student.logits), standardize(teacher.logits)
    assert list(terms) == ["logit_standardization.kd", "logit_standardization.kd_2"]
    for (name, term), temperature, weight in zip(terms.items(), (2, 3), (1, 0.5), strict=True):
        assert torch.equal(term.value, kd(*pair, temperature)), name
        assert (term.kind, term.weight) == ("distillation", weight)


@torch.no_grad()
def standardized(distiller: Distiller, setting: Setting) -> tuple[Tensor, Tensor]:
    student, teacher = distiller.student(setting.inputs), setting.teacher.eval()(setting.inputs)
    return standardize(student), standardize(teacher)


def test_cross_entropy_outside_sees_the_logits_as_they_are() -> None:
    setting = make_setting()
    distiller = setting.distiller("0.1*ce + 9*logit_standardization(kd(temperature=2))").eval()
    plain = setting.distiller("ce + kd").eval()
    losses = distiller(setting.inputs, setting.targets)
    assert list(losses) == ["ce", "logit_standardization.kd"]
    assert losses["ce"].item() == plain(setting.inputs, setting.targets)["ce"].item()
    expected = kd(*standardized(distiller, setting), 2.0).item()
    assert losses["logit_standardization.kd"].item() == pytest.approx(expected, rel=1e-4)
    assert losses.total.item() == pytest.approx(0.1 * losses["ce"].item() + 9 * expected, rel=1e-4)


def test_around_dkd() -> None:
    setting = make_setting()
    distiller = setting.distiller("logit_standardization(dkd(temperature=2, warmup=0))").eval()
    expected = dkd(*standardized(distiller, setting), setting.targets, temperature=2).item()
    assert distiller(setting.inputs, setting.targets).total.item() == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize(
    "objective",
    [
        "ce + logit_standardization(around(kd))",  # a wrapper with a phase
        "ce + logit_standardization(0.1*adversarial + dist)",  # an optimizer of its own
        'mgd(ce + 9*logit_standardization(kd(temperature=2)), scheme="stable", epochs=2)',
    ],
)
def test_it_wraps_and_is_wrapped(objective: str) -> None:
    setting = make_setting()
    distiller = setting.distiller(objective)
    limbeck.prepare(distiller, [(setting.inputs, setting.targets)], display=False, device="cpu")
    losses = distiller(setting.inputs, setting.targets)
    losses.backward()
    assert any("logit_standardization" in name for name in losses)
    assert all(p.grad is not None and p.grad.isfinite().all() for p in distiller.student.parameters())


def test_further_views_are_standardized_too() -> None:
    class Across(Method):
        """The student's logits for one view follow the teacher's for another."""

        reads = Reads(student=("logits",), teacher=("logits",), views=("other",))

        def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
            return kd(student.logits, teacher.views["other"].logits)

    student, teacher, batch = outputs()
    seen = Outputs(logits=rows(), views={"other": teacher})
    terms = LogitStandardization(Across()).terms(student.replace(views={}), seen, batch)
    expected = kd(standardize(student.logits), standardize(teacher.logits))
    assert torch.equal(terms["logit_standardization.across"].value, expected)


@pytest.mark.parametrize(
    ("base", "method"),
    [
        ("ce", "ce"),
        ("kd + ce", "ce"),
        ("kd + icd", "icd"),
        ("label_smoothing", "label_smoothing"),
        ("dml", "dml"),
    ],
)
def test_what_compares_no_logits_belongs_outside(base: str, method: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        make_setting().distiller(f"logit_standardization({base})")
    assert str(caught.value) == (
        f"logit_standardization is for methods that compare logits, and {method} does not compare the logits "
        "of student and teacher; write it outside, as ce in 0.1*ce + "
        "9*logit_standardization(kd(temperature=2))"
    )


def test_a_task_term_belongs_outside_too() -> None:
    class Both(Method):
        """Compares logits, and fits the labels besides."""

        reads = Reads(student=("logits",), teacher=("logits",))

        def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> LossTerms:
            return {"fit": Term(student.logits.sum(), "task"), "match": kd(student.logits, teacher.logits)}

    with pytest.raises(LimbeckError, match=r"and the term both.fit is of the task; write it outside"):
        LogitStandardization(Both()).terms(*outputs())


def test_a_head_that_starts_at_zero_takes_its_first_step_by_the_labels() -> None:
    heads = []
    for objective in ("0.1*ce", "0.1*ce + 9*logit_standardization(kd(temperature=2))"):
        setting = make_setting()
        nn.init.zeros_(setting.student.classifier.weight)
        nn.init.zeros_(setting.student.classifier.bias)
        distiller = setting.distiller(objective)
        optimizer = distiller.optimizer(lambda parameters: torch.optim.SGD(parameters, lr=0.05))
        for _ in range(2):
            heads.append(distiller.student.state_dict()["classifier.weight"].clone())
            optimizer.zero_grad()
            distiller(setting.inputs, setting.targets).backward()
            optimizer.step()
    assert heads[1].abs().max() > 0
    assert torch.equal(heads[1], heads[3])


def test_a_pruned_copy_is_not_seen() -> None:
    with pytest.raises(
        LimbeckError, match=r"does not see the logits of the pruned copy .*r2kd\(teacher_share=1\)"
    ):
        parse("logit_standardization(r2kd)")
    parse("logit_standardization(r2kd(teacher_share=1))")
