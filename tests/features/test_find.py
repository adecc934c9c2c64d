from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import FeaturePoints, Point, Tap, answering, describe, find

IMAGES = torch.randn(3, 3, 16, 16)


class Small(nn.Module):
    """Two stages and a spare module; `form` is how it returns its logits."""

    def __init__(self, form: str = "tensor") -> None:
        super().__init__()
        self.form = form
        self.conv1, self.bn1 = nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4)
        self.conv2, self.bn2 = nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6)
        self.relu1, self.relu2 = nn.ReLU(inplace=True), nn.ReLU(inplace=True)
        self.fc = nn.Linear(6, 5)
        self.spare = nn.Linear(6, 5)

    def forward(self, x: Tensor) -> Any:
        first = self.relu1(self.bn1(self.conv1(x)))
        second = self.relu2(self.bn2(self.conv2(first)))
        pooled = second.mean((2, 3))
        logits = self.fc(pooled)
        forms = {
            "tensor": logits,
            "tuple": (second, logits, pooled),
            "dict": {"logits": logits, "pooled": pooled},
        }
        return {**forms, "object": Result(logits, pooled), "none": second.sum()}[self.form]


@dataclass
class Result:
    logits: Tensor
    pooled: Tensor


class Declaring(Small):
    def feature_points(self) -> dict[str, str | list[str]]:
        return {"stages": ["bn1", "bn2"], "embedding": "fc:input"}


@pytest.mark.parametrize(
    ("form", "item"), [("tensor", None), ("tuple", 1), ("dict", "logits"), ("object", "logits")]
)
def test_the_form_of_the_result_does_not_matter(form: str, item: int | str | None) -> None:
    points = find(Small(form), IMAGES, width=5)
    assert points == FeaturePoints(
        outputs=(("pooled", Point("", item="pooled")),) if item == "logits" else (),
        logits=Point("", item=item),
        embedding=points.embedding,
        stages=(Point("relu1"), Point("relu2")),
        preactivations=(Point("bn1"), Point("bn2")),
    )
    assert str(points.embedding) == "fc:input"
    assert [point.overwritten for point in points.preactivations] == [True, True]
    assert [point.overwritten for point in points.stages] == [False, False]


def test_a_result_without_logits_has_no_points_until_they_are_named() -> None:
    network = Small("none")
    assert find(network, IMAGES) == FeaturePoints()
    points = find(network, IMAGES, overrides={"logits": "fc"})
    assert points.logits == Point("fc")
    assert points.stages == (Point("relu1"), Point("relu2"))


def test_what_the_network_declares_goes_before_the_trace_and_what_the_user_names_before_both() -> None:
    declared = find(Declaring(), IMAGES)
    assert declared.stages == (Point("bn1"), Point("bn2"))
    assert declared.preactivations == ()  # of these stages, and batch norm is not ReLU
    named = find(Declaring(), IMAGES, overrides={"stages": ["relu2"], "stem": "relu1"})
    assert named.stages == (Point("relu2"),)
    assert named.preactivations == (Point("bn2"),)
    assert named.stem == Point("relu1")
    assert named.embedding == declared.embedding == Point("fc", "input")


def test_one_stage_may_be_named_without_a_list() -> None:
    assert find(Small(), IMAGES, overrides={"stages": "relu2"}).stages == (Point("relu2"),)


def test_a_named_map_becomes_an_embedding_by_pooling() -> None:
    points = find(Small(), IMAGES, overrides={"embedding": "relu2"})
    assert points.embedding == Point("relu2", pool=True)
    assert find(Small(), IMAGES, overrides={"embedding": str(points.embedding)}) == points


def test_several_that_may_be_logits_are_refused_with_the_override_that_decides() -> None:
    with pytest.raises(
        LimbeckError, match=r"Small returns may be its logits: \[1\] \(2, 5\), \[2\] \(2, 6\)"
    ):
        find(Small("tuple"), IMAGES)
    assert str(find(Small("tuple"), IMAGES, overrides={"logits": "[1]"}).logits) == "[1]"


def test_where_the_logits_are_is_told_in_words() -> None:
    def said(form: str, **settings: Any) -> str:
        logits = find(Small(form), IMAGES, **settings).logits
        assert logits is not None
        return logits.described

    assert said("tensor") == "what it returns"
    assert said("tuple", width=5) == "[1] of what it returns"
    assert said("dict") == "[logits] of what it returns"
    assert said("none", overrides={"logits": "fc"}) == "the tensor at 'fc'"


