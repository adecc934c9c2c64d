from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from limbeck import data, evaluation, models
from limbeck.data import Loader, Source, Split
from limbeck.data.storage.base import Resident
from limbeck.errors import LimbeckError
from limbeck.evaluation import (
    SEVERITIES,
    Contender,
    Evaluation,
    accuracy,
    calibration,
    confusion,
    evaluate,
    inference,
    nll,
)
from limbeck.evaluation.results import NetworkResult, Role
from limbeck.features import call
from limbeck.models import fingerprint
from limbeck.tasks import Classification
from limbeck.tasks.classification.findings import ClassificationAgreement, ClassificationFindings
from limbeck.tasks.classification.meter import ClassificationComparison, ClassificationMeter


def images(*, validation: bool = True, test: bool = True, classes: int = 10) -> Source:
    """40 to train on, 30 to validate, 50 to test, of which the last ten have no label."""
    generator = torch.Generator().manual_seed(0)

    def split(size: int) -> tuple[torch.Tensor, torch.Tensor]:
        pixels = torch.randint(256, (size, 1, 8, 8), generator=generator).byte()
        return pixels, torch.arange(size) % classes

    held, tested = split(30), split(50)
    tested[1][40:] = -100
    return data.from_tensors(
        *split(40),
        validation=held if validation else None,
        test=tested if test else None,
        num_classes=classes,
        name="squares",
    )


def network(spec: str, seed: int, classes: int = 10) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return models.build(spec, example=torch.zeros(1, 1, 8, 8), num_classes=classes)


def contenders(*roles: Role) -> dict[Role, Contender]:
    specs = {"student": "cnn(channels=[4, 8])", "teacher": "resnet8", "baseline": "mlp(hidden=[5])"}
    return {
        role: Contender(network(specs[role], place), specs[role], f"runs/{role}")
        for place, role in enumerate(roles)
    }


@pytest.fixture(scope="module")
def full() -> Evaluation:
    return evaluate(images(), contenders("student", "teacher", "baseline"), suite="full", seed=3)


def logits(network: nn.Module, split: Split) -> Tensor:
    """What the network says of all samples at once."""
    with inference(network):
        return call(network, next(iter(Loader(split, len(split), shuffle=False))).inputs)  # type: ignore[no-any-return]


def findings(result: NetworkResult) -> ClassificationFindings:
    assert isinstance(result.findings, ClassificationFindings)
    return result.findings


def agreed(found: Evaluation) -> ClassificationAgreement:
    assert isinstance(found.agreement, ClassificationAgreement)
    return found.agreement


def test_the_figures_are_those_of_the_functions() -> None:
    source, given = images(), contenders("student", "teacher")
    found = evaluate(source, given)
    assert source.test is not None
    assert source.validation is not None
    answers = {role: logits(each.network, source.test) for role, each in given.items()}
    labeled, targets = slice(0, 40), source.test.targets[:40]
    for role, result in found.networks.items():
        tuning = logits(given[role].network, source.validation), source.validation.targets
        scores = answers[role][labeled]
        its = findings(result)
        assert its.accuracy == accuracy(scores, targets)
        assert its.confusion == confusion(scores, targets)
        assert its.nll == pytest.approx(nll(scores, targets), rel=1e-6)
        wanted = calibration(scores, targets, tuning).model_dump(exclude={"bins"}, exclude_none=True)
        its_calibration = its.calibration.model_dump(exclude={"bins"}, exclude_none=True)
        assert its_calibration == pytest.approx(wanted, rel=1e-4)
        assert result.metrics == {
            "top1": its.accuracy.top1.value,
            "top5": its.accuracy.top5 and its.accuracy.top5.value,
            "macro_f1": its.confusion.macro_f1,
            "nll": its.nll,
            "ece": its.calibration.ece,
        }
        assert result.intervals == {"top1": its.accuracy.top1, "top5": its.accuracy.top5}
        assert (result.name, result.run) == (given[role].name, f"runs/{role}")
        assert result.cost.parameters == models.count_parameters(given[role].network)
        assert result.cost.multiply_adds == evaluation.multiply_adds(
            given[role].network, torch.zeros(1, 1, 8, 8)
        )
    student, teacher = answers["student"], answers["teacher"]
    close = agreed(found)
    assert close.agreement == evaluation.agreement(student, teacher)
    assert close.distance == pytest.approx(evaluation.divergence(student, teacher), rel=1e-5)
    expected = evaluation.correlation_difference(student, teacher)
    assert close.correlation.difference == pytest.approx(float(expected.abs().mean()), rel=1e-4)
    matrix = torch.tensor(close.correlation.matrix, dtype=torch.float64)
    torch.testing.assert_close(matrix, expected, atol=1e-4, rtol=1e-4)
    assert (found.samples, found.split, found.data.fingerprint) == (50, "test", source.fingerprint())


