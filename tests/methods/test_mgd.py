from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from method_setting import ALL, Setting, make_setting, objective_of
from phase_runs import Killed, epochs_of_phases, run_to_the_end
from safetensors.torch import load_file
from torch import Tensor, nn

import limbeck
from detectors import TASK as DETECTION
from detectors import boxed_batch, detector
from limbeck import Batch, Distiller, Trainer
from limbeck.errors import LimbeckError
from limbeck.files import cache_directory
from limbeck.losses import dgkd, kd
from limbeck.methods import DataFacts
from limbeck.methods.mgd import MGD, Analyzer, encoder, stable_excitation
from limbeck.objective import parse
from limbeck.outputs import UNLABELED, Outputs
from limbeck.tasks.detection.places import assigned
from limbeck.training import phase_loops

REFERENCE = Path(__file__).parents[2].parent / "shared" / "reference"
reference = pytest.mark.skipif(not REFERENCE.exists(), reason="the reference values are not there")


@pytest.fixture
def inputs() -> dict[str, Tensor]:
    return load_file(REFERENCE / "loss-inputs.safetensors")


@pytest.fixture
def values() -> dict[str, float]:
    numbers: dict[str, float] = json.loads((REFERENCE / "loss-values.json").read_text())
    return numbers


@reference
def test_the_encoder_terms_are_the_public_code_s(inputs: dict[str, Tensor], values: dict[str, float]) -> None:
    low = kd(inputs["student_low"], inputs["teacher_low"], 2.0).item()
    high = kd(inputs["student_high"], inputs["teacher_high"], 8.0).item()
    assert low == pytest.approx(values["mgd_low_T2"], rel=2e-4)
    assert high == pytest.approx(values["mgd_high_T8"], rel=2e-4)


@reference
def test_stable_excitation_is_the_public_code_s(inputs: dict[str, Tensor], values: dict[str, float]) -> None:
    mean = stable_excitation(
        inputs["teacher_logits"], inputs["teacher_low_logits"], inputs["teacher_high_logits"]
    )
    found = kd(inputs["student_logits"], mean, 4.0).item()
    assert found == pytest.approx(values["mgd_stable_kd_T4"], rel=2e-4)


def test_shapes_of_the_analyzer_are_the_paper_s() -> None:
    analyzer = Analyzer(12, 4, 7)
    shapes = [tuple(p.shape) for name, p in analyzer.named_parameters() if name.endswith("weight")]
    assert shapes == [(12, 12), (4, 12), (12, 4), (7, 12)]
    code, logits = analyzer(torch.zeros(3, 12))
    assert code.shape == (3, 4)
    assert logits.shape == (3, 7)
    assert [tuple(p.shape) for p in encoder(5, 3).parameters()] == [(5, 5), (5,), (3, 5), (3,)]


def prepared(objective: str, setting: Setting | None = None) -> tuple[Distiller, Batch]:
    setting = setting or make_setting()
    distiller = setting.distiller(objective)
    batch = Batch(setting.inputs, setting.targets, torch.arange(len(setting.inputs)))
    limbeck.prepare(distiller, [batch], display=False, device="cpu")
    return distiller, batch


