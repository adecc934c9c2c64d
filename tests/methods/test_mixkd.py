from __future__ import annotations

import copy
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch
import torch.nn.functional as F
from method_setting import SAMPLES, make_setting
from token_networks import WordNet, tiny_bert
from torch import Tensor, nn

from limbeck import Batch, Distiller, data
from limbeck.data import Loader
from limbeck.errors import LimbeckError
from limbeck.losses import kd, mixkd
from limbeck.methods import MixKD
from limbeck.methods.declarations import Networks
from limbeck.models.textcnn import TextCNN
from limbeck.models.transformer import Transformer
from limbeck.outputs import UNLABELED, Mixture, Progress
from limbeck.teachers import CachedTeacher

TARGETS = torch.tensor([0, 2, 1, 0, UNLABELED])


def texts(seed: int = 0, length: int = 6) -> dict[str, Tensor]:
    """Five texts of at most so many tokens."""
    lengths = torch.tensor([length, 4, 2, 5, 1]).clamp(max=length)
    mask = (torch.arange(length) < lengths[:, None]).long()
    generator = torch.Generator().manual_seed(seed)
    return {"input_ids": torch.randint(1, 20, mask.shape, generator=generator) * mask, "attention_mask": mask}


def method_of(distiller: Distiller) -> MixKD:
    return next(method for method in distiller.objective.wrapped if isinstance(method, MixKD))


def pairs_of(distiller: Distiller, batch: Batch) -> list[tuple[int, int, float]]:
    """Each sample with its partner and its own share."""
    partners, shares = method_of(distiller)._pairs(batch)
    return list(zip(range(len(batch)), partners.tolist(), shares.tolist(), strict=True))


def spelled_out(
    network: nn.Module, path: str, inputs: dict[str, Tensor], pairs: list[tuple[int, int, float]]
) -> Tensor:
    """The network's answers to mixtures: each position of each is a word of its own in another vocabulary."""
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    words = cast(nn.Embedding, network.get_submodule(path)).weight
    rows = []
    for own, other, share in pairs:
        for place in range(ids.shape[1]):
            row = torch.zeros_like(words[0])
            for text, part in ((own, share), (other, 1 - share)):
                if mask[text, place]:
                    row = row + part * words[ids[text, place]]
            rows.append(row)
    made = copy.deepcopy(network)
    parent, _, name = path.rpartition(".")
    setattr(
        made.get_submodule(parent), name, nn.Embedding(len(rows), len(rows[0]), _weight=torch.stack(rows))
    )
    union = torch.stack([mask[own] | mask[other] for own, other, _ in pairs])
    answer = made(input_ids=torch.arange(ids.numel()).view_as(ids), attention_mask=union)
    return cast(Tensor, answer if isinstance(answer, Tensor) else answer.logits)


def expected(
    ours: Tensor, theirs: Tensor, targets: Tensor, pairs: list[tuple[int, int, float]]
) -> dict[str, float]:
    """The two terms from the answers to the mixtures."""
    entropy, logs = 0.0, ours.log_softmax(1)
    for row, (own, other, share) in enumerate(pairs):
        for text, part in ((own, share), (other, 1 - share)):
            if targets[text] != UNLABELED:
                entropy -= part * logs[row, targets[text]].item()
    return {"teacher_mixup": (ours - theirs).square().mean().item(), "student_mixup": entropy / len(ours)}


def test_the_distance_is_that_of_logits_or_a_divergence() -> None:
    ours, theirs = torch.randn(3, 4, dtype=torch.float64), torch.randn(3, 4, dtype=torch.float64)
    naive = sum((x - y) ** 2 for x, y in zip(ours.flatten().tolist(), theirs.flatten().tolist(), strict=True))
    assert mixkd(ours, theirs).item() == pytest.approx(naive / 12, rel=1e-12)
    torch.testing.assert_close(mixkd(ours, theirs, "kd", 3.0), kd(ours, theirs, 3.0))


