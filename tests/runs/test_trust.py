from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import make_student, make_teacher
from torch import Tensor, nn

import limbeck
from limbeck import data, models
from limbeck.config import TeacherConfig
from limbeck.data.split import keep_labels
from limbeck.errors import LimbeckError
from limbeck.runs import Run
from limbeck.runs.trust import BATCH, FEW, Answers, examine
from limbeck.tasks import Classification, Multilabel, Regression
from tagged_files import write_conll

CPU = torch.device("cpu")


class Fixed(nn.Module):
    """Answers the same to every sample."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.answer.expand(len(inputs), -1)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_teacher(tmp_path_factory.mktemp("trust") / "teacher", epochs=4)


def wrong(network: nn.Module, **config: Any) -> str:
    found = examine(network, "teacher", TeacherConfig(model="<x>", **config), data.load("digits"), CPU)
    return str(found.wrong)


def test_a_good_teacher_is_measured_and_nothing_changes(good: Run) -> None:
    network = limbeck.load(good).train()
    before, state = torch.get_rng_state(), {key: value.clone() for key, value in network.state_dict().items()}
    found = examine(network, "teacher", TeacherConfig(model=str(good.path)), data.load("digits"), CPU)
    figure = good.result.metrics.on("validation")["top1"]
    assert found == (f"the teacher has a top-1 of {100 * figure:.1f} % on the validation split", None)
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(value, state[key]) for key, value in network.state_dict().items())


def test_a_teacher_is_asked_about_its_samples_once_in_a_process(good: Run) -> None:
    network, shown = limbeck.load(good), []
    with torch.no_grad():
        next(network.parameters()).mul_(1.001)  # no other test has asked this one
    network.register_forward_hook(lambda module, inputs, outputs: shown.append(len(outputs)))
    source = data.load("digits")
    config = TeacherConfig(model=str(good.path))
    first, again = (examine(network, "teacher", config, source, CPU) for _ in range(2))
    assert first == again
    assert source.validation is not None
    rest = len(source.validation) - 2 * BATCH
    assert 0 < rest < BATCH
    assert shown == [2, BATCH, BATCH, rest, 2, BATCH]  # once more, to see that it is the same network


def test_without_labels_few_samples_show_that_a_teacher_works(good: Run) -> None:
    network, shown = limbeck.load(good), []
    network.register_forward_hook(lambda module, inputs, outputs: shown.append(len(outputs)))
    source = data.load("digits")
    nothing = keep_labels(source.train.targets, 0, seed=0)
    bare = replace(source, train=replace(source.train, targets=nothing), validation=None)
    found = examine(network, "teacher", TeacherConfig(model=str(good.path)), bare, CPU)
    assert found == ("the teacher is not measured: there are no labels to measure it by", None)
    assert sum(shown[1:]) == FEW < len(bare.train)


def test_logits_of_a_run_may_all_lie_between_0_and_1(good: Run) -> None:
    squeezed = nn.Sequential(limbeck.load(good), nn.Sigmoid())
    found = examine(squeezed, "teacher", TeacherConfig(model=str(good.path)), data.load("digits"), CPU)
    assert found.wrong is None


def test_classes_in_another_order_are_named_with_what_puts_them_right(good: Run) -> None:
    class Turned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = limbeck.load(good)

        def forward(self, inputs: Tensor) -> Tensor:
            logits: Tensor = self.inside(inputs)
            return logits.roll(1, 1)

    said = wrong(Turned())
    assert "no better than chance: it is untrained, or its classes" in said
    assert said.endswith("; names=[...] of the data puts the classes in the order of a teacher's outputs")


def test_what_is_no_logits_is_named(good: Run) -> None:
    network = limbeck.load(good)
    soft = nn.Sequential(network, nn.Softmax(1))
    assert "probabilities, all of them from 0 to 1 with the sum 1" in wrong(soft)
    assert "probabilities, all of them from 0 to 1, and" in wrong(nn.Sequential(network, nn.Sigmoid()))
    assert "NaN or infinite for 297 of 297 samples" in wrong(Fixed(torch.full((10,), torch.nan)))
    assert "answers all 297 samples alike" in wrong(Fixed(torch.arange(10.0)))


def test_a_teacher_at_chance_and_one_far_from_its_record(good: Run) -> None:
    network = limbeck.load(good)
    with torch.no_grad():
        last = [module for module in network.modules() if isinstance(module, nn.Linear)][-1]
        last.weight.copy_(last.weight.roll(1, 0))
        last.bias.copy_(last.bias.roll(1, 0))
    assert "no better than chance" in wrong(network)
    half = limbeck.load(good)
    with torch.no_grad():
        last = [module for module in half.modules() if isinstance(module, nn.Linear)][-1]
        last.bias[:4] -= 100
    found = examine(half, "teacher", TeacherConfig(model=str(good.path)), data.load("digits"), CPU)
    assert "and its own run recorded" in str(found.wrong)


def test_a_run_refuses_it_unless_it_is_trusted(tmp_path: Path) -> None:
    last = nn.Linear(64, 10)
    nn.init.zeros_(last.weight)
    untrained = nn.Sequential(nn.Flatten(), last)
    with pytest.raises(LimbeckError, match=r"alike; .*; set teacher\.trust=true to go on all the same"):
        make_student(tmp_path / "run", untrained)
    assert not (tmp_path / "run").exists()
    trusted = {"training.trackers": [], "teacher.trust": True}
    run = make_student(tmp_path / "run", untrained, settings=trusted, objective="kd")
    assert any("answers all 297 samples alike" in note for note in run.result.notes)


def test_probabilities_are_taught_as_their_logarithms(good: Run, tmp_path: Path) -> None:
    soft = nn.Sequential(limbeck.load(good), nn.Softmax(1))
    settings = {"training.trackers": [], "teacher.outputs": "probabilities"}
    run = make_student(tmp_path / "soft", soft, settings=settings, objective="kd")
    plain = make_student(tmp_path / "plain", limbeck.load(good), objective="kd")
    kd, expected = (each.history[-1]["terms"]["kd"] for each in (run, plain))
    assert kd == pytest.approx(expected, rel=1e-4)


class TestChance:
    def test_classification(self) -> None:
        targets = torch.arange(400) % 4
        task = Classification(("a", "b", "c", "d"))
        assert task.at_chance({"top1": 0.31}, targets)
        assert not task.at_chance({"top1": 0.32}, targets)  # 0.25 + 3 * sqrt(0.25 * 0.75 / 400) = 0.315

    def test_multilabel(self) -> None:
        targets = torch.zeros(400, 2, dtype=torch.long)
        targets[:100] = 1
        assert Multilabel(("a", "b")).at_chance({"map": 0.31}, targets)
        assert not Multilabel(("a", "b")).at_chance({"map": 0.32}, targets)

    def test_regression(self) -> None:
        task = data.load("linnerud").task
        assert isinstance(task, Regression)
        assert task.at_chance({"r2": 0.0}, torch.zeros(3, 3))
        assert not task.at_chance({"r2": 0.1}, torch.zeros(3, 3))


class FixedTags(nn.Module):
    """Answers the same to every token, of sentences of any length."""

    def __init__(self, answer: Tensor) -> None:
        super().__init__()
        self.answer = nn.Parameter(answer)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.answer.expand(*input_ids.shape, -1)


def test_a_teacher_of_words_is_judged_by_its_answers_to_words(tmp_path: Path) -> None:
    source = data.load("tagged", write_conll(tmp_path, train=70, validation=70, test=0))
    config = TeacherConfig(model="<x>")
    assert source.validation is not None
    known = int((source.validation.targets != -100).sum())
    alike = examine(FixedTags(torch.arange(7.0)), "teacher", config, source, CPU).wrong
    assert alike is not None
    assert f"the teacher answers all {known} rows alike" in alike
    broken = examine(FixedTags(torch.full((7,), torch.nan)), "teacher", config, source, CPU).wrong
    assert broken is not None
    assert f"NaN or infinite for {known} of {known} rows" in broken
    torch.manual_seed(0)
    fresh = models.build("transformer(dim=8, heads=2)", num_classes=7, facts=source.facts)
    chance = examine(fresh, "teacher", config, source, CPU).wrong
    assert chance is not None
    assert "the teacher has an entity F1 of" in chance
    assert "no better than chance" in chance


def test_batches_of_dense_tasks_may_differ_in_their_shapes() -> None:
    answers = Answers()
    for rows in (torch.ones(3, 4), torch.ones(5, 4)):
        answers.update(rows)
    assert (answers.samples, answers.equal, answers.within) == (8, True, True)
