"""limbeck.advice: what is suggested, in which order, and on what evidence."""

from __future__ import annotations

import itertools
from functools import cache
from typing import get_args

import pytest
import torch

from limbeck import data, tasks
from limbeck.advice import GUIDE, Cost, Evidence, Finding, Situation, evidence, situation, suggest
from limbeck.advice.evidence import same
from limbeck.advice.situation import Teacher, family_of, teacher_of
from limbeck.advice.suggestion import READABLE
from limbeck.checks import misfit
from limbeck.errors import LimbeckError
from limbeck.methods.base import inner_first
from limbeck.objective import parse
from limbeck.outputs import UNLABELED
from limbeck.runs import Run

NOTHING = Evidence(findings=(), costs=())


def finding(objective: str, low: float, high: float, pairs: int = 5, **others: object) -> Finding:
    given = {
        "benchmark": "methods",
        "setting": "some data",
        "objective": objective,
        "task": "classification",
        "kind": "image",
        "labels": "all",
        "samples": 5000,
        "metric": "top-1",
        "unit": "%",
        "value": 90.0,
        "alone": 89.0,
        "pairs": pairs,
        "difference": (low + high) / 2,
        "interval": (low, high),
    }
    return Finding.model_validate({**given, **others})


def objectives(given: Situation, known: Evidence = NOTHING) -> list[str]:
    return [each.objective for each in suggest(given, known)]


@pytest.mark.parametrize("rule", GUIDE, ids=lambda rule: rule.at_hand)
def test_whatever_is_suggested_serves_its_tasks(rule: object) -> None:
    for name, each in itertools.product(rule.tasks, rule.tries):  # type: ignore[attr-defined]
        for method in inner_first(parse(each.objective)):
            assert misfit(method, tasks.named(name).of_width(2)) is None


@cache
def reads_of(objective: str) -> set[str]:
    """What an objective reads of its teacher."""
    return set(parse(objective).all_reads.teacher)


def test_every_rule_fits_something_and_every_task_gets_its_recipe() -> None:
    used = set()
    kinds, labels = (None, "image", "text"), ("all", "some", "none", "noisy")
    pairs = ((None, False), ("same", True), ("other", False))
    for task, teacher, label, kind, few, (family, far) in itertools.product(
        tasks.TASKS, get_args(Teacher), labels, kinds, (10, 5000), pairs
    ):
        if teacher == "none" and label == "none":
            continue
        given = Situation(task, kind, label, few, teacher, family, far)  # type: ignore[arg-type]
        used |= {rule.at_hand for rule in GUIDE if task in rule.tasks and rule.fits(given)}
        found = suggest(given, NOTHING)
        if teacher in ("network", "none"):
            assert found, given
        for each in found:
            reads = reads_of(each.objective)
            assert reads <= READABLE.get(teacher, reads)
            assert bool(reads) <= given.taught
        if teacher == "none":
            assert {each.objective for each in found} & {
                tasks.named(task).of_width(2).recipe(teacher=False),
                "label_smoothing",
            }
    assert used == {rule.at_hand for rule in GUIDE}


def test_what_was_better_on_such_data_comes_first_and_what_was_worse_last() -> None:
    given = Situation(kind="image", samples=8000)
    assert objectives(given) == ["0.1*ce + 0.9*kd", "ce + kd + rkd"]
    better = finding("ce + kd + rkd", 0.5, 1.5)
    assert objectives(given, Evidence(findings=(better,), costs=())) == ["ce + kd + rkd", "0.1*ce + 0.9*kd"]
    worse = finding("0.1*ce + 0.9*kd(temperature=4)", -2.0, -1.0)
    assert objectives(given, Evidence(findings=(worse,), costs=()))[-1] == "0.1*ce + 0.9*kd"


@pytest.mark.parametrize(
    "other", [{"kind": "text"}, {"labels": "some"}, {"samples": 100}, {"task": "multilabel"}, {"pairs": 3}]
)
def test_evidence_of_other_data_or_of_few_seeds_ranks_nothing(other: dict[str, object]) -> None:
    known = Evidence(findings=(finding("ce + kd + rkd", 0.5, 1.5, **other),), costs=())  # type: ignore[arg-type]
    found = suggest(Situation(kind="image", samples=8000), known)
    assert [each.objective for each in found] == ["0.1*ce + 0.9*kd", "ce + kd + rkd"]
    assert found[1].findings == (() if "task" in other else known.findings), "other tasks are not cited"
    assert found[1].near == ("pairs" in other)


