"""DistillationTrainer: it ends with the weights of the plain loop, and hands over the student alone."""

from __future__ import annotations

import copy
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import CLASSES, SAMPLES
from safetensors.torch import load_file
from torch import Tensor, nn

import limbeck
from limbeck import Distiller, LimbeckError
from limbeck.data_facts import DataFacts
from limbeck.outputs import UNLABELED
from maps import Maps, Pixels, images
from plain_loop import EPOCHS, EVERYTHING, SGD, assert_same, plain_loop

transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("own_accelerate")]

KD = "0.1*ce + 0.9*kd(temperature=4)"


def bert(width: int, *, dropout: float = 0.0, **settings: Any) -> Any:
    config = transformers.BertConfig(
        vocab_size=17,
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=16,
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.5,
        **{"num_labels": CLASSES, **settings},
    )
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return transformers.BertForSequenceClassification(config)


def sentences(labels: Sequence[Any] | None = None) -> list[dict[str, Any]]:
    """Samples with these labels, with class ids, or with none for an empty sequence."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 17, (SAMPLES, 8), generator=generator)
    valid = (torch.arange(8) < torch.randint(3, 9, (SAMPLES, 1), generator=generator)).long()
    labels = [number % CLASSES for number in range(SAMPLES)] if labels is None else labels
    columns = [{"labels": label} for label in labels] or [{} for _ in tokens]
    return [
        {"input_ids": row * mask, "attention_mask": mask, **column}
        for row, mask, column in zip(tokens, valid, columns, strict=True)
    ]


def trainer_in(
    folder: Path,
    objective: str = KD,
    *,
    student: Any = None,
    teacher: Any = None,
    data: Any = None,
    distiller: dict[str, Any] | None = None,
    trainer: dict[str, Any] | None = None,
    **settings: Any,
) -> Any:
    """A trainer of SGD at a constant rate, like the plain loop's, unless settings say otherwise."""
    from limbeck.integrations.transformers import DistillationTrainer

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        **{
            "num_train_epochs": EPOCHS,
            "per_device_train_batch_size": 4,
            "lr_scheduler_type": "constant",
            "max_grad_norm": 0.0,
            "save_strategy": "no",
            "logging_strategy": "no",
            **settings,
        },
    )
    return DistillationTrainer(
        model=student or bert(8),
        args=arguments,
        train_dataset=sentences() if data is None else data,
        teacher=teacher or bert(16),
        objective=objective,
        distiller_kwargs=distiller,
        **{"optimizer_cls_and_kwargs": (torch.optim.SGD, SGD.keywords), **(trainer or {})},
    )


def batches_of(trainer: Any, epochs: int = EPOCHS) -> Iterator[tuple[dict[str, Tensor], Tensor]]:
    """The batches that the trainer draws, epoch by epoch."""
    for epoch in range(epochs):
        loader = trainer.get_train_dataloader()
        loader.set_epoch(epoch)
        for columns in loader:
            targets = columns.pop("labels", None)
            yield columns, targets


def by_hand(trainer: Any, objective: str, **settings: Any) -> Distiller:
    """A distiller like a trainer's of which nothing has been trained, with its phases done."""
    torch.manual_seed(trainer.args.seed)
    student, teacher = bert(8), bert(16)
    few = transformers.default_data_collator(sentences([])[:2])
    distiller = Distiller(student, teacher, objective, example=few, data=SAMPLES)
    limbeck.prepare(distiller, trainer.get_train_dataloader(), display=False, device="cpu", **settings)
    return distiller


# The weights of the plain loop


@pytest.mark.parametrize("objective", [KD, EVERYTHING])
@pytest.mark.parametrize("bf16", [False, True])
def test_it_ends_with_the_weights_of_the_plain_loop(objective: str, bf16: bool, tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, objective, bf16=bf16)
    expected = by_hand(trainer, objective, precision="bf16" if bf16 else "fp32")
    plain_loop(expected, list(batches_of(trainer)), epochs=1, bfloat16=bf16)
    trainer.train()
    assert_same(trainer.distiller, expected)