@pytest.mark.parametrize("scheme", ["granular", "stable"])
def test_the_terms_are_the_equations(scheme: str) -> None:
    distiller, batch = prepared(f'mgd(0.2*ce + 0.8*kd(temperature=3), scheme="{scheme}", epochs=3)')
    (method,) = distiller.objective.wrapped
    assert isinstance(method, MGD)
    losses = distiller(batch)
    assert list(losses) == ["mgd.ce", "mgd.kd", "mgd.low", "mgd.high"]

    with torch.no_grad():
        assert isinstance(batch.inputs, Tensor)
        embeddings = {}
        logits = {}
        for role, network in (("student", distiller.student), ("teacher", distiller.teacher.network)):  # type: ignore[union-attr]
            assert isinstance(network, nn.Module)
            embeddings[role] = network.stage2(network.stage1(batch.inputs)).mean((2, 3))  # type: ignore[operator]
            logits[role] = network(batch.inputs)
        shown = logits["teacher"]
        for name, temperature in (("low", 2.0), ("high", 8.0)):
            code = method.analyzers[name].encoder(embeddings["teacher"])  # type: ignore[operator]
            ours = method.encoders[name](embeddings["student"])
            p, q = (code / temperature).softmax(1), (ours / temperature).softmax(1)
            expected = temperature**2 * (p * (p / q).log()).sum(1).mean()
            assert losses[f"mgd.{name}"].item() == pytest.approx(expected.item(), rel=1e-4)
            shown = shown + method.analyzers[name].decoder(code)  # type: ignore[operator]
        seen = shown / 3 if scheme == "stable" else logits["teacher"]
        assert losses["mgd.kd"].item() == pytest.approx(kd(logits["student"], seen, 3.0).item(), rel=1e-4)
    total = 0.2 * losses["mgd.ce"] + 0.8 * losses["mgd.kd"] + losses["mgd.low"] + losses["mgd.high"]
    assert losses.total.item() == pytest.approx(total.item(), rel=1e-6)


@pytest.mark.parametrize("scheme", ["granular", "stable"])
def test_the_embeddings_of_encoders_enter_with_a_mean_square_of_1(scheme: str) -> None:
    distiller, batch = prepared(
        f'mgd(embedding_mse, scheme="{scheme}", low=3, high=4, epochs=3)', make_setting("contrastive")
    )
    (method,) = distiller.objective.wrapped
    assert isinstance(method, MGD)
    losses = distiller(batch)
    with torch.no_grad():
        networks = distiller.student, distiller.teacher.network  # type: ignore[union-attr]
        ours, theirs = (network(batch.inputs) for network in networks if network is not None)
        length = theirs.square().mean(1, keepdim=True).sqrt()
        shown = theirs
        for name, temperature in (("low", 2.0), ("high", 8.0)):
            analyzer = method.analyzers[name]
            assert isinstance(analyzer, Analyzer)
            code = analyzer.encoder(theirs / length)
            own = method.encoders[name](ours / ours.square().mean(1, keepdim=True).sqrt())
            assert losses[f"mgd.{name}"].item() == pytest.approx(kd(own, code, temperature).item(), rel=1e-4)
            shown = shown + length * analyzer.decoder(code)
        seen = shown / 3 if scheme == "stable" else theirs
        expected = (ours - seen).square().mean()
        assert losses["mgd.embedding_mse"].item() == pytest.approx(expected.item(), rel=1e-4)


def test_the_terms_of_encoders_are_the_same_for_embeddings_of_any_length() -> None:
    setting = make_setting("contrastive")
    distiller = setting.distiller("mgd(cosine, low=3, high=4)")
    (method,) = distiller.objective.wrapped
    student, teacher = torch.randn(2, 6, 5)
    batch = Batch(setting.inputs[:6])

    def terms(length: float) -> dict[str, Tensor]:
        ours, theirs = (Outputs(logits=length * it, embedding=length * it) for it in (student, teacher))
        return {name: term.value for name, term in method.terms(ours, theirs, batch).items()}

    for name, value in terms(1.0).items():
        torch.testing.assert_close(terms(0.05)[name], value)


def test_the_phases_of_encoders_give_the_embedding_back() -> None:
    distiller, _ = prepared("mgd(cosine, low=3, high=4, epochs=1)", make_setting("contrastive"))
    (method,) = distiller.objective.wrapped
    embedding = 0.05 * torch.randn(6, 5)
    phase = distiller.phases[1][1]
    terms = phase.loss(Outputs(), Outputs(embedding=embedding), Batch(embedding))
    entering = embedding / embedding.square().mean(1, keepdim=True).sqrt()
    assert isinstance(method, MGD)
    assert isinstance(terms, dict)
    expected = (method.analyzers["high"](entering)[1] - entering).square().mean()
    torch.testing.assert_close(terms["mse"], expected)


