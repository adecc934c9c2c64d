"""Distills a small network in a loop of your own: of 1,000 scans of digits, 100 have a label for it.

The scans come with scikit-learn. Nothing is downloaded.
"""

from __future__ import annotations

from functools import partial

import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from limbeck import Distiller


def network(width: int) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(width, 2 * width, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(8 * width, 10),
    )


def loader(images: Tensor, labels: Tensor) -> DataLoader[tuple[Tensor, ...]]:
    order = torch.Generator().manual_seed(0)
    return DataLoader(TensorDataset(images, labels), batch_size=50, shuffle=True, generator=order)


def train(distiller: Distiller, training: DataLoader[tuple[Tensor, ...]], steps: int) -> None:
    optimizer = distiller.optimizer(partial(torch.optim.Adam, lr=0.01))
    distiller.train()
    step = 0
    while step < steps:
        for images, labels in training:
            losses = distiller(images, labels)
            losses.backward()
            optimizer.step()
            optimizer.zero_grad()
            step += 1


def accuracy(trained: nn.Module, images: Tensor, labels: Tensor) -> float:
    trained.eval()
    with torch.no_grad():
        return float((trained(images).argmax(1) == labels).float().mean())


def main(steps: int = 300) -> dict[str, float]:
    """The accuracy of the teacher, of the student alone and of the distilled one, on test scans."""
    images = torch.tensor(load_digits().images).float().unsqueeze(1) / 16
    labels = torch.tensor(load_digits().target)
    partly = labels[:1000].clone()
    partly[100:] = -100  # no label

    teacher, alone, student = network(32), network(4), network(4)
    runs = {
        "teacher": (teacher, None, "ce", loader(images[:1000], labels[:1000])),
        "student alone": (alone, None, "ce", loader(images[:100], labels[:100])),
        "distilled": (student, teacher, "ce + kd(temperature=4)", loader(images[:1000], partly)),
    }
    found = {}
    for name, (learner, its_teacher, objective, training) in runs.items():
        train(Distiller(learner, its_teacher, objective, example=images[:2]), training, steps)
        found[name] = accuracy(learner, images[1000:], labels[1000:])
        print(f"{name}: {found[name]:.1%} of the test scans are right")
    return found


if __name__ == "__main__":
    main()
