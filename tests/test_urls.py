from __future__ import annotations

from pathlib import Path

import fsspec
import pytest

from limbeck import urls
from limbeck.errors import LimbeckError


def test_what_is_an_address_and_what_a_path() -> None:
    assert all(map(urls.is_url, ["memory://a", "s3://bucket/a", "gcs+x://b"]))
    assert not any(map(urls.is_url, ["runs/a", "C:\\runs", "hf:folder", Path("memory://a"), None]))
    assert urls.named("s3://bucket/runs/kd-0/") == "kd-0"
    assert urls.local("runs/a", "--results") == Path("runs/a")
    with pytest.raises(LimbeckError, match="--results is on this machine, and 's3://b/a' is an address"):
        urls.local("s3://b/a", "--results")


@pytest.mark.parametrize("at", ["memory", "path"])
def test_a_text_is_written_and_read(at: str, tmp_path: Path) -> None:
    place = "memory://texts/deep/a.txt" if at == "memory" else str(tmp_path / "deep" / "a.txt")
    assert not urls.exists(place)
    urls.write_text(place, "größer\n")
    assert urls.exists(place)
    assert urls.read_text(place) == "größer\n"


def test_a_folder_goes_up_and_comes_down_without_checkpoints(tmp_path: Path) -> None:
    for name in ("a.txt", "deep/b.txt", "checkpoints/last.pt", "trackers/x", ".unfinished"):
        file = tmp_path / "run" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(name)
    urls.upload(tmp_path / "run", "memory://folders/run")
    urls.write_text("memory://folders/run/checkpoints/other", "from elsewhere")
    with urls.downloaded("memory://folders/run") as copy:
        assert copy.name == "run"
        found = {str(file.relative_to(copy)): file.read_text() for file in copy.rglob("*") if file.is_file()}
    assert found == {"a.txt": "a.txt", "deep/b.txt": "deep/b.txt"}
    assert not copy.exists()
    with urls.downloaded("memory://folders/run/a.txt") as copy:
        assert (copy / "a.txt").read_text() == "a.txt"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("memory://nowhere/a", "'memory://nowhere/a' cannot be read: there is no such file"),
        ("nothing://a", "'nothing://a' cannot be read: Protocol not known: nothing"),
    ],
)
def test_what_cannot_be_read_is_one_sentence(url: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(LimbeckError, match=message):
        urls.read_text(url)
    with pytest.raises(LimbeckError, match=r"there is nothing at 'memory://nowhere/b'"):
        urls.download("memory://nowhere/b", tmp_path)


def test_what_lies_outside_of_a_folder_is_not_copied(tmp_path: Path) -> None:
    store = fsspec.filesystem("memory")
    for name in ("a.txt", "../../out.txt"):
        store.pipe_file(f"/outside/run/{name}", b"x")
    message = r"'memory://outside/run' lists '/outside/run/../../out.txt', which lies outside of it"
    with pytest.raises(LimbeckError, match=message):
        urls.download("memory://outside/run", tmp_path / "deep" / "run")
    assert not list(tmp_path.iterdir())
