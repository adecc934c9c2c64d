"""What an evaluation says of the targets that a student learned from."""

from __future__ import annotations

import sys

import pytest
import torch
from torch import nn

from limbeck import data
from limbeck.data import Source
from limbeck.data.split import stratified
from limbeck.errors import LimbeckError
from limbeck.evaluation import Contender, supervision, supervision_complexity, tangent_kernel
from limbeck.evaluation.complexity import isotropic_complexity

SIZE = 60


def rows(*, classes: int = 3, labeled: int = SIZE) -> Source:
    generator = torch.Generator().manual_seed(0)
    inputs, targets = torch.randn(SIZE, 4, generator=generator), torch.arange(SIZE) % classes
    targets[labeled:] = -100
    return data.from_tensors(inputs, targets, num_classes=classes, name="rows")


def network(seed: int, classes: int = 3) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, classes))


def test_it_is_the_complexity_of_labels_and_softened_answers_on_some_training_samples() -> None:
    source, student, teacher = rows(), network(0), network(1)
    with torch.no_grad():
        [*teacher.parameters()][2].mul_(5)
    found = supervision(
        source,
        Contender(student, "student"),
        [("teacher", Contender(teacher, "teacher"))],
        initial=network(2),
        samples=12,
        ridge=0.01,
        temperatures=(1.0, 4.0),
        seed=3,
    )
    drawn = stratified(source.train.targets, 12, seed=3)
    targets, samples = source.train.targets[drawn], source.train.samples
    index = source.train.index[drawn]
    inputs = samples.render(source.views, index, torch.full_like(index, source.views.base))
    assert isinstance(inputs, torch.Tensor)
    assert targets.bincount().tolist() == [4, 4, 4]
    with torch.no_grad():
        logits = teacher(inputs).double()
    expected = {
        "labels": torch.nn.functional.one_hot(targets, 3).double(),
        "teacher, temperature 1": logits.softmax(1),
        "teacher, temperature 4": (logits / 4).softmax(1),
    }
    assert list(found.trained) == ["labels", "labels, shuffled", *list(expected)[1:]]
    assert found.initial is not None
    for which, net in ((found.trained, student), (found.initial, network(2))):
        kernel = tangent_kernel(net, inputs)
        for name, each in expected.items():
            complexity = supervision_complexity(kernel, each, ridge=0.01).item()
            assert which[name].complexity == pytest.approx(complexity, rel=1e-6)
            relative = complexity / isotropic_complexity(each).item()
            assert which[name].relative == pytest.approx(relative, rel=1e-6)
        shuffled = which["labels, shuffled"]
        assert shuffled.complexity != pytest.approx(which["labels"].complexity, rel=1e-3)
    assert (found.samples, found.seed, found.ridge, found.kernel) == (12, 3, 0.01, "full")


def test_it_is_a_function_of_its_seed_and_the_networks_stay_as_they_are() -> None:
    source, student = rows(), network(0).train()
    before = {key: value.clone() for key, value in student.state_dict().items()}
    contender = Contender(student, "student")
    first, again, other = (supervision(source, contender, [], samples=9, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first.trained != other.trained
    assert first.initial is None
    assert student.training
    assert all(torch.equal(value, before[key]) for key, value in student.state_dict().items())


def test_targets_that_are_alike_have_no_complexity() -> None:
    class Undecided(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.new_zeros(len(x), 3)

    found = supervision(
        rows(), Contender(network(0), "student"), [("teacher", Contender(Undecided(), "teacher"))], samples=9
    )
    uniform = found.trained["teacher, temperature 1"]
    assert uniform.complexity == pytest.approx(0, abs=1e-9)
    assert uniform.relative is None


def test_of_many_outputs_the_mean_of_the_kernel_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    source, contender = rows(), Contender(network(0), "student")
    monkeypatch.setattr(sys.modules["limbeck.evaluation.supervision"], "FULL", 27)
    assert supervision(source, contender, [], samples=9).kernel == "full"
    found = supervision(source, contender, [], samples=10)
    assert found.kernel == "mean"
    whole = supervision(source, contender, [], samples=10, kernel="full")
    assert whole.kernel == "full"
    assert found.trained["labels"].complexity != pytest.approx(whole.trained["labels"].complexity, rel=1e-6)


@pytest.mark.parametrize(
    ("samples", "ridge", "message"),
    [
        (38, None, "on 2 to 37 training samples, as many as rows has labels of, not on 38"),  # 3 are held out
        (1, None, "on 2 to 37 training samples, .* not on 1"),
        (9, -1.0, r"a share of the kernel's diagonal from 0 on, not -1"),
    ],
)
def test_what_it_cannot_be_measured_on_is_refused(samples: int, ridge: float | None, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        supervision(rows(labeled=40), Contender(network(0), "student"), [], samples=samples, ridge=ridge)


def test_values_have_none() -> None:
    inputs = torch.randn(20, 4)
    source = data.from_tensors(inputs, inputs.sum(1), task="regression", name="sums")
    with pytest.raises(LimbeckError, match="one class for each sample, and sums is for regression"):
        supervision(source, Contender(network(0), "student"), [], samples=5)