def test_a_second_head_may_be_named() -> None:
    class Heads(Small):
        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            pooled = self.relu2(self.conv2(self.relu1(self.conv1(x)))).mean((2, 3))
            return self.fc(pooled), self.spare(pooled)

    network = Heads().eval()
    points = find(network, IMAGES, overrides={"logits": "[1]"})
    assert str(points.logits) == "[1]"
    with torch.no_grad():
        assert torch.equal(Tap(network, points, ())(IMAGES).logits, network(IMAGES)[1])


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"embeding": "fc"}, "unknown feature of Small 'embeding'; did you mean 'embedding'"),
        ({"stages": ["reluu1"]}, "unknown module of Small 'reluu1'; did you mean 'relu1'"),
        ({"stages": ["zzzzz"]}, "unknown module of Small 'zzzzz'; there are: .*bn1.*conv1"),
        ({"stem": ["relu1"]}, "the stem of Small must be one point, not a list"),
        ({"stem": "spare"}, "Small has no stem at 'spare'; it does not run in a forward"),
        ({"stem": "relu1#1"}, "'relu1#1'; its tensors are relu1:input"),
        ({"stem": "relu1[0]"}, r"'relu1\[0\]'; its tensors are relu1:input, .*relu1"),
        ({"stem": "relu1:output"}, "names no place"),
        ({"stage": ["relu1"]}, "unknown feature of Small 'stage'; did you mean 'stages'"),
        ({"embedding": "relu1[x]"}, r"'relu1\[x\]'"),
    ],
)
def test_mistakes_in_names_are_told(overrides: dict[str, Any], message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        find(Small(), IMAGES, overrides=overrides)


def test_what_does_not_fit_a_field_is_refused() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.same, self.fc = nn.Conv1d(3, 3, 1), nn.Identity(), nn.Linear(256, 2)

        def forward(self, x: Tensor) -> Tensor:
            x = self.same(self.conv(x.flatten(2)))
            return self.fc(self.same(x.argmax(1)).float())  # type: ignore[no-any-return]

    with pytest.raises(LimbeckError, match=r"'same' of Odd cannot be its embedding: .*\(2, 3, 256\)"):
        find(Odd(), IMAGES, overrides={"embedding": "same"})
    with pytest.raises(LimbeckError, match=r"'same#1' of Odd cannot be its stem: .* int64 tensor"):
        find(Odd(), IMAGES, overrides={"stem": "same#1"})


def test_a_wrong_declaration_is_told_like_an_override() -> None:
    class Wrong(Small):
        def feature_points(self) -> dict[str, str]:
            return {"embedding": "fc1:input"}

    with pytest.raises(LimbeckError, match="unknown module of Wrong 'fc1'; did you mean 'fc'"):
        find(Wrong(), IMAGES)


def test_described_are_the_points_with_their_shapes() -> None:
    network = Small().train()
    state = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    assert describe(network, IMAGES, overrides={"stem": "conv1"}) == [
        ("logits", "", (3, 5)),
        ("embedding", "fc:input", (3, 6)),
        ("stages", "relu1", (3, 4, 8, 8)),
        ("stages", "relu2", (3, 6, 4, 4)),
        ("stem", "conv1", (3, 4, 8, 8)),
        ("preactivations", "bn1", (3, 4, 8, 8)),
        ("preactivations", "bn2", (3, 6, 4, 4)),
    ]
    assert network.training
    assert all(torch.equal(tensor, state[name]) for name, tensor in network.state_dict().items())


def test_a_compiled_network_is_found_by_its_own_paths() -> None:
    network = Small()
    compiled = torch.compile(network, backend="eager")
    assert isinstance(compiled, nn.Module)
    assert find(compiled, IMAGES) == find(network, IMAGES)


class Pair(nn.Module):
    """Takes two samples or more, as a batch norm without statistics of its own does."""

    def __init__(self) -> None:
        super().__init__()
        self.bn, self.fc = nn.BatchNorm1d(6, track_running_stats=False), nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(self.bn(x))  # type: ignore[no-any-return]


class Squeezing(nn.Module):
    """Loses its batch axis with one sample."""

    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc(x).squeeze()  # type: ignore[no-any-return]


class Eight(Small):
    """Takes eight samples, no more and no fewer."""

    def forward(self, x: Tensor) -> Any:
        if len(x) != 8:
            raise ValueError("eight at a time, please")
        return super().forward(x)


@pytest.mark.parametrize("samples", [1, 2, 5])
@pytest.mark.parametrize(("network", "embedding"), [(Pair(), "bn"), (Squeezing(), ":input")])
def test_a_network_that_needs_two_samples_gets_them(network: nn.Module, embedding: str, samples: int) -> None:
    points = find(network, torch.randn(samples, 6))
    assert (points.logits, str(points.embedding)) == (Point(""), embedding)


def test_a_network_with_a_batch_size_of_its_own_gets_the_whole_example() -> None:
    eight = Eight()
    assert find(eight, torch.randn(8, 3, 16, 16)) == find(Small(), IMAGES)
    with pytest.raises(
        LimbeckError, match=r"Eight cannot take the example, a float32 tensor of shape \(3, 3, 16"
    ):
        find(eight, IMAGES)


def test_a_network_that_cannot_take_the_example_is_told_with_its_own_reason() -> None:
    with pytest.raises(LimbeckError, match=r"cannot take the example, x: a int64 tensor .*: .*keyword"):
        find(Small(), {"x": torch.zeros(2, 3, dtype=torch.int64), "y": torch.zeros(2, 3)})
    with pytest.raises(LimbeckError, match="eight at a time, please") as told:
        find(Eight(), IMAGES)
    assert isinstance(told.value.__cause__, ValueError)


def test_lazy_modules_get_their_shapes_from_the_example() -> None:
    network = nn.Sequential(nn.LazyLinear(6), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(3)).train()
    points = find(network, torch.randn(4, 5))
    assert network[0].weight.shape == (6, 5)
    assert network[1].get_buffer("running_mean").tolist() == [0.0] * 6
    assert network.training
    assert str(points.embedding) == "2"
    with pytest.raises(LimbeckError, match=r"Sequential has lazy modules, .* cannot take the example"):
        find(nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten()), torch.randn(4, 5))


