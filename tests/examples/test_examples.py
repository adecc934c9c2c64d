"""The examples run, and the distilled student is ahead of the one that learned alone."""

from __future__ import annotations

from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def assert_ahead(found: dict[str, float], capsys: pytest.CaptureFixture[str]) -> None:
    shown = capsys.readouterr().out
    assert list(found) == ["teacher", "student alone", "distilled"]
    assert all(f"{name}: {value:.1%}" in shown for name, value in found.items())
    assert found["student alone"] + 0.1 < found["distilled"] <= found["teacher"]


@pytest.mark.usefixtures("own_accelerate")
def test_hugging_face(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    from examples import hf_trainer

    assert_ahead(hf_trainer.main(str(tmp_path)), capsys)


def test_lightning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed")
    from examples import lightning_loop

    monkeypatch.chdir(tmp_path)
    assert_ahead(lightning_loop.main(), capsys)
