from __future__ import annotations

import pytest
from token_networks import Attending, WordNet

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.methods.parts.stages import at_same_depth, layers_for


def test_layers_at_the_same_share_of_the_depth() -> None:
    assert at_same_depth(6, 12) == [1, 3, 5, 7, 9, 11]
    assert at_same_depth(3, 4) == [1, 2, 3]
    assert at_same_depth(4, 2) == [0, 0, 1, 1]
    assert layers_for("pkd", "skip", 4, 12, "stages") == [2, 5, 8, 11]


def test_the_last_layers() -> None:
    assert layers_for("pkd", "last", 3, 12, "stages") == [9, 10, 11]
    assert layers_for("pkd", "last", 2, 2, "stages") == [0, 1]
    with pytest.raises(LimbeckError) as caught:
        layers_for("pkd", "last", 4, 3, "stages")
    assert str(caught.value) == (
        "pkd: with mapping=\"last\" each of the student's 4 stages has one of the teacher's last, and the "
        'teacher has 3; write mapping="skip"'
    )


@pytest.mark.parametrize(
    "objective",
    ["at", "nst", "fitnet(stage=0)", "vid", "kcd(stage=0, warmup=0)", "fsp", "tinybert(attention=0, stem=0)"],
)
def test_tokens_of_two_tokenizers_are_not_compared_one_by_one(objective: str) -> None:
    inputs, others = WordNet.batch(), WordNet.batch()
    others["input_ids"] = others["input_ids"].flip(1)  # as many tokens, and others
    networks = Attending(4, 2), Attending(4, 2)
    Distiller(*networks, f"ce + {objective}", example=inputs, teacher_example=inputs)
    with pytest.raises(
        LimbeckError,
        match=r"compares a text token by token, and the teacher reads other tokens than the student",
    ):
        Distiller(*networks, f"ce + {objective}", example=inputs, teacher_example=others)
