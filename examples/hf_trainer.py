"""Distills a small BERT in `transformers.Trainer`: of 2,000 sentences, 80 have a label for it.

The sentences are made up: of their 10 words, the first 2 are of one of 8 subjects. Nothing is downloaded.
"""

from __future__ import annotations

import tempfile
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification as AutoModel
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

from limbeck.integrations.transformers import DistillationTrainer

SUBJECTS, WORDS = 8, 60  # words of each subject; a word is a token


def sentences(count: int, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    subject = torch.arange(count) % SUBJECTS
    tokens = torch.randint(SUBJECTS * WORDS, (count, 10), generator=generator)
    tokens[:, :2] = subject[:, None] * WORDS + torch.randint(WORDS, (count, 2), generator=generator)
    return [{"input_ids": ids, "labels": label} for ids, label in zip(tokens, subject, strict=True)]


def bert(width: int, layers: int) -> BertForSequenceClassification:
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=SUBJECTS * WORDS,
        hidden_size=width,
        num_hidden_layers=layers,
        num_attention_heads=2,
        intermediate_size=2 * width,
    )
    config.num_labels = SUBJECTS
    return BertForSequenceClassification(config)


def accuracy(found: Any) -> dict[str, float]:
    return {"accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())}


def main(folder: str, steps: int = 200) -> dict[str, float]:
    training, test = sentences(2000, seed=0), sentences(1000, seed=1)
    unlabeled = [{**sentence, "labels": torch.tensor(-100)} for sentence in training[80:]]
    arguments = TrainingArguments(
        output_dir=folder,
        max_steps=steps,
        per_device_train_batch_size=40,
        learning_rate=3e-3,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
    )
    teacher, student = bert(64, layers=2), bert(16, layers=1)
    alone = Trainer(bert(16, layers=1), arguments, train_dataset=training[:80], compute_metrics=accuracy)
    taught = Trainer(teacher, arguments, train_dataset=training, compute_metrics=accuracy)
    distilled = DistillationTrainer(
        student,
        arguments,
        train_dataset=training[:80] + unlabeled,
        compute_metrics=accuracy,
        teacher=teacher,
        objective="ce + kd(temperature=2)",
    )
    found = {}
    for name, trainer in {"teacher": taught, "student alone": alone, "distilled": distilled}.items():
        trainer.train()
        found[name] = trainer.evaluate(test)["eval_accuracy"]
        print(f"{name}: {found[name]:.1%} of the test sentences are right")
    distilled.save_model(folder)
    AutoModel.from_pretrained(folder)  # the student, an ordinary model
    return found


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(folder)