def test_the_phases_learn_labels_and_the_teacher_s_logits() -> None:
    setting = make_setting()
    distiller = setting.distiller("mgd(kd, epochs=40, lr=0.05)")
    (method,) = distiller.objective.wrapped
    assert isinstance(method, MGD)
    embedding = torch.randn(6, 8)
    teacher = Outputs(embedding=embedding, logits=torch.randn(6, 5))
    targets = torch.tensor([0, 1, 2, 3, 4, -100])
    (_, low), (_, high) = distiller.phases
    for phase, name, temperature in ((low, "low", 2.0), (high, "high", 8.0)):
        terms = phase.loss(Outputs(), teacher, Batch(embedding, targets))
        assert isinstance(terms, dict)
        _, logits = method.analyzers[name](embedding)
        expected = F.cross_entropy(logits[:5], targets[:5], reduction="sum") / 6
        torch.testing.assert_close(terms["ce"], expected)
        assert torch.equal(terms["kd"], kd(logits, teacher.logits, temperature))
        right = (logits.argmax(1) == targets)[:5].float().mean()
        assert terms["accuracy"].value == right
        assert phase.schedule is not None
        assert phase.schedule.at(20, 1, 40) == pytest.approx(0.1)
        assert phase.schedule.at(30, 1, 40) == pytest.approx(0.01)

    before = {key: value.clone() for key, value in method.analyzers.state_dict().items()}
    batch = Batch(setting.inputs, setting.targets)
    stages = phase_loops(distiller, lambda phase: lambda epoch: [batch] * 5)
    trainer = Trainer(display=False, device="cpu")
    lines: list[dict[str, Any]] = []
    trainer.history.add = lambda line: lines.append(dict(line))  # type: ignore[method-assign]
    trainer.fit(distiller, stages)
    assert [line["phase"] for line in lines] == ["mgd.low"] * 40 + ["mgd.high"] * 40
    for name in ("low", "high"):
        of_phase = [line["terms"] for line in lines if line["phase"] == f"mgd.{name}"]
        assert of_phase[-1]["total"] < of_phase[0]["total"]
        assert of_phase[-1][f"mgd.{name}.accuracy"] > of_phase[0][f"mgd.{name}.accuracy"]
    assert any(not torch.equal(before[key], value) for key, value in method.analyzers.state_dict().items())
    assert not any(parameter.requires_grad for parameter in method.analyzers.parameters())
    assert all(parameter.requires_grad for parameter in method.encoders.parameters())


def test_an_analyzer_is_reused_for_the_same_teacher_data_and_arguments_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path))
    setting = make_setting()
    batch = Batch(setting.inputs, setting.targets)

    def run(
        objective: str = "mgd(kd, epochs=3)", data: str | None = "a", seed: int = 0
    ) -> tuple[Distiller, int]:
        torch.manual_seed(seed)
        distiller = Distiller(
            make_setting().student,
            setting.teacher,
            objective,
            example=setting.inputs[:2],
            data=DataFacts(16, data),
        )
        return distiller, epochs_of_phases(distiller, batch, seed)

    first, steps = run()
    assert steps == 2 * (3 + 1)  # and once each for the length
    second, steps = run(seed=5)
    assert steps == 0
    parts = [next(iter(distiller.objective.wrapped)) for distiller in (first, second)]
    for key, value in parts[0].analyzers.state_dict().items():  # type: ignore[union-attr]
        assert torch.equal(value, parts[1].analyzers.state_dict()[key])  # type: ignore[union-attr]
    assert run(data="b")[1] > 0
    assert run("mgd(kd, epochs=2)")[1] > 0
    assert run("mgd(kd, epochs=3, low=16)")[1] > 0
    assert run(data=None)[1] > 0
    with torch.no_grad():
        setting.teacher.classifier.bias.add_(1)
    assert run()[1] > 0
    assert len(list((tmp_path / "phases").iterdir())) == 2 + 2 + 2 + 1 + 2  # high is shared where low differs


