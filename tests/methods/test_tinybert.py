from __future__ import annotations

import math
from typing import Any, cast

import pytest
import torch
from method_setting import make_setting
from token_networks import Attending, WordNet, tiny_bert
from torch import Tensor, nn

from limbeck import Batch, Distiller
from limbeck.errors import LimbeckError
from limbeck.losses import tinybert
from limbeck.methods import TinyBERT

TARGETS = torch.tensor([0, 2, 1])


def method_of(distiller: Distiller) -> TinyBERT:
    return next(method for method in distiller.objective.wrapped if isinstance(method, TinyBERT))


def naive(ours: Tensor, theirs: Tensor, lengths: list[int]) -> float:
    """The mean over samples of the mean over heads and pairs of valid tokens."""
    samples = []
    for own, other, length in zip(ours, theirs, lengths, strict=True):
        pairs = zip(
            own[:, :length, :length].flatten().tolist(),
            other[:, :length, :length].flatten().tolist(),
            strict=True,
        )
        samples.append(math.fsum((x - y) ** 2 for x, y in pairs) / (len(own) * length**2))
    return math.fsum(samples) / len(samples)


def test_attention_is_compared_between_valid_tokens() -> None:
    torch.manual_seed(0)
    ours, theirs = torch.rand(2, 3, 2, 6, 6, dtype=torch.float64)
    lengths = [6, 4, 2]
    mask = torch.arange(6) < torch.tensor(lengths)[:, None]
    assert tinybert(ours, theirs, mask).item() == pytest.approx(naive(ours, theirs, lengths), rel=1e-12)
    assert tinybert(ours, theirs).item() == pytest.approx((ours - theirs).square().mean().item(), rel=1e-12)


def test_shapes_that_it_refuses() -> None:
    maps = torch.rand(3, 2, 6, 6)
    with pytest.raises(
        LimbeckError, match=r"of one shape, not \(3, 2, 6, 6\) and \(3, 1, 6, 6\); compare means"
    ):
        tinybert(maps, maps[:, :1])
    with pytest.raises(LimbeckError, match=r"of one shape, not \(3, 6, 6\)"):
        tinybert(maps[:, 0], maps[:, 0])
    for mask in (torch.ones(3, 6), torch.ones(3, 5, dtype=torch.bool)):
        with pytest.raises(LimbeckError, match=r"mask should hold a truth value \(B, L\) for each token"):
            tinybert(maps, maps, mask)


def hidden(network: nn.Module, inputs: dict[str, Tensor]) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """The stem with the stages behind it, and the attention maps."""
    seen: list[Tensor] = []
    handles = [
        network.get_submodule(path).register_forward_hook(lambda module, args, output: seen.append(output))
        for path in ("words", *(f"outs.{place}" for place in range(len(cast(nn.ModuleList, network.outs)))))
    ]
    maps = network(**inputs)["attentions"]
    for handle in handles:
        handle.remove()
    return seen, maps


@pytest.mark.parametrize("mapping", ["skip", "last"])
@pytest.mark.parametrize("heads", ["each", "mean"])
def test_the_terms_are_the_equations(mapping: str, heads: str) -> None:
    torch.manual_seed(0)
    inputs = WordNet.batch(padding=2)
    student, teacher = Attending(4, 2).double(), Attending(8, 4, heads=2 if heads == "each" else 4).double()
    text = f'0.5*tinybert(mapping="{mapping}", heads="{heads}", hidden=2, stem=3, attention=4)'
    distiller = Distiller(student, teacher, text, example=inputs)
    losses = distiller(inputs, TARGETS)
    pairs = {"skip": [(0, 1), (1, 3)], "last": [(0, 2), (1, 3)]}[mapping]
    assert method_of(distiller).places == method_of(distiller).attended == pairs
    with torch.no_grad():
        (ours, own_maps), (theirs, other_maps) = (hidden(network, inputs) for network in (student, teacher))
    first, second, embedding = method_of(distiller).projections

    def distance(own: Tensor, other: Tensor, projection: nn.Module) -> float:
        rows = inputs["attention_mask"].bool()
        each = [(projection(x[m]) - y[m]).square().mean() for x, y, m in zip(own, other, rows, strict=True)]
        return torch.stack(each).mean().item()

    def attended(maps: tuple[Tensor, ...], place: int) -> Tensor:
        return maps[place].mean(1, keepdim=True) if heads == "mean" else maps[place]

    expected = {
        "tinybert.hidden": sum(
            distance(ours[1 + own], theirs[1 + other], projection)
            for (own, other), projection in zip(pairs, (first, second), strict=True)
        ),
        "tinybert.stem": distance(ours[0], theirs[0], embedding),
        "tinybert.attention": sum(
            naive(attended(own_maps, own), attended(other_maps, other), [6, 4, 2]) for own, other in pairs
        ),
    }
    found = {name: value.item() for name, value in losses.items()}
    assert found == pytest.approx(expected, rel=1e-9)
    weights = (2, 3, 4)
    total = 0.5 * sum(weight * value for weight, value in zip(weights, expected.values(), strict=True))
    assert losses.total.item() == pytest.approx(total, rel=1e-9)
    assert all(term.per == "samples" for term in losses.terms.values())


