from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import SAMPLES, make_setting
from phase_runs import epochs_of_phases
from torch import Tensor, nn

import limbeck
from limbeck import Batch, Distiller, Trainer
from limbeck.errors import LimbeckError
from limbeck.losses import sskd
from limbeck.methods import SSKD, DataFacts
from limbeck.methods.sskd import VIEWS, error_levels, head, rotations, selection, similarities
from limbeck.models import MLP
from limbeck.objective import parse
from limbeck.optimization import SGD, MultiStep
from limbeck.outputs import UNLABELED, Outputs
from limbeck.teachers import CachedTeacher
from limbeck.training import phase_loops


def scores(rows: int = 12, columns: int = 5) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(2)
    student, teacher = 3 * torch.randn(2, rows, columns, generator=generator, dtype=torch.float64)
    return student, teacher, torch.arange(rows) * 7 % columns


def naive(student: Tensor, teacher: Tensor, targets: Tensor, temperature: float, keep: float) -> float:
    """One number after the other: rank the rows, keep some, average their divergences."""

    def softmax(row: list[float]) -> list[float]:
        exponentials = [math.exp(value / temperature) for value in row]
        return [value / sum(exponentials) for value in exponentials]

    right: list[tuple[int, int]] = []
    wrong: list[tuple[int, int]] = []
    for row, (theirs, answer) in enumerate(zip(teacher.tolist(), targets.tolist(), strict=True)):
        if answer == UNLABELED:
            continue
        level = sorted(theirs, reverse=True).index(theirs[answer])
        (wrong if level else right).append((level, row))
    rows = [row for _, row in right] + [row for _, row in sorted(wrong)[: int(keep * len(wrong))]]
    total = 0.0
    for row in rows:
        pairs = zip(softmax(teacher[row].tolist()), softmax(student[row].tolist()), strict=True)
        total += temperature**2 * sum(p * math.log(p / q) for p, q in pairs)
    return total / len(rows) if rows else 0.0


@pytest.mark.parametrize("temperature", [4.0, 0.5])
@pytest.mark.parametrize("keep", [0.0, 0.3, 0.75, 1.0])
def test_it_is_the_equation(temperature: float, keep: float) -> None:
    student, teacher, targets = scores()
    targets[5] = UNLABELED
    expected = naive(student, teacher, targets, temperature, keep)
    assert sskd(student, teacher, targets, temperature, keep).item() == pytest.approx(expected, rel=1e-12)