def test_quick_leaves_out_what_takes_long() -> None:
    found = evaluate(images(), contenders("student", "teacher"))
    assert found.cka is not None
    assert found.cka.embedding is not None
    assert found.cka.stages is None
    for result in found.networks.values():
        cost = result.cost
        assert (result.robustness, cost.latency, cost.peak_bytes, cost.throughput) == (None, None, None, None)
    assert not any("oise" in note for note in found.notes)
    assert found.seed is None


def test_full_has_it_all(full: Evaluation) -> None:
    assert list(full.networks) == ["student", "teacher", "baseline"]
    assert full.seed == 3
    assert full.machine.processor
    assert full.machine.threads == torch.get_num_threads()
    assert full.cka is not None
    assert full.cka.stages is not None
    assert [len(row) for row in full.cka.stages] == [3, 3]
    for result in full.networks.values():
        assert result.robustness is not None
        assert result.noiseless == result.metrics["top1"]
        assert list(result.robustness) == list(SEVERITIES)
        assert all(len(curve) == 5 for curve in result.robustness.values())
        assert result.cost.latency is not None
        assert list(result.cost.latency) == [1, 32]
        assert all(0 < time.median_ms <= time.p95_ms for time in result.cost.latency.values())
        assert result.cost.throughput is not None
        assert result.cost.throughput > 0
        assert result.cost.peak_bytes is not None
        assert result.cost.peak_bytes > result.cost.bytes + 32 * 64 * 4
    assert Evaluation.model_validate_json(full.model_dump_json()) == full


def test_robustness_is_a_function_of_the_seed(full: Evaluation) -> None:
    def curves(found: Evaluation) -> object:
        return {role: result.robustness for role, result in found.networks.items()}

    again = evaluate(images(), contenders("student", "teacher", "baseline"), suite="full", seed=3)
    assert curves(again) == curves(full)
    other = evaluate(images(), contenders("student", "teacher", "baseline"), suite="full", seed=4)
    assert curves(other) != curves(full)


def test_noise_on_some_of_the_samples_is_told() -> None:
    found = evaluate(images(), contenders("student"), suite="full", noise_samples=20)
    assert found.notes[-1] == "Noise is measured on 20 samples, evenly spread over the split."
    assert found.student.robustness is not None
    labeled = 16  # every fifth sample, and so four of the twenty, is in the last ten without a label
    for curve in found.student.robustness.values():
        assert all(value * labeled == pytest.approx(round(value * labeled)) for value in curve)
    source, (student,) = images(), contenders("student").values()
    assert source.test is not None
    some = source.test.select(torch.linspace(0, len(source.test) - 1, 20).round().long())
    right = logits(student.network, some).argmax(1) == some.targets
    assert found.student.noiseless == int(right.sum()) / labeled
    with pytest.raises(LimbeckError, match="noise needs at least 1 sample, not 0"):
        evaluate(images(), contenders("student"), suite="full", noise_samples=0)


@pytest.mark.parametrize("given", [{"seed": 0}, {"noise_samples": 20}])
def test_the_quick_suite_takes_nothing_of_noise(given: dict[str, int]) -> None:
    with pytest.raises(
        LimbeckError, match="the quick suite shows no noise, so it takes no seed and no number"
    ):
        evaluate(images(), contenders("student"), **given)  # type: ignore[arg-type]


