"""What a teacher has answered is read back, and every figure stays the same to the bit."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from limbeck import data, evaluation
from limbeck.evaluation import Contender, remembered
from limbeck.evaluation.remembered import Memory, Remembered
from limbeck.outputs import Inputs, Outputs
from limbeck.words import Words


class Asked(nn.Module):
    """Counts the samples that it is asked about."""

    def __init__(self, width: int = 3, scale: float = 1.0) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer, self.scale, self.samples = nn.Linear(width, 2), scale, 0

    def forward(self, inputs: Tensor) -> Tensor:
        self.samples += len(inputs)
        answer: Tensor = self.scale * self.layer(inputs.flatten(1))
        return answer


def asking(network: Asked, memory: Memory) -> Remembered:
    def answer(inputs: Inputs) -> Outputs:
        assert isinstance(inputs, Tensor)
        return Outputs(logits=network(inputs), stages=(inputs * 2,))

    return Remembered(network, answer, "logits", memory)


BATCHES = [torch.randn(4, 3, generator=torch.Generator().manual_seed(each)) for each in range(5)]


@torch.no_grad()
def test_only_the_first_of_the_known_inputs_are_asked_about_again() -> None:
    memory, network = Memory(), Asked()
    first = [asking(network, memory)(batch) for batch in BATCHES]  # another each time: nothing is trusted
    assert network.samples == 20
    again = asking(network, memory)
    for batch, wanted in zip(BATCHES, first, strict=True):
        found = again(batch)
        assert torch.equal(found.logits, wanted.logits)
        assert torch.equal(found.stages[0], wanted.stages[0])
    assert network.samples == 24
    assert torch.equal(again(torch.ones(2, 3)).logits, network(torch.ones(2, 3)))
    assert torch.equal(again(BATCHES[3]).logits, first[3].logits)
    assert network.samples == 24 + 4


@torch.no_grad()
def test_whatever_is_done_to_an_answer_is_not_remembered() -> None:
    memory, network = Memory(), Asked()
    wanted = network(BATCHES[0])
    for _ in range(3):
        again = asking(network, memory)
        for _ in range(2):
            found = again(BATCHES[0])
            assert torch.equal(found.logits, wanted)
            found.logits.zero_()


@torch.no_grad()
def test_other_weights_and_another_network_with_the_same_are_asked() -> None:
    memory, network = Memory(), Asked()
    for batch in BATCHES:
        asking(network, memory)(batch)
    other = copy.deepcopy(network)
    other.layer.weight.mul_(2)
    for one in (other, Asked(scale=3.0)):
        again = asking(one, memory)
        for batch in BATCHES:
            assert torch.equal(again(batch).logits, one(batch))


def test_inputs_differ_by_values_shape_type_and_name() -> None:
    ones = torch.ones(2, 3)
    every: list[Inputs] = [
        ones,
        ones.double(),
        ones.reshape(3, 2),
        torch.zeros(2, 3),
        {"a": ones},
        {"b": ones},
        {"a": ones, "b": ones},
        Words({"a": ones}, torch.zeros(2, 1, dtype=torch.long)),
    ]
    assert len({remembered._digest(each) for each in every}) == len(every)
    assert remembered._digest({"a": ones.clone()}) == remembered._digest({"a": ones})


@torch.no_grad()
def test_the_network_asked_least_recently_is_forgotten_first() -> None:
    one = 4 * (2 + 3) * 4  # bytes of one answer: 4 samples, 2 logits, 3 of a stage
    memory = Memory(room=3 * one)
    networks = [Asked(scale=1.0), Asked().double(), Asked().half()]
    first = [asking(networks[0], memory) for _ in range(5)]
    for again, batch in zip(first, BATCHES, strict=True):
        again(batch)
    assert [len(memory.of(name)) for name in [*memory._kept]] == [3]  # the other two do not fit
    asking(networks[1], memory)(BATCHES[0].double())
    assert sum(len(memory.of(name)) for name in [*memory._kept]) == 1
    assert next(iter(memory._kept)) == asking(networks[1], memory)._name
    asking(networks[0], memory)(torch.ones(100, 3))  # an answer that has no room drives nobody out
    assert len(memory.of(asking(networks[1], memory)._name)) == 1


@pytest.fixture
def own_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Remembered.__init__, "__defaults__", (Memory(),))


@pytest.mark.usefixtures("own_memory")
def test_an_evaluation_is_the_same_and_asks_the_teacher_about_one_batch() -> None:
    source = data.load("digits")
    student, teacher = Asked(64), Asked(64)
    teacher.layer = nn.Linear(64, 10)
    student.layer = nn.Linear(64, 10)
    contenders = {"student": Contender(student, "s"), "teacher": Contender(teacher, "t")}

    def once() -> tuple[evaluation.Evaluation, int, int]:
        student.samples = teacher.samples = 0
        return evaluation.evaluate(source, contenders), student.samples, teacher.samples  # type: ignore[arg-type]

    (first, asked, taught), (second, asked_again, taught_again) = once(), once()
    assert first.networks == second.networks
    assert first.agreement == second.agreement
    assert first.cka == second.cka
    assert asked == asked_again == taught
    assert source.test is not None
    assert source.validation is not None
    batch = 256
    assert taught_again == sum(min(batch, len(split)) for split in (source.test, source.validation)) + (
        taught - len(source.test) - len(source.validation)  # examples, of which nothing is measured
    )
