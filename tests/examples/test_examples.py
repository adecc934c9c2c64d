"""The examples run and print what they return; distilled students are ahead of those that learned alone."""

from __future__ import annotations

import importlib
from inspect import signature
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
NEEDS = {
    "embeddings": ["transformers", "ir_measures"],
    "hf_trainer": ["transformers"],
    "lightning_loop": ["lightning"],
    "onnx_without_limbeck": ["onnxruntime", "onnxscript"],
}
PERCENT = {"embeddings": "{:.3f}", "language_model": "{:.3f}", "own_task": "{:.3f}"}
pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


def ran(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, float]:
    """What the example returns, all of which it has printed."""
    for package in NEEDS.get(name, []):
        pytest.importorskip(package, reason=f"{package} is not installed")
    main = importlib.import_module(f"examples.{name}").main
    found: dict[str, float] = main(str(folder)) if "folder" in signature(main).parameters else main()
    shown = capsys.readouterr().out
    missing = [key for key, value in found.items() if PERCENT.get(name, "{:.1%}").format(value) not in shown]
    assert missing == []
    return found


@pytest.mark.usefixtures("own_accelerate")
@pytest.mark.parametrize(
    "name",
    ["embeddings", "hf_trainer", "images", "lightning_loop", "own_loop", "segmentation", "texts"],
)
def test_distilled_is_ahead(
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    found = ran(name, tmp_path, capsys)
    assert list(found) == ["teacher", "student alone", "distilled"]
    assert found["student alone"] + 0.05 < found["distilled"] <= found["teacher"] + 0.02


@pytest.mark.usefixtures("own_accelerate")
def test_language_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ran("language_model", tmp_path, capsys)
    assert found["teacher"] < found["distilled"] < found["student alone"]


@pytest.mark.usefixtures("own_accelerate")
def test_answers_of_an_llm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert ran("llm_answers", tmp_path, capsys)["distilled"] > 0.95


@pytest.mark.usefixtures("own_accelerate")
def test_a_method_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ran("own_method", tmp_path, capsys)
    assert found["student alone"] + 0.1 < found["distilled"] < found["inside MGD"]


def test_a_task_of_ones_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ran("own_task", tmp_path, capsys)
    assert found["teacher"] < found["distilled"] < found["student alone"] - 0.2


@pytest.mark.usefixtures("own_accelerate")
def test_onnx_without_limbeck(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = ran("onnx_without_limbeck", tmp_path, capsys)
    assert found["file"] == pytest.approx(found["student"], abs=1e-9)


def test_every_example_is_run_here() -> None:
    tested = Path(__file__).read_text(encoding="utf-8")
    assert [path.stem for path in EXAMPLES.glob("*.py") if f'"{path.stem}"' not in tested] == []
