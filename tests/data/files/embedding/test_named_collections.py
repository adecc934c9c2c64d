"""Collections by name: what is read, which texts are rows, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from collections_on_disk import collection, write_judgments, write_lines
from limbeck import data
from limbeck.data import Loader, Source
from limbeck.data.storage.texts import Texts
from limbeck.errors import LimbeckError
from limbeck.methods.contrastive import Contrastive
from limbeck.outputs import UNLABELED, Batch, Outputs


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return collection(tmp_path / "beir", splits={"train": 12, "dev": 4, "test": 6})


def texts_of(source: Source, rows: torch.Tensor) -> list[str]:
    samples = source.train.samples
    assert isinstance(samples, Texts)
    texts = samples.texts()
    return [texts[place] for place in rows.tolist()]


def test_a_query_is_followed_by_its_document_and_the_other_documents_have_no_query(folder: Path) -> None:
    source = data.load(f'retrieval(path="{folder}")')
    train = source.train
    assert (train.together, len(train)) == (2, 24 + 28), "12 pairs, and the 28 documents in none of them"
    query, document = train.targets[0].tolist(), train.targets[1].tolist()
    assert query[1:] == [UNLABELED, UNLABELED]
    assert document[0] == query[0]
    assert document[2] == 1
    first, second = texts_of(source, train.index[:2])
    assert second.startswith(first), "the query has the first words of its document"
    assert set(train.targets[24:, 0].tolist()) == {UNLABELED}
    assert train.targets[24:, 1].tolist() == train.index[24:].tolist()


def test_a_split_has_each_query_and_each_document_once_with_the_judgments(folder: Path) -> None:
    test = data.load(f'retrieval(path="{folder}")').test
    assert test is not None
    assert test.judgments is not None
    assert len(test) == 6 + 40
    assert (test.targets[:6, 1] == UNLABELED).all()
    assert len({*test.targets[6:, 1].tolist()}) == 40
    assert test.judgments.tolist() == [
        [query, document, 1]
        for query, document in zip(
            test.index[:6].tolist(), [int(test.judgments[row, 1]) for row in range(6)], strict=True
        )
    ]


def test_validation_searches_the_judged_documents_and_some_others(folder: Path) -> None:
    validation = data.load(f'retrieval(path="{folder}", validation_documents=5)').validation
    assert validation is not None
    assert validation.judgments is not None
    documents = set(validation.targets[4:, 1].tolist())
    assert len(documents) == 4 + 5
    assert set(validation.judgments[:, 1].tolist()) <= documents


def test_queries_of_no_split_are_parted_the_same_way_each_time(tmp_path: Path) -> None:
    folder = collection(tmp_path / "one", queries=20)
    first, again = (data.load(f'retrieval(path="{folder}", held_out=0.2)') for _ in range(2))
    assert first.fingerprint() == again.fingerprint()
    assert first.validation is not None
    assert first.test is not None
    held = [set(split.targets[:, 0].tolist()) - {UNLABELED} for split in (first.validation, first.test)]
    trained = set(first.train.targets[:, 0].tolist()) - {UNLABELED}
    assert [len(each) for each in (trained, *held)] == [13, 3, 4]
    assert not trained & held[0] | trained & held[1] | held[0] & held[1]


def test_negatives_come_from_a_run_without_what_is_relevant(folder: Path, tmp_path: Path) -> None:
    run = tmp_path / "run.txt"
    lines = [f"q{query} Q0 d{query + step} {step + 1} 1.0 x\n" for query in range(12) for step in range(3)]
    run.write_text("".join(lines))
    source = data.load(f'retrieval(path="{folder}", run="{run}", negatives=2)')
    assert source.train.together == 4
    rows = source.train.targets[:4]
    assert rows[:, 2].tolist() == [UNLABELED, 1, 0, 0]
    positive = int(rows[1, 1])
    assert rows[2:, 1].tolist() == [positive + 1, positive + 2], "d0 itself is no negative"
    assert len(source.train) % 4 == 0


def test_a_training_batch_knows_what_is_relevant_beyond_it(folder: Path) -> None:
    judged = [("q0", "d0", 1), ("q0", "d1", 2), ("q1", "d1", 1), ("q1", "d5", 0), ("q2", "d2", 1)]
    for file in (folder / "qrels").iterdir():
        file.unlink()
    write_judgments(folder / "qrels" / "train.tsv", judged)
    source = data.load(f'retrieval(path="{folder}", held_out=0, documents=false)')
    samples = source.train.samples
    assert isinstance(samples, Texts)
    names = samples.corpus.ids
    for batch in Loader(source.train, 4, shuffle=True, seed=0):
        assert batch.judgments is not None
        known = {(names[q], names[d], grade) for q, d, grade in batch.judgments.tolist()}
        assert known == {judgment for judgment in judged if judgment[2]}
    # q0 with d0 beside q1 with d1, which is relevant to q0 too, by a group that is in another batch.
    rows = torch.tensor([0, 1, 4, 5])
    targets, vectors = source.train.targets[rows], torch.eye(4)
    assert [names[each] for each in source.train.index[rows].tolist()] == ["q0", "d0", "q1", "d1"]
    relevant = source.task.judgments(source.train.targets)
    batch = Batch(torch.zeros(4, 1), targets, judgments=relevant)
    losses = [
        float(Contrastive(mask=mask)(Outputs(logits=vectors, embedding=vectors), Outputs(), batch))
        for mask in (True, False)
    ]
    assert losses == pytest.approx([math.log(2) / 2, math.log(2)])


def test_further_queries_are_texts_of_which_nothing_is_known(folder: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "more.jsonl", [{"_id": "a", "text": "snow soup"}, {"_id": "b", "text": "map"}])
    source = data.load(f'retrieval(path="{folder}", texts="{tmp_path / "more.jsonl"}", documents=false)')
    free = (source.train.targets == UNLABELED).all(1)
    assert texts_of(source, source.train.index[free]) == ["snow soup", "map"]
    samples = source.train.samples
    assert isinstance(samples, Texts)
    assert [samples.corpus.kinds[place] for place in source.train.index[free].tolist()] == ["query"] * 2


def test_batches_keep_a_query_with_its_documents(folder: Path) -> None:
    source = data.load(f'retrieval(path="{folder}", documents=false)')
    batches = [batch.targets for batch in Loader(source.train, 7, seed=3)]
    assert [len(targets) for targets in batches if targets is not None] == [6, 6, 6, 6]
    for targets in batches:
        assert targets is not None
        assert torch.equal(targets[::2, 0], targets[1::2, 0])
        assert (targets[::2, 1] == UNLABELED).all()
    queries = torch.cat([targets[::2, 0] for targets in batches if targets is not None])
    assert sorted(queries.tolist()) == sorted(source.train.targets[::2, 0].tolist())
    assert queries.tolist() != source.train.targets[::2, 0].tolist()


def test_two_ranks_share_a_batch_between_groups(folder: Path) -> None:
    source = data.load(f'retrieval(path="{folder}", documents=false)')
    (whole,) = Loader(source.train, 24, seed=1)
    shares = [next(iter(Loader(source.train, 24, seed=1, rank=rank, world=2))) for rank in range(2)]
    assert whole.targets is not None
    parts = [share.targets for share in shares if share.targets is not None]
    assert torch.equal(torch.cat(parts), whole.targets)
    assert [len(part) for part in parts] == [12, 12]
    assert [len(piece) for piece in whole.split(5)] == [6, 6, 4, 4, 4]


def test_a_batch_without_room_for_a_query_and_its_documents_is_refused(folder: Path) -> None:
    source = data.load(f'retrieval(path="{folder}")')
    with pytest.raises(LimbeckError, match="a batch of 1 texts has no room for a query with its documents"):
        Loader(source.train, 1)


def test_queries_without_a_relevant_document_are_left_out_and_counted(folder: Path) -> None:
    write_judgments(folder / "qrels" / "test.tsv", [("q20", "d1", 0), ("q21", "d2", 1)])
    source = data.load(f'retrieval(path="{folder}")')
    assert "1 queries have no relevant document among their judgments and are left out" in source.notes
    assert "6 queries have no judgment and are left out" in source.notes
    assert source.test is not None
    assert len(source.test) == 1 + 40


def test_a_further_query_without_a_text_is_refused(folder: Path, tmp_path: Path) -> None:
    write_lines(tmp_path / "more.jsonl", [{"_id": "a", "text": "snow"}, {"_id": "b", "text": " "}])
    with pytest.raises(LimbeckError, match=r"the query 'b' of '.*more.jsonl' is empty; give it a text"):
        data.load(f'retrieval(path="{folder}", texts="{tmp_path / "more.jsonl"}")')


def test_hidden_files_are_no_judgments(folder: Path) -> None:
    before = data.load(f'retrieval(path="{folder}")')
    (folder / "qrels" / ".DS_Store").write_bytes(b"\xff")
    assert torch.equal(data.load(f'retrieval(path="{folder}")').train.targets, before.train.targets)


def test_a_collection_of_empty_documents_has_nothing_to_train_on(folder: Path) -> None:
    write_lines(folder / "corpus.jsonl", [{"_id": f"d{number}", "text": ""} for number in range(40)])
    with pytest.raises(LimbeckError, match="no document is, as all of them are empty"):
        data.load(f'retrieval(path="{folder}")')


def test_empty_documents_are_not_searched_and_count_as_not_found(folder: Path) -> None:
    lines = (folder / "corpus.jsonl").read_text().splitlines()
    lines[16] = '{"_id": "d16", "title": "", "text": " "}'
    (folder / "corpus.jsonl").write_text("\n".join(lines))
    source = data.load(f'retrieval(path="{folder}")')
    assert any(note.startswith("1 of the 40 documents are empty") for note in source.notes)
    assert source.test is not None
    assert source.test.judgments is not None
    searched = set(source.test.targets[:, 1].tolist())
    assert len(source.test) == 6 + 39
    assert len(set(source.test.judgments[:, 1].tolist()) - searched) == 1


def broken(folder: Path, how: str) -> str:
    """Breaks a collection, and names the source of it."""
    changes: dict[str, Callable[[], object]] = {
        "unknown document": lambda: write_judgments(folder / "qrels" / "test.tsv", [("q20", "x9", 1)]),
        "unknown query": lambda: write_judgments(folder / "qrels" / "test.tsv", [("q99", "d1", 1)]),
        "two splits": lambda: write_judgments(folder / "qrels" / "test.tsv", [("q1", "d1", 1)]),
        "grade": lambda: (folder / "qrels" / "test.tsv").write_text("q20\td1\tgood\n"),
        "columns": lambda: (folder / "qrels" / "test.tsv").write_text("q20 d1\n"),
        "same id": lambda: write_lines(folder / "corpus.jsonl", [{"_id": "d1", "text": "a"}] * 2),
        "no id": lambda: write_lines(folder / "corpus.jsonl", [{"text": "a"}]),
        "no json": lambda: (folder / "corpus.jsonl").write_text("{"),
        "no corpus": lambda: (folder / "corpus.jsonl").unlink(),
        "negatives": lambda: None,
    }
    changes[how]()
    return f'retrieval(path="{folder}"{", negatives=2" if how == "negatives" else ""})'


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("unknown document", "line 2 of .*test.tsv' judges the document 'x9', which is not in the corpus"),
        ("unknown query", "line 2 of .*test.tsv' judges the query 'q99', which is not among the queries"),
        ("two splits", "the query 'q1' of .* is in the splits"),
        ("grade", "line 1 of .*test.tsv' has the grade 'good', not a whole number"),
        ("columns", "line 1 of .*test.tsv' has 2 columns"),
        ("same id", "line 2 of .*corpus.jsonl' has the id 'd1', which another line before it has"),
        ("no id", 'line 1 of .*corpus.jsonl\' has no "_id"'),
        ("no json", "line 1 of .*corpus.jsonl' is no JSON"),
        ("no corpus", "there is no file .*corpus.jsonl'"),
        ("negatives", "negatives=2 of a query are taken from a run, and none is given"),
    ],
)
def test_what_is_wrong_is_named_with_its_line(folder: Path, how: str, message: str) -> None:
    spec = broken(folder, how)
    with pytest.raises(LimbeckError, match=message):
        data.load(spec)


def test_judgments_of_trec_are_read_and_negative_grades_are_none(folder: Path) -> None:
    (folder / "qrels" / "test.tsv").unlink()
    (folder / "qrels" / "test.txt").write_text("q20 0 d20 2\nq20 0 d21 -1\n")
    test = data.load(f'retrieval(path="{folder}")').test
    assert test is not None
    assert test.judgments is not None
    assert test.judgments[:, 2].tolist() == [2, 0]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("2 0 7 1", "line 2 of '.*cranqrel.trec.txt' judges the document '7', which is not in the corpus"),
        ("9 0 2 1", "line 2 of '.*cranqrel.trec.txt' judges the query '9', which is not among the queries"),
    ],
)
def test_cranfield_names_the_line_of_what_is_not_there(tmp_path: Path, line: str, message: str) -> None:
    documents = [f"<doc><docno>{n}</docno><text>snow {n}</text></doc>" for n in (1, 2)]
    (tmp_path / "cran.all.1400.xml").write_text("".join(documents))
    (tmp_path / "cran.qry.xml").write_text("<top><title>snow</title></top><top><title>ice</title></top>")
    (tmp_path / "cranqrel.trec.txt").write_text(f"1 0 1 1\n{line}\n")
    with pytest.raises(LimbeckError, match=message):
        data.load("cranfield", tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("a\tb", "line 2 of '.*sts-dev.csv' has 2 columns"),
        ("a\tb\tc\t3\tmuch\tsnow\tice", "the score of row 2 of the validation split is 'much', not a number"),
    ],
)
def test_a_line_of_the_sts_benchmark_that_is_none_is_refused(tmp_path: Path, line: str, message: str) -> None:
    rows = "a\tb\tc\t3\t2.5\tsnow falls\tice\n" * 2
    for name in ("train", "test"):
        (tmp_path / f"sts-{name}.csv").write_text(rows)
    (tmp_path / "sts-dev.csv").write_text(rows[: len(rows) // 2] + line)
    with pytest.raises(LimbeckError, match=message):
        data.load("stsbenchmark", tmp_path)


SHARED = next(
    (each / "shared" / "data" for each in Path(__file__).parents if (each / "shared" / "data").is_dir()), None
)


@pytest.mark.skipif(SHARED is None, reason="shared/data is not there")
def test_cranfield_numbers_its_queries_by_their_order() -> None:
    assert SHARED is not None
    source = data.load("cranfield(held_out=0.2)", SHARED / "retrieval" / "cranfield")
    assert source.test is not None
    assert source.test.judgments is not None
    assert any("2 of the 1,400 documents are empty" in note for note in source.notes)
    queries = sum(source.task.counts(split.targets)[0] for split in (source.train, source.test))
    assert source.validation is not None
    assert queries + source.task.counts(source.validation.targets)[0] == 225


@pytest.mark.skipif(SHARED is None, reason="shared/data is not there")
def test_the_sts_benchmark_has_its_published_sizes() -> None:
    assert SHARED is not None
    source = data.load("stsbenchmark", SHARED / "similarity" / "stsbenchmark")
    assert source.validation is not None
    assert source.test is not None
    assert [len(each) // 2 for each in (source.train, source.validation, source.test)] == [5749, 1500, 1379]
    scores = source.train.targets[::2, 1]
    assert (float(scores.min()), float(scores.max())) == (0.0, 5.0)
