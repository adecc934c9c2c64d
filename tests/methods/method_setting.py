"""Small networks and data that every method is tried on."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from invented_methods import INVENTED
from torch import Tensor, nn

from limbeck import Batch, Distiller, Outputs, methods
from limbeck.methods import DataFacts, Method
from limbeck.methods.base import inner_first
from limbeck.objective import parse
from limbeck.outputs import UNLABELED, Inputs
from limbeck.tasks import Regression, Retrieval, Similarity, Task
from limbeck.teachers import Teacher

CLASSES = 5
SAMPLES = 16

methods.METHODS.update(INVENTED)  # in the table of this process, so that the notation knows them
ALL: dict[str, type[Method]] = {name: each for name, each in methods.METHODS.items() if not each.tasks}


class SmallNet(nn.Module):
    """Two stages of convolutions, an embedding, a classifier; any image size, square or not."""

    def __init__(
        self, width: int, *, norm: bool = True, dropout: float = 0.0, classes: int = CLASSES
    ) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(
            nn.Conv2d(1, width, 3, padding=1), nn.BatchNorm2d(width) if norm else nn.Identity(), nn.ReLU()
        )
        self.stage2 = nn.Sequential(
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
            nn.BatchNorm2d(2 * width) if norm else nn.Identity(),
            nn.ReLU(),
        )
        self.dropout = nn.Dropout(dropout)
        self.classifier = nn.Linear(2 * width, classes)

    def feature_points(self) -> dict[str, str | list[str]]:
        return {
            "stem": "stage1.0",
            "stages": ["stage1", "stage2"],
            "preactivations": ["stage1.1", "stage2.1"],
            "embedding": "classifier:input",
        }

    def forward(self, x: Tensor) -> Tensor:
        embedding = self.stage2(self.stage1(x)).mean((2, 3))
        logits: Tensor = self.classifier(self.dropout(embedding))
        return logits


class Scaled(SmallNet):
    """A network with a weight that nobody knows how to draw."""

    def __init__(self, width: int = 4) -> None:
        super().__init__(width)
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * super().forward(x)


class Answers(Teacher):
    """A teacher without a network, which ranks the classes alike for all samples."""

    def open(self, example: Inputs, fields: object) -> None:
        pass

    def __call__(self, batch: Batch) -> Outputs:
        return Outputs(logits=torch.ones(len(batch), CLASSES).cumsum(1))


SMALLER = {
    "ab": "ce + ab(epochs=3)",
    "bss": 'ce + 0.28*kd(temperature=3) + 2*bss(right="teacher", keep_failed=True)',  # they are untrained
    "fsp": "ce + fsp(epochs=3)",
    "ft": "ce + 200*ft(epochs=3)",
    "infoflow": "ce + infoflow(epochs=3)",
    "kcd": "ce + kcd(warmup=3)",
    "lwkd": "ce + lwkd(epochs=3, batch_size=20, images_per_class=60, bank_size=10)",
    "cosine": "ce + cosine",
    "embedding_mse": "ce + embedding_mse",
    "masked_generative": "ce + 100*masked_generative",
    "mtpd": 'mtpd(ce + kd + masked_generative, teachers=["small", "big"], epochs=2)',
    "matryoshka": "matryoshka(contrastive + cosine, dims=[3, 2])",
    "mgd": "mgd(0.2*ce + 0.8*kd, epochs=4)",
    "nasty": "ce + nasty(epochs=2)",
    "ofd": 'ce + 0.001*ofd(margins="batch")',  # they may be without batch norm
    "rrd": "ce + rrd(size=20, dim=8)",
    "sskd": "0.1*ce + 0.9*kd + sskd(epochs=3)",
    "sftn": 'ce + sftn(student="method_setting:SmallNet(width=3, norm=false)")',
    "tinybert": "kd(temperature=1) + tinybert(attention=0)",  # convolutions attend to nothing
}
"""Recipes fitted to the setting: less to train beforehand or to remember, where the paper's take long."""

