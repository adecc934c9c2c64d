"""Which of the things that a network returns is its logits."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor

from limbeck.cli.values import settings as parse_settings
from limbeck.errors import LimbeckError
from limbeck.features import logits_of, width_of
from limbeck.features.logits import logits_item

LOGITS, MAPS, IDS = torch.randn(3, 5), torch.randn(3, 4, 2, 2), torch.arange(6).view(3, 2)
FEATURES, TOKENS = torch.randn(3, 64), torch.randn(3, 6, 9)


class Heads(NamedTuple):
    aux: Tensor
    logits: Tensor


@dataclass
class Result:
    loss: Tensor | None
    logits: Tensor


@pytest.mark.parametrize(
    "result",
    [
        LOGITS,
        (MAPS, LOGITS),
        ([MAPS, LOGITS + 1], LOGITS),
        [IDS, LOGITS],
        (LOGITS, LOGITS),
        {"loss": torch.tensor(1.0), "scores": LOGITS},
        OrderedDict(hidden=LOGITS + 1, logits=LOGITS),
        {"aux": LOGITS + 1, "out": LOGITS},
        {"out": LOGITS + 1, "logits": LOGITS},
        {"logits": None, "out": LOGITS},
        Heads(aux=LOGITS + 1, logits=LOGITS),
        Result(None, LOGITS),
        SimpleNamespace(logits=LOGITS, hidden=FEATURES),
    ],
)
def test_logits_are_found_in_what_networks_return(result: object) -> None:
    assert logits_of(result) is LOGITS


def test_logits_of_a_hugging_face_output() -> None:
    outputs = pytest.importorskip("transformers.modeling_outputs")
    assert logits_of(outputs.SequenceClassifierOutput(logits=LOGITS, hidden_states=(LOGITS + 1,))) is LOGITS


def test_of_several_candidates_the_width_of_the_task_decides() -> None:
    boxes = torch.randn(3, 4)
    assert logits_item((MAPS, FEATURES, LOGITS), width=5) == 2
    assert logits_item({"boxes": boxes, "scores": LOGITS}, width=5) == "scores"
    assert logits_item((FEATURES,), width=5) == 0, "the only candidate; the mismatch is told by who asks"
    assert logits_item({"logits": LOGITS, "emb": FEATURES}, width=64) == "logits", (
        "a name goes before a width"
    )


def test_in_a_dense_task_logits_have_positions() -> None:
    assert logits_item((LOGITS, MAPS), dense=True) == 1
    assert logits_item((TOKENS, LOGITS)) == 1
    assert logits_item((TOKENS, FEATURES, MAPS), dense=True, width=4) == 2
    assert logits_item((TOKENS, torch.randn(3, 6, 64)), dense=True, width=9) == 0
    assert logits_of(MAPS) is MAPS, "a bare tensor is all there is"
    assert [width_of(tensor) for tensor in (LOGITS, MAPS, TOKENS)] == [5, 4, 9]


@pytest.mark.parametrize(
    ("result", "width", "listed"),
    [
        ((MAPS, FEATURES, LOGITS), None, r"\[1\] \(3, 64\), \[2\] \(3, 5\); all"),
        ((LOGITS, LOGITS + 1), 5, r"\[0\] \(3, 5\), \[1\] \(3, 5\) \(2 of them 5 wide, as the task asks\)"),
        ((LOGITS, FEATURES), 7, r"\(none of them 7 wide, as the task asks\)"),
        ({"boxes": LOGITS[:, :4], "scores": LOGITS}, None, r"\[boxes\] \(3, 4\), \[scores\] \(3, 5\)"),
    ],
)
def test_several_that_fit_are_listed_and_refused(result: object, width: int | None, listed: str) -> None:
    with pytest.raises(LimbeckError, match=f"that Net returns may be its logits: .*{listed}"):
        logits_of(result, width=width, whose="Net")


def test_the_override_that_is_printed_is_the_one_that_works() -> None:
    with pytest.raises(LimbeckError) as refused:
        logits_of((MAPS, FEATURES, LOGITS))
    said = str(refused.value)
    assert 'student_features={"logits": "[2]"} in Python' in said
    setting = said.split("--set '")[1].split("'")[0]
    assert parse_settings([setting]) == {"student.features.logits": "[2]"}


@pytest.mark.parametrize(
    ("result", "said"),
    [
        (IDS, r"a int64 tensor of shape \(3, 2\)"),
        (torch.randn(3), r"a float32 tensor of shape \(3,\)"),
        ((MAPS, [LOGITS]), r"tuple\(\[0\]: \(3, 4, 2, 2\), \[1\]: list\)"),
        ({"boxes": MAPS}, r"dict\(\[boxes\]: \(3, 4, 2, 2\)\)"),
        (None, "NoneType"),
    ],
)
def test_a_result_without_logits_is_described(result: Any, said: str) -> None:
    with pytest.raises(LimbeckError, match=f"no logits, a floating .* in what the network returned: {said}"):
        logits_of(result)
