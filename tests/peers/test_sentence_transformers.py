"""Losses and folders against sentence-transformers itself; `make test-embeddings` runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from encoder_folders import sentence_folder
from limbeck import losses
from limbeck.data.tokenization import tokenization
from limbeck.methods.parts.candidates import scores
from limbeck.models import encoders

peer = pytest.importorskip(
    "sentence_transformers", reason="sentence-transformers is not installed; make test-embeddings brings it"
)
TEXTS = ["snow rain storm", "soup", "the ticket of a road and a boat to the hotel by train", "unknown words"]


class Given(nn.Module):
    """What a loss of the peer takes for a model: nothing of it is asked."""

    def get_embedding_dimension(self) -> int:
        return 6


def drawn(negatives: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    """Queries (Q, D), their documents (Q, 1 + n, D), and embeddings of a teacher (Q, 2 + n, D)."""
    generator = torch.Generator().manual_seed(4)
    queries = torch.randn(5, 6, generator=generator).requires_grad_()
    documents = torch.randn(5, 1 + negatives, 6, generator=generator).requires_grad_()
    return queries, documents, torch.randn(5, 2 + negatives, 6, generator=generator)


def compared(ours: Callable[[Tensor, Tensor], Tensor], theirs: Callable[[list[Tensor]], Tensor]) -> None:
    """Value and gradients of two losses of the same queries and documents."""
    found = []
    for both in (False, True):
        queries, documents, _ = drawn()
        value = theirs([queries, *documents.unbind(1)]) if both else ours(queries, documents)
        value.backward()  # type: ignore[no-untyped-call]
        found.append((value.detach(), queries.grad, documents.grad))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-6)


def of_peer(name: str, labels: Tensor, **options: Any) -> Callable[[list[Tensor]], Tensor]:
    loss = getattr(peer.sentence_transformer.losses, name)(Given(), **options)
    return lambda embeddings: loss.compute_loss_from_embeddings(embeddings, labels)


def texts(queries: Tensor, documents: Tensor) -> Tensor:
    return torch.cat([queries[:, None], documents], 1).flatten(0, 1)


@pytest.mark.parametrize(
    ("metric", "loss"),
    [("cosine", losses.cosine), ("l2", losses.embeddistill), ("mse", losses.embedding_mse)],
)
def test_matching_of_embeddings(metric: str, loss: Callable[[Tensor, Tensor], Tensor]) -> None:
    teacher = drawn()[2]
    its = peer.sentence_transformer.losses.EmbedDistillLoss(Given(), distance_metric=metric)
    compared(
        lambda queries, documents: loss(texts(queries, documents), teacher.flatten(0, 1)),
        lambda columns: its.compute_loss_from_embeddings(columns, list(teacher.unbind(1))),
    )


def test_contrastive_is_multiple_negatives_ranking() -> None:
    compared(
        lambda queries, documents: losses.contrastive(queries, documents, temperature=0.05),
        of_peer("MultipleNegativesRankingLoss", torch.empty(0), scale=20.0),
    )


@pytest.mark.parametrize("temperature", [1.0, 2.0])
def test_listwise_is_kl_over_the_candidates(temperature: float) -> None:
    teacher = drawn()[2]
    its = scores(teacher[:, 0], teacher[:, 1:], "dot")
    loss = peer.sentence_transformer.losses.DistillKLDivLoss(Given(), temperature=temperature)
    compared(
        lambda queries, documents: losses.listwise(scores(queries, documents, "dot"), its, temperature),
        lambda columns: kl_of(loss, columns, its),
    )


def kl_of(loss: Any, columns: list[Tensor], labels: Tensor) -> Tensor:
    if hasattr(loss, "compute_loss_from_embeddings"):
        found: Tensor = loss.compute_loss_from_embeddings(columns, labels)
    else:
        found = loss.compute_loss(columns, labels)
    return found


def test_margin_mse() -> None:
    teacher = drawn()[2]
    its = scores(teacher[:, 0], teacher[:, 1:], "dot")
    compared(
        lambda queries, documents: losses.margin_mse(scores(queries, documents, "dot"), its),
        of_peer("MarginMSELoss", its),
    )


def test_cosent() -> None:
    labels = torch.tensor([0.1, 0.9, 0.5, 0.5, 0.3])

    def ours(queries: Tensor, documents: Tensor) -> Tensor:
        return losses.cosent(scores(queries, documents[:, :1], "cosine")[:, 0], labels)

    loss = peer.sentence_transformer.losses.CoSENTLoss(Given())
    found = []
    for both in (False, True):
        queries, documents, _ = drawn(0)
        value = (
            loss.compute_loss_from_embeddings([queries, documents[:, 0]], labels)
            if both
            else ours(queries, documents)
        )
        value.backward()
        found.append((value.detach(), queries.grad, documents.grad))
    for mine, its in zip(*found, strict=True):
        torch.testing.assert_close(mine, its, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    ("made", "arguments"),
    [
        ({}, "(layers=2)"),
        ({"pooling": "cls", "dense": 5}, ""),
        ({"pooling": ["max", "mean", "lasttoken"], "normalize": False}, ""),
    ],
)
def test_a_written_encoder_has_equal_embeddings(tmp_path: Path, made: dict[str, Any], arguments: str) -> None:
    source = sentence_folder(tmp_path / "source", **made)
    network = encoders.encoder(f"hf:{source}{arguments}").eval()
    reads = tokenization(str(source), 12)
    (folder := tmp_path / "written").mkdir()
    encoders.write(network, folder, reads.max_length, {})
    reads.save(folder)
    same(network, reads, folder)


def test_a_written_table_has_equal_embeddings(tmp_path: Path) -> None:
    source = sentence_folder(tmp_path / "source")
    network = encoders.static(str(source), dim=4).eval()
    reads = tokenization(str(source), 12, special=False)
    (folder := tmp_path / "written").mkdir()
    encoders.write(network, folder, reads.max_length, {})
    (folder / "tokenizer.json").write_text(reads.files()["tokenizer.json"])
    same(network, reads, folder)


def same(network: nn.Module, reads: Any, folder: Path) -> None:
    tokens = reads.tokenize(TEXTS).batch(torch.arange(len(TEXTS)))
    with torch.no_grad():
        ours = network(**tokens)
    theirs = torch.tensor(peer.SentenceTransformer(str(folder), device="cpu").encode(TEXTS))
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)