def test_levels_count_what_stands_above_the_right_answer() -> None:
    logits = torch.tensor([[3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [3.0, 1.0, 2.0], [1.0, 1.0, 2.0]])
    assert error_levels(logits, torch.tensor([0, 1, 2, 0])).tolist() == [0, 2, 1, 1]
    assert error_levels(logits, torch.tensor([0, UNLABELED, 2, 2])).tolist() == [0, -1, 1, 0]


@pytest.mark.parametrize(
    ("keep", "kept"),
    [
        (0.0, [0, 4]),
        (0.24, [0, 4]),  # of 4 wrong rows int(0.96)
        (0.25, [0, 3, 4]),
        (0.5, [0, 2, 3, 4]),  # of two on a level the first
        (0.75, [0, 2, 3, 4, 5]),
        (1.0, [0, 1, 2, 3, 4, 5]),
    ],
)
def test_the_least_wrong_are_kept(keep: float, kept: list[int]) -> None:
    levels = torch.tensor([0, 4, 2, 1, 0, 2, -1])
    assert selection(levels, keep).nonzero().flatten().tolist() == kept


def test_as_many_as_python_s_own_product_are_kept() -> None:
    assert int(0.29 * 100) == 28
    assert selection(torch.arange(1, 101), 0.29).sum() == 28


def test_rows_without_a_label_count_for_nothing() -> None:
    student, teacher, targets = scores()
    student.requires_grad_()
    targets[:4] = UNLABELED
    loss = sskd(student, teacher, targets)
    assert loss.item() == pytest.approx(sskd(student[4:], teacher[4:], targets[4:]).item(), rel=1e-12)
    loss.backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    assert not student.grad[:4].any()
    assert student.grad[4:].any(1).all()
    none = sskd(student, teacher, torch.full_like(targets, UNLABELED))
    assert none.item() == 0
    none.backward()  # type: ignore[no-untyped-call]
    assert student.grad.isfinite().all()


def test_similarities_are_cosines() -> None:
    turned, upright = torch.randn(6, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    expected = [[F.cosine_similarity(a, b, dim=0).item() for b in upright] for a in turned]
    assert similarities(turned, upright).tolist() == [pytest.approx(row, rel=1e-12) for row in expected]


def test_images_are_turned_counterclockwise() -> None:
    image = torch.tensor([[1.0, 2.0], [3.0, 4.0]])[None, None]
    found = [turned[0, 0].tolist() for turned in rotations(image)]
    assert found == [[[2, 4], [1, 3]], [[4, 3], [2, 1]], [[3, 1], [4, 2]]]


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.rand(2, 4), r"these inputs, of shape \(2, 4\), are none"),
        ({"ids": torch.ones(2, 4)}, "these inputs, of names ids, are none"),
        (torch.rand(2, 1, 5, 8), "they must be square, not 5x8; give the networks a square size"),
    ],
)
def test_only_square_images_are_turned(inputs: Any, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        rotations(inputs)


def test_a_distiller_refuses_other_inputs_at_once() -> None:
    with pytest.raises(LimbeckError, match="sskd turns images by quarters, so they must be square, not 5x8"):
        make_setting(size=(5, 8)).distiller("sskd")
    student, teacher = (MLP([5, 6], in_features=4, num_classes=3) for _ in range(2))
    with pytest.raises(LimbeckError, match=r"sskd turns images \(B, C, H, W\) by quarters"):
        Distiller(student, teacher, "sskd", example=torch.rand(2, 4))
    distiller = make_setting().distiller("sskd(epochs=1)")
    with pytest.raises(LimbeckError, match="square, not 5x6"):
        limbeck.prepare(distiller, [Batch(torch.rand(4, 1, 5, 6))], display=False, device="cpu")


def method_of(distiller: Distiller) -> SSKD:
    method = next(distiller.objective.wrapped)
    assert isinstance(method, SSKD)
    return method


def prepared(objective: str, dtype: torch.dtype = torch.float64) -> tuple[Distiller, Batch]:
    setting = make_setting(dtype=dtype)
    distiller = setting.distiller(objective)
    batch = Batch(setting.inputs, setting.targets)
    limbeck.prepare(distiller, [batch], display=False, device="cpu", precision="fp32")
    return distiller, batch


def told(network: nn.Module, images: Tensor) -> tuple[Tensor, Tensor]:
    """Embedding and logits of the images upright and turned, (4, B, ...), of all in one forward."""
    embedding = network.stage2(network.stage1(torch.cat([images, *rotations(images)]))).mean((2, 3))  # type: ignore[operator]
    logits = network.classifier(embedding)  # type: ignore[operator]
    return embedding.view(4, len(images), -1), logits.view(4, len(images), -1)


def naive_cosines(vectors: Tensor) -> Tensor:
    """(3B, B) of turned with upright ones, image after image."""
    return torch.stack(
        [
            torch.stack([F.cosine_similarity(vectors[turn, i], vectors[0, j], dim=0) for j in range(SAMPLES)])
            for i in range(SAMPLES)
            for turn in (1, 2, 3)
        ]
    )


def test_the_terms_are_the_equations_and_batch_norm_sees_all_four_views() -> None:
    arguments = "transformed_temperature=3, self_supervised_temperature=0.4, transformed_keep=0.5"
    distiller, batch = prepared(f"sskd(1.5, 4, {arguments}, self_supervised_keep=0.6, epochs=20)")
    assert isinstance(batch.inputs, Tensor)
    assert batch.targets is not None
    batch.targets[3] = UNLABELED
    method = method_of(distiller.train())
    assert distiller.teacher is not None
    assert distiller.teacher.network is not None
    student = copy.deepcopy(distiller.student)
    found = distiller(batch)
    assert list(found) == ["sskd.transformed", "sskd.self_supervised"]

    with torch.no_grad():
        ours, our_logits = told(student, batch.inputs)
        theirs, their_logits = told(distiller.teacher.network, batch.inputs)
        logits, aims = (each[1:].transpose(0, 1).flatten(0, 1) for each in (our_logits, their_logits))
        labels = batch.targets.repeat_interleave(3)
        cosines = naive_cosines(method.student_head(ours)), naive_cosines(method.teacher_head(theirs))
        origins = torch.arange(SAMPLES).repeat_interleave(3)
    levels = error_levels(cosines[1], origins)
    assert 0 < selection(levels, 0.6).sum() < len(levels), "some are dropped"
    first, second = naive(logits, aims, labels, 3.0, 0.5), naive(*cosines, origins, 0.4, 0.6)
    assert found["sskd.transformed"].item() == pytest.approx(first, rel=1e-9)
    assert found["sskd.self_supervised"].item() == pytest.approx(second, rel=1e-9)
    assert found.total.item() == pytest.approx(1.5 * first + 4 * second, rel=1e-9)
    for name, buffer in student.named_buffers():  # moved by the same one forward
        torch.testing.assert_close(buffer, distiller.student.get_buffer(name))


def test_only_the_student_and_its_head_learn() -> None:
    distiller, batch = prepared("sskd(epochs=1)")
    method = method_of(distiller.train())
    distiller(batch).backward()
    assert all(p.grad is not None and p.grad.any() for p in method.student_head.parameters())
    assert all(p.grad is None and not p.requires_grad for p in method.teacher_head.parameters())
    for name, parameter in distiller.student.named_parameters():
        assert parameter.grad is not None, name


def test_the_phase_teaches_the_head_which_image_a_turned_one_is() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller("sskd(epochs=40)")
    method = method_of(distiller)
    [(name, phase)] = distiller.phases
    assert name == "sskd.head"
    assert (phase.epochs, phase.batch_size, phase.freezes) == (40, 64, True)
    assert phase.optimizer == SGD(lr=0.05, momentum=0.9, weight_decay=5e-4)
    assert phase.schedule == MultiStep(milestones=(20, 30))

    embedding, _ = told(setting.teacher.eval(), setting.inputs)
    views = {view: Outputs(embedding=vectors) for view, vectors in zip(VIEWS, embedding[1:], strict=True)}
    teacher = Outputs(embedding=embedding[0].detach(), views=views)
    terms = phase.loss(Outputs(), teacher, Batch(setting.inputs, setting.targets))
    assert isinstance(terms, dict)
    cosines = naive_cosines(method.teacher_head(embedding))
    origins = torch.arange(SAMPLES).repeat_interleave(3)
    torch.testing.assert_close(terms["ce"], -cosines.log_softmax(1)[range(3 * SAMPLES), origins].mean())
    torch.testing.assert_close(terms["accuracy"].value, (cosines.argmax(1) == origins).double().mean())

    lines: list[dict[str, Any]] = []
    trainer = Trainer(display=False, device="cpu", precision="fp32")
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]
    batch = Batch(setting.inputs, setting.targets)
    trainer.fit(distiller, phase_loops(distiller, lambda phase: lambda epoch: [batch] * 3))
    assert lines[-1]["terms"]["total"] < lines[0]["terms"]["total"]


