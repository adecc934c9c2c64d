"""The student alone beside a distilled one."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import content, plain_network, same, state_of, three_classes, without_times

import limbeck
from limbeck import runs
from limbeck.data import Source
from limbeck.errors import LimbeckError
from limbeck.evaluation import results
from limbeck.runs import Run
from limbeck.runs.evaluate import evaluate
from limbeck.runs.making import Making
from limbeck.runs.result import BaselineResult
from limbeck.training import DivergenceError

STUDENT = "mlp(hidden=[4])"
GIVEN: dict[str, Any] = {
    "epochs": 2,
    "batch_size": 20,
    "settings": {"training.trackers": [], "training.precision": "fp32"},
    "display": False,
}


def distilled(out: Path, source: Source | None = None, **changes: Any) -> Run:
    """A run whose objective needs no teacher, with the student alone beside it; no pages are written."""
    given = {"student": STUDENT, "objective": "label_smoothing", "baseline": "auto", **GIVEN, **changes}
    return runs.distill(data=source or three_classes(), out=out, **given)


def trained(out: Path, source: Source | None = None, **changes: Any) -> Run:
    return runs.train(**{"model": STUDENT, "data": source or three_classes(), "out": out, **GIVEN, **changes})


def alone_of(run: Run) -> BaselineResult:
    found = run.result.alone
    assert found is not None, run.result.baseline
    return found


class TestAuto:
    def test_it_is_what_train_would_have_made(self, tmp_path: Path) -> None:
        run = distilled(tmp_path / "run", seed=3)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-alone"]
        apart = trained(tmp_path / "elsewhere" / "run", seed=3, settings={**GIVEN["settings"]})
        alone = Run(tmp_path / "run-alone")
        assert alone.config.objective == "ce"
        assert same(state_of(alone), state_of(apart))
        assert without_times(alone.result) == without_times(apart.result)
        ours, theirs = run.result.metrics.on("test")["top1"], apart.result.metrics.on("test")["top1"]
        assert alone_of(run) == BaselineResult(
            place="../run-alone",
            objective="ce",
            parameters=apart.result.student.parameters,
            steps=6,
            metrics=apart.result.metrics,
            metric="top1",
            split="test",
            values={3: (ours, theirs)},
            difference=ours - theirs,
        )
        assert run.alone == alone

    def test_the_distilled_run_is_as_it_is_without(self, tmp_path: Path) -> None:
        run, without = distilled(tmp_path / "run"), distilled(tmp_path / "without", baseline="none")
        default = distilled(tmp_path / "default", baseline=None)
        assert not (tmp_path / "without-alone").exists()
        assert not (tmp_path / "default-alone").exists()
        assert content(without.path).keys() == content(default.path).keys() == content(run.path).keys()
        assert same(state_of(run), state_of(without))
        assert without.environment == default.environment, "nothing is said where nothing was asked"
        assert run.environment == {**without.environment, "baseline": "auto"}
        assert (without.result.baseline, without.alone) == (None, None)
        assert without_times(run.result).model_copy(update={"baseline": None}) == without_times(
            without.result
        )

    def test_the_evaluation_has_it_as_its_own_run_measured_it(self, tmp_path: Path) -> None:
        run = distilled(tmp_path / "run")
        found, theirs = (
            results.read(path / "evaluation.json") for path in (run.path, tmp_path / "run-alone")
        )
        assert found is not None
        assert theirs is not None
        assert list(found.networks) == ["student", "baseline"]
        assert found.networks["baseline"] == theirs.student
        assert evaluate(run, three_classes()) == found, "which measures it again"

    def test_what_is_there_in_its_place_is_not_taken_for_it(self, tmp_path: Path) -> None:
        run = distilled(tmp_path / "run")
        trained(tmp_path / "run-alone", seed=5, overwrite=True)
        assert run.alone is None
        with pytest.raises(LimbeckError, match="figures that this would lose, of the baseline"):
            evaluate(run, three_classes())

    def test_the_card_says_what_the_difference_rests_on(self, tmp_path: Path) -> None:
        run = distilled(tmp_path / "run")
        points = 100 * alone_of(run).difference
        card = (run.path / "README.md").read_text(encoding="utf-8")
        assert "trained by `ce` in as many steps, here the baseline." in card
        assert (
            f"minus the student alone: {points:+.2f} points of top-1 on the test split, from 1 seed, which"
            in card
        )
        assert "student alone" not in (tmp_path / "run-alone" / "README.md").read_text(encoding="utf-8")

    def test_the_student_that_was_handed_over_is_copied_before_it_learns(self, tmp_path: Path) -> None:
        student = plain_network()
        before = copy.deepcopy(student)
        run = distilled(tmp_path / "run", student=student)
        assert not same(dict(student.state_dict()), dict(before.state_dict()))
        trained(tmp_path / "apart", model=before)
        assert same(state_of(Run(tmp_path / "run-alone")), state_of(Run(tmp_path / "apart")))
        assert list(evaluate(run, three_classes(), network=plain_network()).networks) == [
            "student",
            "baseline",
        ]

    @pytest.mark.parametrize("task", ["regression", "multilabel"])
    def test_the_objective_is_that_of_the_task(self, task: str, tmp_path: Path) -> None:
        generator = torch.Generator().manual_seed(0)
        inputs, values = torch.rand(40, 4, generator=generator), torch.rand(40, 2, generator=generator)
        targets = values if task == "regression" else (values > 0.5).long()
        held = (inputs[:10], targets[:10])
        source = limbeck.data.from_tensors(inputs, targets, validation=held, test=held, task=task)
        teacher = trained(tmp_path / "teacher", source)
        run = distilled(tmp_path / "run", source, objective=None, teacher=teacher, overwrite=True)
        its, metric = alone_of(run), source.task.primary.name
        assert (its.objective, its.metric) == ("mse" if task == "regression" else "ce", metric)
        assert its.difference == run.result.metrics.on("test")[metric] - its.metrics.on("test")[metric]


class TestSteps:
    def test_of_few_labels_each_is_seen_as_often_as_equal_steps_ask(self, tmp_path: Path) -> None:
        source = three_classes(labeled=24)
        run = distilled(tmp_path / "run", source, objective="ce + kd", teacher=plain_network(8))
        alone = Run(tmp_path / "run-alone")
        assert (run.result.steps, alone.result.steps) == (6, 6)
        assert alone.config.training.samples_per_epoch == 60
        assert (alone.result.data.train, alone.result.samples_seen) == (24, 120)

    @pytest.mark.parametrize(
        ("objective", "batch_size", "samples"),
        [("kd", 28, None), ("kd + rkd", 28, None), ("kd + rkd", 29, 58), ("kd", 29, None)],
    )
    def test_a_batch_that_is_left_out_is_left_out_alone_too(
        self, objective: str, batch_size: int, samples: int | None, tmp_path: Path
    ) -> None:
        taught: dict[str, Any] = {"objective": objective, "teacher": plain_network(8)}
        run = distilled(tmp_path / "run", batch_size=batch_size, **taught)
        alone = Run(tmp_path / "run-alone")
        assert alone.config.training.samples_per_epoch == samples
        assert alone.result.steps == run.result.steps

    @pytest.mark.parametrize(("samples", "epochs", "steps", "bound"), [(None, 5, 15, None), (40, 7, 13, 13)])
    def test_steps_of_phases_that_train_the_student_count(
        self, samples: int | None, epochs: int, steps: int, bound: int | None, tmp_path: Path
    ) -> None:
        settings = {**GIVEN["settings"], "training.samples_per_epoch": samples}
        taught: dict[str, Any] = {"objective": "ce + kcd(warmup=3)", "teacher": plain_network(8)}
        run = distilled(tmp_path / "run", settings=settings, **taught)
        alone, its = Run(tmp_path / "run-alone"), alone_of(run)
        assert run.result.steps == steps - 9
        assert (its.steps, its.phase_steps) == (alone.result.steps, 9) == (steps, 9)
        training = alone.config.training
        assert (training.epochs, training.max_steps, training.samples_per_epoch) == (epochs, bound, samples)
        assert its.in_steps(run.result.steps) == "in as many steps, with the 9 of its phases"

    def test_full_batches_over_several_passes_are_as_so_many_epochs(self, tmp_path: Path) -> None:
        source = three_classes(labeled=20)
        distilled(tmp_path / "run", source, objective="ce + kd", teacher=plain_network(8))
        longer = trained(tmp_path / "longer", source, epochs=6)
        assert same(state_of(Run(tmp_path / "run-alone")), state_of(longer))


class TestReuse:
    def test_a_run_with_the_same_settings_is_taken(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        there = trained(tmp_path / "by-hand")
        before = content(there.path)
        run = distilled(tmp_path / "run", display=True)
        said = capsys.readouterr().err
        assert f"the student is compared with {there.path}, the student alone with the same settings" in said
        assert alone_of(run).place == "../by-hand"
        other = distilled(tmp_path / "other", objective="0.5*ce + 0.5*label_smoothing")
        assert alone_of(other).metrics == there.result.metrics
        assert sorted(path.name for path in tmp_path.iterdir()) == ["by-hand", "other", "run"]
        assert content(there.path) == before

    @pytest.mark.parametrize(
        "changes",
        [{"seed": 1}, {"lr": 0.1}, {"objective": "2*ce"}],
    )
    def test_a_run_with_another_setting_is_not(self, changes: dict[str, Any], tmp_path: Path) -> None:
        trained(tmp_path / "by-hand", **changes)
        assert alone_of(distilled(tmp_path / "run")).place == "../run-alone"

    def test_nor_is_one_on_other_data_of_the_same_name(self, tmp_path: Path) -> None:
        trained(tmp_path / "by-hand", three_classes(labeled=57))
        assert alone_of(distilled(tmp_path / "run")).place == "../run-alone"

    def test_nor_one_that_is_damaged_or_has_lost_its_evaluation(self, tmp_path: Path) -> None:
        trained(tmp_path / "damaged").path.joinpath("result.json").write_text("{}")
        trained(tmp_path / "lost").path.joinpath("evaluation.json").unlink()
        assert alone_of(distilled(tmp_path / "run")).place == "../run-alone"

    def test_nor_one_whose_student_started_from_other_weights(self, tmp_path: Path) -> None:
        first = trained(tmp_path / "first", seed=1)
        trained(tmp_path / "by-hand", model=str(first.path))
        trained(first.path, seed=2, overwrite=True)
        assert alone_of(distilled(tmp_path / "run", student=str(first.path))).place == "../run-alone"

    def test_the_weights_of_an_object_are_not_known(self, tmp_path: Path) -> None:
        trained(tmp_path / "by-hand", model=plain_network())
        assert alone_of(distilled(tmp_path / "run", student=plain_network())).place == "../run-alone"

    def test_no_other_run_and_no_file_is_replaced(self, tmp_path: Path) -> None:
        kept = trained(tmp_path / "run-alone", seed=9)
        (tmp_path / "run-alone-2").write_text("a file")
        (tmp_path / "run-alone-3").mkdir()
        (tmp_path / "run-alone-3" / "notes.txt").write_text("notes")
        before = content(tmp_path)
        for again in range(2):
            run = distilled(tmp_path / "run", overwrite=bool(again), seed=again)
            assert alone_of(run).place == f"../run-alone-{4 + again}"
        assert content(tmp_path).items() >= before.items()
        assert kept.finished


class StoppedError(Exception):
    pass


def stopped(where: Path, epoch: int, **given: Any) -> None:
    """A run that is interrupted as the run in a directory has written that epoch's line."""

    def stop(self: Any, line: Any, add: Any = limbeck.training.history.History.add) -> None:
        add(self, line)
        if self.path == where / "metrics.jsonl" and line["epoch"] == epoch:
            raise StoppedError

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("limbeck.training.history.History.add", stop)
        with pytest.raises(StoppedError):
            distilled(**given)


