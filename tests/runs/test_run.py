from __future__ import annotations

import copy
import hashlib
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from method_setting import SmallNet
from small_runs import (
    QUICK,
    STUDENT,
    TEACHER,
    catch_job,
    content,
    make_student,
    make_teacher,
    plain_network,
    same,
    state_of,
    three_classes,
    timeless,
    without_times,
)
from torch import Tensor, nn

import limbeck
from limbeck import data, models
from limbeck.config import make_config
from limbeck.errors import LimbeckError
from limbeck.methods import CE, KD
from limbeck.objective import parse
from limbeck.outputs import UNLABELED
from limbeck.runs import Run
from limbeck.runs.job_data import uses_unlabeled
from limbeck.runs.lineage import recorded
from limbeck.runs.result import Result, StudentResult
from limbeck.training.guard import DivergenceError

FACTORY = """
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.hidden, self.classifier = nn.Linear(64, width), nn.Linear(width, classes)

    def forward(self, x):
        return self.classifier(torch.relu(self.hidden(x.flatten(1))))


def make(width=3, classes=10):
    return Net(width, classes)
"""


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_teacher(tmp_path_factory.mktemp("runs") / "teacher")


@pytest.fixture(scope="module")
def student(teacher: Run) -> Run:
    return make_student(teacher.path.parent / "student", teacher)


def logits_on_test(network: nn.Module) -> tuple[Tensor, Tensor]:
    """Logits of the digits' test scans, the plain way, and their classes."""
    test = data.load("digits").test
    assert test is not None
    batch = next(iter(data.Loader(test, 500, shuffle=False)))
    assert batch.targets is not None
    assert len(batch) == 500
    with torch.no_grad():
        return network(batch.inputs), batch.targets


