from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import reference_values
import torch
import torch.nn.functional as F
from method_setting import make_setting
from phase_runs import epochs_of_phases
from reference_values import has_reference
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller, Trainer
from limbeck.errors import LimbeckError
from limbeck.losses import factor_transfer
from limbeck.methods import FT, DataFacts
from limbeck.methods.ft import Paraphraser, encoder
from limbeck.methods.parts.regressors import GlobalBatchNorm2d
from limbeck.models import MLP
from limbeck.objective import parse
from limbeck.optimization import SGD
from limbeck.outputs import Outputs
from limbeck.training import phase_loops


def factors(student: tuple[int, ...], teacher: tuple[int, ...], samples: int = 3) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(5)
    return (
        torch.randn(samples, *student, generator=generator, dtype=torch.float64),
        torch.randn(samples, *teacher, generator=generator, dtype=torch.float64),
    )


def naive(student: Tensor, teacher: Tensor, form: str) -> list[float]:
    def numbers(factor: Tensor) -> list[float]:
        if form == "paper":
            flat = factor.flatten().tolist()
        else:
            pixels = factor.flatten(1).T.tolist()
            flat = [sum(value**2 for value in pixel) / len(pixel) for pixel in pixels]
        length = sum(value**2 for value in flat) ** 0.5
        return [value / length for value in flat]

    values = []
    for ours, theirs in zip(map(numbers, student), map(numbers, teacher), strict=True):
        values.append(sum(abs(a - b) for a, b in zip(ours, theirs, strict=True)) / len(ours))
    return values


@pytest.mark.parametrize(
    ("form", "student", "teacher"),
    [
        ("benchmark", (2, 3, 5), (4, 3, 5)),
        ("benchmark", (3, 2, 2), (3, 2, 2)),
        ("paper", (3, 4, 2), (3, 4, 2)),
    ],
)
def test_it_is_the_equation_of_either_form(
    form: Any, student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    pair = factors(student, teacher)
    expected = naive(*pair, form)
    assert factor_transfer(*pair, form, "none").tolist() == pytest.approx(expected, rel=1e-12)
    assert factor_transfer(*pair, form).item() == pytest.approx(sum(expected) / 3, rel=1e-12)


@pytest.mark.parametrize("form", ["benchmark", "paper"])
def test_the_larger_map_is_pooled(form: Any) -> None:
    student, teacher = factors((2, 6, 4), (2, 3, 8))
    expected = naive(F.avg_pool2d(student, (2, 1)), F.avg_pool2d(teacher, (1, 2)), form)
    assert factor_transfer(student, teacher, form, "none").tolist() == pytest.approx(expected, rel=1e-12)


@has_reference
def test_it_gives_the_published_value() -> None:
    inputs = reference_values.inputs()
    found = factor_transfer(inputs["student_map"], inputs["teacher_map"])
    assert found.item() == reference_values.value("factor_transfer")


@pytest.mark.parametrize("form", ["benchmark", "paper"])
def test_gradients_full_precision_and_silent_samples(form: Any) -> None:
    student, teacher = factors((3, 4, 2), (3, 2, 4))
    assert torch.autograd.gradcheck(lambda s: factor_transfer(s, teacher, form), (student.requires_grad_(),))
    short = factor_transfer(student.bfloat16(), teacher.bfloat16(), form)
    assert short.dtype == torch.float32
    assert short.item() == pytest.approx(factor_transfer(student, teacher, form).item(), rel=0.05)
    silent = torch.zeros(3, 3, 4, 2, requires_grad=True)
    factor_transfer(silent, teacher.float(), form).backward()  # type: ignore[no-untyped-call]
    assert silent.grad is not None
    assert not silent.grad.any()


@pytest.mark.parametrize(
    ("form", "student", "teacher"),
    [
        ("benchmark", (3, 5), (3, 5)),
        ("benchmark", (3, 2, 4, 4), (1, 2, 4, 4)),
        ("paper", (3, 2, 4, 4), (3, 4, 4, 4)),
    ],
)
def test_what_has_nothing_to_compare_is_refused(
    form: Any, student: tuple[int, ...], teacher: tuple[int, ...]
) -> None:
    with pytest.raises(LimbeckError, match=r"compares two factors \(B, C, H, W\)"):
        factor_transfer(torch.ones(student), torch.ones(teacher), form)


def kinds(layers: nn.Module) -> list[str]:
    return [type(layer).__name__ for layer in layers.children()]


def test_the_modules_are_the_benchmark_s() -> None:
    paraphraser = Paraphraser(6, 3)
    shapes = [tuple(p.shape) for name, p in paraphraser.named_parameters() if name.endswith("weight")]
    encoding = [(6, 6, 3, 3), (3, 6, 3, 3), (3, 3, 3, 3)]
    assert shapes == [*encoding, (3, 3, 3, 3), (3, 6, 3, 3), (6, 6, 3, 3)]  # transposed: before, after
    assert kinds(paraphraser.encoder) == ["Conv2d", "LeakyReLU"] * 3
    assert kinds(paraphraser.decoder) == ["ConvTranspose2d", "LeakyReLU"] * 3
    assert {m.negative_slope for m in paraphraser.modules() if isinstance(m, nn.LeakyReLU)} == {0.1}
    assert paraphraser(torch.rand(2, 6, 3, 5)).shape == (2, 6, 3, 5)
    translator = encoder(4, 3, norm=True)
    assert kinds(translator) == ["Conv2d", "GlobalBatchNorm2d", "LeakyReLU"] * 3
    assert translator(torch.rand(2, 4, 3, 5)).shape == (2, 3, 3, 5)


def method_of(distiller: Distiller) -> FT:
    method = next(distiller.objective.wrapped)
    assert isinstance(method, FT)
    return method


def test_the_phase_reconstructs_the_teacher_s_map_and_freezes() -> None:
    setting = make_setting()
    distiller = setting.distiller("ft(epochs=20, lr=0.05)")
    method = method_of(distiller)
    [(name, phase)] = distiller.phases
    assert name == "ft.paraphraser"
    assert (phase.epochs, phase.batch_size, phase.freezes) == (20, 64, True)
    assert phase.optimizer == SGD(lr=0.05)
    stages = torch.rand(3, 4, 6, 6), torch.rand(3, 8, 3, 3)
    loss = phase.loss(Outputs(), Outputs(stages=stages), Batch(torch.zeros(3)))
    expected = (method.paraphraser(stages[1]) - stages[1]).square().mean()
    torch.testing.assert_close(loss, expected)

    lines: list[dict[str, Any]] = []
    trainer = Trainer(display=False, device="cpu")
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]
    batch = Batch(setting.inputs, setting.targets)
    trainer.fit(distiller, phase_loops(distiller, lambda phase: lambda epoch: [batch] * 3))
    assert lines[-1]["terms"]["total"] < lines[0]["terms"]["total"]
    assert not any(parameter.requires_grad for parameter in method.paraphraser.parameters())
    assert all(parameter.requires_grad for parameter in method.translator.parameters())
    distiller.train()
    assert not method.paraphraser.training
    assert method.translator.training


