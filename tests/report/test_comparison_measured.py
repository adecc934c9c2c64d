from __future__ import annotations

from dataclasses import replace

import pytest
from evaluations_for_reports import evaluation, network
from runs_for_reports import result

from limbeck.evaluation.results import Evaluation
from limbeck.report.chart import Chart
from limbeck.report.comparison_measured import sections
from limbeck.report.page import Block
from limbeck.report.table import Table
from limbeck.studies.contender import Contender

CLEAN = 100 * 311 / 360


def measured(wrong: int = 4, agreement: float = 0.9, **changes: bool) -> Evaluation:
    found = evaluation(**changes)
    assert found.agreement is not None
    its = found.agreement.model_copy(update={"agreement": agreement})
    networks = {**found.networks, "student": network(wrong, **changes)}
    return found.model_copy(update={"networks": networks, "agreement": its})


def contender(name: str, *evaluations: Evaluation) -> Contender:
    return Contender(name, [result()], [[]], evaluations=evaluations)


def parts(*contenders: Contender) -> dict[str, list[Block]]:
    return {it.heading: list(it.body) for it in sections(contenders)}


def chart(block: Block) -> Chart:
    assert isinstance(block, Chart)
    return block


def table(block: Block) -> Table:
    assert isinstance(block, Table)
    return block


BOTH = (contender("a", measured(4, 0.9), measured(7, 0.8)), contender("b", measured(10, 0.7)))


def test_what_was_not_measured_is_left_out() -> None:
    assert list(parts(*BOTH)) == [
        "Agreement with the teacher",
        "Robustness to noisy inputs",
        "Classes",
        "Calibration",
    ]
    alone = {"student": network(4, full=False)}
    quick = measured().model_copy(update={"agreement": None, "cka": None, "networks": alone})
    assert list(parts(contender("a", quick))) == ["Classes", "Calibration"]
    assert parts(contender("a")) == {}


def test_accuracy_by_class_is_a_mean_over_the_seeds() -> None:
    (by_class,) = parts(*BOTH)["Classes"]
    assert [trace.name for trace in chart(by_class).traces] == ["a", "b", "teacher"]
    first = chart(by_class).traces[0]
    assert list(first.x) == list("0123456789")
    assert first.y[2] == pytest.approx(100 * (30 + 27) / 72)


def test_reliability_is_a_mean_over_the_seeds() -> None:
    reliability, sure, confidence = parts(*BOTH)["Calibration"]
    first = chart(reliability).traces[0]
    assert first.x[0] == pytest.approx(100 * (0.3 + 0.7 / 30))
    assert first.y[-1] == pytest.approx(100 * (1 - 0.7 / 30 - 5.5 / 50))
    assert "Means over the seeds." in chart(reliability).caption
    assert chart(sure).traces[0].y[0] == pytest.approx(100 / 30)
    assert table(confidence).rows[0][:3] == ["a", "4.0 ± 0.0", "0.500 ± 0.000"]


def test_robustness_has_a_band_over_the_seeds() -> None:
    says, mean, *kinds = parts(*BOTH)["Robustness to noisy inputs"]
    assert "a band runs from the lowest to the highest" in str(says)
    assert [chart(kind).title for kind in kinds] == ["Gaussian noise", "Salt and pepper", "JPEG"]
    first, second, teacher = chart(mean).traces
    high, low = CLEAN, 100 * (360 - 3 * 8 - 4 * 7 - 3 * 9) / 360
    assert first.y[0] == pytest.approx((high + low) / 2)
    assert first.low is not None
    assert first.high is not None
    assert (first.low[0], first.high[0]) == pytest.approx((low, high))
    assert second.low is None
    assert teacher.name == "teacher"


def test_agreement_is_a_row_for_each() -> None:
    (agreement,) = parts(*BOTH)["Agreement with the teacher"]
    assert table(agreement).rows == [
        ["a", "85.0 ± 7.1", "0.321 ± 0.000", "0.800 ± 0.000"],
        ["b", "70.0", "0.321", "0.800"],
    ]
    assert "Distance: mean KL(teacher, student) in nats." in table(agreement).notes


def test_several_teachers_are_told_apart() -> None:
    found = measured()
    teacher = found.networks["teacher"].model_copy(update={"name": "resnet8"})
    other = found.model_copy(update={"networks": {**found.networks, "teacher": teacher}})
    (by_class,) = parts(contender("a", found), contender("b", other))["Classes"]
    names = [trace.name for trace in chart(by_class).traces]
    assert names == ["a", "b", "teacher cnn(channels=[4, 8])", "teacher resnet8"]


def test_other_classes_are_not_laid_over_each_other() -> None:
    assert parts(replace(BOTH[0]), contender("b", evaluation(classes=3))) == {}
