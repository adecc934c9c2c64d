"""Runs with several teachers, with an ensemble, and with networks that read images at sizes of their own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import limbeck
from limbeck import LimbeckError, models
from limbeck.data.preparation import Preparation
from limbeck.runs import Run
from limbeck.runs.evaluate import evaluate
from limbeck.runs.network_record import read_card

SETTINGS: dict[str, Any] = {"training.trackers": [], "training.precision": "fp32"}


@pytest.fixture(scope="module")
def taught(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Two teachers of digits, the big one at 16 x 16 pixels."""
    folder = tmp_path_factory.mktemp("teachers")
    for name, channels, size in (("big", [8, 16], 16), ("small", [4, 8], None)):
        limbeck.train(
            model=f"cnn(channels={channels})",
            data="digits(labeled=300)",
            epochs=2,
            out=folder / name,
            display=False,
            settings={**SETTINGS, "student.size": size},
        )
    return {name: folder / name for name in ("big", "small")}


def distilled(out: Path, **given: Any) -> Run:
    settings = {**SETTINGS, **given.pop("settings", {})}
    if "teacher" in given:
        settings["teacher.trust"] = True  # of two epochs
    return limbeck.distill(
        student="mlp(hidden=[8])",
        data="digits(labeled=300)",
        epochs=1,
        out=out,
        display=False,
        settings=settings,
        **given,
    )


def both(taught: dict[str, Path]) -> dict[str, Any]:
    return {"teachers": {name: {"model": str(path), "trust": True} for name, path in taught.items()}}


def test_a_teacher_reads_the_size_that_it_was_trained_at(taught: dict[str, Path], tmp_path: Path) -> None:
    card = read_card(taught["big"] / "student.safetensors")
    assert card is not None
    assert (card.size, card.input_shape) == (16, (1, 16, 16))
    run = distilled(tmp_path / "run", teacher=taught["big"])
    teacher = run.result.teachers["teacher"]
    assert teacher.metrics is not None
    alone = limbeck.load(taught["big"])
    source = limbeck.data.load("digits(labeled=300)")
    assert source.test is not None
    with torch.no_grad():
        inputs = source.test.samples.render(
            source.views, source.test.index, torch.full_like(source.test.index, source.views.base)
        )
        answers = alone(Preparation(16)(inputs)).argmax(1)
    assert teacher.metrics["top1"] == pytest.approx((answers == source.test.targets).double().mean().item())
    assert run.result.teacher_forwards == run.result.samples_seen
    found = evaluate(run)
    assert found.networks["teacher"].metrics["top1"] == teacher.metrics["top1"]


def test_the_cache_keeps_the_answers_for_its_size(taught: dict[str, Path], tmp_path: Path) -> None:
    live = distilled(tmp_path / "live", teacher=taught["big"], views=2)
    for name in ("cold", "warm"):
        run = distilled(tmp_path / name, teacher=taught["big"], views=2, cache_teacher="logits")
        assert run.result.metrics.test == pytest.approx(live.result.metrics.test, abs=0.02)
    assert run.result.teacher_forwards == 0


def test_every_method_names_its_teacher(taught: dict[str, Path], tmp_path: Path) -> None:
    objective = 'ce + 0.5*kd(teacher="big") + 0.5*kd(teacher="small")'
    run = distilled(tmp_path / "run", objective=objective, settings=both(taught))
    assert list(run.result.teachers) == ["big", "small"]
    assert run.result.objective == objective
    assert run.result.samples_seen is not None
    assert run.result.teacher_forwards == 2 * run.result.samples_seen
    line = run.history[-1]["terms"]
    assert line["total"] == pytest.approx(line["ce"] + 0.5 * line["kd"] + 0.5 * line["kd_2"], rel=1e-5)
    assert limbeck.distill(out=run.path, resume=True, display=False).result == run.result


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        (
            "ce + kd",
            'there are 2 teachers, and kd does not say which it learns from; write kd(teacher="big")',
        ),
        ('ce + kd(teacher="big")', "does not read the teacher 'small'; leave it out"),
        ('ce + kd(teacher="bigg")', "unknown teacher of kd 'bigg'; did you mean 'big'?"),
        ("ce", "has no use for a teacher"),
    ],
)
def test_a_teacher_that_is_not_named_is_refused(
    objective: str, message: str, taught: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError) as caught:
        distilled(tmp_path / "run", objective=objective, settings=both(taught))
    assert message in str(caught.value)
    assert not (tmp_path / "run").exists()