def test_with_the_trainer_s_own_optimizer_clipping_and_schedule(tmp_path: Path) -> None:
    trainer = trainer_in(
        tmp_path,
        EVERYTHING,
        trainer={"optimizer_cls_and_kwargs": None},
        learning_rate=1e-2,
        weight_decay=0.3,
        max_grad_norm=0.5,
        lr_scheduler_type="linear",
        optim="adamw_torch_fused",
    )
    expected = by_hand(trainer, EVERYTHING, precision="fp32")

    def adamw(parameters: Any) -> torch.optim.Optimizer:
        learning = set(parameters)
        named = [(name, each) for name, each in expected.named_parameters() if each in learning]
        plain = [each for name, each in named if "bias" not in name and "LayerNorm" not in name]
        others = [each for name, each in named if "bias" in name or "LayerNorm" in name]
        groups = [{"params": plain, "weight_decay": 0.3}, {"params": others, "weight_decay": 0.0}]
        return torch.optim.AdamW(groups, lr=1e-2, fused=True)

    optimizer = expected.optimizer(adamw)
    batches = list(batches_of(trainer))
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: 1 - step / len(batches))
    for inputs, targets in batches:
        expected(inputs, targets).backward()
        nn.utils.clip_grad_norm_(expected.parameters(), 0.5)
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    trainer.train()
    assert_same(trainer.distiller, expected)


@pytest.mark.parametrize("labels", ["all", "some", "none"])
def test_accumulation_is_the_whole_batch(labels: str, tmp_path: Path) -> None:
    """Two steps an epoch, of 3 + 3 + 3 samples and of 3 + 3 + 1."""
    given: dict[str, Sequence[Any] | None] = {
        "all": None,
        "some": [UNLABELED if number % 3 else number % CLASSES for number in range(SAMPLES)],
        "none": [],
    }
    objective, data = "kd" if labels == "none" else KD, sentences(given[labels])
    trainer = trainer_in(
        tmp_path, objective, data=data, per_device_train_batch_size=3, gradient_accumulation_steps=3
    )
    whole = trainer_in(tmp_path, objective, data=data, per_device_train_batch_size=9)
    assert_alike(trainer, whole, bert(8))


def assert_alike(trainer: Any, whole: Any, start: nn.Module) -> None:
    """Both end with the same weights, and these are not those of the start."""
    trainer.train()
    whole.train()
    ours, theirs, before = (each.state_dict() for each in (trainer.model, whole.model, start))
    assert max(float((tensor - before[name]).abs().max()) for name, tensor in theirs.items()) > 0.01
    for name, tensor in theirs.items():
        torch.testing.assert_close(ours[name], tensor, rtol=1e-4, atol=1e-5, msg=name)


def test_rows_count_where_samples_differ_in_them(tmp_path: Path) -> None:
    data = [{"images": each, "labels": target} for each, target in zip(*images(SAMPLES), strict=True)]
    batches: list[dict[str, Any]] = [
        {"per_device_train_batch_size": 3, "gradient_accumulation_steps": 3},
        {"per_device_train_batch_size": 9},
    ]
    trainer, whole = (
        trainer_in(
            tmp_path,
            "0.5*ce + 0.5*kd",
            student=Pixels(3),
            teacher=Pixels(6, seed=1),
            data=data,
            distiller={"task": Maps(("a", "b", "c"))},
            label_names=["labels"],
            **sizes,
        )
        for sizes in batches
    )
    assert_alike(trainer, whole, Pixels(3))


@pytest.mark.slow
def test_activation_checkpointing_changes_nothing(tmp_path: Path) -> None:
    plain, saving = (
        trainer_in(tmp_path, EVERYTHING, gradient_checkpointing=each, num_train_epochs=1)
        for each in (False, True)
    )
    plain.train()
    saving.train()
    assert_same(plain.distiller, saving.distiller)


# Checkpoints