def test_a_lazy_module_that_does_not_run_is_told() -> None:
    network = Small()
    network.spare = nn.LazyLinear(3)
    with pytest.raises(LimbeckError, match=r"lazy module that its forward does not run: spare\.weight"):
        find(network, IMAGES)


class TestDense:
    """Networks with a decision at each position."""

    def test_the_embedding_of_a_segmenter_enters_its_last_convolution(self) -> None:
        network = Segmenter()
        points = find(network, IMAGES, dense=True)
        assert str(points.logits) == "[out]"
        assert str(points.embedding) == "pool(body)"
        assert points.of("aux") == (Point("", item="aux"),)
        assert find(Segmenter(bare=True), IMAGES).embedding == points.embedding

    def test_the_embedding_of_a_tagger_is_its_hidden_states(self) -> None:
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
        network = nn.Sequential(nn.Embedding(20, 8), nn.TransformerEncoder(layer, 2), nn.Linear(8, 4))
        points = find(network, torch.randint(0, 20, (3, 7)), width=4, dense=True)
        assert str(points.embedding) == "pool(1)"
        assert [str(point) for point in points.stages] == ["1.layers.0", "1"]

    def test_the_embedding_of_a_language_model_enters_its_head_which_is_tied(self) -> None:
        network = Language()
        points = find(network, {"input_ids": torch.randint(0, 20, (3, 7))}, width=20, dense=True)
        assert str(points.logits) == "[logits]"
        assert str(points.embedding) == "pool(norm)"

    def test_the_last_position_of_a_sequence_is_still_no_mean_over_it(self) -> None:
        class Last(Language):
            def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
                return {"logits": super().forward(input_ids)["logits"][:, -1]}

        assert find(Last(), {"input_ids": torch.randint(0, 20, (3, 7))}).embedding is None


