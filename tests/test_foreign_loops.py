"""A Distiller in loops that limbeck did not write: they end with the weights of the plain loop."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import CLASSES, SAMPLES, Setting, make_setting
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

import limbeck
from limbeck import Distiller
from limbeck.methods import Losses
from limbeck.outputs import Inputs
from two_processes import run_in_two_processes

SGD = partial(torch.optim.SGD, lr=0.05, momentum=0.9)
EVERYTHING = "ce + kd + 0.5*projected + 0.1*adversarial"  # phases, parts of its own, an optimizer of its own
EPOCHS = 2


def prepared(setting: Setting, objective: str) -> Distiller:
    distiller = setting.distiller(objective)
    limbeck.prepare(distiller, [(setting.inputs, setting.targets)], display=False, device="cpu")
    return distiller


def loader_of(setting: Setting, size: int = 4) -> DataLoader[tuple[Tensor, ...]]:
    return DataLoader(TensorDataset(setting.inputs, setting.targets), batch_size=size)


def plain_loop(
    distiller: Distiller,
    batches: Iterable[tuple[Inputs, Tensor]],
    *,
    epochs: int = EPOCHS,
    halve: bool = False,
    bfloat16: bool = False,
) -> list[float]:
    """The loop of the README, with what the other loops may do besides: halve the rate, run in bfloat16."""
    optimizer = distiller.optimizer(SGD)
    schedule = StepLR(optimizer, step_size=1, gamma=0.5) if halve else None
    totals = []
    for _ in range(epochs):
        for inputs, targets in batches:
            with torch.autocast("cpu", torch.bfloat16) if bfloat16 else nullcontext():
                losses = distiller(inputs, targets)
            losses.backward()
            optimizer.step()
            optimizer.zero_grad()
            totals.append(losses.total.item())
        if schedule:
            schedule.step()
    return totals


def assert_same(first: nn.Module, second: nn.Module) -> None:
    ours, theirs = first.state_dict(), second.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


# Plain PyTorch


def test_a_plain_loop_learns() -> None:
    setting = make_setting()
    inputs = 0.2 * setting.inputs + setting.targets[:, None, None, None] / CLASSES  # a class is a brightness
    batches = [(inputs, setting.targets)]
    plain_loop(Distiller(setting.teacher, example=inputs), batches, epochs=100)
    distiller = setting.distiller("0.1*ce + 0.9*kd(temperature=4)")
    totals = plain_loop(distiller, batches, epochs=100)
    assert totals[-1] < 0.05 * totals[0]
    answers = [network.eval()(inputs).argmax(1) for network in (distiller.student, setting.teacher)]
    assert torch.equal(*answers)
    assert torch.equal(answers[0], setting.targets)


def test_a_plain_loop_hides_nothing() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller("0.1*ce + 0.9*kd(temperature=4)")
    plain_loop(distiller, [(setting.inputs, setting.targets)], epochs=5)

    student, teacher = setting.student.train(), setting.teacher.eval()
    optimizer = SGD(student.parameters())
    soft = (teacher(setting.inputs).detach() / 4).softmax(1)
    for _ in range(5):
        logits = student(setting.inputs)
        log_ratio = soft.log() - (logits / 4).log_softmax(1)
        loss = F.cross_entropy(logits, setting.targets) * 0.1 + (soft * log_ratio).sum(1).mean() * 16 * 0.9
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    theirs = distiller.student.state_dict()
    for name, tensor in student.state_dict().items():
        torch.testing.assert_close(theirs[name], tensor, rtol=1e-9, atol=1e-12)


# Lightning


def lightning_module(distiller: Distiller, *, halve: bool = False) -> Any:
    import lightning

    class Distillation(lightning.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.distiller = distiller

        def training_step(self, batch: tuple[Tensor, Tensor], number: int) -> Tensor:
            losses = self.distiller(*batch)
            self.log_dict(dict(losses))
            total: Tensor = losses.total
            return total

        def validation_step(self, batch: tuple[Tensor, Tensor], number: int) -> None:
            assert not self.distiller.student.training
            self.log("accuracy", (self.distiller.student(batch[0]).argmax(1) == batch[1]).float().mean())

        def configure_optimizers(self) -> Any:
            optimizer = self.distiller.optimizer(SGD)
            return ([optimizer], [StepLR(optimizer, step_size=1, gamma=0.5)]) if halve else optimizer

    return Distillation()


def lightning_trainer(folder: Path, **settings: Any) -> Any:
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("objective", ["0.1*ce + 0.9*kd", EVERYTHING])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_in_a_lightning_module(objective: str, precision: Any, tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed")
    setting = make_setting()
    loader = loader_of(setting)
    distiller, expected = prepared(setting, objective), prepared(setting, objective)
    module = lightning_module(distiller, halve=True)
    lightning_trainer(tmp_path, precision=precision).fit(module, loader, loader)
    plain_loop(expected, loader, halve=True, bfloat16=precision != "32-true")
    assert_same(distiller, expected)


@pytest.mark.filterwarnings("ignore")
def test_a_lightning_run_resumes_from_its_checkpoint(tmp_path: Path) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed")
    setting = make_setting()
    loader = loader_of(setting)
    whole = prepared(setting, EVERYTHING)
    lightning_trainer(tmp_path).fit(lightning_module(whole), loader)

    trainer = lightning_trainer(tmp_path, max_epochs=1)
    trainer.fit(lightning_module(prepared(setting, EVERYTHING)), loader)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    resumed = setting.distiller(EVERYTHING)  # its phases are in the checkpoint
    lightning_trainer(tmp_path).fit(lightning_module(resumed), loader, ckpt_path=tmp_path / "half.ckpt")
    assert_same(resumed, whole)
    saved = torch.load(tmp_path / "half.ckpt", weights_only=True)["state_dict"]
    assert {name.split(".")[1] for name in saved} == {"student", "objective", "phases_done"}


# Hugging Face


@pytest.fixture
def _own_accelerate(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """TrainingArguments sets accelerate's precision for the whole process."""
    state = pytest.importorskip("accelerate.state")
    monkeypatch.setattr(os, "environ", dict(os.environ))
    yield
    state.AcceleratorState._reset_state(reset_partial_state=True)


