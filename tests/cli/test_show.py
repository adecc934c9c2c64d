from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from command import Command
from printed import lines, rows_of, shown

import limbeck
from language_models import llama, write_stories
from limbeck import data
from limbeck.cli import show
from limbeck.errors import LimbeckError
from limbeck.runs import Run


class TestInspection:
    def test_what_was_found_with_shapes(self) -> None:
        text = shown(show.inspection("cnn(channels=[2, 4])", None, None, None, None))
        rows = rows_of(text)
        assert "CNN, 272 parameters" in text
        assert ["embedding", "classifier:input", "(2, 16)"] in rows
        assert [row[2] for row in rows if row[0] == "stages"] == ["(2, 2, 8, 8)", "(2, 4, 4, 4)"]
        assert [row[2] for row in rows if row[0] == "logits"] == ["(2, 10)"]

    def test_a_run_and_its_file(self, teacher: Run) -> None:
        for place in (teacher.path, teacher.path / "student.safetensors"):
            for shape in (None, "1x8x8"):
                text = shown(show.inspection(str(place), None, None, shape, None))
                assert "MLP, 1,210 parameters" in text

    def test_it_leaves_no_trace_in_the_random_numbers(self, teacher: Run) -> None:
        import torch

        state = torch.get_rng_state()
        show.inspection(str(teacher.path), None, None, "1x8x8", None)
        show.inspection("mlp", None, None, "1x8x8", 10)
        assert torch.equal(state, torch.get_rng_state())

    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ((None, None, "3x", None), "--input takes a shape such as 3x32x32, not '3x'"),
            ((None, None, "0x8x8", None), "--input takes a shape such as 3x32x32, not '0x8x8'"),
            ((None, None, "1x8x8", None), "cnn needs num_classes; write cnn(num_classes=...)"),
            ((None, None, None, 5), "--classes goes with --input; a data set has classes of its own"),
            (
                ("digits", None, "1x8x8", 5),
                "--input stands in for a data set; leave out --data and --data-dir",
            ),
            (
                (None, Path("."), "1x8x8", 5),
                "--input stands in for a data set; leave out --data and --data-dir",
            ),
        ],
    )
    def test_what_does_not_go_together(self, given: Any, message: str) -> None:
        with pytest.raises(LimbeckError) as caught:
            show.inspection("cnn", *given)
        assert str(caught.value) == message


class TestOutcome:
    def test_without_a_test_split_there_is_a_dash(self, tmp_path: Path) -> None:
        import torch

        source = data.from_tensors(torch.rand(20, 4), torch.arange(20) % 2, validation=None)
        run = limbeck.train(
            model="mlp",
            data=source,
            epochs=1,
            settings={"training.trackers": []},
            display=False,
            out=tmp_path / "run",
        )
        found = lines(show.outcome(run))
        row = next(line for line in found if "top-1 on test" in line)
        assert [cell.strip() for cell in row.strip("│").split("│")] == ["top-1 on test", "-"]
        assert not any("agreement" in line for line in found)


def test_a_language_model_is_inspected_with_its_own_tokens(tmp_path: Path, command: Command) -> None:
    pytest.importorskip("transformers", reason="transformers is not installed")
    folder, file = llama(tmp_path / "llama"), write_stories(tmp_path)
    texts = f'language(path="{file}", separator="\\n\\n", block=8)'
    answer = command("inspect", f"hf:{folder}", "--data", texts)
    assert answer.code == 0, answer.err
    assert "LlamaForCausalLM" in answer.out
    assert "(2, 8, 300)" in answer.out
    assert "has none (text); take a data set of images" in command("data", "preview", texts).err