def test_a_temperature_at_the_end_of_the_search_is_none() -> None:
    class Knows(nn.Module):
        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            return torch.nn.functional.one_hot((pixels[:, 0, 0, 0] * 255).round().long(), 10).float()

    labels = torch.arange(40) % 10
    split = labels.byte()[:, None, None, None].expand(-1, 1, 8, 8), labels
    source = data.from_tensors(*split, validation=split, test=split)
    found = evaluate(source, {"student": Contender(Knows(), "knows")})
    its = findings(found.student).calibration
    assert (its.temperature, its.ece_after, its.nll_after) == (None, None, None)
    assert found.notes == (
        "No temperature is given for student: on the validation split, none from 0.01 to 100 is best.",
    )


def test_where_the_memory_holds_few_samples_the_figures_are_the_same(
    full: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Resident, "most", 7)
    found = evaluate(images(), contenders("student", "teacher", "baseline"), suite="full", seed=3)
    assert findings(found.student).accuracy == findings(full.student).accuracy
    assert found.student.robustness == full.student.robustness
    assert found.student.cost.throughput is not None


def test_networks_are_left_as_they_were() -> None:
    given = contenders("student", "teacher")
    for each in given.values():
        each.network.train()
    before = {role: fingerprint(each.network) for role, each in given.items()}
    state = torch.random.get_rng_state()
    evaluate(images(), given, suite="full")
    assert {role: fingerprint(each.network) for role, each in given.items()} == before
    assert all(module.training for each in given.values() for module in each.network.modules())
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_student_that_is_its_teacher() -> None:
    twins: dict[Role, Contender] = {
        role: Contender(network("cnn(channels=[4, 8])", 0), "cnn") for role in ("student", "teacher")
    }
    found = evaluate(images(), twins, suite="full")
    assert found.cka is not None
    assert agreed(found).agreement == 1
    assert agreed(found).distance == pytest.approx(0, abs=1e-9)
    assert agreed(found).correlation.difference == pytest.approx(0, abs=1e-9)
    assert found.cka.embedding == pytest.approx(1)
    assert found.cka.stages is not None
    assert [row[place] for place, row in enumerate(found.cka.stages)] == pytest.approx([1, 1])
    assert agreed(found).examples == ()


def test_examples_are_the_surest_that_the_teacher_gets_right() -> None:
    class Fixed(nn.Module):
        """Answers by the index in the pixels: the class of a table, as sure as the index is large."""

        def __init__(self, wrong: set[int]) -> None:
            super().__init__()
            self.wrong = wrong
            self.head = nn.Identity()

        def forward(self, pixels: torch.Tensor) -> torch.Tensor:
            index = (pixels[:, 0, 0, 0] * 255).round().long()
            off = torch.tensor([int(i) in self.wrong for i in index]).long()
            right = torch.nn.functional.one_hot((index + off) % 10, 10)
            return self.head(right * (1 + index[:, None] / 10.0))  # type: ignore[no-any-return]

    pixels = torch.arange(40).byte()[:, None, None, None].expand(-1, 1, 8, 8).contiguous()
    labels = torch.arange(40) % 10
    source = data.from_tensors(pixels, labels, test=(pixels, labels), num_classes=10)
    given: dict[Role, Contender] = {
        "student": Contender(Fixed(set(range(5, 25))), "s"),
        "teacher": Contender(Fixed({20, 21, 39}), "t"),
    }
    examples = agreed(evaluate(source, given)).examples
    assert [each.index for each in examples] == [24, 23, 22, 19, 18, 17, 16, 15, 14, 13, 12, 11]
    assert (examples[0].target, examples[0].student, examples[0].teacher) == ("4", "5", "4")


def test_without_a_teacher_there_is_no_agreement() -> None:
    found = evaluate(images(), contenders("student"))
    assert (found.agreement, found.cka, list(found.networks)) == (None, None, ["student"])


def test_without_a_validation_split_no_temperature_is_fitted() -> None:
    found = evaluate(images(validation=False), contenders("student"))
    assert findings(found.student).calibration.temperature is None
    assert found.notes == ("No temperature is fitted: the data has no validation split to fit it on.",)