def test_the_heads_are_the_authors() -> None:
    shapes = [tuple(p.shape) for p in head(6).parameters()]
    assert shapes == [(6, 6), (6,), (6, 6), (6,)]
    assert [type(layer) for layer in head(6)] == [nn.Linear, nn.ReLU, nn.Linear]
    method = method_of(make_setting().distiller("sskd"))
    assert method.teacher_head[0].in_features == 8
    assert method.student_head[0].in_features == 6


def test_a_head_is_reused_for_the_same_teacher_data_and_arguments_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    setting = make_setting()

    def run(
        objective: str = "sskd(epochs=2)", data: str = "a", seed: int = 0
    ) -> tuple[dict[str, Tensor], int]:
        torch.manual_seed(seed)
        distiller = Distiller(
            copy.deepcopy(setting.student),
            setting.teacher,
            objective,
            example=setting.inputs[:2],
            data=DataFacts(16, data),
        )
        trained = epochs_of_phases(distiller, Batch(setting.inputs), seed)
        return method_of(distiller).teacher_head.state_dict(), trained

    first, steps = run()
    assert steps > 0
    again, steps = run("sskd(self_supervised_keep=0.5, epochs=2)", seed=5)  # of which the head knows nothing
    assert steps == 0
    assert all(torch.equal(first[key], again[key]) for key in first)
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "other"))
    afresh, steps = run(seed=5)
    assert steps > 0
    assert all(torch.equal(first[key], afresh[key]) for key in first)
    for objective, data in (
        ("sskd(epochs=2)", "b"),
        ("sskd(epochs=1)", "a"),
        ("sskd(epochs=2, lr=0.1)", "a"),
    ):
        assert run(objective, data)[1] > 0
    assert run("sskd(epochs=2, seed=1)")[1] > 0


