from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from command import Command
from printed import first_cells, lines, rows_of
from rich.console import Group

from limbeck import data, methods, models, tasks
from limbeck.cli import catalog
from limbeck.cli.methods_table import methods_table
from limbeck.errors import LimbeckError


class TestLists:
    def test_every_method_is_listed_with_its_paper(self, command: Command) -> None:
        answer = command("methods")
        assert answer.code == 0
        assert first_cells(answer.out) == sorted(methods.table())
        assert "arXiv:1503.02531" in " ".join(answer.out.split())
        assert "follow the" in answer.out

    def test_what_is_read_from_the_sources_is_what_the_methods_say(self) -> None:
        names, *said = ([str(cell) for cell in column.cells] for column in methods_table().columns)
        for name, *row in zip(names, *said, strict=True):
            assert tuple(row) == catalog.described(methods.table()[name])

    def test_every_network_is_listed(self, command: Command) -> None:
        out = command("models").out
        assert first_cells(out) == [*models.MODELS, *models.NAMED]
        assert ["resnet20", "resnet(blocks=3)", "CRD benchmark"] in rows_of(out)

    def test_every_data_set_is_listed(self, command: Command) -> None:
        assert first_cells(command("data").out) == list(data.SOURCES)

    def test_every_task_is_listed_with_its_metrics(self, command: Command) -> None:
        answer = command("tasks")
        assert answer.code == 0
        assert first_cells(answer.out) == list(tasks.table())
        row = next(row for row in rows_of(answer.out) if row[0] == "regression")
        assert row[2] == "RMSE, MAE, R²"

    def test_no_entry_is_without_a_word(self) -> None:
        for table in (
            methods_table(),
            catalog.tasks_table(),
            catalog.models_table(),
            catalog.data_table(),
        ):
            for column in table.columns:
                assert all(str(cell).strip() for cell in column.cells), column.header


class TestDetails:
    def test_a_method(self) -> None:
        found = lines(catalog.method_details("kd"))
        assert found[0] == 'kd(temperature=4.0, divergence="forward", beta=None, top=None)'
        assert "    temperature: divides both logits before the softmax." in found
        assert found[-4:] == [
            "Distilling the Knowledge in a Neural Network. Hinton, Vinyals & Dean, 2015, arXiv:1503.02531.",
            "reads: student logits; teacher logits",
            "tasks: classification, detection, language, multilabel, segmentation, token_classification",
            f"recipe: {methods.KD.recipe}",
        ]

    def test_a_paper_may_take_several_lines(self) -> None:
        paper = "via Factor Transfer. Kim, Park & Kwak, NeurIPS 2018, arXiv:1802.04977. reads: student stages"
        assert paper in " ".join(" ".join(lines(catalog.method_details("ft"))).split())

    def test_a_method_that_reads_of_the_batch(self) -> None:
        assert "reads: student logits; batch targets" in lines(catalog.method_details("ce"))

    def test_a_network(self) -> None:
        found = lines(catalog.model_details("lenet5"))
        assert found[0] == "lenet5(in_channels, size, num_classes)"
        assert found[-1] == models.MODELS["lenet5"].source

    def test_a_named_network(self) -> None:
        found = lines(catalog.model_details("wrn_16_1"))
        assert found[:2] == ["wrn_16_1 is wrn(depth=16, width=1)", ""]
        assert found[2:] == lines(catalog.model_details("wrn"))

    def test_a_data_set(self) -> None:
        found = lines(catalog.data_details("digits"))
        assert found[0] == "digits(labeled=None, seed=0)"
        assert found[-1] == "Alpaydin & Kaynak, UCI 1998"

    def test_a_method_says_which_tasks_it_serves(self) -> None:
        served = {
            name: next(
                line for line in lines(catalog.method_details(name), 200) if line.startswith("tasks: ")
            )
            for name in ("kd", "mse", "simkd", "fitnet")
        }
        assert served == {
            "kd": "tasks: classification, detection, language, multilabel, segmentation, "
            "token_classification",
            "mse": "tasks: regression, restoration",
            "simkd": "tasks: classification",
            "fitnet": "tasks: classification, detection, language, multilabel, regression, restoration, "
            "retrieval, segmentation, similarity, token_classification",
        }

    def test_a_task(self) -> None:
        found = lines(catalog.task_details("regression"))
        assert found[0] == "regression"
        assert found[2].startswith("Targets are (N, K) floats, NaN where a value is not known;")
        assert not any(line.startswith("Args:") for line in found)
        facts = " ".join(" ".join(found).split())
        for fact in (
            "metrics: RMSE, MAE, R²; RMSE selects epochs and is compared",
            "default objective: 0.5*mse + 0.5*imitation with a teacher mse without a teacher",
            " huber, icd, imitation, ",
        ):
            assert fact in facts
        listed = facts.partition("methods: ")[2].split(", ")
        assert {"mse", "fitnet"} < set(listed)
        assert not {"ce", "kd", "simkd"} & set(listed)

    def test_a_task_of_another_package(
        self, installed: Callable[[str, str, str], None], command: Command
    ) -> None:
        source = (
            "from limbeck.tasks import Classification\n"
            "class Ordinal(Classification):\n"
            '    """Targets are grades.\n\n    Args:\n        names: of the grades.\n    """\n\n'
            "    name = 'ordinal'\n"
        )
        installed("limbeck.tasks", "ordinal = strange:Ordinal", source)
        assert [row[1] for row in rows_of(command("tasks").out) if row[0] == "ordinal"] == [
            "Targets are grades."
        ]
        answer = command("tasks", "ordinal")
        assert answer.out.startswith("ordinal\n\nTargets are grades.\n\nmetrics:")
        assert "tasks: classification, language, multilabel" not in command("methods", "kd").out
        assert "ordinal" in command("methods", "kd").out

    @pytest.mark.parametrize(
        ("command", "name", "message"),
        [
            (catalog.method_details, "kdd", "unknown method 'kdd'; did you mean 'kd'?"),
            (catalog.model_details, "lenet", "unknown model 'lenet'; did you mean 'lenet5'?"),
            (
                catalog.task_details,
                "regresion",
                "unknown task 'regresion'; did you mean 'regression'; if a package brings it, install that "
                "package",
            ),
            (catalog.data_details, "digit", "unknown data set 'digit'; did you mean 'digits'?"),
        ],
    )
    def test_an_unknown_name(self, command: Any, name: str, message: str) -> None:
        with pytest.raises(LimbeckError) as caught:
            command(name)
        assert str(caught.value) == message

    def test_everything_that_is_listed_has_details(self) -> None:
        for details, table in (
            (catalog.method_details, methods.table()),
            (catalog.model_details, {**models.MODELS, **models.NAMED}),
            (catalog.data_details, data.SOURCES),
            (catalog.task_details, tasks.TASKS),
        ):
            for name in table:
                assert lines(details(name))[0].startswith(name)


class TestDocumentation:
    TEXT = (
        "One line of some length\nthat goes on.\n\nAnother paragraph.\n\nArgs:\n"
        "    first: an argument that\n        takes two lines.\n    second: one.\nReturns: nothing."
    )

    def test_lines_are_joined_and_lists_stay_lists(self) -> None:
        found = lines(Group(*catalog._paragraphs(self.TEXT)))
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
        found = lines(Group(*catalog._paragraphs(self.TEXT)), 30)
        assert found[6:9] == ["    first: an argument that", "    takes two lines.", "    second: one."]
