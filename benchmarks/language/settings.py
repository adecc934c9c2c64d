"""The pairs of networks, their texts and their budgets, and who takes part."""

from __future__ import annotations

import csv
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from limbeck.files import replacing

FINE_TUNING = "fine-tuning"
"""The student alone."""


@dataclass(frozen=True)
class Contender:
    """An objective, and whether the teacher is read from its cache."""

    objective: str
    cached: bool = False


@dataclass(frozen=True)
class Training:
    """How long something is trained: batches of an epoch, epochs, and the learning rate of AdamW."""

    steps: int
    epochs: int
    lr: float


@dataclass(frozen=True)
class Setting:
    """A teacher, a student and texts.

    Attributes:
        title: heading of its table.
        data: in the notation; {shared} is the folder of data files, {pairs} one with prompts and responses.
        pairs: how many of these there are to train, validate and test on.
        teacher: the network, in the notation; {weights} is the folder of those of SmolLM2.
        student: the same.
        batch_size: texts of a step.
        taught: how the teacher is trained; None for one that has weights.
        begun: how the student is trained on labels before the contenders part, so that it writes something;
            None for one that has weights or begins anew.
        training: how each contender is trained.
        contenders: by name; the first is `FINE_TUNING`.
        seeds: of the student.
        prompts: how many held-out texts are continued to see what a student writes.
    """

    title: str
    data: str
    pairs: tuple[int, int, int]
    teacher: str
    student: str
    batch_size: int
    taught: Training | None
    begun: Training | None
    training: Training
    contenders: Mapping[str, Contender]
    seeds: range = range(3)
    prompts: int = 64
    settings: Mapping[str, object] = field(default_factory=dict)

    def tiny(self) -> Setting:
        """The same with a few steps, one seed and few prompts, to see that everything runs."""

        def short(training: Training | None) -> Training | None:
            return training and replace(training, steps=2, epochs=min(2, training.epochs))

        return replace(
            self,
            pairs=(16, 4, 4),
            batch_size=4,
            taught=short(self.taught),
            begun=short(self.begun),
            training=replace(self.training, steps=2, epochs=min(2, self.training.epochs)),
            seeds=range(1),
            prompts=2,
            settings={**self.settings, "teacher.trust": True},
        )


DIVERGENCES = {
    "KD, forward": "0.5*ce + 0.5*kd(temperature=1)",
    "KD, reverse": '0.5*ce + 0.5*kd(temperature=1, divergence="reverse")',
    "KD, JSD": '0.5*ce + 0.5*kd(temperature=1, divergence="jsd")',
}
LIVE = {name: Contender(objective) for name, objective in DIVERGENCES.items()}
CACHED = {f"{name}, cached": Contender(DIVERGENCES[name], cached=True) for name in DIVERGENCES}
WRITING = {
    "seqkd": Contender("seqkd(ce, length=64)"),
    "on_policy": Contender(
        '0.5*ce + 0.5*on_policy(kd(temperature=1, divergence="jsd"), fraction=0.5, length=64)'
    ),
    **{
        f"skd, k={k}": Contender(f"0.5*ce + 0.5*skd(kd(temperature=1), k={k}, fraction=0.5, length=64)")
        for k in (1, 5, 25)
    },
    "okd": Contender("0.5*ce + 0.5*okd"),
}
ALONE = {FINE_TUNING: Contender("ce")}


def write_pairs(shared: Path, made: Path, train: int, validation: int, test: int) -> None:
    """Writes prompts and responses of E2E NLG; its splits have no prompt in common.

    Args:
        shared: folder of data files.
        made: folder to write to.
        train: pairs to learn from at most, at equal distances in the development set.
        validation: pairs to validate on, of it too, each tenth of whose prompts is held out.
        test: pairs of the test set.
    """
    source = shared / "language" / "e2e_nlg"
    known, held_out = _rows(source / "devset.csv"), _rows(source / "testset_w_refs.csv")
    prompts = list(dict.fromkeys(prompt for prompt, _ in known))
    apart = set(prompts[::10])
    learned = [row for row in known if row[0] not in apart]
    measured = [row for row in known if row[0] in apart]
    splits = {
        "train": _spread(learned, train),
        "validation": _spread(measured, validation),
        "test": _spread(held_out, test),
    }
    for split, rows in splits.items():
        with replacing(made / f"{split}.csv") as file, file.open("w", encoding="utf-8", newline="") as text:
            csv.writer(text).writerows([("prompt", "response"), *rows])


def _rows(file: Path) -> list[tuple[str, str]]:
    with file.open(encoding="utf-8", newline="") as text:
        return [(prompt, response) for prompt, response in list(csv.reader(text))[1:]]


def _spread(rows: list[tuple[str, str]], count: int) -> list[tuple[str, str]]:
    """So many of the rows, at equal distances."""
    count = min(count, len(rows))
    return [rows[place * len(rows) // count] for place in range(count)]


SETTINGS = {
    "restaurants": Setting(
        "Prompts and responses: E2E NLG",
        'language(path="{pairs}", vocab_size=1024, block=160)',
        (5000, 200, 500),
        teacher="gpt(dim=192, depth=5, heads=4)",
        student="gpt(dim=96, depth=3, heads=4)",
        batch_size=16,
        taught=Training(260, 4, 2e-3),
        begun=Training(200, 1, 3e-3),
        training=Training(200, 1, 1e-3),
        contenders={**ALONE, **LIVE, **CACHED, **WRITING},
    ),
    "shakespeare": Setting(
        "Plain text: Tiny Shakespeare",
        'language(path="{shared}/language/tinyshakespeare/input.txt", vocab_size=1024, block=128)',
        (0, 0, 0),
        teacher="gpt(dim=192, depth=5, heads=4)",
        student="gpt(dim=96, depth=3, heads=4)",
        batch_size=16,
        taught=Training(180, 6, 1e-3),
        begun=None,
        training=Training(180, 2, 3e-3),
        contenders={**ALONE, **{name: CACHED[name] for name in ("KD, forward, cached", "KD, JSD, cached")}},
    ),
    "smollm2": Setting(
        "SmolLM2-135M-Instruct, 6 of its 30 layers: E2E NLG",
        'language(path="{pairs}", block=160)',
        (800, 32, 128),
        teacher="hf:{weights}",
        student="hf:{weights}(layers=6)",
        batch_size=8,
        taught=None,
        begun=None,
        training=Training(20, 5, 3e-4),
        contenders={**ALONE, "KD, forward, cached": CACHED["KD, forward, cached"]},
        seeds=range(3),
        prompts=16,
        settings={"teacher.trust": True},
    ),
}