class Segmenter(nn.Module):
    """A small FCN: strided convolutions, a 1x1 head, and bilinear upsampling."""

    def __init__(self, bare: bool = False) -> None:
        super().__init__()
        self.bare = bare
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), nn.ReLU())
        self.body = nn.Sequential(nn.Conv2d(4, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.head, self.aux = nn.Conv2d(6, 5, 1), nn.Conv2d(4, 5, 1)

    def forward(self, x: Tensor) -> Any:
        low = self.stem(x)
        scores = [self.aux(low), self.head(self.body(low))]
        aux, out = (nn.functional.interpolate(s, x.shape[2:], mode="bilinear") for s in scores)
        return out if self.bare else {"aux": aux, "out": out}


class Language(nn.Module):
    """A language model with the head tied to the embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(20, 8), nn.LayerNorm(8)
        self.mix = nn.Linear(8, 8)
        self.lm_head = nn.Linear(8, 20, bias=False)
        self.lm_head.weight = self.table.weight

    def forward(self, input_ids: Tensor) -> dict[str, Tensor]:
        hidden = self.norm(self.mix(self.table(input_ids)))
        return {"past": hidden, "logits": self.lm_head(hidden)}


def test_outputs_that_the_network_names_are_fields() -> None:
    network = Small("dict").eval()
    points = find(network, IMAGES)
    assert points.of("pooled") == (Point("", item="pooled"),)
    assert points.of("boxes") == ()
    renamed = find(network, IMAGES, overrides={"boxes": "[pooled]", "low": "relu1"})
    assert renamed.of("boxes") == (Point("", item="pooled"),)
    assert renamed.of("low") == (Point("relu1"),)
    with pytest.raises(LimbeckError, match=r"Small has no boxes at '\[corners\]'; its tensors are"):
        find(network, IMAGES, overrides={"boxes": "[corners]"})


class TestPrograms:
    """Networks whose inside cannot be seen."""

    @pytest.fixture(params=["scripted", "traced", "exported"])
    def program(self, request: pytest.FixtureRequest) -> nn.Module:
        network = Small().eval()
        if request.param == "exported":
            batch = ({0: torch.export.Dim("batch")},)
            return torch.export.export(network, (IMAGES,), dynamic_shapes=batch).module()
        if request.param == "traced":
            return torch.jit.trace(network, IMAGES)  # type: ignore[no-any-return, no-untyped-call]
        plain = nn.Sequential(
            network.conv1, network.bn1, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 5)
        )
        return torch.jit.script(plain.eval())

    def test_has_logits_and_nothing_else(self, program: nn.Module) -> None:
        points = find(program, IMAGES, training=False)
        assert points == FeaturePoints(logits=Point(""))
        assert torch.equal(Tap(program, points, ())(IMAGES).logits, program(IMAGES))
        with pytest.raises(
            LimbeckError, match=r"is an? \w+ program, whose inside .* logits but no embedding; .* kd"
        ):
            Tap(program, points, ("embedding",))

    def test_points_inside_are_refused(self, program: nn.Module) -> None:
        with pytest.raises(
            LimbeckError, match=r"its embedding cannot be at 'fc:input'; only what it returns"
        ):
            find(program, IMAGES, overrides={"embedding": "fc:input"}, training=False)

    def test_a_program_inside_a_network_is_passed_through(self) -> None:
        body = torch.jit.script(nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten()))
        network = nn.Sequential(body, nn.Linear(4, 5))
        assert str(find(network, IMAGES).logits) == ""
        named = find(network, IMAGES, overrides={"embedding": "1:input"})
        assert torch.equal(Tap(network, named, ["embedding"])(IMAGES).embedding, body(IMAGES))


def test_answering_is_find_and_tap_in_one() -> None:
    network = Small("tuple").eval()
    answers = answering(network, IMAGES, ["embedding"], width=5)(IMAGES)
    _, logits, pooled = network(IMAGES)
    assert set(answers) == {"logits", "embedding"}
    assert torch.equal(answers.logits, logits)
    assert torch.equal(answers.embedding, pooled)
    assert torch.equal(answering(network, IMAGES, overrides={"logits": "[2]"})(IMAGES).logits, pooled)
    with pytest.raises(LimbeckError, match="found no logits in Small"):
        answering(Small("none"), IMAGES)


def test_one_sample_is_enough() -> None:
    assert find(Small(), IMAGES[:1]) == find(Small(), IMAGES)


def test_a_pre_hook_that_normalizes_is_part_of_the_network() -> None:
    network = Small()
    network.register_forward_pre_hook(lambda module, args: (args[0].float().div(255),))
    assert find(network, torch.zeros(2, 3, 16, 16, dtype=torch.uint8)) == find(Small(), IMAGES)
