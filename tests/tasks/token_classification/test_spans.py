"""Entities by the names of the tags, beside entities by hand and by the rule of conlleval written out."""

from __future__ import annotations

import random

import pytest
import torch

from limbeck.tasks.token_classification.spans import Scheme

IOB = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", *(f"{prefix}-{kind}" for prefix in "BIES" for kind in ("PER", "LOC")))
BILOU = ("O", *(f"{prefix}-{kind}" for prefix in "BILU" for kind in ("PER", "LOC")))


def found(names: tuple[str, ...], text: str) -> list[tuple[str, int, int]]:
    """Type, first and last word of the entities of one sentence."""
    scheme = Scheme(names)
    its = scheme.entities(torch.tensor([[names.index(tag) for tag in text.split()]]))
    each = zip(its.kind.tolist(), its.first.tolist(), its.last.tolist(), strict=True)
    return [(scheme.types[kind], first, last) for kind, first, last in each]


@pytest.mark.parametrize(
    ("names", "scheme", "text", "entities"),
    [
        (IOB, "IOB", "B-PER I-PER O B-LOC", [("PER", 0, 1), ("LOC", 3, 3)]),
        (IOB, "IOB", "B-PER B-PER I-PER", [("PER", 0, 0), ("PER", 1, 2)]),
        # IOB1: I begins an entity, and B parts it from a neighbor of its type
        (IOB, "IOB", "I-PER I-PER O I-LOC B-LOC", [("PER", 0, 1), ("LOC", 3, 3), ("LOC", 4, 4)]),
        (IOB, "IOB", "B-PER I-LOC I-LOC", [("PER", 0, 0), ("LOC", 1, 2)]),
        (IOB, "IOB", "O O O", []),
        (BIOES, "BIOES", "S-PER B-LOC I-LOC E-LOC O", [("PER", 0, 0), ("LOC", 1, 3)]),
        (BIOES, "BIOES", "B-PER E-PER E-PER I-PER", [("PER", 0, 1), ("PER", 2, 2), ("PER", 3, 3)]),
        (BILOU, "BILOU", "U-PER U-PER B-LOC L-LOC", [("PER", 0, 0), ("PER", 1, 1), ("LOC", 2, 3)]),
        (("O", "B-X-Y", "M-X-Y", "E-X-Y"), "BIOES", "B-X-Y M-X-Y E-X-Y O", [("X-Y", 0, 2)]),
        (("B", "I", "O"), "IOB", "B I O B B", [("entity", 0, 1), ("entity", 3, 3), ("entity", 4, 4)]),
        (("O", "PER", "LOC"), "IO", "PER PER LOC O PER", [("PER", 0, 1), ("LOC", 2, 2), ("PER", 4, 4)]),
        (("NOUN", "VERB"), "words", "NOUN NOUN VERB", [("NOUN", 0, 0), ("NOUN", 1, 1), ("VERB", 2, 2)]),
        (("O", "B-PER", "PER"), "IO", "B-PER PER PER", [("B-PER", 0, 0), ("PER", 1, 2)]),
    ],
)
def test_entities_by_hand(
    names: tuple[str, ...], scheme: str, text: str, entities: list[tuple[str, int, int]]
) -> None:
    assert Scheme(names).name == scheme
    assert found(names, text) == entities


def by_conlleval(tags: list[str]) -> list[tuple[str, int, int]]:
    """The entities of one sentence by the two conditions of the script, as seqeval has them."""

    def parted(tag: str) -> tuple[str, str]:
        prefix, _, kind = tag.partition("-")
        return prefix, kind

    made, begin = [], 0
    before, kind_before = "O", ""
    for place, (now, kind) in enumerate([*map(parted, tags), ("O", "")]):
        ends = before in "ES" or (before in "BI" and now in "BSO") or (before != "O" and kind_before != kind)
        begins = now in "BS" or (before in "ESO" and now in "EI") or (now != "O" and kind_before != kind)
        if before != "O" and ends:
            made.append((kind_before, begin, place - 1))
        if now != "O" and begins:
            begin = place
        before, kind_before = now, kind
    return made


@pytest.mark.parametrize("names", [IOB, BIOES])
def test_any_tags_give_the_entities_of_conlleval(names: tuple[str, ...]) -> None:
    draw = random.Random(3)
    for _ in range(300):
        tags = [draw.choice(names) for _ in range(draw.randint(1, 9))]
        assert found(names, " ".join(tags)) == by_conlleval(tags)


def test_sentences_do_not_run_into_each_other() -> None:
    scheme = Scheme(IOB)
    its = scheme.entities(torch.tensor([[0, 1, 2], [2, 0, scheme.none]]))
    assert its.sentence.tolist() == [0, 1]
    assert its.first.tolist() == [1, 0]
    assert its.last.tolist() == [2, 0]


def test_what_no_tag_is_known_of_is_outside() -> None:
    scheme = Scheme(IOB)
    assert scheme.entities(torch.tensor([[1, scheme.none, 2]])).last.tolist() == [0, 2]
    assert scheme.outside == 0
    assert Scheme(("NOUN", "VERB")).outside == 2