def test_without_a_test_split_the_figures_are_of_validation_and_it_is_said() -> None:
    found = evaluate(images(test=False), contenders("student"))
    assert (found.split, found.samples) == ("validation", 30)
    assert findings(found.student).calibration.temperature is None
    assert found.notes == (
        "The data has no test split: all figures are of the validation split, and nothing is fitted on it.",
    )


def test_with_neither_there_is_nothing_to_measure() -> None:
    with pytest.raises(LimbeckError, match="squares has neither a test nor a validation split to measure on"):
        evaluate(images(validation=False, test=False), contenders("student"))


def test_networks_with_other_numbers_of_outputs_are_refused() -> None:
    given = {**contenders("student"), "teacher": Contender(network("mlp", 1, classes=12), "mlp")}
    with pytest.raises(LimbeckError, match="the student has 10 outputs, and the teacher has 12"):
        evaluate(images(), given)


def test_logits_beyond_the_classes_are_measured_too() -> None:
    given: dict[Role, Contender] = {"student": Contender(network("mlp", 1, classes=12), "mlp")}
    source = images()
    found = evaluate(source, given)
    assert found.found_task == source.task
    assert found.found_task.width == 10
    its = findings(found.student)
    assert len(its.accuracy.per_class) == len(its.confusion.matrix) == 12
    assert its.accuracy.per_class[10:] == (None, None)
    shown, *_ = found.found_task.sections({"student": its}, None)[0].figures
    assert list(shown.names) == list(map(str, range(12)))  # type: ignore[union-attr]


def test_inputs_that_cannot_be_made_noisy_are_told() -> None:
    found = evaluate(replace(images(), kind="other"), contenders("student"), suite="full")
    assert found.student.robustness is None
    assert found.notes[-1] == (
        "Noise is measured on images with pixels in [0, 1] and on tables; these inputs are neither."
    )


@pytest.mark.parametrize("suite", ["quick", "full"])
def test_texts_with_padding(suite: str) -> None:
    ids = torch.randint(1, 20, (40, 6), generator=torch.Generator().manual_seed(0))
    mask = torch.arange(6) < torch.arange(2, 42)[:, None] % 5 + 2
    inputs = {"input_ids": ids * mask, "attention_mask": mask.long()}
    labels = torch.arange(40) % 3
    source = replace(data.from_tensors(inputs, labels, test=(inputs, labels)), facts={"vocab_size": 20})
    specs: dict[Role, str] = {"student": "textcnn(8, 4, [2])", "teacher": "transformer(8, 2, 2)"}
    given = {
        role: Contender(
            models.build(spec, example=source.example(), num_classes=3, facts=source.facts).eval(), spec
        )
        for role, spec in specs.items()
    }
    found = evaluate(source, given, suite=suite)  # type: ignore[arg-type]
    assert found.cka is not None
    assert found.cka.embedding is not None
    assert found.student.cost.multiply_adds > 0
    assert found.student.robustness is None


def test_what_is_of_a_sample_of_the_rows_is_told_once() -> None:
    class Small(Classification):
        def meter(self, *, quick: bool = False) -> ClassificationMeter:
            return ClassificationMeter(quick=quick, bound=10 * 25)

        def comparison(self) -> ClassificationComparison:
            return ClassificationComparison(self.names, bound=20 * 30)

    source, given = images(), contenders("student", "teacher")
    found = evaluate(replace(source, task=Small(source.task.names)), given)
    assert found.notes == (
        "Calibration is measured on a random sample of 25 of the 40 labeled samples.",
        "The correlation of classes is measured on a random sample of 30 of the 50 samples.",
    )
    whole = evaluate(source, given)
    assert findings(found.student).accuracy == findings(whole.student).accuracy
    assert found.student.metrics["nll"] == pytest.approx(whole.student.metrics["nll"], rel=1e-12)
    assert found.student.metrics["ece"] != whole.student.metrics["ece"]
    assert agreed(found).agreement == agreed(whole).agreement
    assert agreed(found).distance == pytest.approx(agreed(whole).distance, rel=1e-12)
