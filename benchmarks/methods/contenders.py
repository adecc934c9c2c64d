"""Who takes part: every method by its own recipe, MGD around its hosts, and what needs other teachers."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from limbeck.methods import METHODS

KD = "0.1*ce + 0.9*kd"


@dataclass(frozen=True)
class Contender:
    """An objective and what teaches it.

    Attributes:
        objective: in the notation.
        teacher: "teacher"; "both" for the assistant and the teacher by name; "chain" for an assistant that
            the teacher has taught; "twin" for a network like the student, trained alone on the same data;
            "friendly" for a teacher trained for this student; "schedule" for the checkpoints that the
            teacher kept.
        epochs: number of epochs of the student, phases apart; the task's if None.
    """

    objective: str
    teacher: str = "teacher"
    epochs: int | None = None


NOT_ALONE = ("mgd", "mtpd", "dgkd", "ceskd", "sftn", "nasty", "tinybert")
"""Methods that wrap others, want several teachers, train a teacher, or compare the attention of texts."""

BESIDE_CE = ("cosine", "embedding_mse", "masked_generative")
"""Methods whose recipe is for encoders or detectors: here `ce` stands beside them."""

RECIPES = {
    name: Contender(f"ce + {name}" if name in BESIDE_CE else method.recipe or f"ce + {name}")
    for name, method in METHODS.items()
    if name not in NOT_ALONE and method.rows not in ("values", "vectors") and not method.tasks
}
TEACHERS = {
    "both teachers": Contender(
        '0.1*ce + 0.45*kd(teacher="assistant") + 0.45*kd(teacher="teacher")', teacher="both"
    ),
    "dgkd": Contender('0.1*ce + 0.9*dgkd(["assistant", "teacher"], temperature=4)', teacher="both"),
    "ceskd": Contender('0.1*ce + 0.9*ceskd(["assistant", "teacher"])', teacher="both"),
    "TAKD": Contender(KD, teacher="chain"),
    "born again": Contender(KD, teacher="twin"),
    "SFTN, kd": Contender(KD, teacher="friendly"),
    "checkpoints, kd": Contender(KD, teacher="schedule"),
}
HOSTS = {
    "dml": "dml",
    "KD 0.8": "0.2*ce + 0.8*kd",
    **{
        f"{name} + KD": f"ce + kd + {weight}{name}"
        for name, weight in {
            "fitnet": "100*",
            "at": "1000*",
            "sp": "3000*",
            "vid": "",
            "rkd": "",
            "crd": "0.8*",
            "afd": "500*",
            "icd": "",
        }.items()
    },
}
MGD = {
    f"MGD({name}) {scheme}": f'mgd({host}, scheme="{scheme}")'
    for name, host in HOSTS.items()
    for scheme in ("granular", "stable")
    if (name, scheme) != ("dml", "stable")  # there is no such scheme between peers
}
EQUAL_COST = {
    "ce, 230 epochs": Contender("ce", epochs=230),
    "ce, 880 epochs": Contender("ce", epochs=880),
    "kd, 880 epochs": Contender(KD, epochs=880),
    "mtpd, 100 + 100 epochs": Contender(
        f'mtpd({KD}, teachers=["assistant", "teacher"], epochs=100)', teacher="both", epochs=100
    ),
}
"""Contenders of the digits at the cost of others.

230 epochs: `ab`, `fsp` and `kcd` train the student in a phase of 30. 880 epochs of `kd` take as many
multiply-adds as 200 with two teachers and the training of the assistant, 4.4 times as many as 200 of `kd`;
a step of training counts for three forward passes.
"""

ALL: Mapping[str, Contender] = {
    **RECIPES,
    **TEACHERS,
    **EQUAL_COST,
    **{name: Contender(objective) for name, objective in {**HOSTS, **MGD}.items()},
}
SEEDS = ("lwkd", "icd", "MGD(KD 0.8) stable")
"""The three papers that limbeck began with."""


def top1(task: Mapping[str, Any], split: str) -> dict[str, dict[int, float]]:
    """Top-1 in % of a task by contender and seed."""
    return {
        name: {int(seed): each[split] for seed, each in task["runs"][name].items()}
        for name in ALL
        if name in task["runs"]
    }


def best(results: Mapping[str, Any], count: int = 10) -> dict[str, Contender]:
    """`ce`, `kd`, the recipes best on the validation split of the digits, and the first three papers.

    Args:
        results: figures by task.
        count: how many recipes.
    """
    found = top1(results["digits"], "validation")
    means = {name: statistics.fmean(found[name].values()) for name in RECIPES if name in found}
    first = sorted(
        (name for name in means if name not in ("ce", "kd", *SEEDS)), key=lambda name: -means[name]
    )
    return {name: ALL[name] for name in ("ce", "kd", *first[:count], *SEEDS)}
