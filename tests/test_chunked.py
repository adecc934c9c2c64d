"""Losses of a large vocabulary in chunks of rows, against those of all rows at once."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, Outputs
from limbeck.chunked import Chunked, chunked_terms, dense, in_chunks
from limbeck.methods.terms import Term
from limbeck.objective import parse
from limbeck.projection import Projection
from limbeck.ranked import Ranked
from limbeck.tasks import Rows
from limbeck.tasks.rows import masked
from maps import IGNORED, Maps

VOCABULARY, LENGTH, WIDTH = 37, 6, 8


@dataclass(frozen=True)
class Tokens(Maps):
    """Targets are (N, L) ids of the next tokens, `IGNORED` where a position does not count."""

    spatial = False

    def check_batch(self, targets: Tensor, size: int) -> None:
        assert targets.shape == (size, LENGTH)

    def check_outputs(self, logits: Tensor, role: str) -> None:
        assert logits.ndim == 3

    @staticmethod
    def width_of(logits: Tensor) -> int:
        return logits.shape[-1]

    def rows(self, batch: Batch, outputs: Outputs) -> Rows:
        if batch.targets is None:
            assert isinstance(batch.inputs, Tensor)
            return masked(torch.ones_like(batch.inputs, dtype=torch.bool), None)
        return masked(batch.targets != IGNORED, batch.targets)

    def count(self, batch: Batch) -> Tensor:
        assert batch.targets is not None
        return (batch.targets != IGNORED).sum()


class Language(nn.Module):
    """A small causal network; its last layer may share the weight of its embedding, and be capped."""

    def __init__(
        self, seed: int, *, tied: bool = False, bias: bool = False, cap: float | None = None
    ) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embedding = nn.Embedding(VOCABULARY, WIDTH)
        self.body = nn.GRU(WIDTH, WIDTH, batch_first=True)
        self.head = nn.Linear(WIDTH, VOCABULARY, bias=bias)
        if tied:
            self.head.weight = self.embedding.weight
        self.cap = cap
        if cap is not None:
            self.config = Config(final_logit_softcapping=cap)

    def forward(self, ids: Tensor) -> Tensor:
        logits: Tensor = self.head(self.body(self.embedding(ids))[0])
        return logits if self.cap is None else self.cap * (logits / self.cap).tanh()


@dataclass
class Config:
    final_logit_softcapping: float | None = None
    logits_scaling: float | None = None


def texts(samples: int = 5) -> tuple[Tensor, Tensor]:
    """Token ids and the next ones, of which some do not count."""
    generator = torch.Generator().manual_seed(1)
    ids, targets = torch.randint(VOCABULARY, (2, samples, LENGTH), generator=generator)
    targets[0, 3:] = targets[1, :2] = IGNORED
    return ids, targets


def distiller(objective: str, chunk: int, **changes: Any) -> Distiller:
    reads_teacher = objective != "ce"
    student, teacher = Language(0, **changes), Language(1, cap=2.0) if reads_teacher else None
    task = Tokens(tuple(map(str, range(VOCABULARY))))
    torch.manual_seed(2)
    made = Distiller(student, teacher, objective, example=texts()[0], task=task, chunk=chunk)
    made.progress(0, 0, 0.5)
    return made


def gradients(made: Distiller) -> dict[str, Tensor]:
    made.zero_grad()
    ids, targets = texts()
    made(Batch(ids, targets, torch.arange(len(ids)))).backward()
    return {name: p.grad.clone() for name, p in made.named_parameters() if p.grad is not None}


OBJECTIVES = [
    "ce",
    "0.1*ce + 0.9*kd",
    'kd(temperature=1, divergence="reverse")',
    'ce + 0.5*kd(temperature=2, divergence="jsd", beta=0.3) + kd(divergence="tv")',
    "kd(top=5, temperature=1)",
    "ce + dkd + label_smoothing",
    "ce + bdd",
    "ce + kd + icd",
    "ce + kd + rkd",
]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("chunk", [1, 7, 1000])
def test_values_and_gradients_are_those_of_all_rows_at_once(objective: str, chunk: int) -> None:
    whole, chunked = distiller(objective, 0), distiller(objective, chunk)
    assert whole._chunked is None
    assert chunked._chunked is not None
    ids, targets = texts()
    expected, found = whole(ids, targets), chunked(ids, targets)
    assert list(found) == list(expected)
    for name in expected:
        torch.testing.assert_close(found[name], expected[name], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.total, expected.total, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(gradients(chunked), gradients(whole), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("changes", [{"tied": True}, {"bias": True}, {"cap": 1.5}])
def test_last_layers_of_all_kinds(changes: dict[str, Any]) -> None:
    objective = "0.3*ce + 0.7*kd(temperature=2)"
    expected = gradients(distiller(objective, 0, **changes))
    assert expected
    torch.testing.assert_close(gradients(distiller(objective, 4, **changes)), expected)


def test_the_last_layer_never_sees_a_position() -> None:
    made, seen = distiller("ce + kd", 4), []
    for network in (made.student, made.teachers["teacher"].network):
        assert isinstance(network, Language)
        network.head.register_forward_hook(lambda module, args, output: seen.append(output.shape))
    made(*texts())
    assert seen == [(5, 0, VOCABULARY)] * 2


def test_a_frozen_last_layer_gets_no_gradient() -> None:
    made = distiller("ce + kd", 4)
    made.student.get_submodule("head").requires_grad_(False)
    found = gradients(made)
    assert not any("head" in name for name in found)
    whole = distiller("ce + kd", 0)
    whole.student.get_submodule("head").requires_grad_(False)
    torch.testing.assert_close(found, gradients(whole))


def test_the_gradient_of_one_term_is_its_own() -> None:
    for name in ("ce", "kd"):
        found = []
        for chunk in (4, 0):
            made = distiller("ce + 3*kd", chunk)
            made(*texts())[name].backward()
            found.append([p.grad for p in made.student.parameters()])
        torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("factor", [0.25, 1024.0])
def test_the_gradient_of_a_scaled_loss_is_scaled(factor: float) -> None:
    made, plain = distiller("ce + kd", 4), gradients(distiller("ce + kd", 0))
    (made(*texts()).total * factor).backward()
    for name, parameter in made.named_parameters():
        torch.testing.assert_close(parameter.grad, plain[name] * factor)


def test_no_valid_row_gives_zero_and_no_gradient() -> None:
    made = distiller("ce + kd", 4)
    ids, targets = texts()
    losses = made(ids, torch.full_like(targets, IGNORED))
    losses.backward()
    assert losses.total.item() == 0
    assert all(not p.grad.count_nonzero() for p in made.student.parameters() if p.grad is not None)


def test_evaluation_computes_values_alone() -> None:
    made = distiller("ce + kd", 4).eval()
    with torch.no_grad():
        losses = made(*texts())
    assert not losses.total.requires_grad
    torch.testing.assert_close(losses.total, distiller("ce + kd", 0).eval()(*texts()).total.detach())


def test_autocast_computes_in_its_own_precision() -> None:
    results = []
    for chunk in (0, 4):
        made = distiller("ce + kd", chunk)
        with torch.autocast("cpu", torch.bfloat16):
            losses = made(*texts())
        losses.backward()
        assert losses.total.dtype == torch.float32
        results.append((losses.total.detach(), made.student.get_parameter("head.weight").grad))
    torch.testing.assert_close(results[1], results[0], rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(
    ("objective", "labels"),
    [
        ("ce", ["ce"]),
        ("ce + kd + kd", ["ce", "kd", "kd_2"]),
        ("ce + icd", ["ce"]),
        ("ce + ckd", ["ce"]),
        ("ce + dist", None),
        ("mgd(ce + kd)", None),
        ("icd", None),
        ("on_policy(0.1*ce + 0.9*kd)", ["on_policy"]),
        ("on_policy(ce + dist)", None),
        ("minillm(ce + kd)", ["minillm"]),
        ("ce + srrl", None),
    ],
)
def test_which_losses_can_do_with_a_chunk(objective: str, labels: list[str] | None) -> None:
    assert in_chunks(parse(objective)) == labels


def test_what_cannot_be_chunked_is_computed_at_once() -> None:
    assert distiller("ce + dist", 4)._chunked is None
    assert distiller("ce + dist", 4)(*texts()).total.isfinite()
    made = Distiller(
        Scaled(), None, "ce", example=texts()[0], task=Tokens(tuple(map(str, range(VOCABULARY)))), chunk=4
    )
    assert made._chunked is None


class Scaled(Language):
    """Its logits are not what the last layer gives, and no config says so."""

    def __init__(self) -> None:
        super().__init__(0)

    def forward(self, ids: Tensor) -> Tensor:
        return 1.01 * super().forward(ids)


def test_a_config_says_how_logits_are_scaled() -> None:
    class Divided(Language):
        def forward(self, ids: Tensor) -> Tensor:
            return super().forward(ids) / 4

    task = Tokens(tuple(map(str, range(VOCABULARY))))
    results = []
    for chunk in (0, 4):
        student = Divided(0)
        student.config = Config(logits_scaling=4.0)
        made = Distiller(student, None, "ce", example=texts()[0], task=task, chunk=chunk)
        assert (made._chunked is None) == (chunk == 0)
        results.append(gradients(made))
    torch.testing.assert_close(results[1], results[0])


def test_small_vocabularies_are_computed_at_once_unless_somebody_says_other() -> None:
    made = Distiller(
        Language(0), None, "ce", example=texts()[0], task=Tokens(tuple(map(str, range(VOCABULARY))))
    )
    assert made._chunked is None


def test_a_copy_works_by_itself() -> None:
    made = distiller("ce + kd", 4)
    other = copy.deepcopy(made)
    with torch.no_grad():
        other.student.get_parameter("head.weight").zero_()
    torch.testing.assert_close(gradients(made), gradients(distiller("ce + kd", 0)))
    assert not gradients(other)["student.embedding.weight"].count_nonzero()


@pytest.mark.parametrize("padded", [False, True])
def test_the_most_probable_tokens_teach_as_logits_of_all_do(padded: bool) -> None:
    objective = parse('ce + kd + kd(temperature=1, divergence="reverse") + bdd')
    generator = torch.Generator().manual_seed(0)
    hidden, weight = torch.randn(9, 3, generator=generator), torch.randn(11, 3, generator=generator)
    hidden.requires_grad_()
    logs, ids = torch.randn(9, 11, generator=generator).log_softmax(1).topk(4)
    tail = (1 - logs.exp().sum(1, keepdim=True)).log()
    batch = Batch(hidden, torch.randint(11, (9,), generator=generator))
    answers = Outputs(ranked=Ranked(ids, logs, tail, 11, padded))
    projection = Projection(hidden, weight, None, 1.0, None, torch.float32)
    whole = objective.terms(Outputs(logits=projection[:]), dense(answers), batch)
    pieces = Chunked(objective, objective.labels, 4)(Outputs(projection=projection), answers, batch)
    assert list(pieces) == list(whole)
    gradients = []
    for terms in (pieces, whole):
        total = torch.stack([term.weight * term.value for term in terms.values()]).sum()
        gradients.append((total.detach(), *torch.autograd.grad(total, hidden)))
    torch.testing.assert_close(*gradients)


def test_the_logits_of_a_live_teacher_are_computed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = parse("kd + bdd")
    made = [
        Projection(
            torch.randn(6, 3, requires_grad=learns), torch.randn(11, 3), None, 1.0, None, torch.float32
        )
        for learns in (True, False)
    ]
    asked: list[Projection] = []
    getitem = Projection.__getitem__

    def counted(projection: Projection, rows: slice | Tensor) -> Tensor:
        asked.append(projection)
        return getitem(projection, rows)

    monkeypatch.setattr(Projection, "__getitem__", counted)
    student, teacher = (Outputs(projection=each) for each in made)
    Chunked(objective, objective.labels, 3)(student, teacher, Batch(made[0].hidden, torch.arange(6)))
    assert sum(each is made[1] for each in asked) == 2, "for each of the two chunks"


def test_a_monitor_is_reported_and_not_minimized() -> None:
    hidden, weight = torch.randn(5, 3, requires_grad=True), torch.randn(4, 3)
    projection = Projection(hidden, weight, None, 1.0, None, torch.float32)

    def evaluate(rows: slice, logits: Tensor) -> dict[str, Term]:
        return {"loss": Term(logits.mean(), weight=2.0), "seen": Term(logits.detach().max(), "monitor")}

    terms = chunked_terms(projection, 5, evaluate)
    assert terms["seen"].value.item() == projection[:].max().item()
    (terms["loss"].value * 2).backward()  # type: ignore[no-untyped-call]
    assert hidden.grad is not None
    torch.testing.assert_close(hidden.grad, 2 * weight.sum(0).expand(5, 3) / 20)


def test_a_chunk_is_a_number_of_rows() -> None:
    with pytest.raises(LimbeckError, match=r"^chunk is a number of rows, 0 for all at once, not -1$"):
        distiller("ce", -1)