class TestResuming:
    @pytest.mark.parametrize("where", ["run", "run-alone"])
    def test_both_end_as_if_nothing_had_happened(self, where: str, tmp_path: Path) -> None:
        whole = distilled(tmp_path / "whole" / "run", epochs=3)
        stopped(tmp_path / where, 2, out=tmp_path / "run", epochs=3)
        assert Run(tmp_path / "run").finished == (where == "run-alone")
        run = runs.distill(out=tmp_path / "run", data=three_classes(), resume=True, display=False)
        for path in ("run", "run-alone"):
            ours, theirs = Run(tmp_path / path), Run(whole.path.parent / path)
            assert same(state_of(ours), state_of(theirs))
            assert without_times(ours.result) == without_times(theirs.result)
        before = content(tmp_path)
        assert runs.distill(out=run.path, resume=True) == run
        assert content(tmp_path) == before, "what is finished is given back untouched"

    def test_it_may_be_left_out_then(self, tmp_path: Path) -> None:
        stopped(tmp_path / "run-alone", 1, out=tmp_path / "run")
        before = content(tmp_path)
        runs.distill(out=tmp_path / "run", resume=True, baseline="none")
        assert content(tmp_path) == before

    def test_a_finished_run_without_one_gets_one(self, tmp_path: Path) -> None:
        whole = distilled(tmp_path / "whole" / "run")
        run = distilled(tmp_path / "run", baseline=None)
        given: dict[str, Any] = {"out": run.path, "data": three_classes(), "resume": True, "display": False}
        assert runs.distill(**given).result.baseline is None
        runs.distill(**given, baseline="auto")
        assert without_times(run.result) == without_times(whole.result)

    def test_what_was_evaluated_in_full_stays(self, tmp_path: Path) -> None:
        run = distilled(tmp_path / "run", baseline=None)
        found = evaluate(run, three_classes(), suite="full")
        runs.distill(out=run.path, data=three_classes(), resume=True, display=False, baseline="auto")
        assert results.read(run.path / "evaluation.json") == found
        assert alone_of(run).place == "../run-alone"

    def test_an_interrupted_one_of_a_replaced_run_is_replaced(self, tmp_path: Path) -> None:
        stopped(tmp_path / "run-alone", 1, out=tmp_path / "run")
        run = distilled(tmp_path / "run", overwrite=True)
        assert alone_of(run).place == "../run-alone"
        assert sorted(path.name for path in tmp_path.iterdir()) == ["run", "run-alone"]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return trained(tmp_path_factory.mktemp("given") / "by-hand")