VALUES = Regression(tuple("abcde"), mean=(0.0, 1.0, 2.0, 0.0, 0.0), std=(1.0, 1.0, 2.0, 0.5, 1.0))
"""The task of methods that are about values; all others are tried on classification."""

GROUP = [[0, UNLABELED, UNLABELED], [0, 0, 1], [0, 1, 0], [0, 2, 0]]
"""A query with a relevant document and two that are not."""

JUDGED = torch.tensor(
    [[n, part[1] if part[1] < 0 else 3 * n + part[1], part[2]] for n in range(4) for part in GROUP]
)
"""Four queries with three documents each."""

SCORED = torch.tensor([[n // 2, n % 7] for n in range(0, 16, 2) for _ in range(2)]).double()
"""Eight pairs of texts with a score."""


def task_of_vectors(*, ranked: bool) -> Task:
    """The task of methods that compare embeddings."""
    return Similarity() if ranked else Retrieval()


EQUAL_CHANNELS = ("afd", "fsp", "kdsvd")
"""Methods that compare channel by channel."""


def objective_of(name: str) -> str:
    """The objective that a method is tried in: its paper's recipe."""
    return SMALLER.get(name) or ALL[name].recipe or f"ce + {name}"


@dataclass
class Setting:
    """A student, a teacher and a training set of 16 samples of a task; None for classification.

    `named` has the teachers of a method that reads several, by the names that it gives them.
    """

    student: SmallNet
    teacher: SmallNet
    inputs: Tensor
    targets: Tensor
    task: Task | None = None
    named: Mapping[str, SmallNet] = field(default_factory=dict)

    @property
    def networks(self) -> list[SmallNet]:
        """All networks there are, each once."""
        return list(dict.fromkeys([self.student, self.teacher, *self.named.values()]))

    def distiller(self, objective: str) -> Distiller:
        """A Distiller over copies of the networks; the same one for the same objective."""
        reads = parse(objective).all_reads
        named = {name: self.named[name] for name in reads.teachers}
        given = copy.deepcopy(named or (self.teacher if reads.teacher else None))
        with torch.random.fork_rng():
            torch.manual_seed(7)
            return Distiller(
                copy.deepcopy(self.student),
                given,
                objective,
                example=self.inputs[:2],
                data=DataFacts(len(self.inputs), targets=self.targets),
                task=self.task,
            )


def make_setting(
    objective: str = "",
    *,
    size: tuple[int, int] = (6, 6),
    norm: bool = True,
    dropout: float = 0.0,
    dtype: torch.dtype = torch.float32,
) -> Setting:
    """The same setting for the same arguments; the student is as wide as the teacher if it has to be."""
    parts = list(inner_first(parse(objective))) if objective else []
    equal = any(part.name in EQUAL_CHANNELS for part in parts)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        inputs = torch.rand(SAMPLES, 1, *size, dtype=dtype)
        student = SmallNet(4 if equal else 3, norm=norm, dropout=dropout).to(dtype)
        teacher = SmallNet(4, norm=norm, dropout=dropout).to(dtype)
        values = torch.randn(SAMPLES, CLASSES)
        few = [SmallNet(width, norm=norm, dropout=dropout).to(dtype) for width in (2, 3)]
        named = dict(zip(("small", "mid", "big"), [*few, teacher], strict=True))
    if any(part.rows == "vectors" for part in parts):
        ranked = any(part.name == "cosent" for part in parts)
        return Setting(student, teacher, inputs, SCORED if ranked else JUDGED, task_of_vectors(ranked=ranked))
    if any(part.rows == "values" for part in parts):
        values[3, 1] = torch.nan  # one that nobody knows
        return Setting(student, teacher, inputs, values, VALUES)
    return Setting(student, teacher, inputs, torch.arange(SAMPLES) % CLASSES, named=named)
