"""Two processes learn from a batch of texts what one does: means are over the tokens of the whole batch."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from language_models import stories, tokens, write_rows
from limbeck import Batch, Distiller, Trainer
from limbeck.data import Loader
from limbeck.data.language.source import from_language
from limbeck.models import GPT
from limbeck.optimization import SGD
from limbeck.outputs import UNLABELED
from scripted_loop import ScriptedLoop
from two_processes import run_in_two_processes

OBJECTIVES = (
    "ce",
    "0.5*ce + 0.5*kd(temperature=1)",
    'kd(temperature=1, divergence="reverse")',
    "ce + 1.5*uld",
    "0.5*ce + 0.5*gold",
)


def network(width: int, vocabulary: int, seed: int) -> nn.Module:
    torch.manual_seed(seed)
    made = GPT(dim=width, depth=1, heads=2, tie=False, vocab_size=vocabulary).double()
    with torch.no_grad():
        made.head.weight.mul_(20)
    return made


def trained(
    file: str, objective: str, accumulation: int = 1, rank: int = 0, world: int = 1, port: int = 0
) -> dict[str, Any]:
    """The student after two steps, the terms of the epoch, and the tokens of this process in each."""
    if world > 1:
        local = {"RANK": rank, "WORLD_SIZE": world, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": world}
        os.environ |= {name: str(value) for name, value in local.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true"}
    source = from_language(path=file, tokens=tokens(), block=40)
    others = tokens(size=420, seed=5) if "uld" in objective or "gold" in objective else tokens()
    loader = Loader(source.train, 6, seed=3, rank=rank, world=world, teacher_preparations={"teacher": others})
    batches = [batch for batch, _ in zip(loader, range(2), strict=False)]
    first = next(iter(Loader(source.train, 2, shuffle=False, teacher_preparations={"teacher": others})))
    made = Distiller(
        network(8, source.task.width, 0),
        None if objective == "ce" else network(12, len(others.tokenizer), 1),
        objective,
        example=first.inputs,
        teacher_example=None if objective == "ce" else first.teacher_inputs,
        task=source.task,
    )
    trainer = Trainer(device="cpu", display=False, accumulation=accumulation)
    lines: list[dict[str, Any]] = []
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]

    @contextmanager
    def opened() -> Iterator[tuple[nn.Module, torch.optim.Optimizer]]:
        yield made, made.optimizer(SGD(lr=0.5))

    loop = ScriptedLoop("training", opened, lambda epoch: batches, 1, rows=made.task.count)
    trainer.fit(made, [loop])
    return {
        "weights": {name: value.detach() for name, value in made.student.state_dict().items()},
        "terms": lines[-1]["terms"],
        "tokens": [learned(batch) for batch in batches],
    }


def learned(batch: Batch) -> int:
    assert batch.targets is not None
    return int((batch.targets != UNLABELED).sum())


def share_of(rank: int, world: int, file: str, objective: str, port: int) -> dict[str, Any]:
    return trained(file, objective, 1, rank, world, port)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> str:
    rows = [{"prompt": each.split()[0], "response": each} for each in stories(40)]
    return str(write_rows(tmp_path_factory.mktemp("pairs") / "pairs.jsonl", rows))


def same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found["terms"] == pytest.approx(expected["terms"], rel=1e-9)
    for name, value in expected["weights"].items():
        torch.testing.assert_close(found["weights"][name], value, rtol=1e-9, atol=1e-12)


def test_two_processes_change_nothing(file: str) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    here = Path(__file__).parent
    jobs = [(share_of, (file, objective, port)) for objective in OBJECTIVES]
    results = run_in_two_processes(jobs, paths=[here, here.parents[1]])
    for objective, ranks in zip(OBJECTIVES, results, strict=True):
        alone = trained(file, objective)
        for step, tokens_of_step in enumerate(alone["tokens"]):
            shares = [rank["tokens"][step] for rank in ranks]
            assert sum(shares) == tokens_of_step
            assert shares[0] != shares[1], "a mean over each process would be another one"
        for rank in ranks:
            same(rank, alone)


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_accumulation_changes_nothing(objective: str, file: str) -> None:
    same(trained(file, objective, accumulation=3), trained(file, objective))
