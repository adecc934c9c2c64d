"""Writes a task of your own: classes whose mistakes have a price, measured by the mean price."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from statistics import fmean

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from limbeck import Batch, Distiller, Outputs
from limbeck.evaluation.measure import metrics
from limbeck.tasks import Classification, Metric
from limbeck.tasks.classification.meter import ClassificationMeter


class PricedMeter(ClassificationMeter):
    """Adds up what the answers cost: the difference of the digits."""

    def __init__(self, *, quick: bool) -> None:
        super().__init__(quick=quick)
        self.costs: list[int] = []

    def update(self, outputs: Outputs, batch: Batch) -> None:
        super().update(outputs, batch)
        assert batch.targets is not None
        self.costs += (outputs.logits.argmax(1) - batch.targets).abs().tolist()

    def compute(self) -> dict[str, float]:
        return {"cost": fmean(self.costs), **super().compute()}


@dataclass(frozen=True)
class Priced(Classification):
    """Targets are (N,) class ids; a row is a sample; a wrong answer costs the distance of the classes."""

    name = "priced"
    metrics = (Metric("cost", "mean cost", higher=False), *Classification.metrics)

    def meter(self, *, quick: bool = False) -> PricedMeter:
        return PricedMeter(quick=quick)


TASK = Priced(tuple("0123456789"))


def trained(width: int, teacher: nn.Module | None, images: Tensor, labels: Tensor) -> nn.Module:
    torch.manual_seed(0)
    student = nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
    objective = "ce + kd(temperature=4)" if teacher else "ce"
    distiller = Distiller(student, teacher, objective, example=images[:2], task=TASK)
    optimizer = distiller.optimizer(partial(torch.optim.Adam, lr=0.01))
    for step in range(400):
        batch = torch.randint(len(images), (50,), generator=torch.Generator().manual_seed(step))
        distiller(images[batch], labels[batch]).backward()
        optimizer.step()
        optimizer.zero_grad()
    return student


def main() -> dict[str, float]:
    """The mean cost of an answer on test scans; 100 of the 1,000 training scans have a label."""
    images = torch.tensor(load_digits().images).float().unsqueeze(1) / 16
    labels = torch.tensor(load_digits().target)
    partly = labels[:1000].where(torch.arange(1000) < 100, -100)
    teacher = trained(128, None, images[:1000], labels[:1000])
    alone = trained(12, None, images[:100], labels[:100])
    student = trained(12, teacher, images[:1000], partly)
    found = {}
    for name, each in {"teacher": teacher, "student alone": alone, "distilled": student}.items():
        found[name] = metrics(TASK, each, [Batch(images[1000:], labels[1000:])])["cost"]
        print(f"{name}: an answer costs {found[name]:.3f}")
    return found


if __name__ == "__main__":
    main()
