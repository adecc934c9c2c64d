from __future__ import annotations

import copy
import gc
import json
import weakref
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck import Batch, Distiller, LimbeckError, data
from limbeck.data import Loader, Source
from limbeck.data.preparation import Preparation
from limbeck.data.storage.base import Resident
from limbeck.methods import Method, Reads
from limbeck.models import Normalization, normalize_inputs
from limbeck.outputs import Outputs
from limbeck.teachers import CachedTeacher, LiveTeacher

BOTH = ("logits", "embedding")


class Net(nn.Module):
    """Two layers that count the samples they were asked about."""

    def __init__(self, seed: int = 0, width: int = 5, scale: float = 1.0) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(36, width), nn.ReLU())
            self.head = nn.Linear(width, 3)
        self.asked: list[int] = []
        self.scale = scale

    def forward(self, images: Tensor) -> Tensor:
        self.asked.append(len(images))
        logits: Tensor = self.scale * self.head(self.body(images))
        return logits


def source(seed: int = 0, views: str = "crop(padding=1)", size: int = 12) -> Source:
    images = torch.randint(
        0, 256, (size, 1, 6, 6), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return data.from_tensors(images, torch.arange(size) % 3, validation=None, views=views)


def opened(teacher: CachedTeacher, fields: Sequence[str] = ("logits",)) -> CachedTeacher:
    teacher.open(source().example(), fields)
    return teacher


def batches(of: Source, epoch: int = 0, **arguments: Any) -> list[Batch]:
    loader = Loader(of.train, 4, views=of.views, **arguments)
    loader.set_epoch(epoch)
    return list(loader)


def asked_about(network: nn.Module) -> int:
    """How many samples since the last time."""
    assert isinstance(network, Net)
    total = sum(network.asked)
    network.asked.clear()
    return total


def assert_same(a: Outputs, b: Outputs) -> None:
    assert list(a) == list(b)
    for field in a:
        assert torch.equal(a[field], b[field])


def test_it_is_asked_each_question_once(tmp_path: Path) -> None:
    network, of = Net(), source()
    teacher = opened(CachedTeacher(network, of, BOTH, directory=tmp_path), BOTH)
    live = LiveTeacher(copy.deepcopy(network))
    live.open(of.example(), BOTH)
    asked_about(network)
    for epoch, expected in ((0, 12), (0, 0)):
        for batch in batches(of, epoch):
            answer, true = teacher(batch), live(batch)
            assert list(answer) == ["logits", "embedding"]
            for field in BOTH:
                assert torch.equal(answer[field], true[field].half().float()), "a first answer is rounded too"
                assert not torch.equal(answer[field], true[field])
        assert asked_about(network) == expected
    another, unasked = opened(CachedTeacher(copy.deepcopy(network), of, BOTH, directory=tmp_path), BOTH), 0
    asked_about(another.network)
    for batch in batches(of):
        assert_same(another(batch), teacher(batch))
        unasked += asked_about(another.network)
    assert unasked == 0


def test_only_what_is_missing_is_asked_and_stays_where_it_belongs(tmp_path: Path) -> None:
    network, of = Net(), source()
    teacher = opened(CachedTeacher(network, of, directory=tmp_path))
    (batch, *_) = batches(of)
    asked_about(network)
    teacher(batch.map(lambda tensor: tensor[[1, 3]]))
    assert asked_about(network) == 2
    assert teacher.missing(*numbers(batch)).tolist() == [True, False, True, False]
    whole = teacher(batch)
    assert asked_about(network) == 2
    with torch.no_grad():
        torch.testing.assert_close(whole.logits, network(batch.inputs).half().float())


def numbers(batch: Batch) -> tuple[Tensor, Tensor]:
    assert batch.index is not None
    assert batch.view is not None
    return batch.index, batch.view


def test_a_field_that_is_there_is_not_written_again(tmp_path: Path) -> None:
    network, of = Net(), source()
    first = opened(CachedTeacher(network, of, directory=tmp_path))
    (batch, *_) = batches(of)
    logits = first(batch).logits
    (file,) = tmp_path.iterdir()
    before = file.read_bytes()
    both = opened(CachedTeacher(network, of, BOTH, directory=tmp_path), BOTH)
    assert torch.equal(both(batch).logits, logits)
    assert file.read_bytes() == before
    assert len(list(tmp_path.iterdir())) == 2
    asked_about(network)
    assert opened(CachedTeacher(network, of, directory=tmp_path)).missing(*numbers(batch)).sum() == 0
    assert opened(CachedTeacher(network, of, ("embedding",), directory=tmp_path), ("embedding",))(batch)


@pytest.mark.parametrize(
    "other",
    [
        lambda path: CachedTeacher(Net(1), source(), directory=path),
        lambda path: CachedTeacher(Net(), source(1), directory=path),
        lambda path: CachedTeacher(Net(), source(size=24), directory=path),
        lambda path: CachedTeacher(Net(), source(views="crop(padding=2)"), directory=path),
        lambda path: CachedTeacher(normalized(), source(), directory=path),
    ],
)
def test_another_teacher_data_policy_or_normalization_has_another_file(tmp_path: Path, other: Any) -> None:
    (batch, *_) = batches(source())
    opened(CachedTeacher(Net(), source(), directory=tmp_path))(batch)
    stranger = opened(other(tmp_path))
    assert stranger.missing(*numbers(batch)).all()
    stranger(batch)
    assert len(list(tmp_path.iterdir())) == 2


def normalized() -> nn.Module:
    return normalize_inputs(Net(), Normalization((0.5,), (0.25,)))


def test_another_precision_or_embedding_has_another_file(tmp_path: Path) -> None:
    teacher = opened(CachedTeacher(Net(), source(), BOTH, directory=tmp_path), BOTH)
    (batch, *_) = batches(source())
    full = teacher(batch)
    with torch.autocast("cpu", torch.bfloat16):
        assert teacher.missing(*numbers(batch)).all()
        half = teacher(batch)
        assert teacher.missing(*numbers(batch)).sum() == 0
    assert half.logits.dtype == torch.float32
    assert not torch.equal(full.logits, half.logits)
    assert_same(teacher(batch), full)
    features = {"embedding": "body.1"}
    other = opened(CachedTeacher(Net(), source(), BOTH, features=features, directory=tmp_path), BOTH)
    assert not torch.equal(other(batch).embedding, full.embedding)
    assert len(list(tmp_path.iterdir())) == 5, "the logits are shared"


def test_a_network_that_computes_something_else_with_the_same_weights_has_another_file(
    tmp_path: Path,
) -> None:
    (batch, *_) = batches(source())
    first = opened(CachedTeacher(Net(), source(), BOTH, directory=tmp_path), BOTH)(batch)
    mended = CachedTeacher(Net(scale=1.1), source(), BOTH, directory=tmp_path)
    second = opened(mended, BOTH)(batch)
    assert torch.equal(second.embedding, first.embedding)
    torch.testing.assert_close(second.logits, 1.1 * first.logits, rtol=2e-3, atol=1e-3)
    assert len(list(tmp_path.iterdir())) == 3, "the embedding is shared"
    network = Net()
    with torch.no_grad():
        network.head.bias.add_(0)  # as it was
    again = opened(CachedTeacher(network, source(), BOTH, directory=tmp_path), BOTH)
    asked_about(network)
    assert_same(again(batch), first)
    assert asked_about(network) == 0


def test_the_example_and_the_split_are_no_part_of_the_key(tmp_path: Path) -> None:
    of = source()
    first = opened(CachedTeacher(Net(), of, directory=tmp_path))
    (batch, *_) = batches(of)
    first(batch)
    part = replace(of, train=of.train.select(torch.arange(5, 12)))
    other = CachedTeacher(Net(), part, directory=tmp_path)
    other.open(torch.rand(3, 1, 6, 6), ("logits",))
    assert other.missing(*numbers(batch)).sum() == 0


def test_labels_and_names_are_no_part_of_the_key(tmp_path: Path) -> None:
    of = source()
    opened(CachedTeacher(Net(), of, directory=tmp_path))(batches(of)[0])
    assert isinstance(of.train.samples, Resident)
    noisy = data.from_tensors(
        of.train.samples.inputs, 2 - of.train.targets, validation=None, views="crop(padding=1)", name="noisy"
    )
    teacher = opened(CachedTeacher(Net(), noisy, directory=tmp_path))
    assert teacher.missing(*numbers(batches(of)[0])).sum() == 0


def test_a_batch_without_numbers_and_fields_that_are_not_kept_are_answered_live(tmp_path: Path) -> None:
    network, of = Net(), source()
    teacher = opened(CachedTeacher(network, of, directory=tmp_path))
    (batch, *_) = batches(of)
    with torch.no_grad():
        exact = network(batch.inputs)
    assert torch.equal(teacher(Batch(batch.inputs)).logits, exact)
    assert torch.equal(teacher(Batch(batch.inputs, index=batch.index)).logits, exact)
    assert list(tmp_path.iterdir()) == []
    teacher.open(of.example(), BOTH)
    assert teacher.cached == ()
    answer = teacher(batch)
    assert torch.equal(answer.logits, exact)
    assert answer.embedding.shape == (4, 5)
    assert list(tmp_path.iterdir()) == []


def test_the_network_is_let_go_of_and_made_again_when_it_is_asked(tmp_path: Path) -> None:
    made: list[Net] = []

    def make() -> Net:
        made.append(Net())
        return made[-1]

    teacher = opened(CachedTeacher(Net(), source(), rebuild=make, directory=tmp_path))
    teacher.release()
    teacher.apply(lambda tensor: tensor.double().float())
    (batch, other, _) = batches(source())
    first = teacher(batch)
    assert len(made) == 1
    teacher.release()
    assert_same(teacher(batch), first)
    assert len(made) == 1, "what is known needs no network"
    teacher(other)
    assert len(made) == 2
    assert teacher.network is made[1]
    assert len(made) == 2
    kept = opened(CachedTeacher(made[0], source(), directory=tmp_path))
    kept.release()
    assert kept.network is made[0], "one that cannot be made again stays"


def test_a_cold_run_lets_go_of_the_network_once_it_is_asked_nothing_more(tmp_path: Path) -> None:
    made: list[weakref.ref[Net]] = []

    def make() -> Net:
        network = Net()
        made.append(weakref.ref(network))
        return network

    of = source()
    teacher = opened(CachedTeacher(make(), of, views=1, rebuild=make, directory=tmp_path))
    held = []
    for epoch in range(3):
        for batch in batches(of, epoch, views_per_sample=1):
            teacher(batch)
        gc.collect()
        held.append([network() is not None for network in made])
    assert held == [[True], [False], [False]]


def test_a_network_is_made_again_as_it_was_first_made_whatever_the_step_is_in(tmp_path: Path) -> None:
    def make() -> Net:
        network = Net()
        network.head.weight = nn.Parameter(network.head.weight @ torch.eye(5) * 1.001)
        assert network.head(torch.rand(2, 5)).requires_grad
        return network

    teacher = opened(CachedTeacher(make(), source(), rebuild=make, directory=tmp_path))
    teacher.release()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        teacher(batches(source())[0])
        assert torch.is_autocast_enabled("cpu")
    assert not any(parameter.is_inference() for parameter in teacher.network.parameters())


def test_a_teacher_that_has_changed_meanwhile_is_an_error(tmp_path: Path) -> None:
    teacher = opened(CachedTeacher(Net(), source(), rebuild=lambda: Net(1), directory=tmp_path))
    teacher.release()
    with pytest.raises(LimbeckError, match="the teacher's weights on disk have changed since the run began"):
        teacher(batches(source())[0])


def test_what_cannot_be_kept_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(
        LimbeckError, match="a cache keeps logits, embedding and maps of a teacher, not 'stages'"
    ):
        CachedTeacher(Net(), source(), ("stages",), directory=tmp_path)
    large = opened(CachedTeacher(Net(scale=1e6), source(), directory=tmp_path))
    with pytest.raises(LimbeckError, match=r"logits holds numbers beyond 65,504, which float16 cannot"):
        large(batches(source())[0])
    teacher = opened(CachedTeacher(Net(), source(), directory=tmp_path))
    wrong = Batch(torch.rand(2, 1, 6, 6), index=torch.tensor([3, 12]), view=torch.tensor([0, 0]))
    with pytest.raises(LimbeckError, match=r"index of a batch runs from 3 to 12, but .* has 12 samples"):
        teacher(wrong)


def test_once_all_answers_are_there_they_are_read_on_the_device(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def on_the_device(batch: Batch) -> Outputs | None:
        with monkeypatch.context() as patch:
            patch.setattr(teacher._answers, "rows", lambda *given: pytest.fail("the host was asked"))
            return teacher(batch) if teacher._answers._tables.get("float32") else None

    monkeypatch.setattr("limbeck.teachers.device_table.room", lambda device: 10**6)
    of = source()
    teacher = opened(CachedTeacher(Net(), of, BOTH, views=2, directory=tmp_path), BOTH)
    epochs = [batches(of, epoch, views_per_sample=2) for epoch in range(12)]
    first = [[teacher(batch) for batch in epoch] for epoch in epochs]
    for batch in (batch for epoch in epochs for batch in epoch):
        teacher(batch)
    for epoch, answers in zip(epochs, first, strict=True):
        for batch, answer in zip(epoch, answers, strict=True):
            read = on_the_device(batch)
            assert read is not None
            assert_same(read, answer)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(teacher(epochs[0][0]).logits, first[0][0].logits)
    index, view = numbers(epochs[0][0])
    with pytest.raises(IndexError):
        teacher(Batch(epochs[0][0].inputs, index=index + 12, view=view))
    teacher.apply(lambda tensor: tensor)
    assert on_the_device(epochs[0][0]) is None, "it may have to go elsewhere"


def test_views_beyond_those_named_are_no_part_of_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("limbeck.teachers.device_table.room", lambda device: 10**6)
    of = source()
    teacher = opened(CachedTeacher(Net(), of, views=2, directory=tmp_path))
    seen: dict[tuple[int, int], Tensor] = {}
    for epoch in range(60):
        for batch in batches(of, epoch):
            answer = teacher(batch).logits
            for index, view, row in zip(*numbers(batch), answer, strict=True):
                known = seen.setdefault((int(index), int(view)), row)
                assert torch.equal(known, row)
    assert len(seen) == 12 * 9
    assert teacher._answers._tables["float32"]["logits"].shape == (12 * 9, 3)


# A network that reads another size


def large(of: Source, path: Path, name: str = "teacher") -> CachedTeacher:
    teacher = CachedTeacher(Wide(), of, BOTH, preparation=Preparation(8), directory=path)
    teacher.name = name
    teacher.open(of.example(preparation=Preparation(8)), BOTH)
    return teacher


class Wide(Net):
    """Reads 8 x 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.body[1] = nn.Linear(64, 5)


def test_a_network_is_asked_about_what_it_reads_in_its_own_size(tmp_path: Path) -> None:
    of = source()
    teacher = large(of, tmp_path, "big")
    network = teacher.network
    live = LiveTeacher(network)
    live.name = "big"
    live.open(of.example(preparation=Preparation(8)), BOTH)
    for batch in batches(of, teacher_preparations={"big": Preparation(8)}):
        answer, true = teacher(batch), live(batch)
        resized = nn.functional.interpolate(batch.inputs, 8, mode="bilinear", antialias=True)  # type: ignore[arg-type]
        with torch.no_grad():
            torch.testing.assert_close(true.logits, network(resized))
        assert torch.equal(answer.logits, true.logits.half().float())
        asked_about(network)
        assert_same(teacher(batch), answer)
        assert asked_about(network) == 0


def test_the_size_is_part_of_the_key_and_no_size_is_as_before(tmp_path: Path) -> None:
    of = source()
    (batch, *_) = batches(of, teacher_preparations={"teacher": Preparation(8)})
    opened(CachedTeacher(Net(), of, directory=tmp_path / "small"))(Batch(batch.inputs, None, *numbers(batch)))
    large(of, tmp_path / "large")(batch)
    plain, sized = (
        json.loads(next((tmp_path / size).iterdir()).read_bytes()[:4096])["key"]
        for size in ("small", "large")
    )
    assert "preparation" not in plain
    assert sized["preparation"] == "8 x 8 pixels"
    assert plain.keys() == sized.keys() - {"preparation"}


def test_a_batch_in_another_size_is_refused_and_nothing_is_kept_of_it(tmp_path: Path) -> None:
    teacher = large(source(), tmp_path)
    with pytest.raises(LimbeckError, match=r"teacher reads 8 x 8 pixels, and the batch holds 6 x 6 pixels"):
        teacher(batches(source())[0])
    assert list(tmp_path.iterdir()) == []


# In a Distiller


def distiller(teacher: Any, objective: str | Method = "ce + kd", **arguments: Any) -> Distiller:
    return Distiller(Net(7, 4), teacher, objective, example=source().example(), **arguments)


def test_a_distiller_takes_it_and_its_losses_agree_to_rounding(tmp_path: Path) -> None:
    of = source()
    cached, live = distiller(CachedTeacher(Net(), of, directory=tmp_path)), distiller(Net())
    for batch in batches(of):
        cold, warm, true = cached(batch), cached(batch), live(batch)
        assert torch.equal(cold.total, warm.total)
        assert cold.total.item() == pytest.approx(true.total.item(), rel=1e-4)
        assert cold.total.item() == cached(batch.inputs, batch.targets, batch.index, batch.view).total.item()


def test_a_distiller_that_is_evaluated_asks_the_network(tmp_path: Path) -> None:
    network, of = Net(), source()
    cached = distiller(CachedTeacher(network, of, directory=tmp_path))
    asked_about(network)
    for _ in range(2):
        cached.eval()(batches(of)[0])
        assert asked_about(network) == 4, "the numbers of a batch of other data would mean other samples"
    assert list(tmp_path.iterdir()) == []


def test_double_precision_stays(tmp_path: Path) -> None:
    teacher = CachedTeacher(Net().double(), source(), BOTH, directory=tmp_path)
    teacher.open(torch.rand(2, 1, 6, 6, dtype=torch.float64), BOTH)
    batch = batches(source())[0]
    answer = teacher(Batch(batch.inputs.double(), index=batch.index, view=batch.view))  # type: ignore[union-attr]
    assert answer.logits.dtype == answer.embedding.dtype == torch.float64


class Twice(Method):
    """Mean squared distance of the logits, of the view that all see and of a second one."""

    reads = Reads(student=("logits",), teacher=("logits",), views=("second",))

    def forward(self, student: Outputs, teacher: Outputs, batch: Batch) -> Tensor:
        pairs = ((student, teacher), (student.views["second"], teacher.views["second"]))
        first, second = ((ours.logits - theirs.logits).square().mean() for ours, theirs in pairs)
        return first + 2 * second


def test_further_views_are_cached_by_their_own_numbers(tmp_path: Path) -> None:
    network, of = Net(), source()
    cached = distiller(CachedTeacher(network, of, directory=tmp_path), Twice())
    asked_about(network)
    live = distiller(Net(), Twice())
    for batch in batches(of, extra_views=("second",)):
        cold = cached(batch)
        assert cold.total.item() == pytest.approx(live(batch).total.item(), rel=1e-3)
        asked_about(network)
        assert torch.equal(cached(batch).total, cold.total)
        assert asked_about(network) == 0


def test_what_is_trained_once_on_rounded_answers_is_kept_apart(tmp_path: Path) -> None:
    keys = set()
    for teacher in (Net(), CachedTeacher(Net(), source(), BOTH, directory=tmp_path)):
        made = distiller(teacher, "mgd(kd)", data=source())
        keys |= {phase.cache for _, phase in made.phases if phase.name == "low"}
    assert len(keys) == 2
    assert None not in keys


def test_a_copy_asks_the_same_files(tmp_path: Path) -> None:
    cached = distiller(CachedTeacher(Net(), source(), directory=tmp_path))
    batch = batches(source())[0]
    losses = cached(batch)
    twin = copy.deepcopy(cached)
    assert twin.teacher is not None
    asked_about(twin.teacher.network)  # type: ignore[arg-type]
    assert torch.equal(twin(batch).total, losses.total)
    assert asked_about(twin.teacher.network) == 0  # type: ignore[arg-type]