class TestGiven:
    @pytest.mark.parametrize("kind", [Run, Path, str])
    def test_a_run_is_taken_as_it_is(self, kind: Any, by_hand: Run, tmp_path: Path) -> None:
        run = distilled(tmp_path / "run", baseline=by_hand if kind is Run else kind(by_hand.path))
        assert alone_of(run).metrics == by_hand.result.metrics
        assert run.environment["baseline"] == str(by_hand.path)
        assert run.alone is not None
        assert run.alone.path.samefile(by_hand.path)
        assert [path.name for path in tmp_path.iterdir()] == ["run"]

    @pytest.mark.parametrize(
        ("changes", "setting"),
        [
            ({"epochs": 3}, "training.epochs=2, not 3"),
            ({"lr": 0.3}, "training.optimizer.lr=0.05, not 0.3"),
            ({"seed": 1}, "seed=0, not 1"),
            ({"student": "mlp(hidden=[5])"}, "student.model='mlp(hidden=[4])', not 'mlp(hidden=[5])'"),
            ({"source": three_classes(labeled=57)}, "fingerprint of the data='"),
        ],
    )
    def test_one_with_another_setting_is_refused(
        self, changes: dict[str, Any], setting: str, by_hand: Run, tmp_path: Path
    ) -> None:
        with pytest.raises(LimbeckError) as caught:
            distilled(tmp_path / "run", baseline=by_hand, **changes)
        assert str(caught.value).startswith(f"the baseline {str(by_hand.path)!r} was run with {setting}")
        assert str(caught.value).endswith("(--baseline auto), which trains one")
        assert list(tmp_path.iterdir()) == []

    def test_one_by_another_objective_is_refused(self, tmp_path: Path) -> None:
        there = trained(tmp_path / "by-hand", objective="label_smoothing")
        with pytest.raises(LimbeckError, match="was run with objective='label_smoothing', not 'ce'"):
            distilled(tmp_path / "run", baseline=there)

    def test_of_few_labels_it_has_as_many_steps(self, tmp_path: Path) -> None:
        source = three_classes(labeled=24)
        there = trained(tmp_path / "by-hand", source)
        with pytest.raises(LimbeckError, match=r"was run with training\.samples_per_epoch=None, not 60;"):
            distilled(tmp_path / "run", source, objective="ce + kd", teacher=plain_network(8), baseline=there)

    def test_what_is_no_finished_run_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(LimbeckError, match=r"is auto, none or a run .*, and 'nothing' is no run's"):
            distilled(tmp_path / "run", baseline="nothing")
        there = trained(tmp_path / "by-hand")
        (there.path / "result.json").unlink()
        with pytest.raises(LimbeckError, match="by-hand' has no result yet; finish it"):
            distilled(tmp_path / "run", baseline=there)
        assert not (tmp_path / "run").exists()