def bert(width: int) -> nn.Module:
    import transformers

    config = transformers.BertConfig(  # type: ignore[call-arg]
        vocab_size=17,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=16,
        num_labels=CLASSES,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(width)
        network: nn.Module = transformers.BertForSequenceClassification(config)
    return network


def sentences() -> Any:
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 17, (SAMPLES, 8), generator=generator)
    valid = (torch.arange(8) < torch.randint(3, 9, (SAMPLES, 1), generator=generator)).long()
    return [
        {"input_ids": row * mask, "attention_mask": mask, "labels": torch.tensor(number % CLASSES)}
        for number, (row, mask) in enumerate(zip(tokens, valid, strict=True))
    ]


def hugging_face_trainer(distiller: Distiller, folder: Path, *, bf16: bool) -> Any:
    import transformers

    class DistillationTrainer(transformers.Trainer):
        def compute_loss(self, model: nn.Module, inputs: Any, *args: Any, **kwargs: Any) -> Tensor:
            labels = inputs.pop("labels")
            losses = model(inputs, labels)
            assert isinstance(losses, Losses)
            assert {value.dtype for value in losses.values()} == {torch.float32}
            return losses.total

        def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
            self.optimizer = distiller.optimizer(SGD)
            return self.optimizer

        def get_train_dataloader(self) -> Any:
            return DataLoader(sentences(), batch_size=4, collate_fn=self.data_collator)

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        bf16=bf16,
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=4,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    return DistillationTrainer(model=distiller, args=arguments, train_dataset=sentences())


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_own_accelerate")
@pytest.mark.parametrize("bf16", [False, True])
def test_in_a_hugging_face_trainer(bf16: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", reason="transformers is not installed")
    batches = list(DataLoader(sentences(), batch_size=4, collate_fn=transformers.default_data_collator))
    example = {name: tensor for name, tensor in batches[0].items() if name != "labels"}

    def make() -> Distiller:
        with torch.random.fork_rng():
            torch.manual_seed(0)
            distiller = Distiller(bert(8), bert(16), EVERYTHING, example=example)
        limbeck.prepare(distiller, batches, display=False, device="cpu")
        return distiller

    distiller, expected = make(), make()
    trainer = hugging_face_trainer(distiller, tmp_path, bf16=bf16)
    trainer.train()
    pairs = [({name: batch[name] for name in example}, batch["labels"]) for batch in batches]
    plain_loop(expected, pairs, bfloat16=bf16)
    assert_same(distiller, expected)

    trainer.save_model(str(tmp_path))
    again = make()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert_same(again, expected)


@pytest.mark.usefixtures("_own_accelerate")
def test_phases_keep_their_precision_where_accelerate_has_another() -> None:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    setting = make_setting()
    expected = prepared(setting, "ce + projected")
    AcceleratorState._reset_state(reset_partial_state=True)
    Accelerator(cpu=True, mixed_precision="bf16")
    assert_same(prepared(setting, "ce + projected"), expected)


# accelerate and DistributedDataParallel, in two processes


def halves(setting: Setting, rank: int, world: int) -> list[tuple[Tensor, Tensor]]:
    """This process's part of each batch of 8."""
    return [
        (inputs.chunk(world)[rank], targets.chunk(world)[rank]) for inputs, targets in loader_of(setting, 8)
    ]


def ddp_loop(rank: int, world: int, objective: str, unused: bool) -> dict[str, Tensor]:
    setting = make_setting(norm=False, dtype=torch.float64)
    distiller = prepared(setting, objective)
    wrapped = DistributedDataParallel(distiller, find_unused_parameters=unused)
    optimizer = distiller.optimizer(SGD)
    for _ in range(EPOCHS):
        for inputs, targets in halves(setting, rank, world):
            wrapped(inputs, targets).backward()
            optimizer.step()
            optimizer.zero_grad()
    return distiller.state_dict()


def accelerate_loop(rank: int, world: int, precision: str) -> dict[str, Tensor]:
    from accelerate import Accelerator
    from accelerate.state import AcceleratorState

    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(world)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}  # not used: the group is there already
    AcceleratorState._reset_state(reset_partial_state=True)
    accelerator = Accelerator(cpu=True, mixed_precision=precision)
    assert accelerator.num_processes == world
    setting = make_setting(norm=False)
    distiller = prepared(setting, EVERYTHING)
    dtypes = set()
    distiller.student.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    model, optimizer = accelerator.prepare(distiller, distiller.optimizer(SGD))
    assert isinstance(model, DistributedDataParallel)
    for _ in range(EPOCHS):
        for inputs, targets in halves(setting, rank, world):
            losses = model(inputs, targets)
            assert isinstance(losses, Losses)
            assert {value.dtype for value in losses.values()} == {torch.float32}
            accelerator.backward(losses.total)
            optimizer.step()
            optimizer.zero_grad()
    assert dtypes == {torch.bfloat16 if precision == "bf16" else torch.float32}
    return distiller.state_dict()