@pytest.mark.parametrize(
    ("text", "ours", "theirs"), [("", 1, 1), ("stage=0, ", 0, 0), ("stage=[0, 1], ", 0, 1)]
)
@pytest.mark.parametrize("form", ["benchmark", "paper"])
def test_the_term_compares_the_factors(text: str, ours: int, theirs: int, form: Any) -> None:
    setting = make_setting()
    distiller = setting.distiller(f'ft({text}form="{form}", epochs=1)')
    limbeck.prepare(distiller, [(setting.inputs, setting.targets)], display=False, device="cpu")
    method = method_of(distiller.eval())
    taken = []
    for network in (setting.student.eval(), setting.teacher.eval()):
        first = network.stage1(setting.inputs)
        taken.append([first, network.stage2(first)])
    expected = factor_transfer(
        method.translator(taken[0][ours]), method.paraphraser.encoder(taken[1][theirs]), form
    )
    found = distiller(setting.inputs, setting.targets)
    assert found["ft"].item() == pytest.approx(expected.item(), rel=1e-5)
    found.backward()
    assert all(parameter.grad is not None for parameter in method.translator.parameters())
    assert all(parameter.grad is None for parameter in method.paraphraser.parameters())


def test_the_rate_is_that_of_the_channels() -> None:
    setting = make_setting()
    for rate, channels in ((0.5, 4), (0.75, 6), (0.01, 1)):
        method = method_of(setting.distiller(f"ft(rate={rate})"))
        assert [m.out_channels for m in method.translator if isinstance(m, nn.Conv2d)] == [
            6,
            channels,
            channels,
        ]
        convolutions = [m for m in method.paraphraser.encoder if isinstance(m, nn.Conv2d)]
        assert [m.out_channels for m in convolutions] == [8, channels, channels]
    assert sum(isinstance(module, GlobalBatchNorm2d) for module in method.modules()) == 3


def test_a_paraphraser_is_reused_for_the_same_teacher_data_and_arguments_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    setting = make_setting()

    def run(
        objective: str = "ft(epochs=2)", data: str = "a", seed: int = 0, stages: Sequence[str] = ()
    ) -> tuple[dict[str, Tensor], int]:
        torch.manual_seed(seed)
        distiller = Distiller(
            copy.deepcopy(setting.student),
            setting.teacher,
            objective,
            example=setting.inputs[:2],
            data=DataFacts(16, data),
            teacher_features={"stages": stages} if stages else None,
        )
        trained = epochs_of_phases(distiller, Batch(setting.inputs), seed)
        return method_of(distiller).paraphraser.state_dict(), trained

    first, steps = run()
    assert steps > 0
    again, steps = run('ft(form="paper", epochs=2)', seed=5)  # which the paraphraser does not know of
    assert steps == 0
    assert all(torch.equal(first[key], again[key]) for key in first)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "other"))
    afresh, steps = run(seed=5)
    assert steps > 0
    assert all(torch.equal(first[key], afresh[key]) for key in first)
    for objective, data in (("ft(epochs=2)", "b"), ("ft(epochs=1)", "a"), ("ft(epochs=2, rate=0.75)", "a")):
        assert run(objective, data)[1] > 0
    assert run("ft(stage=[1, 0], epochs=2)")[1] > 0
    assert run("ft(epochs=2, seed=1)")[1] > 0
    assert run(stages=["stage1", "stage2.0"])[1] > 0, "as wide as stage2, but another map"


def test_vectors_have_no_factors_here() -> None:
    student, teacher = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(
        LimbeckError, match=r"not stage -1 of the student \(6,\) and stage -1 of the teacher \(6,\)"
    ):
        Distiller(student, teacher, "ft", example=torch.rand(2, 4))


def test_one_pixel_has_no_attention_and_is_refused() -> None:
    setting = make_setting(size=(2, 1))
    with pytest.raises(LimbeckError, match=r"stage -1 of the teacher \(8, 1, 1\); name another stage"):
        setting.distiller("ft")
    assert setting.distiller('ft(form="paper", epochs=1)').phases


@pytest.mark.parametrize("text", ["ft(rate=0)", "ft(epochs=0)", "ft(lr=0)", 'ft(form="both")'])
def test_arguments_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="ft: the argument"):
        parse(text)
