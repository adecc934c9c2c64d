"""Methods that compare embeddings serve encoders as they are: a step of each trains a student."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

import limbeck
from collections_on_disk import collection
from encoder_folders import sentence_folder
from limbeck import Distiller, data
from limbeck.data import Loader, Source
from limbeck.data.tokenization import tokenization
from limbeck.methods.base import inner_first
from limbeck.models.encoders import encoder, static
from limbeck.optimization import SGD

pytest.importorskip("transformers", reason="transformers is not installed")
OBJECTIVES = [
    "cosine",
    "embedding_mse",
    "listwise",
    "margin_mse",
    "contrastive + embeddistill",
    "matryoshka(contrastive + cosine, dims=[8, 4])",
    "icd(dim=8)",
    "rrd(size=20, dim=8)",
    "crd(size=10, dim=8)",
    "rkd",
    "30000*pkt",
    "0.02*cc",
    "sp",
    "mgd(cosine, low=4, high=8, epochs=1)",
    'mgd(contrastive + cosine, scheme="stable", low=4, high=8, epochs=1)',
    "cosine + tinybert(attention=0)",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sentence_folder(tmp_path_factory.mktemp("encoders") / "teacher")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    place = tmp_path_factory.mktemp("collections") / "beir"
    collection(place, documents=16, queries=8, splits={"train": 8})
    run = place / "run.txt"
    run.write_text("".join(f"q{query} Q0 d{query + 4} 1 1.0 x\n" for query in range(8)))
    return data.load(f'retrieval(path="{place}", run="{run}", negatives=1, held_out=0)')


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_a_step_trains_the_student(objective: str, folder: Path, source: Source) -> None:
    torch.manual_seed(0)
    student, teacher = encoder(f"hf:{folder}(layers=2)"), encoder(f"hf:{folder}")
    learned(objective, student, teacher, source, tokenization(str(folder), 12))


def test_a_table_learns_from_an_encoder_of_another_width(folder: Path, source: Source) -> None:
    learned(
        "embedding_mse + icd(dim=8)",
        static(str(folder), dim=4),
        encoder(f"hf:{folder}"),
        source,
        tokenization(str(folder), 12),
    )


def learned(
    objective: str, student: torch.nn.Module, teacher: torch.nn.Module, source: Source, reads: object
) -> None:
    """One step of an objective; the losses are finite, the student moves and the teacher does not."""
    loader = Loader(source.train, 9, seed=0, preparation=reads)  # type: ignore[arg-type]
    before = {name: each.clone() for name, each in student.state_dict().items()}
    its = {name: each.clone() for name, each in teacher.state_dict().items()}
    distiller = Distiller(
        student,
        teacher,
        objective,
        example=source.example(3, reads),  # type: ignore[arg-type]
        data=source,
        task=source.task,
    )
    limbeck.prepare(distiller, loader, display=False, device="cpu", precision="fp32")
    optimizer = distiller.optimizer(SGD(lr=0.1))
    losses = distiller.train()(next(iter(loader)))
    losses.backward()
    optimizer.step()
    assert all(value.isfinite() for value in losses.values()), dict(losses.items())
    assert any(value.item() > 0 for value in losses.values())
    moved = [name for name, each in student.state_dict().items() if not torch.equal(each, before[name])]
    assert moved, "the student has not learned"
    assert all(torch.equal(each, its[name]) for name, each in teacher.state_dict().items())
    assert all(method.training for method in inner_first(distiller.objective))