def test_the_seed_of_a_run_has_no_part_in_the_analyzer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []
    for seed in (0, 1):
        monkeypatch.setenv("LIMBECK_CACHE", str(tmp_path / str(seed)))
        torch.manual_seed(seed)
        setting = make_setting(dropout=0.5)
        distiller = Distiller(
            setting.student,
            setting.teacher,
            "mgd(kd, epochs=2)",
            example=setting.inputs[:2],
            data=DataFacts(16, "data"),
        )
        limbeck.prepare(
            distiller, [(setting.inputs, setting.targets)], display=False, device="cpu", seed=seed
        )
        found.append(next(iter(distiller.objective.wrapped)).analyzers.state_dict())  # type: ignore[union-attr]
    assert all(torch.equal(found[0][key], found[1][key]) for key in found[0])
    assert cache_directory() == tmp_path / "1"


def test_between_peers_the_terms_are_the_equations() -> None:
    setting = make_setting()
    distiller = setting.distiller("mgd(dml(peers=2))")
    assert not distiller.phases
    (method,) = distiller.objective.wrapped
    assert isinstance(method, MGD)
    distiller.eval()
    batch = Batch(setting.inputs, setting.targets)
    losses = distiller(batch)
    kinds = ["ce", "mutual", "low", "high"]
    names = [*kinds, *(f"peer{peer}.{kind}" for peer in (1, 2) for kind in kinds)]
    assert set(losses) == {f"mgd.{name}" for name in names}
    codes: dict[str, list[Tensor]] = {"low": [], "high": []}
    for place, network in enumerate([distiller.student, *method.base.peers]):  # type: ignore[misc]
        assert isinstance(network, nn.Module)
        embedding = network.stage2(network.stage1(setting.inputs)).mean((2, 3))  # type: ignore[operator]
        for name, found in codes.items():
            found.append(method.peer_encoders[place][name](embedding).detach())  # type: ignore[index]
    for place in range(3):
        for name, temperature in (("low", 2.0), ("high", 8.0)):
            others = [code for other, code in enumerate(codes[name]) if other != place]
            expected = sum(kd(codes[name][place], other, temperature).item() for other in others) / 2
            label = f"mgd.peer{place}.{name}" if place else f"mgd.{name}"
            assert losses[label].item() == pytest.approx(expected, rel=1e-4)
    losses["mgd.low"].backward()
    assert any(p.grad is not None for p in distiller.student.parameters())
    assert all(p.grad is None for p in method.base.parameters()), "the others do not follow"


def test_of_several_teachers_it_analyzes_the_one_it_names_and_shows_the_others_as_they_are() -> None:
    setting = make_setting()
    teachers = {name: copy.deepcopy(setting.named[name]) for name in ("small", "big")}
    base = 'kd(teacher="small") + kd(teacher="big") + dgkd(teachers=["small", "big"], drop=0)'
    distiller = Distiller(
        setting.student,
        teachers,
        f'mgd({base}, scheme="stable", epochs=2, teacher="big")',
        example=setting.inputs[:2],
    )
    batch = Batch(setting.inputs, setting.targets)
    limbeck.prepare(distiller, [batch], display=False, device="cpu")
    (method,) = distiller.objective.wrapped
    assert isinstance(method, MGD)
    losses = distiller(batch)
    with torch.no_grad():
        logits = {name: teacher(setting.inputs) for name, teacher in teachers.items()}
        embedding = teachers["big"].stage2(teachers["big"].stage1(setting.inputs)).mean((2, 3))
        decoded = [analyzer(embedding)[1] for analyzer in method.analyzers.values()]
        logits["big"] = stable_excitation(logits["big"], *decoded)
        ours = distiller.student(setting.inputs)
    expected = {name: kd(ours, shown) for name, shown in logits.items()}
    torch.testing.assert_close(losses["mgd.kd"], expected["small"])
    torch.testing.assert_close(losses["mgd.kd_2"], expected["big"])
    torch.testing.assert_close(losses["mgd.dgkd"], dgkd(ours, list(logits.values())))


def test_it_needs_a_teacher() -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match="mgd learns from a teacher"):
        Distiller(setting.student, None, "mgd(ce)", example=setting.inputs[:2])


