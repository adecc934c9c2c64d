from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from command import Command
from rich.console import Console, Group, RenderableType

import limbeck
from limbeck import data, methods, models
from limbeck.cli import show
from limbeck.errors import LimbeckError
from limbeck.runs import Run


def shown(renderable: RenderableType, width: int = 100) -> str:
    file = io.StringIO()
    Console(file=file, width=width, color_system=None).print(renderable)
    return file.getvalue()


def lines(renderable: RenderableType, width: int = 100) -> list[str]:
    return [line.rstrip() for line in shown(renderable, width).splitlines()]


def rows_of(text: str) -> list[list[str]]:
    """The cells of a table's rows, a line of a wrapped row counting as one."""
    return [
        [cell.strip() for cell in line[1:-1].split("│")] for line in text.splitlines() if line.startswith("│")
    ]


def first_cells(text: str) -> list[str]:
    return [row[0] for row in rows_of(text) if row[0]]


class TestLists:
    def test_every_method_is_listed_with_its_paper(self, command: Command) -> None:
        answer = command("methods")
        assert answer.code == 0
        assert first_cells(answer.out) == sorted(methods.table())
        assert "arXiv:1503.02531" in " ".join(answer.out.split())
        assert "follow the" in answer.out

    def test_every_network_is_listed(self, command: Command) -> None:
        out = command("models").out
        assert first_cells(out) == [*models.MODELS, *models.NAMED]
        assert ["resnet20", "resnet(blocks=3)", "CRD benchmark"] in rows_of(out)

    def test_every_data_set_is_listed(self, command: Command) -> None:
        assert first_cells(command("data").out) == list(data.SOURCES)

    def test_no_entry_is_without_a_word(self) -> None:
        for table in (show.methods_table(), show.models_table(), show.data_table()):
            for column in table.columns:
                assert all(str(cell).strip() for cell in column.cells), column.header


class TestDetails:
    def test_a_method(self) -> None:
        found = lines(show.method_details("kd"))
        assert found[0] == "kd(temperature=4.0)"
        assert "    temperature: divides both logits before the softmax." in found
        assert found[-3:] == [
            "Distilling the Knowledge in a Neural Network. Hinton, Vinyals & Dean, 2015, arXiv:1503.02531.",
            "reads: student logits; teacher logits",
            f"recipe: {methods.KD.recipe}",
        ]

    def test_a_paper_may_take_several_lines(self) -> None:
        paper = "via Factor Transfer. Kim, Park & Kwak, NeurIPS 2018, arXiv:1802.04977. reads: student stages"
        assert paper in " ".join(" ".join(lines(show.method_details("ft"))).split())

    def test_a_method_that_reads_of_the_batch(self) -> None:
        assert "reads: student logits; batch targets" in lines(show.method_details("ce"))

    def test_a_network(self) -> None:
        found = lines(show.model_details("lenet5"))
        assert found[0] == "lenet5(in_channels, size, num_classes)"
        assert found[-1] == models.MODELS["lenet5"].source

    def test_a_named_network(self) -> None:
        found = lines(show.model_details("wrn_16_1"))
        assert found[:2] == ["wrn_16_1 is wrn(depth=16, width=1)", ""]
        assert found[2:] == lines(show.model_details("wrn"))

    def test_a_data_set(self) -> None:
        found = lines(show.data_details("digits"))
        assert found[0] == "digits(labeled=None, seed=0)"
        assert found[-1] == "Alpaydin & Kaynak, UCI 1998"

    @pytest.mark.parametrize(
        ("command", "name", "message"),
        [
            (show.method_details, "kdd", "unknown method 'kdd'; did you mean 'kd'?"),
            (show.model_details, "lenet", "unknown model 'lenet'; did you mean 'lenet5'?"),
            (show.data_details, "digit", "unknown data set 'digit'; did you mean 'digits'?"),
        ],
    )
    def test_an_unknown_name(self, command: Any, name: str, message: str) -> None:
        with pytest.raises(LimbeckError) as caught:
            command(name)
        assert str(caught.value) == message

    def test_everything_that_is_listed_has_details(self) -> None:
        for details, table in (
            (show.method_details, methods.table()),
            (show.model_details, {**models.MODELS, **models.NAMED}),
            (show.data_details, data.SOURCES),
        ):
            for name in table:
                assert lines(details(name))[0].startswith(name)


class TestDocumentation:
    TEXT = (
        "One line of some length\nthat goes on.\n\nAnother paragraph.\n\nArgs:\n"
        "    first: an argument that\n        takes two lines.\n    second: one.\nReturns: nothing."
    )

    def test_lines_are_joined_and_lists_stay_lists(self) -> None:
        found = lines(Group(*show._paragraphs(self.TEXT)))
        assert found == [
            "One line of some length that goes on.",
            "",
            "Another paragraph.",
            "",
            "Args:",
            "    first: an argument that takes two lines.",
            "    second: one.",
            "Returns: nothing.",
        ]

    def test_a_narrow_terminal_keeps_the_indent(self) -> None:
        found = lines(Group(*show._paragraphs(self.TEXT)), 30)
        assert found[6:9] == ["    first: an argument that", "    takes two lines.", "    second: one."]


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
