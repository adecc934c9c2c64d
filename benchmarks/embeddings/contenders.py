"""Who takes part: the students with their budgets, and the methods that teach them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

LENGTH = 64
"""Tokens that transformers read of a text, the teacher too."""

BATCH = 64

METHODS = {
    "alone": "contrastive",
    "cosine": "cosine",
    "MSE": "embedding_mse",
    "EmbedDistill": "contrastive + embeddistill",
    "ICD": "icd",
    "RRD": "rrd",
    "CRD": "crd",
    "RKD": "rkd",
    "PKT": "30000*pkt",
    "MGD(cosine)": "mgd(cosine, epochs=10)",
    "MGD(RKD)": "mgd(rkd, epochs=10)",
}
"""Objectives by name. The analyzers of MGD learn for 10 epochs, and one pair of them serves all runs."""


@dataclass(frozen=True)
class Student:
    """An encoder with its budget.

    Attributes:
        model: in the notation; {encoder} is the folder of the teacher, {table} that of static
            embeddings made of it.
        steps: optimizer steps.
        lr: learning rate of AdamW.
        seeds: how many.
        tried: (steps, learning rate) that `--budgets` compares, by `cosine` on the validation queries.
    """

    model: str
    steps: int
    lr: float
    seeds: int
    tried: tuple[tuple[int, float], ...]


TEACHER = f"hf:{{encoder}}(max_length={LENGTH})"

STUDENTS: Mapping[str, Student] = {
    "static table": Student("hf:{table}", 600, 3e-3, 5, ((300, 1e-3), (600, 1e-3), (600, 3e-3), (600, 1e-2))),
    "two layers": Student(
        f"hf:{{encoder}}(layers=2, max_length={LENGTH})",
        150,
        1e-3,
        5,
        ((75, 2e-4), (75, 5e-4), (75, 1e-3), (150, 5e-4), (150, 1e-3)),
    ),
}
