"""A Distiller in a lightning.Trainer: it ends with the weights of the plain loop."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import Setting, make_setting
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from limbeck import Distiller, LimbeckError
from limbeck.outputs import Batch
from plain_loop import EPOCHS, EVERYTHING, SGD, assert_same, loader_of, plain_loop, prepared

pytest.importorskip("lightning", reason="lightning is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")

HALVE = partial(StepLR, step_size=1, gamma=0.5)


def module_of(distiller: Distiller, **settings: Any) -> Any:
    from limbeck.integrations.lightning import DistillationModule

    return DistillationModule(distiller, SGD, **settings)


def trainer_in(folder: Path, **settings: Any) -> Any:
    import lightning

    return lightning.Trainer(
        accelerator="cpu",
        default_root_dir=folder,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **{"max_epochs": EPOCHS, **settings},
    )


def by_plain_loop(setting: Setting, objective: str, *, bf16: bool = False, **settings: Any) -> Distiller:
    distiller = prepared(setting, objective, loader_of(setting), precision="bf16" if bf16 else "fp32")
    plain_loop(distiller, loader_of(setting), bfloat16=bf16, **settings)
    return distiller


@pytest.mark.parametrize("objective", ["0.1*ce + 0.9*kd", EVERYTHING])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_it_ends_with_the_weights_of_the_plain_loop(objective: str, precision: str, tmp_path: Path) -> None:
    setting = make_setting()
    distiller, loader = setting.distiller(objective), loader_of(setting)
    trainer_in(tmp_path, precision=precision).fit(module_of(distiller, scheduler=HALVE), loader, loader)
    assert_same(distiller, by_plain_loop(setting, objective, bf16=precision != "32-true", halve=True))


def test_a_run_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    setting = make_setting()
    loader = loader_of(setting)
    trainer = trainer_in(tmp_path, max_epochs=1)
    trainer.fit(module_of(setting.distiller(EVERYTHING)), loader)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = setting.distiller(EVERYTHING)  # its phases are in the checkpoint
    trainer_in(tmp_path).fit(module_of(resumed), loader, ckpt_path=tmp_path / "half.ckpt")
    assert_same(resumed, by_plain_loop(setting, EVERYTHING))
    saved = torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[1] for name in saved} == {"student", "objective", "phases_done"}


def test_it_logs_the_terms_and_measures_the_student_alone(tmp_path: Path) -> None:
    setting = make_setting()
    distiller, loader = setting.distiller("0.1*ce + 0.9*kd"), loader_of(setting)
    module, trainer = module_of(distiller), trainer_in(tmp_path, max_epochs=1)
    trainer.fit(module, loader, loader)
    logged = trainer.callback_metrics
    assert logged["train_loss"] == pytest.approx(0.1 * logged["train_ce"] + 0.9 * logged["train_kd"])
    assert distiller.teacher is not None
    shown = distiller.teacher.shown

    (tested,) = trainer.test(module, loader, verbose=False)
    logits = torch.cat(trainer.predict(module, loader))
    assert distiller.teacher.shown == shown
    with torch.no_grad():
        assert torch.equal(logits, torch.cat([distiller.student.eval()(inputs) for inputs, _ in loader]))
    right = (logits.argmax(1) == setting.targets).float().mean().item()
    assert tested["test_top1"] == logged["val_top1"] == pytest.approx(right)
    assert tested["test_nll"] == pytest.approx(F.cross_entropy(logits, setting.targets).item())


def test_each_of_several_loaders_is_measured_by_itself(tmp_path: Path) -> None:
    setting = make_setting()
    module = module_of(setting.distiller("ce"))
    right = module(setting.inputs).argmax(1)
    sets = [TensorDataset(setting.inputs, right), TensorDataset(setting.inputs, (right + 1) % 5)]
    trainer = trainer_in(tmp_path)
    trainer.validate(module, [DataLoader(each) for each in sets], verbose=False)
    found = [trainer.callback_metrics[f"val_top1/dataloader_idx_{number}"] for number in range(2)]
    assert found == [1.0, 0.0]


def test_batches_of_limbeck_s_own_kinds(tmp_path: Path) -> None:
    setting = make_setting()
    whole = Batch(setting.inputs, setting.targets, torch.arange(len(setting.targets)))
    distillers = [setting.distiller("dkd + crd(size=8, dim=4)") for _ in range(2)]
    loader: Any = DataLoader([whole], batch_size=None)  # type: ignore[arg-type]
    trainer_in(tmp_path).fit(module_of(distillers[0]), loader)
    optimizer = distillers[1].optimizer(SGD)
    for step in range(EPOCHS):
        distillers[1].progress(step, step, step / EPOCHS)
        distillers[1](whole).backward()
        optimizer.step()
        optimizer.zero_grad()
    assert_same(*distillers)


def test_a_gradient_rule_is_refused() -> None:
    with pytest.raises(LimbeckError, match=r"needs losses\.backward\(\), and Lightning calls backward"):
        module_of(make_setting().distiller("rolewise(ce + kd)"))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lightning", None)
    monkeypatch.delitem(sys.modules, "limbeck.integrations.lightning", raising=False)
    with pytest.raises(LimbeckError, match=r"lightning .*limbeck\[lightning\]"):
        import limbeck.integrations.lightning  # noqa: F401
