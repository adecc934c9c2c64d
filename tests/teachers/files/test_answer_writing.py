"""Files of answers that limbeck writes are read back as they were."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck import Batch, LimbeckError, data
from limbeck.data import Loader, Source
from limbeck.teachers import CachedTeacher, FileTeacher
from limbeck.teachers.files import writing

NAMES = ("cat", "the dog", "10")


def source(views: str = "none", seed: int = 0) -> Source:
    inputs = torch.rand(6, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
    return data.from_tensors(inputs, torch.arange(6) % 3, names=NAMES, views=views, validation=None)


def cache(folder: Path, data: Source, field: str = "logits") -> Path:
    """The one file of a cache that has been asked about every view of the first five samples."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = nn.Sequential(nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3))
    teacher = CachedTeacher(network, data, (field,), directory=folder)
    teacher.open(data.example(), (field,))
    for view in range(data.views.count):
        index, number = torch.arange(5), torch.full((5,), view)
        teacher(Batch(data.train.samples.render(data.views, index, number), index=index, view=number))
    (file,) = folder.iterdir()
    return file


@pytest.mark.parametrize("form", ["jsonl", "csv"])
@pytest.mark.parametrize("views", ["none", "crop(padding=1)"])
def test_a_cache_is_read_back_as_a_file(form: str, views: str, tmp_path: Path) -> None:
    made = source(views)
    rows = list(writing.of_cache(cache(tmp_path / "cache", made), made))
    assert [row["id"] for row in rows] == ["0", "1", "2", "3", "4"]
    path = tmp_path / f"a.{form}"
    writing.write(path, rows)
    teacher = FileTeacher(path, made)
    assert (teacher.coverage.answered, teacher.coverage.forms) == (5, {"logits": 5})
    index, view = torch.arange(5), torch.full((5,), made.views.base)
    expected = torch.tensor([list(row["logits"].values()) for row in rows])
    assert torch.equal(teacher(Batch(index, index=index, view=view)).logits, expected), "bit for bit"
    assert torch.equal(expected.half().float(), expected), "in float16, as the cache has them"


def test_they_are_the_answers_about_samples_as_they_are(tmp_path: Path) -> None:
    made = source("crop(padding=1)")
    rows = list(writing.of_cache(cache(tmp_path / "cache", made), made))
    plain = list(writing.of_cache(cache(tmp_path / "plain", source()), source()))
    assert rows == plain, "the view without augmentation"
    assert list(rows[0]["logits"]) == list(NAMES)


def test_a_cache_of_something_else_is_refused(tmp_path: Path) -> None:
    with pytest.raises(
        LimbeckError, match="holds the embedding of a teacher, and answers are made of logits"
    ):
        list(writing.of_cache(cache(tmp_path / "embedding", source(), "embedding"), source()))
    file = cache(tmp_path / "logits", source())
    with pytest.raises(
        LimbeckError, match="is about other data than tensors; name the data that it was made"
    ):
        list(writing.of_cache(file, source(seed=1)))
    file.write_bytes(b"nonsense")
    with pytest.raises(LimbeckError, match="holds nothing that can be read, and answers are made of logits"):
        list(writing.of_cache(file, source()))


def test_a_template_has_a_line_for_each_training_sample(tmp_path: Path) -> None:
    texts = ["uid,text,label", "a7,one thing,x", 'a8,"another, thing",y', "9.0,one more,x"]
    (tmp_path / "train.csv").write_text("\n".join(texts) + "\n")
    for split in ("validation", "test"):
        (tmp_path / f"{split}.csv").write_text("uid,text,label\n" + f"{split},{split},x\n")
    for made, expected in (
        (data.from_text(data_dir=tmp_path, id="uid"), ["a7", "a8", "9"]),
        (data.from_text(data_dir=tmp_path), ["0", "1", "2"]),
    ):
        rows = list(writing.template(made))
        assert [row["id"] for row in rows] == expected
        assert [row["text"] for row in rows] == ["one thing", "another, thing", "one more"]
        for form in ("jsonl", "csv"):
            path = tmp_path / f"fill.{form}"
            writing.write(path, [{**row, "label": "y"} for row in rows])
            assert FileTeacher(path, made).coverage.forms == {"label": 3}
    assert list(writing.template(source()))[5] == {"id": "5", "label": ""}


def test_a_file_of_answers_is_not_lost(tmp_path: Path) -> None:
    with pytest.raises(
        LimbeckError, match=r"^answers are written to a file \.jsonl or \.csv, not to 'a\.txt'$"
    ):
        writing.check_place(Path("a.txt"), overwrite=True)
    path = tmp_path / "a.jsonl"
    writing.check_place(path, overwrite=False)
    path.write_text(json.dumps({"id": 1, "label": "x"}))
    with pytest.raises(LimbeckError, match="exists and may have answers in it; choose another --out, or say"):
        writing.check_place(path, overwrite=False)
    writing.check_place(path, overwrite=True)


def test_a_loader_finds_the_answers(tmp_path: Path) -> None:
    made = source()
    path = tmp_path / "a.jsonl"
    writing.write(path, [{"id": number, "label": NAMES[number % 3]} for number in range(6)])
    teacher = FileTeacher(path, made)
    for batch in Loader(made.train, 4):
        assert batch.targets is not None
        assert torch.equal(teacher(batch).logits.argmax(1), batch.targets)


def test_a_template_is_for_data_with_one_class_for_each_sample() -> None:
    labels = data.from_tensors(torch.rand(9, 3), torch.ones(9, 2), task="multilabel", name="labels")
    with pytest.raises(
        LimbeckError, match=r"one class for each sample, and labels is for multilabel; give a run"
    ):
        list(writing.template(labels))
