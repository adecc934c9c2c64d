"""Distills a small network in `lightning.Trainer`: of 1,000 scans of digits, 100 have a label for it.

The scans come with scikit-learn. Nothing is downloaded.
"""

from __future__ import annotations

from functools import partial

import lightning
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from limbeck import Distiller
from limbeck.integrations.lightning import DistillationModule


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


def loader(images: Tensor, labels: Tensor, *, shuffle: bool = True) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(images, labels), batch_size=50, shuffle=shuffle)


def main(steps: int = 300) -> dict[str, float]:
    """The accuracy of the teacher, of the student alone and of the distilled one, on test scans."""
    images = torch.tensor(load_digits().images).float().unsqueeze(1) / 16
    labels = torch.tensor(load_digits().target)
    test = loader(images[1000:], labels[1000:], shuffle=False)
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
        distiller = Distiller(learner, its_teacher, objective, example=images[:2])
        module = DistillationModule(distiller, optimizer=partial(torch.optim.Adam, lr=0.01))
        trainer = lightning.Trainer(
            max_steps=steps,
            max_epochs=-1,
            accelerator="cpu",
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, training)
        found[name] = trainer.test(module, test, verbose=False)[0]["test_top1"]
        print(f"{name}: {found[name]:.1%} of the test scans are right")
    return found


if __name__ == "__main__":
    main()
