from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck import Distiller
from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Point
from limbeck.optimization import SGD, Muon
from limbeck.training.groups import depths, freeze, grouped, hidden_matrices


class Net(nn.Module):
    """An embedding, two stages and a head."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed = nn.Embedding(7, 4)
        self.layer1 = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
        self.layer2 = nn.Sequential(nn.Linear(4, 4, bias=False), nn.BatchNorm1d(4))
        self.head = nn.Linear(4, 3)

    def forward(self, tokens: Tensor) -> Tensor:
        output: Tensor = self.head(self.layer2(self.layer1(self.embed(tokens).mean(1))))
        return output


POINTS = FeaturePoints(
    embedding=Point("head", "input"), stem=Point("embed"), stages=(Point("layer1"), Point("layer2"))
)
EXAMPLE = torch.arange(14).reshape(2, 7) % 7


def rates_of(optimizer: torch.optim.Optimizer, student: nn.Module) -> dict[str, float]:
    """The learning rate of each parameter, by name."""
    names = {id(parameter): name for name, parameter in student.named_parameters()}
    return {
        names[id(parameter)]: group["lr"] for group in optimizer.param_groups for parameter in group["params"]
    }


class TestFreeze:
    @pytest.mark.parametrize("pattern", ["layer1", "layer1.*"])
    def test_a_frozen_part_stays_as_it_is_to_the_last_bit(self, pattern: str) -> None:
        student = Net()
        freeze(student, [pattern])
        distiller = Distiller(student, None, "ce", example=EXAMPLE)
        before = {name: value.clone() for name, value in student.state_dict().items()}
        distiller.train()
        optimizer = distiller.optimizer(SGD(lr=0.1))
        for _ in range(3):
            distiller(EXAMPLE, torch.tensor([0, 2])).backward()
            optimizer.step()
            optimizer.zero_grad()
        changed = {
            name for name, value in student.state_dict().items() if not torch.equal(value, before[name])
        }
        assert changed == {name for name in before if not name.startswith("layer1.")}, (
            "the statistics of its batch norm stay, those of the other follow"
        )

    def test_a_batch_norm_whose_statistics_do_not_match_goes_on_counting(self) -> None:
        student = Net()
        freeze(student, ["layer1.*.weight", "layer1.*.bias"])
        assert not any(parameter.requires_grad for parameter in student.layer1.parameters())
        assert student.layer1[1].training
        freeze(student, ["layer1.1"])
        assert not student.layer1[1].training
        assert student.layer2[1].training

    def test_a_batch_norm_that_was_handed_over_in_eval_mode_stays_so(self) -> None:
        student = Net()
        student.layer2[1].eval()
        freeze(student, ["layer1"])
        distiller = Distiller(student, None, "ce", example=EXAMPLE).train()
        assert isinstance(distiller.student, Net)
        assert not student.layer2[1].training
        assert student.head.training

    def test_a_student_that_is_all_in_eval_mode_learns_but_for_what_is_frozen(self) -> None:
        student = Net().eval()
        freeze(student, ["layer1"])
        assert student.layer2[1].training
        assert not student.layer1[1].training

    @pytest.mark.parametrize(
        ("pattern", "hint"),
        [
            ("layr1.*", "did you mean 'layer1'?"),
            ("head.wieght", "did you mean 'head.weight'?"),
            ("zzz", "its parts are 'embed', 'layer1', 'layer2', 'head'"),
        ],
    )
    def test_a_pattern_that_matches_nothing_is_refused(self, pattern: str, hint: str) -> None:
        with pytest.raises(LimbeckError) as error:
            freeze(Net(), ["head", pattern])
        assert str(error.value) == (
            f"training.freeze: no parameter of the student is called {pattern!r}; {hint}"
        )


def test_depths_count_the_stages_that_end_before() -> None:
    below, stages = depths(Net(), POINTS)
    assert stages == 3, "with the stem"
    assert {name.partition(".")[0]: depth for name, depth in below.items()} == {
        "embed": 0,
        "layer1": 1,
        "layer2": 2,
        "head": 3,
    }


class TestRates:
    def test_layers_learn_the_slower_the_lower_they_are(self) -> None:
        student = Net()
        optimizer = grouped(SGD(lr=0.1), student, POINTS, layer_decay=0.5)(student.parameters())
        found = rates_of(optimizer, student)
        expected = {"embed": 0.1 / 8, "layer1": 0.1 / 4, "layer2": 0.1 / 2, "head": 0.1}
        assert found == pytest.approx({name: expected[name.partition(".")[0]] for name in found})
        assert len(found) == len(list(student.parameters()))
        assert optimizer.param_groups[0]["lr"] == 0.1, "the rate that is shown"

    def test_the_first_pattern_counts_and_knows_no_decay(self) -> None:
        student = Net()
        make = grouped(SGD(lr=0.1), student, POINTS, rates={"*.bias": 0.7, "layer1": 0.2}, layer_decay=0.5)
        found = rates_of(make(student.parameters()), student)
        assert {found[name] for name in found if name.endswith("bias")} == {0.7}
        assert found["layer1.0.weight"] == 0.2
        assert found["layer2.0.weight"] == 0.05

    def test_parts_of_methods_learn_at_the_rate_of_the_optimizer(self) -> None:
        student, part = Net(), nn.Linear(2, 2)
        make = grouped(SGD(lr=0.1), student, POINTS, rates={"*": 0.3})
        optimizer = make([*student.parameters(), *part.parameters()])
        assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.3]
        assert [len(group["params"]) for group in optimizer.param_groups] == [
            2,
            len(list(student.parameters())),
        ]

    def test_a_rate_of_frozen_parameters_alone_is_refused(self) -> None:
        student = Net()
        freeze(student, ["layer1"])
        grouped(SGD(lr=0.1), student, POINTS, rates={"*.bias": 0.2})
        with pytest.raises(LimbeckError) as error:
            grouped(SGD(lr=0.1), student, POINTS, rates={"*.bias": 0.2, "layer1.0.*": 0.3})
        assert str(error.value) == (
            "training.rates: all parameters of the student that 'layer1.0.*' stands for are frozen; leave it "
            "out, or do not freeze them"
        )

    def test_without_any_the_optimizer_is_made_as_ever(self) -> None:
        make = SGD(lr=0.1)
        assert grouped(make, Net(), POINTS) is make

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            (
                {"rates": {"hed": 0.1}},
                "training.rates: no parameter of the student is called 'hed'; did you mean 'head'?",
            ),
            (
                {"layer_decay": 0.5},
                "training.layer_decay goes by the stages of the student, and Net has none that were found; "
                "name them with student.features={stages: [...]}",
            ),
        ],
    )
    def test_what_does_not_fit_is_refused(self, settings: dict[str, Any], message: str) -> None:
        with pytest.raises(LimbeckError) as error:
            grouped(SGD(), Net(), FeaturePoints(), **settings)
        assert str(error.value) == message


@pytest.mark.skipif(not hasattr(torch.optim, "Muon"), reason="torch before 2.9 has no Muon")
class TestMuon:
    def test_hidden_matrices_are_neither_embeddings_nor_heads(self) -> None:
        assert set(hidden_matrices(Net(), POINTS)) == {"layer1.0.weight", "layer2.0.weight"}
        assert set(hidden_matrices(Net(), FeaturePoints(embedding=POINTS.embedding))) == {
            "layer1.0.weight",
            "layer2.0.weight",
        }

    def test_they_alone_learn_by_it(self) -> None:
        student, part = Net(), nn.Linear(2, 2)
        optimizer = grouped(Muon(lr=0.02), student, POINTS)([*student.parameters(), *part.parameters()])
        first, second = optimizer.parts  # type: ignore[attr-defined]
        assert isinstance(first, torch.optim.Muon)
        assert isinstance(second, torch.optim.AdamW)
        assert rates_of(first, student).keys() == {"layer1.0.weight", "layer2.0.weight"}
        assert (
            len([p for group in second.param_groups for p in group["params"]])
            == len([*student.parameters(), *part.parameters()]) - 2
        )

    def test_it_has_layers_at_rates_of_their_own(self) -> None:
        student = Net()
        make = grouped(Muon(lr=0.02), student, POINTS, layer_decay=0.5)
        found = rates_of(make(student.parameters()), student)
        assert found["layer1.0.weight"] == found["layer1.1.bias"] == 0.005
        assert found["head.weight"] == 0.02

    def test_a_student_without_them_is_refused(self) -> None:
        student = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2, 2))
        with pytest.raises(LimbeckError, match=r"^muon is for the matrices between .* Sequential has none"):
            grouped(Muon(), student, FeaturePoints(embedding=Point("2", "input")))