def test_padding_changes_nothing() -> None:
    torch.manual_seed(0)
    distiller = Distiller(Attending(4, 2), Attending(6, 3), "tinybert", example=WordNet.batch())
    short, long = (distiller(WordNet.batch(padding), TARGETS) for padding in (0, 5))
    figures = [{name: value.item() for name, value in losses.items()} for losses in (short, long)]
    assert figures[1] == pytest.approx(figures[0], rel=1e-5)


def test_what_has_no_weight_is_not_read() -> None:
    inputs = WordNet.batch()
    for objective, name in (
        ("tinybert(stem=0, attention=0)", "hidden"),
        ("tinybert(hidden=0, attention=0)", "stem"),
        ("tinybert(hidden=0, stem=0)", "attention"),
    ):
        distiller = Distiller(Attending(4, 2), Attending(6, 3), objective, example=inputs)
        assert list(distiller(inputs, TARGETS)) == [f"tinybert.{name}"]
        assert len(distiller.reads.student) == 1


def test_maps_are_compared_as_hidden_states_are() -> None:
    setting = make_setting(dtype=torch.float64)
    distiller = setting.distiller("tinybert(attention=0, stem=0)").eval()
    found = distiller(setting.inputs, setting.targets).total.item()
    ours, theirs, expected = setting.inputs, setting.inputs, 0.0
    with torch.no_grad():
        for stage, projection in zip(("stage1", "stage2"), method_of(distiller).projections, strict=True):
            ours = distiller.student.get_submodule(stage)(ours)
            theirs = setting.teacher.eval().get_submodule(stage)(theirs)
            projected = projection(ours.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
            expected += (projected - theirs).square().mean().item()
    assert found == pytest.approx(expected, rel=1e-9)


def test_a_bert_is_asked_for_its_attention_maps_and_is_as_it_was() -> None:
    torch.manual_seed(0)
    inputs = WordNet.batch()
    student, teacher = tiny_bert(2, 8).eval(), tiny_bert(4, 12).eval()
    distiller = Distiller(student, teacher, "tinybert", example=inputs).eval()
    losses = distiller(inputs, TARGETS)
    for network in (student, teacher):
        config: Any = network.config
        assert config._attn_implementation == "sdpa"
        assert not config.output_attentions
    for network in (student, teacher):
        network.set_attn_implementation("eager")  # type: ignore[operator]
    with torch.no_grad():
        maps = [network(**inputs, output_attentions=True).attentions for network in (student, teacher)]
    expected = sum(naive(maps[0][own], maps[1][other], [6, 4, 2]) for own, other in ((0, 1), (1, 3)))
    assert losses["tinybert.attention"].item() == pytest.approx(expected, rel=1e-4)
    assert list(losses) == ["tinybert.hidden", "tinybert.stem", "tinybert.attention"]


def test_networks_without_attention_maps_are_refused() -> None:
    with pytest.raises(LimbeckError) as caught:
        Distiller(WordNet(4), Attending(4, 2), "tinybert(stem=0)", example=WordNet.batch())
    assert str(caught.value) == (
        "the student WordNet returns no attention maps, as networks of Hugging Face do; for others there are methods "
        "that read none, such as tinybert(attention=0)"
    )


def test_a_teacher_that_reads_other_tokens_is_refused() -> None:
    inputs, others = WordNet.batch(), WordNet.batch()
    others["input_ids"] = others["input_ids"].flip(1)
    for objective in ("tinybert", "tinybert(attention=0)", "tinybert(hidden=0, stem=0)"):
        with pytest.raises(LimbeckError, match="token by token, and the teacher reads other tokens than the"):
            Distiller(Attending(4, 2), Attending(4, 2), objective, example=inputs, teacher_example=others)
    distiller = Distiller(Attending(4, 2), Attending(4, 2), "tinybert(attention=0)", example=inputs)
    with pytest.raises(
        LimbeckError, match="a text has 6 tokens for the student and 9 for the teacher; take pkd"
    ):
        distiller(Batch(inputs, TARGETS, teacher_inputs={"teacher": WordNet.batch(padding=3)}))


def test_stages_of_two_kinds_and_other_heads_are_refused() -> None:
    example = WordNet.batch()
    pooled = {"stages": ["classifier:input"]}
    with pytest.raises(
        LimbeckError, match=r"the student's of shape \(4,\) should follow the teacher's \(6, 4\)"
    ):
        Distiller(Attending(4, 1), Attending(4, 1), "tinybert", example=example, student_features=pooled)
    with pytest.raises(
        LimbeckError, match=r"has 2 heads and the teacher 4; write tinybert\(heads=\"mean\"\)"
    ):
        Distiller(Attending(4, 2), Attending(4, 2, heads=4), "tinybert", example=example)
    with pytest.raises(LimbeckError, match="each of the student's 3 stages has one of the teacher's last"):
        Distiller(Attending(4, 3), Attending(4, 2), 'tinybert(mapping="last")', example=example)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("hidden=0, stem=0, attention=0", "nothing is left; give one a weight"),
        ('attention=0, heads="mean"', "with attention=0 no attention is read; leave heads out"),
        ('mapping="uniform"', "'skip' or 'last'"),
        ("hidden=-1", "tinybert: the argument hidden=-1"),
    ],
)
def test_arguments_that_it_refuses(arguments: str, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        make_setting().distiller(f"ce + tinybert({arguments})")