@pytest.mark.parametrize("share", ["sample", "batch"])
def test_pixels_are_mixed_themselves(share: str) -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller(f'mixkd(share="{share}", teacher_mixup=0.5, student_mixup=2)').eval()
    targets = setting.targets.clone()
    targets[3] = UNLABELED
    distiller.progress(4, 0, 0.0)
    losses = distiller(setting.inputs, targets)
    pairs = pairs_of(distiller, Batch(setting.inputs, progress=Progress(4)))
    assert len({share for _, _, share in pairs}) == (SAMPLES if share == "sample" else 1)
    assert sorted(other for _, other, _ in pairs) == list(range(SAMPLES))
    pixels = torch.stack(
        [part * setting.inputs[own] + (1 - part) * setting.inputs[other] for own, other, part in pairs]
    )
    with torch.no_grad():
        naive = expected(distiller.student(pixels), setting.teacher.eval()(pixels), targets, pairs)
    found = {name.removeprefix("mixkd."): value.item() for name, value in losses.items()}
    assert found == pytest.approx(naive, rel=1e-6)  # a share is of float32
    total = 0.5 * naive["teacher_mixup"] + 2 * naive["student_mixup"]
    assert losses.total.item() == pytest.approx(total, rel=1e-6)
    assert losses.task is not None
    assert losses.task.item() == pytest.approx(2 * naive["student_mixup"], rel=1e-6)


NETWORKS = {
    "textcnn": ("embedding", lambda: TextCNN(6, 4, vocab_size=20, num_classes=3)),
    "transformer": ("embedding", lambda: Transformer(8, 2, 2, vocab_size=20, num_classes=3)),
    "bert": ("bert.embeddings.word_embeddings", lambda: tiny_bert(2, 8)),
}


@pytest.mark.parametrize(
    ("student", "teacher"), [("textcnn", "transformer"), ("transformer", "bert"), ("bert", "bert")]
)
def test_of_texts_each_network_mixes_the_embeddings_that_it_has(student: str, teacher: str) -> None:
    torch.manual_seed(0)
    (ours, make), (theirs, make_teacher) = NETWORKS[student], NETWORKS[teacher]
    inputs = texts()
    distiller = Distiller(make(), make_teacher(), "mixkd", example=inputs).double().eval()  # type: ignore[no-untyped-call]
    distiller.progress(4, 0, 0.0)
    losses = distiller(inputs, TARGETS)
    pairs = pairs_of(distiller, Batch(inputs, progress=Progress(4)))
    assert distiller.teacher is not None
    with torch.no_grad():
        naive = expected(
            spelled_out(distiller.student, ours, inputs, pairs),
            spelled_out(cast(nn.Module, distiller.teacher.network), theirs, inputs, pairs),
            TARGETS,
            pairs,
        )
    found = {name.removeprefix("mixkd."): value.item() for name, value in losses.items()}
    assert found == pytest.approx(naive, rel=1e-6)
    losses.backward()
    words = cast(nn.Embedding, distiller.student.get_submodule(ours)).weight
    assert words.grad is not None
    assert words.grad[inputs["input_ids"][1, 0]].abs().sum() > 0


def test_a_teacher_with_other_tokens_mixes_its_own_of_the_same_two_texts() -> None:
    torch.manual_seed(0)
    inputs, others = texts(), texts(seed=1, length=9)
    network = WordNet(6)
    distiller = Distiller(WordNet(4), network, "mixkd", example=inputs, teacher_example=others).eval()
    batch = Batch(inputs, TARGETS, progress=Progress(2), teacher_inputs={"teacher": others})
    losses = distiller(batch)
    pairs = pairs_of(distiller, batch)
    with torch.no_grad():
        naive = expected(
            spelled_out(distiller.student, "words", inputs, pairs),
            spelled_out(network, "words", others, pairs),
            TARGETS,
            pairs,
        )
    found = {name.removeprefix("mixkd."): value.item() for name, value in losses.items()}
    assert found == pytest.approx(naive, rel=1e-4)


def test_views_that_others_make_of_what_the_student_reads_are_refused_as_ever() -> None:
    setting = make_setting()
    distiller = setting.distiller("ce + r2kd + mixkd")
    others = {"teacher": setting.inputs}
    batch = Batch(setting.inputs, setting.targets, progress=Progress(), teacher_inputs=others)
    with pytest.raises(
        LimbeckError, match=r"further views \(mixed\) are made of what the student reads, and"
    ):
        distiller(batch)


def mixtures(arguments: str, steps: list[int]) -> list[Mixture]:
    torch.manual_seed(0)
    method = method_of(Distiller(WordNet(4), WordNet(6), f"ce + mixkd({arguments})", example=texts()))
    made = []
    for step in steps:
        batch = method.collect(
            Batch(texts(), view=torch.zeros(5), progress=Progress(step)), Networks(WordNet(4), {})
        )
        made.append(cast(Mixture, batch.views["mixture"]))
    return made