def test_an_ensemble_is_one_teacher(taught: dict[str, Path], tmp_path: Path) -> None:
    small = taught["small"]
    run = distilled(tmp_path / "run", teacher=f'ensemble("{small}", "{small}", weights=[3, 1])')
    teacher, alone = run.result.teachers["teacher"], limbeck.load(small)
    assert teacher.parameters == 2 * sum(each.numel() for each in alone.parameters())
    assert teacher.metrics is not None
    assert teacher.metrics["top1"] == Run(small).result.metrics.on("test")["top1"]


@pytest.mark.parametrize(
    ("teacher", "message"),
    [
        ('ensemble("{small}")', "an ensemble names two teachers or more"),
        ('ensemble("{small}", "{big}")', "read images of different sizes; name them as several teachers"),
        ('ensemble("{small}", "{small}", off="logits")', "unknown argument of ensemble 'off'"),
        ('ensemble("{small}", "{small}", weights=[1])', "needs as many positive weights"),
    ],
)
def test_an_ensemble_that_cannot_be(
    teacher: str, message: str, taught: dict[str, Path], tmp_path: Path
) -> None:
    with pytest.raises(LimbeckError) as caught:
        distilled(tmp_path / "run", teacher=teacher.format(**taught))
    assert message in str(caught.value)


def test_a_size_that_a_teacher_cannot_take_is_refused(taught: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(
        LimbeckError, match=r"the teacher cannot take inputs of shape \(1, 8, 8\) \(teacher\.size=8\): "
    ):
        distilled(tmp_path / "run", teacher=taught["big"], settings={"teacher.size": 8})


def test_of_teachers_one_after_the_other_the_last_one_is_measured(
    taught: dict[str, Path], tmp_path: Path
) -> None:
    objective = 'mtpd(ce + kd, teachers=["small", "big"], epochs=1)'
    run = distilled(tmp_path / "run", objective=objective, settings=both(taught))
    small, big = (run.result.teachers[name] for name in ("small", "big"))
    assert small.metrics is None
    assert big.metrics is not None
    assert big.metrics["top1"] == Run(taught["big"]).result.metrics.on("test")["top1"]
    assert run.result.teacher == big
    assert evaluate(run).networks["teacher"].metrics["top1"] == big.metrics["top1"]


EXPERTS = ('ce + dgkd(teachers=["small", "big"])', '0.1*ce + 0.9*ceskd(teachers=["small", "big"])')


@pytest.mark.parametrize("objective", EXPERTS)
def test_experts_teach_from_their_caches_as_they_do_live(
    objective: str, taught: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    runs = {}
    for name in ("live", "cold", "warm"):
        settings = both(taught)
        if name != "live":
            settings["teachers"] = {
                key: {**its, "cache": "logits"} for key, its in settings["teachers"].items()
            }
        runs[name] = distilled(tmp_path / name, objective=objective, views=1, settings=settings)
    assert runs["warm"].result.teacher_forwards == 0
    terms = {name: run.history[-1]["terms"] for name, run in runs.items()}
    assert terms["cold"] == terms["warm"]
    assert terms["live"] == pytest.approx(terms["warm"], rel=1e-3)
    states = [models.load_state(runs[name].path / "student.safetensors") for name in ("cold", "warm")]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_experts_in_another_order_than_by_size_are_refused(taught: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=r'write teachers=\["small", "big"\]'):
        distilled(tmp_path / "run", objective='ce + dgkd(teachers=["big", "small"])', settings=both(taught))
    with pytest.raises(LimbeckError, match=r"ceskd learns from 2 teachers, and one was given; give each by"):
        distilled(tmp_path / "run", objective=EXPERTS[1], teacher=taught["small"])
    assert not (tmp_path / "run").exists()