DDP = {"ce + kd": False, "ce + kd + 0.1*adversarial": False, "projected": True}
PRECISIONS = ("no", "bf16")


@pytest.fixture(scope="module")
def two() -> dict[str, list[dict[str, Tensor]]]:
    """What the loops end with, in each of two processes."""
    jobs: list[tuple[Callable[..., Any], tuple[Any, ...]]] = [
        *((ddp_loop, (objective, unused)) for objective, unused in DDP.items()),
        *((accelerate_loop, (precision,)) for precision in PRECISIONS),
    ]
    results = run_in_two_processes(jobs, paths=[Path(__file__).parent, *map(Path, sys.path)])
    return dict(zip([*DDP, *PRECISIONS], results, strict=True))


@pytest.mark.parametrize("objective", DDP)
def test_under_distributed_data_parallel(objective: str, two: dict[str, list[dict[str, Tensor]]]) -> None:
    setting = make_setting(norm=False, dtype=torch.float64)
    expected = prepared(setting, objective)
    before = copy.deepcopy(expected.student.state_dict())
    plain_loop(expected, loader_of(setting, 8))
    assert any(not torch.equal(t, before[name]) for name, t in expected.student.state_dict().items())
    for state in two[objective]:
        assert state.keys() == expected.state_dict().keys()
        for name, tensor in expected.state_dict().items():
            torch.testing.assert_close(state[name], tensor, rtol=1e-9, atol=1e-12, msg=name)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_prepared_by_accelerate(precision: str, two: dict[str, list[dict[str, Tensor]]]) -> None:
    setting = make_setting(norm=False)
    expected = prepared(setting, EVERYTHING)
    plain_loop(expected, loader_of(setting, 8), bfloat16=precision == "bf16")
    first, second = two[precision]
    tolerance = 2e-2 if precision == "bf16" else 1e-4
    for name, tensor in expected.state_dict().items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=tolerance, atol=tolerance / 100, msg=name)