class TestResult:
    def test_it_holds_what_was_promised(self, student: Run, teacher: Run) -> None:
        result = student.result
        own, targets = logits_on_test(limbeck.load(student))
        theirs, _ = logits_on_test(limbeck.load(teacher))
        right = (own.argmax(1) == targets).double().mean().item()
        top5 = (own.topk(5).indices == targets[:, None]).any(1).double().mean().item()
        assert result.objective == "0.1*ce + 0.9*kd(temperature=4)"
        assert result.seed == 0
        assert result.selection == "last"
        assert result.student == StudentResult(model=STUDENT, parameters=64 * 6 + 6 + 6 * 10 + 10)
        weights = hashlib.sha256((teacher.path / "student.safetensors").read_bytes()).hexdigest()[:16]
        assert result.teachers.keys() == {"teacher"}
        taught_by = result.teachers["teacher"].model_dump()
        assert len(taught_by.pop("recipe")) == 16
        measured = taught_by.pop("metrics")
        assert measured.keys() == {"top1", "top5", "macro_f1", "nll", "ece"}
        assert measured["top1"] == pytest.approx((theirs.argmax(1) == targets).double().mean().item())
        assert taught_by == {
            "model": str(teacher.path),
            "weights": weights,
            "labels": None,
            "cached": (),
            "checkpoints": None,
            "parameters": 64 * 16 + 16 + 16 * 10 + 10,
            "run": recorded(teacher).model_dump(),
            "answers": None,
        }
        assert result.agreement == pytest.approx((own.argmax(1) == theirs.argmax(1)).double().mean().item())
        test = result.metrics.on("test")
        assert test["top1"] == pytest.approx(right)
        assert test["top5"] == pytest.approx(top5)
        assert test["nll"] == pytest.approx(nn.functional.cross_entropy(own, targets).item(), rel=1e-5)
        assert 0 <= test["ece"] <= 1
        assert result.seconds == pytest.approx(sum(line["seconds"] for line in student.history), abs=1e-3)
        assert result.arguments == {
            "ce": {"weight": 0.1, "method": "ce"},
            "kd": {
                "weight": 0.9,
                "method": "kd",
                "temperature": 4,
                "divergence": "forward",
                "beta": 0.5,
                "top": None,
            },
        }
        sizes = {"train": 1000, "labeled": 1000, "validation": 297, "test": 500, "outputs": 10}
        assert result.data.model_dump(include=set(sizes)) == sizes
        assert result.data.measured == {"validation": 297, "test": 500}
        assert result.data.fingerprint == data.load("digits").fingerprint()
        assert result.task == {"name": "classification", "names": list("0123456789")}
        assert (result.steps, result.samples_seen) == (8, 2000)

    def test_its_directory_holds_what_was_promised(self, student: Run) -> None:
        assert content(student.path).keys() == {
            "config.yaml",
            "environment.json",
            "evaluation.json",
            "metrics.jsonl",
            "README.md",
            "result.json",
            "report.html",
            "student.safetensors",
            "checkpoints/last.pt",
        }
        assert "0.1*ce + 0.9*kd(temperature=4)" in (student.path / "report.html").read_text()

    def test_validation_is_the_last_line_of_the_history(self, student: Run) -> None:
        last = student.history[-1]
        assert (last["phase"], last["epoch"], last["step"]) == ("training", 2, 8)
        assert last["terms"].keys() == {"total", "ce", "kd"}
        assert last["validation"] == student.result.metrics.validation

    def test_without_a_teacher_there_is_no_agreement(self, teacher: Run) -> None:
        assert teacher.result.teachers == {}
        assert teacher.result.agreement is None
        assert teacher.result.objective == "ce"

    def test_few_classes_have_no_top5_and_no_test_no_figures(self, tmp_path: Path) -> None:
        run = limbeck.train(model="mlp", data=three_classes(), out=tmp_path / "a", **QUICK)
        assert run.result.metrics.on("test").keys() == {"top1", "macro_f1", "nll", "ece"}
        source = three_classes(test=False)
        run = limbeck.distill(
            student="mlp", teacher=plain_network(8), data=source, out=tmp_path / "b", **QUICK
        )
        assert run.result.metrics.test is None
        assert run.result.teachers["teacher"].metrics is None
        assert run.result.agreement is None
        assert run.result.metrics.on("validation")["top1"] >= 0

    def test_without_validation_data_there_are_no_figures_on_it(self, tmp_path: Path) -> None:
        source = replace(three_classes(), validation=None)
        run = limbeck.train(model="mlp", data=source, out=tmp_path / "run", **QUICK)
        assert run.result.metrics.validation is None
        assert all("validation" not in line for line in run.history)
        with pytest.raises(LimbeckError, match=r"triples has no validation split; use training\.selection"):
            limbeck.train(
                model="mlp",
                data=source,
                out=tmp_path / "none",
                settings={"training.selection": "validation"},
            )
        assert not (tmp_path / "none").exists()