def test_the_draw_is_a_function_of_seed_and_step() -> None:
    first, again, other = mixtures("", [3, 3, 5])
    assert torch.equal(first.shares, again.shares)
    assert torch.equal(first.ids, again.ids)
    assert not torch.equal(first.shares, other.shares)
    assert not torch.equal(first.ids, other.ids)


def test_without_a_distance_no_teacher_is_needed_and_without_labels_none_are_read() -> None:
    setting = make_setting()
    alone = Distiller(setting.student, None, "mixkd(teacher_mixup=0)", example=setting.inputs[:2])
    alone.progress(0, 0, 0.0)
    assert list(alone(setting.inputs, setting.targets)) == ["mixkd.student_mixup"]
    unlabeled = setting.distiller('mixkd(student_mixup=0, distance="kd", temperature=2)')
    unlabeled.progress(0, 0, 0.0)
    losses = unlabeled(setting.inputs)
    assert list(losses) == ["mixkd.teacher_mixup"]
    assert losses.total.isfinite()


def test_a_cache_answers_for_the_samples_and_the_network_for_their_mixtures(tmp_path: Path) -> None:
    setting = make_setting()
    source = data.from_tensors((255 * setting.inputs).to(torch.uint8), setting.targets, validation=None)
    cached = CachedTeacher(setting.teacher, source, ("logits",), directory=tmp_path)
    found = []
    for teacher in (cached, make_setting().teacher):
        with torch.random.fork_rng():
            torch.manual_seed(0)
            distiller = Distiller(
                make_setting().student, teacher, "mixkd", example=source.example(), data=source
            )
        shown = []
        for epoch in range(3):
            loader = Loader(source.train, 8)
            loader.set_epoch(epoch)
            distiller.progress(epoch, epoch, 0.0)
            losses = [distiller(batch) for batch in loader]
            shown.append(cached.shown)
        found.append([{name: value.item() for name, value in each.items()} for each in losses])
        if teacher is cached:
            asked = [later - earlier for earlier, later in pairwise(shown)]
            assert asked == [SAMPLES, SAMPLES], "the mixtures alone, once the samples are known"
    assert found[0] == [pytest.approx(each, rel=1e-6) for each in found[1]], "and they are not rounded"


def test_several_teachers_have_mixtures_of_their_own() -> None:
    torch.manual_seed(0)
    teachers = {"big": WordNet(6), "small": WordNet(3)}
    objective = 'mixkd(teacher="big") + mixkd(teacher="small", student_mixup=0)'
    distiller = Distiller(WordNet(4), teachers, objective, example=texts())
    distiller.progress(0, 0, 0.0)
    losses = distiller(texts(), TARGETS)
    assert list(losses) == ["mixkd.teacher_mixup", "mixkd.student_mixup", "mixkd_2.teacher_mixup"]


def test_an_objective_mixes_once_for_each_teacher() -> None:
    message = "mixkd draws a further view 'mixture' of each sample, and an objective can have it only once"
    with pytest.raises(LimbeckError, match=message):
        make_setting().distiller("mixkd + mixkd(alpha=1)")


class OneHot(nn.Module):
    """A network that takes token ids without an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.classifier = nn.Linear(20, 3)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return self.classifier(F.one_hot(input_ids, 20).float().mean(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize(("student", "teacher"), [(OneHot(), WordNet(4)), (WordNet(4), OneHot())])
def test_a_network_without_an_embedding_is_refused_when_it_is_bound(
    student: nn.Module, teacher: nn.Module
) -> None:
    with pytest.raises(LimbeckError, match="found no embedding of tokens to mix in OneHot"):
        Distiller(student, teacher, "mixkd", example=texts())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("alpha=2", "mixkd: the argument alpha=2"),
        ("temperature=2", 'the distance "mse" has no temperature; leave it out, or write distance="kd"'),
        ("teacher_mixup=0, student_mixup=0", "nothing is left; give one a weight"),
        ('share="pair"', "'sample' or 'batch'"),
    ],
)
def test_arguments_that_it_refuses(arguments: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        make_setting().distiller(f"ce + mixkd({arguments})")


def test_it_serves_tasks_with_one_decision_for_each_sample() -> None:
    arguments: dict[str, Any] = {"example": texts(), "task": "multilabel"}
    with pytest.raises(LimbeckError, match="mixkd is for tasks with one decision for each sample"):
        Distiller(WordNet(4), WordNet(6), "mixkd", **arguments)