def test_it_resumes_bit_for_bit_and_keeps_the_student_apart(tmp_path: Path) -> None:
    student, teacher = bert(8, dropout=0.3), bert(16)
    before = copy.deepcopy(teacher.state_dict())
    given: dict[str, Any] = {"save_strategy": "steps", "save_steps": 5}
    whole = trainer_in(tmp_path, EVERYTHING, student=student, teacher=teacher, **given)
    whole.train()
    assert all(torch.equal(tensor, before[name]) for name, tensor in teacher.state_dict().items())
    resumed = trainer_in(tmp_path, EVERYTHING, student=bert(8, dropout=0.3), **given)
    resumed.train(resume_from_checkpoint=str(tmp_path / "checkpoint-5"))
    assert_same(resumed.distiller, whole.distiller)

    folder = tmp_path / "checkpoint-5"
    assert load_file(folder / "model.safetensors").keys() == student.state_dict().keys()
    own = torch.load(folder / "limbeck.pt", weights_only=True)["parts"]
    assert {name.split(".")[0] for name in own} == {"objective", "phases_done"}
    with pytest.raises(LimbeckError, match=r"limbeck\.pt' is of the objective .*projected.*, not '0\.1\*ce"):
        trainer_in(tmp_path).train(resume_from_checkpoint=str(folder))
    (folder / "limbeck.pt").unlink()
    with pytest.raises(LimbeckError, match=r"limbeck\.pt' is missing, so no distillation can be resumed"):
        trainer_in(tmp_path, EVERYTHING).train(resume_from_checkpoint=str(folder))


def test_the_student_is_saved_alone(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path / "training", EVERYTHING, num_train_epochs=1)
    trainer.train()
    trainer.save_model(str(tmp_path / "student"))
    assert {path.name for path in (tmp_path / "student").iterdir()} == {
        "config.json",
        "model.safetensors",
        "training_args.bin",
    }
    loaded = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "student")
    assert_same(loaded, trainer.model)


# Evaluation and logs


def test_evaluation_is_of_the_student_alone(tmp_path: Path) -> None:
    trainer = trainer_in(
        tmp_path,
        num_train_epochs=1,
        trainer={"compute_metrics": lambda found: {"right": float((found[0].argmax(1) == found[1]).mean())}},
    )
    targets = torch.tensor([each["labels"] for each in sentences()])
    for _ in range(2):  # before and after training
        shown = trainer.distiller.teacher.shown
        found = trainer.evaluate(sentences())
        predictions = torch.tensor(trainer.predict(sentences([])).predictions)
        assert trainer.distiller.teacher.shown == shown
        inputs = transformers.default_data_collator(sentences([]))
        with torch.no_grad():
            logits = trainer.model.eval()(**inputs).logits
        torch.testing.assert_close(predictions, logits)
        assert found["eval_loss"] == pytest.approx(F.cross_entropy(logits, targets).item())
        assert found["eval_right"] == pytest.approx((logits.argmax(1) == targets).float().mean().item())
        trainer.train()


def test_evaluation_is_in_the_trainer_s_precision(tmp_path: Path) -> None:
    trainer = trainer_in(tmp_path, num_train_epochs=1, bf16=True)
    trainer.train()
    dtypes = set()
    trainer.model.classifier.register_forward_hook(lambda module, args, output: dtypes.add(output.dtype))
    trainer.evaluate(sentences())
    assert dtypes == {torch.bfloat16}


def test_it_logs_the_means_of_the_terms(tmp_path: Path) -> None:
    trainer = trainer_in(
        tmp_path,
        logging_strategy="steps",
        logging_steps=2,
        gradient_accumulation_steps=2,
    )
    trainer.train()
    logged = [line for line in trainer.state.log_history if "loss" in line]
    assert [line["step"] for line in logged] == [2, 4]
    for line in logged:
        assert line["loss"] == pytest.approx(0.1 * line["loss_ce"] + 0.9 * line["loss_kd"])
    assert logged[1]["loss_kd"] != logged[0]["loss_kd"]


# Labels and columns


def test_an_objective_without_labels_needs_none(tmp_path: Path) -> None:
    trainer_in(tmp_path, "kd", data=sentences([]), num_train_epochs=1).train()
    with pytest.raises(LimbeckError, match=r"needs labels, and the batches hold input_ids, attention_mask;"):
        trainer_in(tmp_path, KD, data=sentences([]))
    renamed = [{**each, "intent": torch.tensor(0)} for each in sentences([])]
    trainer_in(tmp_path, KD, data=renamed, label_names=["intent"], num_train_epochs=1).train()


