"""Runs of networks that a package of networks makes; stand-ins for the packages make these."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from small_runs import QUICK, make_teacher

import limbeck
from limbeck.errors import LimbeckError
from limbeck.runs.network_record import read_card
from zoo_packages import Net, install


@pytest.fixture(autouse=True)
def _zoos(monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch)


def test_a_student_of_a_zoo_is_had_back_without_fetching_weights_again(tmp_path: Path) -> None:
    teacher = make_teacher(tmp_path / "teacher")
    run = limbeck.distill(
        student="timm:resnet18.a1(pretrained=true)", teacher=teacher, out=tmp_path / "run", **QUICK
    )
    assert run.config.student.model == "timm:resnet18.a1(pretrained=true)"
    card = read_card(run.path / "student.safetensors")
    assert card is not None
    assert card.model == "timm:resnet18.a1"
    loaded = limbeck.load(run)
    assert isinstance(loaded, Net)
    assert loaded.asked == {"name": "resnet18.a1"}
    again = limbeck.distill(student=str(run.path), teacher=teacher, out=tmp_path / "again", **QUICK)
    assert isinstance(limbeck.load(again), Net)
    with pytest.raises(LimbeckError, match=r"names the factory 'timm:resnet18\.a1', and a weights"):
        limbeck.load(run.path / "student.safetensors")


def test_an_assertion_of_the_network_is_a_mistake_of_the_user_s(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forward(network: Net, images: torch.Tensor) -> None:
        raise AssertionError("Input height (8) doesn't match model (224).")

    monkeypatch.setattr(Net, "forward", forward)
    with pytest.raises(LimbeckError) as caught:
        limbeck.train(model="timm:vit_tiny_patch16_224", out=tmp_path / "run", **QUICK)
    assert str(caught.value) == (
        "the student cannot take inputs of shape (1, 8, 8): Input height (8) doesn't match model (224)."
    )
    assert not (tmp_path / "run").exists()