class TestWhyThereIsNone:
    @pytest.mark.parametrize("objective", ["2*ce", "0.5*ce + 0.5*ce"])
    def test_nothing_is_distilled(
        self, objective: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        run = distilled(tmp_path / "run", objective=objective, display=True)
        said = f"No student is trained alone to compare with: the objective, {objective}, is that of a"
        assert said in str(run.result.baseline)
        assert f"n{said[1:]}" in capsys.readouterr().err
        assert (run.alone, [path.name for path in tmp_path.iterdir()]) == (None, ["run"])
        card = (run.path / "README.md").read_text(encoding="utf-8")
        assert said in card
        before = content(tmp_path)
        runs.distill(out=run.path, resume=True)
        assert content(tmp_path) == before

    def test_no_sample_has_a_label(self, tmp_path: Path) -> None:
        source = three_classes(labeled=0)
        run = distilled(tmp_path / "run", source, objective="kd", teacher=plain_network(8))
        assert "no training sample has a label" in str(run.result.baseline)

    def test_there_is_nothing_to_compare_on(self, tmp_path: Path) -> None:
        source = limbeck.data.from_tensors(torch.rand(20, 4), torch.arange(20) % 2, validation=None)
        run = distilled(tmp_path / "run", source)
        assert "neither a test nor a validation split" in str(run.result.baseline)

    def test_the_student_alone_diverges(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = Making.run

        def diverging(making: Making, *options: Any) -> Run:
            if making.path.name == "run-alone":
                raise DivergenceError("ce became NaN")
            return whole(making, *options)

        monkeypatch.setattr(Making, "run", diverging)
        run = distilled(tmp_path / "run")
        assert run.result.baseline == "The student alone has no figures: ce became NaN"

    def test_a_validation_split_will_do(self, tmp_path: Path) -> None:
        run = distilled(tmp_path / "run", three_classes(test=False))
        its = alone_of(run)
        assert its.split == "validation"
        assert its.values[0][0] == run.result.metrics.on("validation")["top1"]


def test_the_student_alone_is_not_trained_where_nothing_can_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir()
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)
    with pytest.raises(LimbeckError, match="cannot be written to"):
        distilled(tmp_path / "run")
    assert list((tmp_path / "run").iterdir()) == []