class TestRepetition:
    def test_its_config_repeats_it_bit_by_bit(self, student: Run, tmp_path: Path) -> None:
        again = limbeck.distill(student.path / "config.yaml", out=tmp_path / "again", display=False)
        assert same(state_of(again), state_of(student))
        assert timeless(again.history) == timeless(student.history)
        assert without_times(again.result) == without_times(student.result)
        assert (again.path / "config.yaml").read_text() == (student.path / "config.yaml").read_text()

    def test_a_config_object_repeats_it_too(self, student: Run, tmp_path: Path) -> None:
        config = student.config
        before = config.model_dump()
        again = limbeck.distill(config, out=tmp_path / "again", display=False)
        assert same(state_of(again), state_of(student))
        assert config.model_dump() == before

    def test_a_training_can_be_repeated(self, teacher: Run, tmp_path: Path) -> None:
        again = limbeck.train(teacher.path / "config.yaml", out=tmp_path / "again", display=False)
        assert same(state_of(again), state_of(teacher))

    def test_another_seed_is_another_run(self, student: Run, teacher: Run, tmp_path: Path) -> None:
        other = make_student(tmp_path / "other", teacher, seed=1)
        assert not same(state_of(other), state_of(student))
        assert other.result.seed == 1

    def test_the_same_views_can_be_shown_to_another_seed(self, tmp_path: Path) -> None:
        views: list[list[Tensor]] = []
        for seed, view_seed in ((0, 5), (1, 5), (1, 6)):
            settings = {**QUICK["settings"], "training.view_seed": view_seed}
            seen: list[Tensor] = []
            with pytest.MonkeyPatch.context() as patch:
                jobs = catch_job(patch)
                original = data.Loader._batch

                def noted(self: Any, *arguments: Any, original: Any = original, seen: Any = seen) -> Any:
                    batch = original(self, *arguments)
                    if self.shuffle:
                        seen.append(batch.view[batch.index.argsort()])
                    return batch

                patch.setattr(data.Loader, "_batch", noted)
                limbeck.train(
                    model="mlp",
                    seed=seed,
                    epochs=1,
                    batch_size=1000,
                    settings=settings,
                    display=False,
                    out=tmp_path / f"{seed}-{view_seed}",
                )
            assert len(jobs) == 1
            views.append(seen)
        assert torch.equal(views[0][0], views[1][0])
        assert not torch.equal(views[1][0], views[2][0])

    def test_the_global_generators_are_not_touched(self, teacher: Run, tmp_path: Path) -> None:
        before = (
            torch.get_rng_state(),
            random.getstate(),
            np.random.get_state(legacy=False)["state"]["key"].copy(),
        )
        make_student(tmp_path / "run", teacher)
        assert torch.equal(torch.get_rng_state(), before[0])
        assert random.getstate() == before[1]
        assert np.array_equal(np.random.get_state(legacy=False)["state"]["key"], before[2])

    def test_what_was_passed_in_is_not_changed(self, teacher: Run, tmp_path: Path) -> None:
        settings = {"training.trackers": [], "training": {"epochs": 1, "batch_size": 500}}
        kept = copy.deepcopy(settings)
        objective = 0.5 * CE() + KD(temperature=2.0)
        file = tmp_path / "run.yaml"
        file.write_text("student: mlp\ntraining: {epochs: 9}\n")
        network = limbeck.load(teacher)
        state = {name: value.clone() for name, value in network.state_dict().items()}
        run = limbeck.distill(
            file, teacher=network, objective=objective, settings=settings, out=tmp_path / "run", display=False
        )
        assert settings == kept
        assert str(objective) == "0.5*ce + kd(temperature=2.0)"
        assert not list(objective.parameters())
        assert file.read_text() == "student: mlp\ntraining: {epochs: 9}\n"
        assert same(network.state_dict(), state)
        assert run.config.training.epochs == 1
        assert run.config.training.batch_size == 500


