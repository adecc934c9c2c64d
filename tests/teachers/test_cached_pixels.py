"""A cached teacher of segmentation: maps of logits, and what methods make of them."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck import Batch, Distiller, data
from limbeck.data import Loader, Source
from limbeck.teachers import CachedTeacher, LiveTeacher
from segmenters import Strided

SIZE = 8

OBJECTIVES = {
    "kd": ("0.5*ce + 0.5*kd(temperature=2)", {"logits": (3, 4, 4)}),
    "cwd": ("ce + 3*cwd", {"logits": (3, 4, 4)}),
    "cwd, stage": ("ce + cwd(stage=0)", {"stages[0]": (6, 4, 4)}),
    "bdd": ('bdd(over="positions")', {"logits": (3, 4, 4)}),
    "icd": ("ce + icd", {"embedding": (6, 4, 4)}),
    "at": ("ce + at", {"stages[0] pooled to 2 x 2, attention with p=2": (2, 2)}),
    "mgd": ("mgd(ce + kd + cwd, epochs=1)", {"logits": (3, 4, 4), "embedding": (6, 4, 4)}),
}
"""What each objective has a cache keep of the teacher: names and shapes for an image."""


class TwoHeads(nn.Module):
    """`Strided` with an auxiliary head beside its own."""

    def __init__(self, width: int, stride: int, seed: int) -> None:
        super().__init__()
        self.main, self.other = Strided(width, stride, seed), Strided(width, stride, seed + 10)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        return {"out": self.main(images), "aux": self.other(images)}


def source() -> Source:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (SIZE, 2, 8, 8), dtype=torch.uint8, generator=generator)
    maps = torch.randint(3, (SIZE, 8, 8), generator=generator)
    maps[torch.rand(SIZE, 8, 8, generator=generator) < 0.3] = 255
    views = "crop(padding=1, flip=true)"
    return data.from_tensors(images, maps, task="segmentation", validation=None, views=views)


def distiller(student: nn.Module, teacher: Any, objective: str) -> Distiller:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        made = Distiller(student, teacher, objective, example=source().example(), data=source())
    made.phases_done.fill_(len(made.phases))
    made.load_state_dict(made.state_dict())  # nothing was trained in the phases
    return made.train()


def batches() -> list[Batch]:
    return list(Loader(source().train, 4, views=source().views))


def compared(student: nn.Module, teacher: nn.Module, objective: str, path: Path, fraction: float) -> Any:
    everything = ("logits", "embedding", "maps")
    kept = CachedTeacher(copy.deepcopy(teacher), source(), everything, directory=path)
    ours = distiller(copy.deepcopy(student), kept, objective)
    theirs = distiller(copy.deepcopy(student), teacher, objective)
    for made in (ours, theirs):
        made.progress(0, 0, fraction)
    for batch in batches():
        cold, live = ours(batch), theirs(batch)
        for term in live.terms:
            assert cold[term].item() == pytest.approx(live[term].item(), rel=3e-3, abs=1e-6), term
        before = kept.shown
        assert torch.equal(ours(batch).total, cold.total)
        assert kept.shown == before
    return kept


@pytest.mark.parametrize("name", OBJECTIVES)
def test_losses_are_the_live_ones_to_rounding(name: str, tmp_path: Path) -> None:
    objective, kept = OBJECTIVES[name]
    teacher = compared(Strided(4, 4), Strided(6, 2, 1), objective, tmp_path, 0.5)
    fields = teacher._asked.fields
    assert {name: fields[name].shape for name in teacher.names} == kept


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_rdd_keeps_a_weight_of_the_auxiliary_head_for_each_position(fraction: float, tmp_path: Path) -> None:
    teacher = compared(TwoHeads(4, 4, 0), TwoHeads(6, 2, 1), "rdd", tmp_path, fraction)
    fields = teacher._asked.fields
    assert {name: fields[name].shape for name in teacher.names} == {
        "logits": (3, 4, 4),
        "aux, weights by relative difficulty": (4, 4),
    }


def test_the_maps_that_are_read_back_are_those_of_the_network(tmp_path: Path) -> None:
    kept = CachedTeacher(Strided(6, 2, 1), source(), directory=tmp_path)
    kept.dense = True
    kept.open(source().example(), ("logits",))
    live = LiveTeacher(Strided(6, 2, 1), dense=True)
    live.open(source().example(), ("logits",))
    for _ in range(2):
        for batch in batches():
            assert torch.equal(kept(batch).logits, live(batch).logits.half().float())
    assert kept.bytes_of_view() == {"logits": SIZE * (2 * 3 * 16 + 4)}
