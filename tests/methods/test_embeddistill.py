from __future__ import annotations

import math

import pytest
import torch
from embedding_batches import batch, embeddings, targets
from method_setting import JUDGED, SmallNet, make_setting

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import cosine, embedding_mse, embeddistill
from limbeck.methods import EmbedDistill
from limbeck.outputs import UNLABELED, Outputs
from limbeck.tasks import Retrieval


def test_the_distances_are_the_equations() -> None:
    student, teacher = (embeddings(4, 3, seed) for seed in (1, 2))
    pairs = list(zip(student.tolist(), teacher.tolist(), strict=True))
    assert embeddistill(student, teacher).item() == pytest.approx(sum(math.dist(*pair) for pair in pairs) / 4)
    squared = sum(math.dist(*pair) ** 2 for pair in pairs) / 12
    assert embedding_mse(student, teacher).item() == pytest.approx(squared)
    cosines = [
        sum(a * b for a, b in zip(*pair, strict=True)) / (math.hypot(*pair[0]) * math.hypot(*pair[1]))
        for pair in pairs
    ]
    assert cosine(student, teacher).item() == pytest.approx(1 - sum(cosines) / 4)
    for loss in (cosine, embeddistill, embedding_mse):
        assert loss(teacher, teacher).item() == pytest.approx(0.0, abs=1e-12)
        with pytest.raises(
            LimbeckError, match=r"compares embeddings of one shape, not \(4, 3\) and \(4, 2\)"
        ):
            loss(student, teacher[:, :2])


def bound(method: EmbedDistill, student: torch.Tensor, teacher: torch.Tensor) -> EmbedDistill:
    method.project = torch.nn.Identity()
    return method


def test_queries_documents_and_texts_of_which_nothing_is_known_have_terms_of_their_own() -> None:
    of = torch.cat([targets(2, 1), torch.tensor([[UNLABELED] * 3, [UNLABELED, 9, UNLABELED]])])
    ours, theirs = embeddings(6, 3, 3), embeddings(6, 3, 4)
    method = bound(EmbedDistill(query=2, document=3, listwise=0.5), ours, theirs)
    terms = method.terms(
        Outputs(logits=ours, embedding=ours), Outputs(logits=theirs, embedding=theirs), batch(of)
    )
    queries, documents = [0, 2, 4], [1, 3, 5]
    assert list(terms) == ["embeddistill.query", "embeddistill.document", "embeddistill.score"]
    query, document, score = terms.values()
    assert (query.weight, document.weight, score.weight) == (2.0, 3.0, 0.5)
    assert query.value.item() == pytest.approx(embeddistill(ours[queries], theirs[queries]).item())
    assert document.value.item() == pytest.approx(embeddistill(ours[documents], theirs[documents]).item())
    assert score.value.item() > 0


def test_without_labels_all_texts_are_queries() -> None:
    ours, theirs = embeddings(4, 3, 5), embeddings(4, 3, 6)
    method = bound(EmbedDistill(distance="cosine"), ours, theirs)
    terms = method(Outputs(embedding=ours), Outputs(embedding=theirs), Batch(torch.zeros(4, 1)))
    assert isinstance(terms, dict)
    assert terms["query"].value.item() == pytest.approx(cosine(ours, theirs).item())
    assert terms["document"].value.item() == 0.0
    assert "score" not in terms


def test_a_projection_stands_between_networks_of_different_widths() -> None:
    setting = make_setting("embeddistill")
    wide = SmallNet(4, classes=9)
    made = Distiller(setting.student, wide, "embeddistill", example=setting.inputs[:2], task=Retrieval())
    names = [name for name, _ in made.objective.named_parameters()]
    assert names == ["methods.0.project.weight"]
    assert made.objective.get_parameter(names[0]).shape == (9, 5)
    made(Batch(setting.inputs, JUDGED)).backward()
    assert made.objective.get_parameter(names[0]).grad is not None
    with pytest.raises(LimbeckError, match="has 5 numbers and the teacher's 9, and projection=false"):
        Distiller(
            setting.student, wide, "cosine(projection=false)", example=setting.inputs[:2], task=Retrieval()
        )


def test_nothing_left_is_refused() -> None:
    with pytest.raises(LimbeckError, match="query, document and listwise are all 0"):
        EmbedDistill(query=0, document=0, listwise=0)
