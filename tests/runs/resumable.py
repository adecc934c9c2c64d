"""A run that has everything a resume must bring back; as a script, one that is killed at given moments.

    python resumable.py FOLDER "student 8" "teacher 7,student 3"

makes a run in FOLDER/0 that dies at the 8th training step, and one in FOLDER/1 that dies at the 7th step of
its phase and, resumed, at the 3rd training step after that. Prints a line for each death.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import method_setting  # puts the invented methods into the table
import torch
from torch import Tensor, nn

import limbeck
from limbeck.runs import Run
from limbeck.training.history import History

torch.set_num_threads(1)

BATCH = 200  # five steps an epoch
CONFIG: dict[str, Any] = {
    "student": "resumable:student()",
    "teacher": "resumable:teacher()",
    "objective": "ce + 0.5*projected(epochs=2) + 0.1*adversarial + 0.5*remembered",
    "epochs": 4,
    "batch_size": BATCH,
    "seed": 11,
    "settings": {
        "training.optimizer": {"momentum": 0.9, "nesterov": True, "lr": 0.1},
        "training.schedule": {"name": "cosine", "warmup": 1},
        "training.selection": "validation",
        "training.keep_every": 3,  # of 4: two files
        "training.checkpoint_every": 1,  # which the moments below are counted by
        "training.trackers": [],
        "training.precision": "fp32",  # on every processor
        "teacher.trust": True,  # it is untrained
    },
    "display": False,
}

deaths: dict[str, int] = {}
"""How often each thing may still happen before the process dies."""


def maybe_die(what: str) -> None:
    if what in deaths:
        deaths[what] -= 1
        if deaths[what] == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class Net(nn.Module):
    """Batch norm and dropout; tells of every step it is used in."""

    def __init__(self, role: str, width: int) -> None:
        super().__init__()
        self.role = role
        self.hidden, self.norm, self.dropout = nn.Linear(64, width), nn.BatchNorm1d(width), nn.Dropout(0.3)
        self.classifier = nn.Linear(width, 10)

    def feature_points(self) -> dict[str, str]:
        return {"embedding": "classifier:input"}

    def forward(self, x: Tensor) -> Tensor:
        if len(x) == BATCH and self.training == (self.role == "student"):
            maybe_die(self.role)
        output: Tensor = self.classifier(self.dropout(torch.relu(self.norm(self.hidden(x.flatten(1))))))
        return output


def student() -> Net:
    return Net("student", 12)


def teacher() -> Net:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Net("teacher", 20)


def run(folder: Path) -> Run:
    """Makes the run, or goes on with it; with the teacher that $SCHEDULE names, if it is set."""
    taught = {"teacher": os.environ["SCHEDULE"]} if "SCHEDULE" in os.environ else {}
    return limbeck.distill(out=folder, resume=(folder / "config.yaml").exists(), **{**CONFIG, **taught})


def die_in(folder: Path, moment: str) -> None:
    what, _, count = moment.partition(" ")
    deaths[what] = int(count)
    add, sync = History.add, os.fsync

    def added(self: History, line: Any) -> None:
        add(self, line)
        maybe_die("line")

    def synced(descriptor: int) -> None:
        name = Path(os.readlink(f"/proc/self/fd/{descriptor}")).name
        maybe_die("checkpoint" if name.startswith(".last.pt.") else name.rpartition(".")[0])
        sync(descriptor)

    History.add = added  # type: ignore[method-assign]
    os.fsync = synced  # type: ignore[assignment]
    run(folder)


def main() -> None:
    assert method_setting.ALL
    limbeck.data.load("digits")
    for late in ("torch._dynamo", "scipy.stats"):  # imported once here, and not anew in every child
        import_module(late)
    for number, moments in enumerate(sys.argv[2:]):
        for moment in moments.split(","):
            child = os.fork()  # nothing has started a thread yet
            if child == 0:
                die_in(Path(sys.argv[1]) / str(number), moment)
                os._exit(0)
            _, status = os.waitpid(child, 0)
            print(
                f"{moment}: {signal.Signals(os.WTERMSIG(status)).name if os.WIFSIGNALED(status) else 'alive'}"
            )


if __name__ == "__main__":
    sys.modules["resumable"] = sys.modules["__main__"]  # the factories are found here
    main()
