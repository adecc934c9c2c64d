from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from small_runs import make_student, same, state_of
from torch import Tensor, nn

from limbeck import data
from limbeck.errors import LimbeckError
from limbeck.runs import Run, networks
from limbeck.runs.filling import Filling, fill
from limbeck.teachers.asked import AskedNetwork
from limbeck.teachers.cache_admin import cache_files, examine
from picture_files import write_splits

SETTINGS = {"training.precision": "fp32", "data.views": "crop(padding=1)"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "teachers"


def filled(teacher: Run, **arguments: Any) -> Filling:
    given = {"views": 2, "batch_size": 300, "settings": SETTINGS, **arguments}
    *_, last = fill(teacher=teacher.path, **given)
    return last


def test_a_run_after_it_asks_nothing(tmp_path: Path, teacher: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    assert filled(teacher, cache_teacher="both") == Filling(views=2, samples=1000, done=2000, asked=2000)

    def ask(*arguments: Any) -> Any:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(AskedNetwork, "ask", ask)
    settings = {**SETTINGS, "training.trackers": []}
    given = {"settings": settings, "cache_teacher": "both", "objective": "kd + rkd"}
    one = make_student(tmp_path / "one", teacher, views=2, **given)
    two = make_student(tmp_path / "two", teacher, views=1, seed=3, **given)
    assert not same(state_of(one), state_of(two))
    with pytest.raises(AssertionError, match="the network was asked"):
        make_student(tmp_path / "three", teacher, views=3, **given)


def test_it_goes_on_where_it_was_stopped(teacher: Run) -> None:
    steps = fill(teacher=teacher.path, views=2, batch_size=300, settings=SETTINGS)
    assert [next(steps).done for _ in range(3)] == [300, 600, 900]
    assert filled(teacher) == Filling(2, 1000, 2000, 1100)
    assert filled(teacher) == Filling(2, 1000, 2000, 0)
    assert filled(teacher, views=3) == Filling(3, 1000, 3000, 1000)
    assert filled(teacher, views=None) == Filling(9, 1000, 9000, 6000)


def test_a_full_disk_stops_it(teacher: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    with (
        pytest.warns(UserWarning, match="No space left on device"),
        pytest.raises(LimbeckError, match="the cache takes no more answers; make room"),
    ):
        filled(teacher)


def test_a_config_file_may_say_it_all(teacher: Run, tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "run.yaml"
    file.write_text(
        f"student: mlp\nteacher: {{model: {teacher.path}, cache: embedding}}\ntraining: {{views: 1}}\n"
    )
    *_, last = fill(file)
    assert last == Filling(1, 1000, 1000, 1000)
    assert b'"field": "embedding"' in next(cache.iterdir()).read_bytes()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"teacher": None}, "give one teacher"),
        ({"teacher": "mlp"}, "the teacher 'mlp' has no weights"),
        ({"views": 10}, "so 10 of each sample cannot be drawn among; take 1 to 9"),
        ({"views": 0}, r"training\.views=0 should be greater than or equal to 1"),
        ({"cache_teacher": "stages"}, r"teacher\.cache='stages' should be 'logits', 'embedding', "),
        ({"cache_teacher": "all"}, r"depends on the student and the objective; give them \(--student, "),
        (
            {"cache_budget": "1 KB"},
            "a view of 1,000 samples takes 24.0 kB, and the budget of its cache",
        ),
    ],
)
def test_what_cannot_be_filled(arguments: dict[str, Any], message: str, teacher: Run, cache: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        list(fill(**{"teacher": teacher.path, "settings": SETTINGS, **arguments}))
    assert not cache.exists()


def test_a_batch_that_the_memory_does_not_hold(teacher: Run, tmp_path: Path, cache: Path) -> None:
    write_splits(tmp_path / "data", {"train": 30})
    with pytest.raises(LimbeckError, match="holds 0 samples, and a batch has 8; give more memory"):
        filled(teacher, data='images(memory="100 B")', data_dir=tmp_path / "data", batch_size=8, settings={})
    assert not cache.exists()


class Images(nn.Module):
    """Answers to color images, and writes down in which memory format it got them."""

    def __init__(self, views_them: bool) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.convolution, self.head = nn.Conv2d(3, 4, 3), nn.Linear(4, 3)
        self.views_them = views_them
        self.last: list[bool] = []

    def forward(self, images: Tensor) -> Tensor:
        self.last.append(images.is_contiguous(memory_format=torch.channels_last))
        if self.views_them:
            images.view(len(images), -1)
        maps = self.convolution(images)
        answer: Tensor = self.head(maps.mean((2, 3)))
        return answer


@pytest.mark.parametrize(
    ("asked", "views_them", "expected"),
    [
        ("auto", False, True),
        ("channels_last", False, True),
        ("contiguous", False, False),
        ("auto", True, False),
        ("channels_last", True, "the teacher cannot take channels-last images: view size is not compatible"),
    ],
)
def test_the_memory_format_is_that_of_a_run(
    asked: str, views_them: bool, expected: bool | str, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = torch.randint(0, 256, (12, 3, 6, 6), dtype=torch.uint8)
    source = data.from_tensors(images, torch.arange(12) % 3, validation=None)
    network = Images(views_them)
    monkeypatch.setattr("limbeck.data.load", lambda *given: source)
    monkeypatch.setattr(networks, "teacher", lambda *given: network)
    settings = {"training.precision": "fp32", "training.memory_format": asked}
    if isinstance(expected, str):
        with pytest.raises(LimbeckError, match=expected):
            list(fill(teacher="mine", batch_size=5, settings=settings))
    else:
        *_, last = fill(teacher="mine", batch_size=5, settings=settings)
        assert last.asked == 12
        assert network.last[-3:] == [expected] * 3


def test_a_teacher_of_another_size_is_asked_in_that_size(teacher: Run, cache: Path) -> None:
    shapes = set()

    class Seen(nn.Module):
        """Reads 16 x 16 pixels and shows the teacher every second one of them."""

        def __init__(self, network: nn.Module) -> None:
            super().__init__()
            self.network = network

        def forward(self, images: Tensor) -> Tensor:
            shapes.add(tuple(images.shape[1:]))
            return self.network(images[:, :, ::2, ::2])  # type: ignore[no-any-return]

    original = networks.teacher
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(networks, "teacher", lambda *given: Seen(original(*given)))
        large = {**SETTINGS, "teacher.size": 16}
        assert filled(teacher, settings=large, views=1) == Filling(1, 1000, 1000, 1000)
    assert shapes == {(1, 16, 16)}
    (file,) = cache_files()
    assert examine(file, check=True).key["preparation"] == "16 x 16 pixels"
    assert file.parent == cache
