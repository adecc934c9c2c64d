"""What methods make of a teacher that scores pairs and embeds both sides of each."""

from __future__ import annotations

import pytest
import torch
from embedding_batches import batch, embeddings, targets

from limbeck.errors import LimbeckError
from limbeck.losses import embeddistill, listwise, margin_mse
from limbeck.methods import Cosine, EmbedDistill, Listwise, MarginMSE, Matryoshka
from limbeck.outputs import Outputs

OF = targets(2, 3)
QUERIES, DOCUMENTS = [0, 4], [[1, 2, 3], [5, 6, 7]]


def answered(pairs: torch.Tensor | None = None) -> tuple[Outputs, torch.Tensor]:
    """A teacher's answers to the batch, and its scores (2, 3)."""
    scores = torch.full((8,), torch.nan, dtype=torch.float64)
    given = torch.tensor([[3.0, -1.0, 0.5], [2.0, 4.0, -2.0]], dtype=torch.float64)
    scores[[1, 2, 3, 5, 6, 7]] = given.flatten()
    return Outputs(scores=scores, **({} if pairs is None else {"pairs": pairs})), given


def test_scores_of_pairs_take_the_place_of_those_of_embeddings() -> None:
    ours = embeddings(8, 4, 1)
    teacher, given = answered()
    student = Outputs(logits=ours, embedding=ours)
    dots = torch.einsum("qd,qnd->qn", ours[QUERIES], ours[torch.tensor(DOCUMENTS)])
    (margin,) = MarginMSE().terms(student, teacher, batch(OF)).values()
    assert margin.value.item() == pytest.approx(margin_mse(dots, given).item())
    method = Listwise(among="given", temperature=0.5, teacher_temperature=2.0, score="dot")
    (spread,) = method.terms(student, teacher, batch(OF)).values()
    assert spread.value.item() == pytest.approx(listwise(dots, given, 0.5, 2.0).item() / 0.5**2)


def test_documents_of_other_queries_have_no_score() -> None:
    ours = embeddings(8, 4, 1)
    with pytest.raises(LimbeckError, match=r'own candidates alone; say listwise\(among="given"\)'):
        Listwise().terms(Outputs(logits=ours, embedding=ours), answered()[0], batch(OF))


@pytest.mark.parametrize("score", ["dot", "cosine"])
def test_both_sides_of_every_pair_are_matched(score: str) -> None:
    ours = embeddings(8, 4, 2)
    pairs = embeddings(16, 4, 3).view(8, 2, 4)
    method = EmbedDistill(listwise=0, query=2, score=score)  # type: ignore[arg-type]
    method.project = torch.nn.Identity()
    terms = method.terms(Outputs(logits=ours, embedding=ours), answered(pairs)[0], batch(OF))

    def of(vectors: torch.Tensor) -> torch.Tensor:
        return vectors if score == "dot" else vectors / vectors.norm(dim=-1, keepdim=True)

    documents = [1, 2, 3, 5, 6, 7]
    asked = [0, 0, 0, 4, 4, 4]
    wanted = {
        "embeddistill.query": embeddistill(of(ours[asked]), of(pairs[documents, 0])),
        "embeddistill.document": embeddistill(of(ours[documents]), of(pairs[documents, 1])),
    }
    assert {name: term.value.item() for name, term in terms.items()} == {
        name: pytest.approx(value.item()) for name, value in wanted.items()
    }
    assert terms["embeddistill.query"].weight == 2


def test_a_wrapper_can_be_taught_by_pairs_if_all_inside_can() -> None:
    assert Matryoshka(Listwise(among="given"), dims=[2]).from_pairs
    assert not Matryoshka(Cosine(), dims=[2]).from_pairs