def test_a_cache_answers_for_the_upright_images_and_the_network_for_the_turned(tmp_path: Path) -> None:
    setting = make_setting()
    source = limbeck.data.from_tensors(setting.inputs, setting.targets, validation=None)
    view = torch.zeros(SAMPLES, dtype=torch.int64)
    batch = Batch(setting.inputs, setting.targets, torch.arange(SAMPLES), view)
    found = []
    for cached in (False, True):
        network = make_setting().teacher
        fields = ("logits", "embedding")
        teacher = CachedTeacher(network, source, fields, directory=tmp_path) if cached else network
        student = copy.deepcopy(setting.student)
        torch.manual_seed(0)
        distiller = Distiller(student, teacher, "sskd(epochs=1)", example=setting.inputs[:2])
        limbeck.prepare(distiller, [batch], display=False, device="cpu")
        distiller(batch)  # for the logits, which the phase did not ask for
        distiller.teachers.take_shown()
        found.append(distiller(batch))
        assert distiller.teachers.take_shown() == (3 if cached else 4) * SAMPLES
    for name, value in found[0].items():  # but for the rounding of what is kept
        torch.testing.assert_close(found[1][name], value, rtol=1e-2, atol=1e-6)


def test_each_of_several_teachers_has_its_head() -> None:
    setting = make_setting()
    distiller = Distiller(
        setting.student,
        {"big": setting.teacher, "other": make_setting("fsp").student},
        'sskd(epochs=1, teacher="big") + sskd(epochs=1, teacher="other")',
        example=setting.inputs[:2],
    )
    batch = Batch(setting.inputs, setting.targets)
    limbeck.prepare(distiller, [batch], display=False, device="cpu")
    losses = distiller(batch)
    assert losses["sskd.transformed"] != losses["sskd_2.transformed"]


@pytest.mark.parametrize(
    "text",
    [
        "sskd(transformed=-1)",
        "sskd(self_supervised=-1)",
        "sskd(transformed_temperature=0)",
        "sskd(self_supervised_temperature=0)",
        "sskd(transformed_keep=1.5)",
        "sskd(self_supervised_keep=-0.1)",
        "sskd(epochs=0)",
        "sskd(lr=0)",
    ],
)
def test_arguments_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="sskd: the argument"):
        parse(text)


def test_one_sample_has_no_other() -> None:
    distiller, batch = prepared("sskd(epochs=1)")
    with pytest.raises(LimbeckError, match="sskd compares samples and needs at least 2 in a batch"):
        distiller(batch.split(SAMPLES)[0])
