"""Tensors of another rank or dtype than a pure function is for: refused, with a remedy that is right."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from limbeck import losses
from limbeck.errors import LimbeckError
from loss_arguments import CLASSES, SAMPLES, arguments, learner, loss

ON_LOGITS = {
    "bdd": "student_logits",
    "bss": "student_logits",
    "correlation_distance": "student_logits",
    "cross_entropy": "logits",
    "kd": "student_logits",
    "dist": "student_logits",
    "focal": "logits",
    "dkd": "student_logits",
    "lwkd": "student_logits",
    "mixkd": "student_logits",
    "mutual_learning": "logits",
    "nasty": "student_logits",
    "rdd": "student_logits",
    "sskd": "student_logits",
    "tfkd": "student_logits",
    "uncertainty_weighted_kd": "student_logits",
}
"""The functions whose softmax is over the classes, and the argument that they look at first."""


OTHERWISE = {
    "ceskd": "it takes the logits of several experts, and the expert of each row",
    "comparative": "it takes rows of the logits for each group",
    "dgkd": "it takes the logits of several experts",
    "gold": "it takes the logits of two vocabularies",
    "guided": "it takes maps, too",
    "minillm_long": "it takes what each token is worth",
    "minillm_single": "it takes a weight for each token",
    "rank_distance": "it needs 3 classes",
    "uld": "it takes the logits of two vocabularies",
    "srrl": "its logits are of any width: their squared difference is taken",
}
"""Those that are tested in their own files, and why."""


def refusal(name: str, **given: Any) -> str:
    with pytest.raises(LimbeckError) as caught:
        loss(name)(**given)
    return str(caught.value)


def reshaped(given: dict[str, Any], change: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """The arguments with all logits changed."""
    return {
        key: [change(item) for item in value]
        if key == "others"
        else change(value)
        if key in ("logits", "student_logits", "teacher_logits", "normal_logits")
        else value
        for key, value in given.items()
    }


def test_these_are_all_that_take_logits() -> None:
    takers = {name for name in losses.__all__ if learner(arguments(name)) in ("logits", "student_logits")}
    assert takers - OTHERWISE.keys() == ON_LOGITS.keys()


@pytest.mark.parametrize("name", ON_LOGITS)
@pytest.mark.parametrize("layout", ["maps", "tokens"])
def test_logits_with_positions_are_refused_and_the_remedy_is_right(name: str, layout: str) -> None:
    """Refused with the shapes and a remedy; taken at its word, the remedy gives the value for the rows."""
    generator = torch.Generator().manual_seed(0)

    def dense() -> Tensor:
        shape = (2, CLASSES, 3, 4) if layout == "maps" else (2, 12, CLASSES)
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    given = reshaped(arguments(name), lambda _: dense())
    targets = torch.arange(24).view(2, 12) % CLASSES
    given |= {"targets": targets} if "targets" in given else {}
    argument = ON_LOGITS[name]
    by_axis = f"{argument}.movedim(1, -1).flatten(0, -2)"
    by_last = f"{argument}.flatten(0, -2)"
    assert refusal(name, **given) == (
        f"{name}: {argument} has the shape {tuple(given[argument].shape)} and must have the shape (P, C), "
        f"a row of logits for each prediction; flatten it: {by_axis} where axis 1 holds the classes, "
        f"{by_last} where the last one does"
    )
    flat = reshaped(
        given,
        lambda it: (it.movedim(1, -1) if layout == "maps" else it).flatten(0, -2),
    )
    flat |= {"targets": targets.flatten()} if "targets" in given else {}
    by_hand = reshaped(
        given,
        lambda it: (
            torch.stack([it[p // 12].reshape(CLASSES, 12)[:, p % 12] for p in range(24)])
            if layout == "maps"
            else torch.stack([it[p // 12, p % 12] for p in range(24)])
        ),
    )
    by_hand |= {"targets": flat["targets"]} if "targets" in given else {}
    assert torch.equal(loss(name)(**flat), loss(name)(**by_hand))


@pytest.mark.parametrize("name", ON_LOGITS)
def test_a_single_logit_is_refused_and_the_remedy_is_the_bernoulli_one(name: str) -> None:
    given = reshaped(arguments(name), lambda it: it[:, :1])
    given |= {"targets": torch.tensor([0, 1, 1, 0])} if "targets" in given else {}
    argument = ON_LOGITS[name]
    assert refusal(name, **given) == (
        f"{name}: {argument} has the shape (4, 1) and must have the shape (P, C) with at least 2 classes C; "
        "write the single logit z of a yes-or-no question as torch.cat([torch.zeros_like(z), z], 1)"
    )
    two = reshaped(given, lambda z: torch.cat([torch.zeros_like(z), z], 1))
    assert loss(name)(**two).abs() > 0
    if name == "kd":
        p, q = ((given[side] / 4).sigmoid() for side in ("teacher_logits", "student_logits"))
        bernoulli = p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()
        torch.testing.assert_close(loss(name)(**two), 16 * bernoulli.mean())
    if name == "cross_entropy":
        z, y = given["logits"][:, 0], given["targets"].double()
        torch.testing.assert_close(
            loss(name)(**two), torch.nn.functional.binary_cross_entropy_with_logits(z, y)
        )


@pytest.mark.parametrize("name", ON_LOGITS)
def test_logits_of_one_prediction_and_integers_are_refused(name: str) -> None:
    argument = ON_LOGITS[name]
    for change in (lambda it: it[0], lambda it: it[0, 0]):
        assert refusal(name, **reshaped(arguments(name), change)).endswith(
            f"the logits of one prediction are {argument}.unsqueeze(0)"
        )
    assert refusal(name, **reshaped(arguments(name), lambda it: it.long())) == (
        f"{name}: {argument} must hold floating-point numbers, not torch.int64; write {argument}.float()"
    )


@pytest.mark.parametrize("name", ["cross_entropy", "dkd", "tfkd"])
def test_targets_are_a_class_id_for_each_row(name: str) -> None:
    given = arguments(name)
    probabilities = torch.full((SAMPLES, CLASSES), 1 / CLASSES)
    assert refusal(name, **{**given, "targets": probabilities}) == (
        f"{name}: targets has the shape (4, 5) and must have the shape (P,), a class id for each row of the "
        "logits; flatten it like the logits: targets.flatten()"
    )
    assert refusal(name, **{**given, "targets": given["targets"].float()}) == (
        f"{name}: targets must be class ids of dtype torch.int64, not torch.float32; write targets.long() if "
        "the numbers are class ids"
    )
    assert refusal(name, **{**given, "targets": given["targets"][:3]}) == (
        f"{name} compares the same samples, not 4 and 3 of them"
    )


@pytest.mark.parametrize("name", ["icd", "pkd", "rrd", "srrl"])
def test_embeddings_are_rows(name: str) -> None:
    given = arguments(name)
    student, teacher = (torch.randn(2, 6, 7, dtype=torch.float64) for _ in range(2))
    assert refusal(name, **{**given, "student": student, "teacher": teacher}) == (
        f"{name}: student has the shape (2, 6, 7) and must have the shape (P, D), a vector for each row; "
        "flatten it: student.flatten(1) is a vector for each sample, student.flatten(0, -2) one for each "
        "position where the last axis holds the vectors"
    )
    assert refusal(name, **{**given, "teacher": given["teacher"][0]}).endswith(
        "a single vector is teacher.unsqueeze(0)"
    )


@pytest.mark.parametrize(
    "name", ["correlation_congruence", "pkt", "rkd_angle", "rkd_distance", "similarity_preserving"]
)
def test_what_is_flattened_for_each_sample_has_an_axis_for_that(name: str) -> None:
    numbers = torch.randn(6)
    assert refusal(name, student=numbers, teacher=numbers) == (
        f"{name}: student has the shape (6,) and must have the shape (B, ...), which is flattened for each "
        "sample; a number for each sample is student.unsqueeze(1)"
    )


ON_STAGES = [name for name in losses.__all__ if {"student_stages", "prediction"} & arguments(name).keys()]
ON_STAGES += ["attention_transfer", "attentive_feature_distillation", "factor_transfer", "fitnet"]
ON_STAGES += ["hierarchical_context", "nst", "simkd"]


@pytest.mark.parametrize("name", ON_STAGES)
@pytest.mark.parametrize("axes", [0, 1, 5])
def test_stages_are_vectors_hidden_states_or_maps(name: str, axes: int) -> None:
    given = arguments(name)
    wrong = torch.randn((2, 3, 4, 2, 2)[:axes])
    stages = {"student", "teacher", "prediction", "student_stages", "teacher_stages"}
    given |= {
        key: [wrong, wrong] if isinstance(value, list) else wrong
        for key, value in given.items()
        if key in stages
    }
    assert str(tuple(wrong.shape)) in refusal(name, **given)


@pytest.mark.parametrize("name", ["fitnet", "vid", "attention_transfer", "nst"])
def test_a_mask_is_for_tokens(name: str) -> None:
    maps, states = arguments(name), torch.randn(SAMPLES, 6, 3)
    mask = torch.ones(SAMPLES, 6, dtype=torch.bool)
    first = learner(maps)
    assert "leave it out for maps" in refusal(name, **maps, mask=mask)
    tokens = maps | {first: states, "teacher": states + 1}
    assert "(4, 5), and is for hidden states (B, L, D)" in refusal(name, **tokens, mask=mask[:, :5])
    assert refusal(name, **tokens, mask=mask.long()) == (
        f"{name}: mask must hold truth values, not torch.int64; write mask.bool()"
    )
    torch.testing.assert_close(loss(name)(**tokens, mask=mask), loss(name)(**tokens))


def test_crds_similarities_are_a_row_of_negatives_for_each_positive() -> None:
    given = arguments("crd")
    assert refusal("crd", **{**given, "negatives": given["negatives"][:, 0]}) == (
        "crd compares similarities (B,) of positives with (B, K) of negatives, not (4,) with (4,); one "
        "negative of each sample is negatives.unsqueeze(1)"
    )
    assert "(4, 1) with (4, 6)" in refusal("crd", **{**given, "positive": given["positive"][:, None]})
    assert "(4, 5) says which count" in refusal("crd", **given, valid=torch.ones(4, 5, dtype=torch.bool))