class TestSettings:
    def test_flags_win_over_the_file_and_settings_over_flags(self, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        file.write_text(
            yaml.safe_dump(
                {
                    "student": "mlp",
                    "seed": 3,
                    "training": {"epochs": 5, "batch_size": 250, "optimizer": {"lr": 0.5}, "trackers": []},
                }
            )
        )
        run = limbeck.train(
            file,
            epochs=3,
            lr=0.25,
            settings={"training.epochs": 1},
            out=tmp_path / "run",
            display=False,
        )
        config = run.config
        assert (config.seed, config.training.epochs, config.training.optimizer.lr) == (3, 1, 0.25)
        assert len(run.history) == 1
        assert run.history[0]["lr"] == 0.25

    def test_the_usual_objective_is_that_of_the_task(self, teacher: Run, student: Run) -> None:
        assert make_config(settings={"student.model": "mlp"}).objective is None
        assert student.result.objective == "0.1*ce + 0.9*kd(temperature=4)"
        assert teacher.result.objective == "ce"

    def test_distilling_without_a_teacher_is_refused_where_labels_are_all_there_is(
        self, tmp_path: Path
    ) -> None:
        with pytest.raises(
            LimbeckError, match=r"distill needs a teacher \(--teacher\); to learn from labels"
        ):
            limbeck.distill(student="mlp", out=tmp_path / "run")
        assert not (tmp_path / "run").exists()
        own = limbeck.distill(student="mlp", objective="label_smoothing", out=tmp_path / "own", **QUICK)
        assert own.result.teachers == {}

    @pytest.mark.parametrize("where", ["file", "settings"])
    def test_a_training_refuses_a_teacher(self, where: str, teacher: Run, tmp_path: Path) -> None:
        file = tmp_path / "run.yaml"
        lines = {"student": "mlp", **({"teacher": str(teacher.path)} if where == "file" else {})}
        file.write_text(yaml.safe_dump(lines))
        settings = {"teacher.model": str(teacher.path)} if where == "settings" else {}
        with pytest.raises(LimbeckError, match="train learns from labels alone; to learn from a teacher"):
            limbeck.train(file, settings=settings, out=tmp_path / "run")
        assert not (tmp_path / "run").exists()

    def test_views_of_the_config_are_drawn(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        jobs = catch_job(monkeypatch)
        for number, views in enumerate(["none", "crop(padding=2, flip=true)"]):
            settings = {**QUICK["settings"], "data.views": views}
            limbeck.train(model="mlp", out=tmp_path / str(number), **{**QUICK, "settings": settings})
            assert str(jobs[-1].source.views) == views
        first, second = (Run(tmp_path / name) for name in "01")
        assert not same(state_of(first), state_of(second))

    def test_the_best_epoch_on_validation_is_kept_if_asked_for(self, tmp_path: Path) -> None:
        settings = {**QUICK["settings"], "training.schedule.name": "constant"}
        given = {**QUICK, "model": TEACHER, "lr": 0.4, "seed": 1}
        chosen = {**settings, "training.selection": "validation"}
        run = limbeck.train(out=tmp_path / "run", **{**given, "epochs": 8, "settings": chosen})
        scores = [line["validation"]["top1"] for line in run.history]
        assert scores[-1] < max(scores), "the test is worth something only if the last is not the best"
        assert run.result.metrics.on("validation")["top1"] == max(scores)
        assert run.result.selection == "validation"
        best = scores.index(max(scores)) + 1
        short = limbeck.train(out=tmp_path / "short", **{**given, "epochs": best, "settings": settings})
        assert same(state_of(run), state_of(short))

    def test_the_trainer_gets_its_settings(self, teacher: Run, tmp_path: Path) -> None:
        full = {**QUICK["settings"], "training.precision": "fp32"}
        plain = make_student(tmp_path / "plain", teacher, settings=full)
        for number, (key, value) in enumerate({"precision": "bf16", "clip": 1e-3, "accumulation": 2}.items()):
            run = make_student(tmp_path / str(number), teacher, settings={**full, f"training.{key}": value})
            assert not same(state_of(run), state_of(plain)), key
            assert getattr(run.config.training, key) == value


class TestNetworks:
    def test_a_student_of_ones_own_is_trained_in_place(self, tmp_path: Path) -> None:
        network, teacher = plain_network(), plain_network(8)
        fresh = {name: value.clone() for name, value in network.state_dict().items()}
        run = limbeck.distill(
            student=network, teacher=teacher, data=three_classes(), out=tmp_path / "run", **QUICK
        )
        assert not same(network.state_dict(), fresh)
        assert same(state_of(run), network.state_dict())
        assert run.config.student.model == run.config.teacher.model == "<Sequential>"  # type: ignore[union-attr]
        assert run.config.data.name == "<triples>"
        assert run.result.data.name == "triples"
        assert same(teacher.state_dict(), plain_network(8).state_dict())
        assert not teacher.training

    def test_a_student_that_has_a_length_of_zero_is_a_student(self, tmp_path: Path) -> None:
        class Odd(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.inner = plain_network()

            def forward(self, x: Tensor) -> Tensor:
                return self.inner(x)  # type: ignore[no-any-return]

            def __len__(self) -> int:
                return 0

        run = limbeck.train(model=Odd(), data=three_classes(), out=tmp_path / "run", **QUICK)
        assert run.config.student.model == "<Odd>"

    @pytest.mark.parametrize("missing", ["student", "teacher", "data"])
    def test_a_record_of_objects_needs_the_objects(self, missing: str, tmp_path: Path) -> None:
        objects: dict[str, Any] = {
            "student": plain_network(),
            "teacher": plain_network(8),
            "data": three_classes(),
        }
        run = limbeck.distill(out=tmp_path / "run", **objects, **QUICK)
        rest = {role: value for role, value in objects.items() if role != missing}
        with pytest.raises(LimbeckError, match=rf"the {missing} <\w+> was handed over as an object; hand"):
            limbeck.distill(run.path / "config.yaml", out=tmp_path / "again", display=False, **rest)
        assert not (tmp_path / "again").exists()
        again = limbeck.distill(
            run.path / "config.yaml",
            out=tmp_path / "again",
            display=False,
            **{**objects, "student": plain_network()},
        )
        assert same(state_of(again), state_of(run))

    def test_a_factory_in_the_working_directory(
        self, teacher: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "own_networks.py").write_text(FACTORY)
        monkeypatch.chdir(tmp_path)
        run = make_student(tmp_path / "run", teacher, student="own_networks:make(width=2)")
        assert run.result.student.parameters == 64 * 2 + 2 + 2 * 10 + 10
        loaded = limbeck.load(run)
        assert type(loaded).__name__ == "Net"
        assert same(loaded.state_dict(), state_of(run))
        assert loaded.state_dict().keys() == {
            "hidden.weight",
            "hidden.bias",
            "classifier.weight",
            "classifier.bias",
        }
        assert models.normalization_of(loaded) is None, "nobody knows which pixels it expects"
        logits, targets = logits_on_test(loaded)
        expected = pytest.approx((logits.argmax(1) == targets).double().mean().item())
        assert run.result.metrics.on("test")["top1"] == expected

    def test_a_teacher_from_a_checkpoint(self, teacher: Run, student: Run, tmp_path: Path) -> None:
        torch.save({"state_dict": limbeck.load(teacher).state_dict()}, tmp_path / "teacher.pt")
        weights = {"teacher.weights": str(tmp_path / "teacher.pt"), "teacher.normalize": "data"}
        run = make_student(tmp_path / "run", TEACHER, settings={**QUICK["settings"], **weights})
        assert same(state_of(run), state_of(student))
        file = hashlib.sha256((tmp_path / "teacher.pt").read_bytes()).hexdigest()[:16]
        named = {"model": TEACHER, "weights": file, "recipe": None, "run": None}
        assert run.result.teacher == student.result.teachers["teacher"].model_copy(update=named)

    def test_a_teacher_from_a_run_or_its_file(self, teacher: Run, student: Run, tmp_path: Path) -> None:
        for number, given in enumerate([teacher.path / "student.safetensors", str(teacher.path)]):
            assert same(state_of(make_student(tmp_path / str(number), given)), state_of(student))

    def test_a_student_goes_on_from_another_run(self, student: Run, teacher: Run, tmp_path: Path) -> None:
        settings = {**QUICK["settings"], "training.optimizer.weight_decay": 0}
        run = make_student(tmp_path / "run", teacher, student=str(student.path), lr=1e-30, settings=settings)
        assert same(state_of(run), state_of(student))
        loaded = limbeck.load(run)
        assert type(loaded) is models.MLP
        assert models.normalization_of(loaded) == models.normalization_of(limbeck.load(student))

    def test_classes_must_agree(self, teacher: Run, tmp_path: Path) -> None:
        with pytest.raises(LimbeckError, match="the teacher has 5 outputs, and triples has 3 classes; give"):
            limbeck.distill(
                student=plain_network(classes=3),
                teacher=plain_network(classes=5),
                data=three_classes(),
                out=tmp_path / "run",
                **QUICK,
            )
        assert not (tmp_path / "run").exists()

    def test_a_network_must_take_the_inputs(self, teacher: Run, tmp_path: Path) -> None:
        for role in ("student", "teacher"):
            given: dict[str, Any] = {"student": plain_network(), "teacher": plain_network(8)}
            given[role] = nn.Linear(5, 3)
            with pytest.raises(LimbeckError, match=rf"the {role} cannot take inputs of shape \(4,\): mat1"):
                limbeck.distill(data=three_classes(), out=tmp_path / "run", **given, **QUICK)
        assert not (tmp_path / "run").exists()

    def test_nothing_of_teacher_or_adapter_is_shipped(self, tmp_path: Path) -> None:
        source = data.load("digits")
        student, teacher = SmallNet(2, classes=10), SmallNet(3, classes=10)
        run = limbeck.distill(
            student=student,
            teacher=teacher,
            data=source,
            objective="ce + projected + adversarial",
            out=tmp_path / "run",
            **{**QUICK, "settings": {**QUICK["settings"], "teacher.trust": True}},
        )
        assert state_of(run).keys() == student.state_dict().keys()
        assert same(state_of(run), student.state_dict())
        assert [line["phase"] for line in run.history] == ["projected.code"] * 2 + ["training"] * 2
        assert run.result.student.parameters == models.count_parameters(student)


class TestData:
    def labels_seen(self, source: data.Source, tmp_path: Path, **given: Any) -> tuple[int, Result]:
        seen: list[int] = []
        network = plain_network()
        network.register_forward_hook(
            lambda module, inputs, output: seen.append(
                len(output) * (module.training and torch.is_grad_enabled())
            )
        )
        given = {"student": network, "data": source, **QUICK, "epochs": 1, "batch_size": 20, **given}
        run = limbeck.distill(out=tmp_path / "run", overwrite=True, **given)
        return sum(seen), run.result

    def test_unlabeled_samples_are_learned_from_where_the_objective_can(self, tmp_path: Path) -> None:
        source = three_classes(labeled=24)
        seen, result = self.labels_seen(source, tmp_path, objective="label_smoothing")
        assert (seen, result.data.train, result.data.labeled) == (24, 24, 24)
        seen, result = self.labels_seen(source, tmp_path, objective="ce + kd", teacher=plain_network(8))
        assert (seen, result.data.train, result.data.labeled) == (60, 60, 24)

    @pytest.mark.parametrize(
        ("objective", "learns"),
        [
            ("ce + mixkd", True),
            ("ce + mixkd(teacher_mixup=0)", False),
            ("ce + ikd", True),
            ("ce + dkd", False),
            ("mixup(ce)", False),
        ],
    )
    def test_a_method_may_read_labels_and_learn_without_them(self, objective: str, learns: bool) -> None:
        assert uses_unlabeled(parse(objective)) is learns

    def test_an_epoch_may_be_longer_or_shorter_than_the_data(self, tmp_path: Path) -> None:
        for samples, steps in ((50, 3), (10, 1)):
            settings = {**QUICK["settings"], "training.samples_per_epoch": samples}
            source = three_classes(labeled=24)
            seen, result = self.labels_seen(source, tmp_path, objective="label_smoothing", settings=settings)
            assert (seen, result.samples_seen, result.steps) == (samples, samples, steps)
            assert result.data.train == 24

    @pytest.mark.parametrize(
        ("objective", "batch_size", "accumulation", "learned"),
        [
            ("kd", 28, 5, 60),
            ("kd + rkd", 28, 1, 60),
            ("kd + rkd", 29, 1, 58),  # two samples have no angle
            ("kd + rkd", 28, 2, 56),  # four have, but not two at a time
        ],
    )
    def test_a_last_batch_too_small_to_compare_is_left_out(
        self, objective: str, batch_size: int, accumulation: int, learned: int, tmp_path: Path
    ) -> None:
        settings = {**QUICK["settings"], "training.accumulation": accumulation}
        given = {"objective": objective, "batch_size": batch_size, "settings": settings}
        seen, result = self.labels_seen(three_classes(), tmp_path, teacher=plain_network(8), **given)
        assert seen == learned == result.samples_seen

    def test_no_labels_are_needed_to_learn_from_a_teacher_alone(self, tmp_path: Path) -> None:
        source = three_classes(labeled=0)
        assert (source.train.targets == UNLABELED).all()
        seen, result = self.labels_seen(source, tmp_path, objective="kd", teacher=plain_network(8))
        assert (seen, result.data.labeled) == (60, 0)
        with pytest.raises(LimbeckError, match=r"no training sample has a label to learn from"):
            limbeck.train(model=plain_network(), data=source, out=tmp_path / "none")
        assert not (tmp_path / "none").exists()


def test_a_run_that_diverges_keeps_what_it_had(tmp_path: Path, teacher: Run) -> None:
    with pytest.raises(DivergenceError, match="became NaN or infinite at step"):
        make_student(tmp_path / "run", teacher, lr=1e20)
    run = Run(tmp_path / "run")
    assert not run.finished
    assert not (run.path / "student.safetensors").exists()
    assert run.config.training.optimizer.lr == 1e20


def test_a_directory_is_found_if_none_is_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first = limbeck.train(model="mlp", **{**QUICK, "epochs": 1})
    second = limbeck.train(model="mlp", **{**QUICK, "epochs": 1})
    trusted = {**QUICK["settings"], "teacher.trust": True}
    third = limbeck.distill(student="mlp", teacher=second, **{**QUICK, "epochs": 1, "settings": trusted})
    assert [str(run.path) for run in (first, second, third)] == [
        "runs/train-1",
        "runs/train-2",
        "runs/distill-1",
    ]
    assert third.result.teachers["teacher"].model == "runs/train-2"


def test_a_method_of_the_user_s_own_needs_no_table(tmp_path: Path) -> None:
    class Mine(limbeck.Method):
        """Half the cross-entropy."""

        kind = "task"
        reads = limbeck.methods.Reads(batch=("targets",))

        def forward(self, student: limbeck.Outputs, teacher: limbeck.Outputs, batch: limbeck.Batch) -> Any:
            assert batch.targets is not None
            return limbeck.losses.cross_entropy(student.logits, batch.targets) / 2

    run = limbeck.distill(
        student="mlp(hidden=[4])",
        objective=2 * Mine(),
        epochs=1,
        settings={"training.trackers": []},
        display=False,
        out=tmp_path / "run",
    )
    assert run.result.objective == "2*mine"
    assert run.history[0]["terms"]["total"] == pytest.approx(2 * run.history[0]["terms"]["mine"])


@pytest.mark.parametrize(("norm", "steps"), [(nn.BatchNorm1d(5), 1), (nn.LayerNorm(5), 2)])
def test_a_last_batch_of_one_is_left_out_where_there_is_batch_norm(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], norm: nn.Module, steps: int
) -> None:
    network = nn.Sequential(nn.Linear(4, 5), norm, nn.ReLU(), nn.Linear(5, 3))
    shown = {**QUICK, "batch_size": 59, "epochs": 1, "display": True}
    run = limbeck.train(model=network, data=three_classes(), out=tmp_path / "run", **shown)
    assert run.history[-1]["step"] == steps
    noted = (
        "a last batch of 1 is left out: batch norm needs two samples to train on" in capsys.readouterr().err
    )
    assert noted == (steps == 1)


@pytest.mark.parametrize(
    ("size", "pieces", "message"),
    [
        (
            1,
            1,
            r"icd compares samples and needs at least 2 in a batch, so training.batch_size=1 should be 2 or",
        ),
        (
            7,
            4,
            r"at least 2 in each of the 4 pieces of a batch, so training.batch_size=7 should be 8 or more",
        ),
    ],
)
def test_a_batch_too_small_for_the_objective_is_refused_before_a_file_is_written(
    tmp_path: Path, size: int, pieces: int, message: str
) -> None:
    settings = {**QUICK["settings"], "training.accumulation": pieces, "teacher.trust": True}
    with pytest.raises(LimbeckError, match=message):
        make_student(
            tmp_path / "run",
            nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10)),
            objective="ce + icd",
            batch_size=size,
            settings=settings,
        )
    assert not (tmp_path / "run").exists()
