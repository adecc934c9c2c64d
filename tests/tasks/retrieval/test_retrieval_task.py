"""Retrieval: its metrics against hand values, its search against a plain ranking, and what it refuses."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from limbeck import growing
from limbeck.errors import LimbeckError
from limbeck.outputs import UNLABELED, Batch, Outputs
from limbeck.tasks import Retrieval, from_record
from limbeck.tasks.parts import vectors as vectors_of_tasks
from limbeck.tasks.retrieval import measures
from limbeck.tasks.retrieval import search as searching
from limbeck.tasks.retrieval.search import search

NONE = UNLABELED
pytest.importorskip("ir_measures", reason="ir-measures is not installed")


def angles(*degrees: float) -> Tensor:
    """Unit vectors of the plane."""
    turned = torch.tensor(degrees) * math.pi / 180
    return torch.stack([turned.cos(), turned.sin()], 1)


# Two queries at 0 and 90 degrees; of the four documents the first is 10 degrees from query 0, and so on.
QUERIES, DOCUMENTS = angles(0, 90), angles(10, 20, 80, 70)
TARGETS = torch.tensor([[0, NONE, NONE], [1, NONE, NONE], *([NONE, place, NONE] for place in (2, 3, 4, 5))])
JUDGMENTS = torch.tensor([[0, 3, 2], [0, 4, 1], [1, 4, 1], [1, 3, 0]])


def batch(targets: Tensor = TARGETS, judgments: Tensor = JUDGMENTS) -> Batch:
    return Batch(torch.zeros(len(targets), 1), targets, judgments=judgments)


def outputs() -> Outputs:
    return Outputs(logits=torch.cat([QUERIES, DOCUMENTS]))


def test_the_metrics_are_those_of_the_ranking_by_hand() -> None:
    # Query 0 ranks 2, 3, 5, 4: the grade 2 comes second and the grade 1 fourth. Query 1 ranks 4 first.
    meter = Retrieval().meter()
    meter.update(outputs(), batch())
    gained = 2 / math.log2(3) + 1 / math.log2(5)
    ideal = 2 / math.log2(2) + 1 / math.log2(3)
    found = meter.compute()
    assert list(found) == ["ndcg10", "recall100", "mrr10", "map"]
    assert found["ndcg10"] == pytest.approx((gained / ideal + 1) / 2, rel=1e-6)
    assert found["recall100"] == 1.0
    assert found["mrr10"] == pytest.approx((1 / 2 + 1) / 2)
    assert found["map"] == pytest.approx(((1 / 2 + 2 / 4) / 2 + 1) / 2)


def test_it_comes_in_batches_in_any_order_and_a_quick_meter_has_the_first_metric_alone() -> None:
    whole = Retrieval().meter()
    whole.update(outputs(), batch())
    parts = Retrieval().meter(quick=True)
    for rows in (torch.tensor([5, 1]), torch.tensor([0, 2, 4]), torch.tensor([3])):
        parts.update(Outputs(logits=outputs().logits[rows]), batch(TARGETS[rows]))
    assert parts.compute() == {"ndcg10": whole.compute()["ndcg10"]}


def test_queries_are_measured_some_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = Retrieval().meter(), Retrieval().meter()
    for meter in (whole, parts):
        meter.update(outputs(), batch())
    expected = whole.compute(), whole.findings().ndcg
    monkeypatch.setattr(measures, "QUERIES", 1)
    assert (parts.compute(), parts.findings().ndcg) == expected
    assert len({*expected[1].values()}) > 1, "the queries differ"


def test_a_query_without_a_relevant_document_does_not_count() -> None:
    meter = Retrieval().meter()
    meter.update(outputs(), batch(judgments=torch.tensor([[0, 2, 1], [1, 4, 0]])))
    assert meter.compute()["ndcg10"] == 1.0
    assert meter.findings().queries == 1


def test_a_relevant_document_that_is_not_searched_counts_as_not_found() -> None:
    meter = Retrieval().meter()
    meter.update(outputs(), batch(judgments=torch.tensor([[0, 2, 1], [0, 99, 1]])))
    assert meter.compute()["recall100"] == 0.5


def test_scores_are_cosines_unless_they_are_to_be_inner_products() -> None:
    longer = torch.cat([QUERIES, DOCUMENTS * torch.tensor([[1.0], [1.0], [1.0], [9.0]])])
    first, second = Retrieval().meter(quick=True), Retrieval(score="dot").meter(quick=True)
    for meter in (first, second):
        meter.update(Outputs(logits=longer), batch(judgments=torch.tensor([[0, 5, 1]])))
    assert first.compute()["ndcg10"] == pytest.approx(1 / math.log2(4)), "third by angle"
    assert second.compute()["ndcg10"] == 1.0


def test_vectors_of_length_zero_are_counted() -> None:
    meter = Retrieval().meter()
    vectors = outputs().logits.clone()
    vectors[0] = vectors[3] = 0
    meter.update(Outputs(logits=vectors), batch())
    found = meter.findings()
    assert (found.zero_queries, found.zero_documents, found.documents) == (1, 1, 4)
    assert (found.dimensions, found.bytes_per_document) == (2, 8)
    assert meter.notes == (
        "The embeddings of 1 queries have length 0, so they are as close to one text as to another.",
        "The embeddings of 1 documents have length 0, so they are as close to one text as to another.",
    )


def test_nothing_to_measure_on_is_said() -> None:
    meter = Retrieval().meter()
    meter.update(outputs(), Batch(torch.zeros(6, 1), TARGETS))
    with pytest.raises(LimbeckError, match="none of the 6 texts is a query with a relevant document"):
        meter.compute()


def test_the_comparison_is_the_overlap_of_the_first_ten() -> None:
    comparison = Retrieval().comparison()
    wide = torch.cat([outputs().logits, torch.zeros(6, 3)], 1)  # of another width, and the same scores
    comparison.update(outputs(), Outputs(logits=wide), batch())
    found = comparison.compute()
    assert (found.agreement, found.first) == (1.0, 1.0)
    assert found.distance == pytest.approx(0.0, abs=1e-6)
    turned = Retrieval().comparison()
    turned.update(Outputs(logits=torch.cat([QUERIES, DOCUMENTS.flip(0)])), outputs(), batch())
    assert turned.compute().first == 0.0


@pytest.mark.parametrize("faiss", [True, False])
@pytest.mark.parametrize("block", [1, 3, 1000])
def test_search_in_blocks_finds_what_a_plain_ranking_does(
    block: int, faiss: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if faiss:
        pytest.importorskip("faiss", reason="faiss is not installed")
    else:
        monkeypatch.setattr(searching, "find_spec", lambda name: None)
    generator = torch.Generator().manual_seed(0)
    queries, documents = (torch.randn(size, 4, generator=generator) for size in (7, 20))
    monkeypatch.setattr(searching, "BLOCK", block)
    monkeypatch.setattr(searching, "QUERIES", 2)
    scores, places = search(queries, documents, 5)
    expected = (queries @ documents.T).sort(1, descending=True)
    torch.testing.assert_close(scores, expected.values[:, :5])
    assert torch.equal(places, expected.indices[:, :5])
    most = expected.values[:, 3] + 1e-5
    most[0] = expected.values[0, 17] + 1e-5
    scores, places = search(queries, documents, 5, most)
    torch.testing.assert_close(scores[1:], expected.values[1:, 3:8])
    assert torch.equal(places[1:], expected.indices[1:, 3:8])
    assert torch.equal(places[0, :3], expected.indices[0, 17:])
    assert scores[0, 3:].tolist() == [-torch.inf] * 2


def test_a_corpus_that_does_not_fit_into_memory_is_searched_from_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    generator = torch.Generator().manual_seed(0)
    documents = torch.randperm(3000, generator=generator)
    targets = torch.full((3000, 3), NONE)
    targets[:20, 0], targets[20:, 1] = documents[:20], documents[20:]
    judgments = torch.stack([documents[:20], documents[20:40], torch.ones(20, dtype=torch.int64)], 1)
    vectors = torch.randn(3000, 8, generator=generator)

    def found() -> dict[str, float]:
        meter = Retrieval().meter()
        for rows in torch.split(torch.arange(3000), 700):
            meter.update(Outputs(logits=vectors[rows]), batch(targets[rows], judgments))
        return meter.compute()

    expected = found()
    monkeypatch.setattr(growing, "RESIDENT", 0)
    monkeypatch.setattr(vectors_of_tasks, "BLOCK", 100)
    assert found() == expected


def test_targets_and_outputs_of_another_shape_are_refused() -> None:
    task = Retrieval()
    with pytest.raises(
        LimbeckError, match=r"should be query, document and grade, integers of shape \(2, 3\)"
    ):
        task.as_targets([[1, 2], [3, 4]], 2, "training")
    with pytest.raises(LimbeckError, match="the grade of the test target 1 is -1"):
        task.check(torch.tensor([[0, NONE, NONE], [0, 1, -1]]), "test")
    with pytest.raises(LimbeckError, match=r"the shape \(2, 3, 4\), and retrieval takes an embedding"):
        task.check_outputs(torch.zeros(2, 3, 4), "student")


def test_a_record_makes_the_task_again() -> None:
    task = Retrieval(score="dot")
    assert from_record(task.record()) == task
    assert (task.width, task.embeds) == (0, True)
    assert (task.recipe(teacher=True), task.recipe(teacher=False)) == ("cosine", "contrastive")


def test_the_grades_of_candidates_are_the_judgments_where_there_are_no_others() -> None:
    targets = torch.tensor([[0, UNLABELED, UNLABELED], [0, 5, 1], [0, 6, 0]])
    near, far = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]]), torch.eye(2)[[0, 1, 0]]
    for vectors, expected in ((near, 1.0), (far, 1 / math.log2(3))):
        meter = Retrieval().meter(quick=True)
        meter.update(Outputs(logits=vectors), Batch(torch.zeros(3, 1), targets))
        assert meter.compute()["ndcg10"] == pytest.approx(expected)


@pytest.mark.parametrize(("relevant", "rank"), [(120, 1), (119, 2), (111, 10), (110, 0)])
def test_documents_of_equal_scores_are_ranked_alike_by_all_measures(relevant: int, rank: int) -> None:
    """As trec_eval ranks them, by their numbers as texts, the last first."""
    pytest.importorskip("ir_measures", reason="ir-measures is not installed")
    documents = [*range(101, 121)]
    ranking = torch.ones(1, 20), torch.arange(20)[None]
    found = measures.measured(ranking, [7], documents, {7: {relevant: 1}}, ["ndcg10", "mrr10", "map"])
    assert found["mrr10"] == [pytest.approx(1 / rank if rank else 0)]
    assert found["ndcg10"] == [pytest.approx(1 / math.log2(1 + rank) if rank else 0)]
    assert found["map"] == [pytest.approx(1 / (rank or 11))]
