"""DistillationTrainer with networks that label tokens: a row is a token with a label."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import SequentialSampler

from limbeck.outputs import UNLABELED, Batch

transformers: Any = pytest.importorskip("transformers", reason="transformers is not installed")
pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.usefixtures("own_accelerate")]


def bert(width: int) -> Any:
    config = transformers.BertConfig(
        vocab_size=17,
        hidden_size=width,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=width,
        max_position_embeddings=16,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
        initializer_range=0.5,
        num_labels=5,
    )
    with torch.random.fork_rng():
        torch.manual_seed(width)
        return transformers.BertForTokenClassification(config)


def sentences() -> list[dict[str, Tensor]]:
    """Eight sentences, of which a different number of tokens has a label."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 17, (8, 6), generator=generator)
    labels = torch.randint(5, (8, 6), generator=generator)
    labels[torch.arange(6) >= torch.arange(1, 9).clamp(max=5)[:, None]] = UNLABELED
    mask = torch.ones_like(tokens)
    return [
        {"input_ids": row, "attention_mask": ones, "labels": tags}
        for row, ones, tags in zip(tokens, mask, labels, strict=True)
    ]


def trained(folder: Path, size: int, accumulation: int) -> Any:
    from limbeck.integrations.transformers import DistillationTrainer

    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        use_cpu=True,
        report_to=[],
        disable_tqdm=True,
        num_train_epochs=2,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=accumulation,
        lr_scheduler_type="constant",
        max_grad_norm=0.0,
        save_strategy="no",
        logging_strategy="no",
    )
    trainer = DistillationTrainer(
        model=bert(8),
        args=arguments,
        train_dataset=sentences(),
        teacher=bert(16),
        objective="0.5*ce + 0.5*kd(temperature=2)",
        optimizer_cls_and_kwargs=(torch.optim.SGD, {"lr": 0.1}),
    )
    trainer._get_train_sampler = lambda *_: SequentialSampler(range(len(sentences())))  # type: ignore[method-assign]
    trainer.train()
    return trainer


def test_the_task_is_that_of_the_student_and_the_loss_a_mean_over_labeled_tokens(tmp_path: Path) -> None:
    trainer = trained(tmp_path, 8, 1)
    distiller = trainer.distiller
    assert distiller.task.name == "token_classification"
    columns = transformers.default_data_collator(sentences())
    tags = columns.pop("labels")
    losses = distiller(Batch(columns, tags))
    ours, theirs = distiller.student(**columns).logits, distiller.teacher.network(**columns).logits
    known = tags != UNLABELED
    ce = F.cross_entropy(ours[known], tags[known])
    kd = 4 * F.kl_div((ours[known] / 2).log_softmax(1), (theirs[known] / 2).softmax(1), reduction="batchmean")
    torch.testing.assert_close(losses["ce"], ce)
    torch.testing.assert_close(losses["kd"], kd)


def test_accumulation_changes_nothing(tmp_path: Path) -> None:
    whole, pieces = trained(tmp_path / "whole", 8, 1), trained(tmp_path / "pieces", 2, 4)
    expected = whole.distiller.student.state_dict()
    for name, tensor in pieces.distiller.student.state_dict().items():
        torch.testing.assert_close(tensor, expected[name], rtol=1e-4, atol=1e-5)
    fresh = bert(8).state_dict()
    assert not torch.allclose(expected["classifier.weight"], fresh["classifier.weight"], atol=1e-2)