def test_a_lower_value_may_be_the_better_one() -> None:
    better = finding("ce", -0.2, -0.1, higher=False, metric="NLL", unit="")
    assert (better.verdict, finding("ce", -0.2, -0.1).verdict) == ("better", "worse")
    assert str(better) == (
        "-0.15 of NLL against the student alone (5 seeds, 95 % interval -0.20 to -0.10) on some data"
    )


def test_what_costs_more_than_the_budget_is_left_out() -> None:
    given = {"benchmark": "speed", "setting": "images", "objective": "0.1*ce + 0.9*kd"}
    live, cached = (
        Cost(**given, teacher=teacher, ratio=ratio) for teacher, ratio in (("live", 2.5), ("cached", 1.0))
    )
    dear = Evidence(findings=(), costs=(live,))
    assert objectives(Situation(budget=2.0), dear) == ["ce + kd + rkd"]
    assert "0.1*ce + 0.9*kd" in objectives(Situation(budget=3.0), dear)
    assert "0.1*ce + 0.9*kd" in objectives(Situation(budget=2.0), Evidence(findings=(), costs=(live, cached)))


def test_objectives_are_the_same_however_they_are_written() -> None:
    assert same("0.1*ce + 0.9*kd") == same("0.1 * ce + 0.9 * kd(temperature=4)")
    assert same("ce + icd") != same("ce + icd(alpha=0.4)")


def test_the_evidence_that_ships_is_of_objectives_and_says_how_many_seeds() -> None:
    found = evidence()
    assert found.findings
    for each in found.findings:
        parse(each.objective)
        assert each.pairs >= 1
        assert (each.interval is None) == (each.pairs == 1)
        assert each.difference == pytest.approx(each.value - each.alone, abs=2e-3)
    assert any(each.setting == "digits" for each in found.of("0.1*ce + 0.9*kd"))


def test_a_situation_is_read_off_data_and_networks(teacher: Run) -> None:
    few = situation(data.load("digits(labeled=100)"), [str(teacher.path)], student="cnn(channels=[4])")
    assert few == Situation("classification", "image", "some", 1000, "network", family="other")
    alike = situation(data.load("digits"), [str(teacher.path)], student="mlp(hidden=[4])")
    assert (alike.labels, alike.family) == ("all", "same")
    assert situation(data.load("noisy_labels(digits, rate=0.4)")).labels == "noisy"
    unlabeled = data.from_tensors(
        torch.rand(20, 3), torch.full((20,), UNLABELED), num_classes=2, validation=None
    )
    assert situation(unlabeled, ["network"]).labels == "none"
    assert situation(data.load("diabetes")).task == "regression"


def test_what_a_teacher_is(teacher: Run) -> None:
    assert teacher_of([]) == "none"
    assert teacher_of(["logits"]) == "logits"
    assert teacher_of([str(teacher.path)]) == "network"
    assert teacher_of(['ensemble("runs/a", "runs/b")']) == teacher_of(["small=a", "big=b"]) == "several"
    assert teacher_of(["hf:FOLDER"]) == teacher_of(["module:make(width=2)"]) == "network"
    with pytest.raises(LimbeckError, match=r"there is no teacher 'answers\.jsonl'"):
        teacher_of(["answers.jsonl"])
    assert family_of("resnet20", "resnet56") == "same"
    assert family_of("resnet20", "network") is None
    assert family_of("module:make()", "resnet20") is None


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"budget": 0.5}, "at least 1, not 0.5"),
        ({"budget": float("nan")}, "at least 1, not nan"),
        ({"labels": "al"}, "did you mean 'all'"),
        ({"kind": "images"}, "did you mean 'image'"),
        ({"samples": 0}, "at least one training sample, not 0"),
        ({"labels": "none", "teacher": "none"}, "nothing to learn from"),
        ({"task": "clasification"}, "did you mean 'classification'"),
    ],
)
def test_what_makes_no_sense_is_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        Situation(**wrong)  # type: ignore[arg-type]