@pytest.mark.parametrize(
    ("objective", "message"),
    [
        ("mgd(kd, scheme='steady')", "'granular' or 'stable'"),
        ("mgd(kd, low_temperature=0)", "greater than 0"),
        ("mgd(ce + dml)", r"write mgd\(dml\)"),
        ('mgd(dml, scheme="stable")', "no stable scheme"),
        ("mgd(3)", "base must be an objective"),
        ("mgd()", "missing a required argument: 'base'"),
    ],
)
def test_wrong_arguments(objective: str, message: str) -> None:
    setting = make_setting()
    with pytest.raises(LimbeckError, match=message):
        setting.distiller(objective)


NO_STABLE_SCHEME = {"dml": "mutual learning in the paper prepares nothing, so there is no stable scheme"}
"""Objectives that the stable scheme is not defined for, with the place in the paper."""


@pytest.mark.parametrize("name", sorted(name for name, method in ALL.items() if method.rows == "values"))
def test_what_is_about_values_it_does_not_wrap(name: str) -> None:
    objective = f"mgd({objective_of(name)})"
    with pytest.raises(
        LimbeckError, match="mgd chooses among classes, and the outputs of regression are values"
    ):
        make_setting(objective_of(name)).distiller(objective)


WRAPPED = [name for name, each in ALL.items() if each.rows != "values" and not each.exchanges]
"""All methods but those of values and those that wrap the whole objective themselves."""


@pytest.mark.no_cover  # what it runs is covered by others
@pytest.mark.parametrize("scheme", ["granular", "stable"])
@pytest.mark.parametrize("name", sorted(WRAPPED))
def test_it_wraps_every_method_and_goes_on_after_a_kill(
    name: str, scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if scheme == "stable" and name in NO_STABLE_SCHEME:
        pytest.skip(NO_STABLE_SCHEME[name])
    one = ', teacher="big"' if parse(objective_of(name)).all_reads.teachers else ""  # of several
    objective = f'mgd({objective_of(name)}, scheme="{scheme}", epochs=2{one})'
    calm = run_to_the_end(objective, tmp_path / "calm")
    assert all(value.isfinite().all() for value in calm.values())
    lines = map(json.loads, (tmp_path / "calm" / "metrics.jsonl").open())
    given = 2 * sum(line["step"] == 2 * line["epoch"] for line in lines)  # others have data of their own
    folder = tmp_path / "killed"
    with pytest.raises(Killed):  # in a phase, if there is one
        run_to_the_end(objective, folder, killed_after=3)
    with pytest.raises(Killed):  # in the training, the first two batches of all being done
        run_to_the_end(objective, folder, killed_after=max(1, given - 5), resume=True)
    resumed = run_to_the_end(objective, folder, resume=True)
    assert calm.keys() == resumed.keys()
    assert all(torch.equal(calm[key], resumed[key]) for key in calm)


def test_a_detectors_analyzers_learn_what_is_at_each_place() -> None:
    batch, teacher = boxed_batch(), detector(8, seed=1)
    text = "mgd(fcos + kd(temperature=1), low=3, high=4, epochs=2)"
    distiller = Distiller(detector(), teacher, text, example=batch.inputs, task=DETECTION)
    (method,) = distiller.objective.wrapped
    assert isinstance(method, MGD)
    assert batch.targets is not None
    with torch.no_grad():
        answers = teacher.eval()(batch.inputs)
    logits = answers["logits"].flatten(0, 1)
    classes = assigned(answers["places"][0], batch.targets, 2)[0].flatten()
    assert (classes == UNLABELED).any()
    name, phase = distiller.phases[0]
    with distiller.phase_open(name, phase) as (module, _), pytest.MonkeyPatch.context() as patch:
        patch.setattr(method.analyzers["low"], "forward", lambda embedding: (embedding, logits))
        losses = module(batch)
    expected = F.cross_entropy(logits, classes, ignore_index=UNLABELED, reduction="sum") / len(classes)
    assert losses["mgd.low.ce"].item() == pytest.approx(expected.item(), rel=1e-5)
    assert losses["mgd.low.kd"].item() == pytest.approx(0, abs=1e-6)
    limbeck.prepare(distiller, [batch], display=False)
    own = ["class", "box", "center"]
    assert list(distiller(batch)) == [*(f"mgd.fcos.{each}" for each in own), "mgd.kd", "mgd.low", "mgd.high"]