@pytest.mark.parametrize(
    ("problem", "labels", "objective"),
    [
        ("multi_label_classification", [[1.0, 0.0, 1.0, 0.0, 0.0]] * SAMPLES, "0.5*ce + 0.5*kd"),
        ("regression", [[0.5, 1.0, 2.0, 3.0, 4.0]] * SAMPLES, "0.5*mse + 0.5*imitation"),
        ("regression", [0.5] * SAMPLES, "0.5*mse + 0.5*imitation"),
    ],
)
def test_the_task_is_the_config_s(problem: str, labels: Any, objective: str, tmp_path: Path) -> None:
    width = len(labels[0]) if isinstance(labels[0], list) else 1
    networks = [bert(size, num_labels=width, problem_type=problem) for size in (8, 16)]
    trainer = trainer_in(
        tmp_path,
        objective,
        student=networks[0],
        teacher=networks[1],
        data=sentences(labels),
        num_train_epochs=5,
    )
    assert trainer.distiller.task.name == {"regression": "regression"}.get(problem, "multilabel")
    before = trainer.evaluate(sentences(labels))["eval_loss"]
    trainer.train()
    assert trainer.evaluate(sentences(labels))["eval_loss"] < before


def test_a_column_of_positions(tmp_path: Path) -> None:
    data = [{**each, "index": number} for number, each in enumerate(sentences())]
    facts = DataFacts(SAMPLES, targets=torch.tensor([each["labels"] for each in sentences()]))
    crd: dict[str, Any] = {
        "objective": "ce + crd(size=8, dim=4)",
        "distiller": {"data": facts},
        "num_train_epochs": 1,
    }
    trainer_in(tmp_path, data=data, remove_unused_columns=False, **crd).train()
    with pytest.raises(LimbeckError, match="crd needs the index of the batch"):
        trainer_in(tmp_path, data=data, **crd).train()


# What is refused


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"label_smoothing_factor": 0.1}, r"write label_smoothing\(epsilon=\.\.\.\) in the objective"),
        ({"trainer": {"compute_loss_func": len}}, "compute_loss_func would be ignored"),
        ({"label_names": ["start", "end"]}, "a task has one column of targets, not start, end"),
        ({"objective": "rolewise(ce + kd)"}, "transformers.Trainer calls backward"),
        ({"objective": "ce + simkd(at='embedding')"}, "puts another network in the student's place"),
        ({"teacher": "named"}, "the outputs of the student are a, b, c, d, e, and those of the teacher E, D"),
    ],
)
def test_what_an_objective_cannot_follow_is_refused(
    given: dict[str, Any], message: str, tmp_path: Path
) -> None:
    if given.get("teacher"):
        names = [dict(enumerate(order)) for order in ("abcde", "EDCBA")]
        given = {"student": bert(8, id2label=names[0]), "teacher": bert(16, id2label=names[1])}
    with pytest.raises(LimbeckError, match=message):
        trainer_in(tmp_path, **given)


def test_a_ready_optimizer_serves_only_what_it_holds(tmp_path: Path) -> None:
    student = bert(8)
    ready = {"optimizers": (SGD(student.parameters()), None), "optimizer_cls_and_kwargs": None}
    with pytest.raises(LimbeckError, match="trains parts of its own, which the optimizer given by"):
        trainer_in(tmp_path, EVERYTHING, student=student, trainer=ready)
    trainer = trainer_in(tmp_path, student=student, trainer=ready)
    trainer.train()
    expected = trainer_in(tmp_path)
    expected.train()
    assert_same(student, expected.model)


def test_names_that_say_nothing_or_the_same_are_taken(tmp_path: Path) -> None:
    named = dict(enumerate("abcde"))
    trainer_in(tmp_path, student=bert(8, id2label=named))
    trainer_in(tmp_path, student=bert(8, id2label=named), teacher=bert(16, id2label=dict(enumerate("ABCDE"))))


def test_a_missing_package_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    monkeypatch.delitem(sys.modules, "limbeck.integrations.transformers", raising=False)
    with pytest.raises(LimbeckError, match=r"transformers .*limbeck\[hf\]"):
        import limbeck.integrations.transformers  # noqa: F401
