"""What the trace shows, by value: against what networks hand out themselves, or against their own layers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from limbeck.features import FeaturePoints, Tap, find
from limbeck.models import build
from limbeck.outputs import Inputs, Outputs

IMAGES = torch.randn(3, 3, 32, 32)


def lively(network: nn.Module) -> nn.Module:
    """The network in eval mode, with norms that are not the identity."""
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)):
            assert module.running_mean is not None
            for tensor in (module.weight.data, module.bias.data, module.running_mean):
                tensor.normal_(generator=generator)
    return network.eval()


def shown(network: nn.Module, inputs: Inputs) -> tuple[FeaturePoints, Outputs]:
    points = find(lively(network), inputs)
    fields = [field for field in ("embedding", "stages", "stem", "preactivations") if points.of(field)]
    with torch.no_grad():
        return points, Tap(network, points, fields)(inputs)


def texts(points: FeaturePoints, field: str) -> list[str]:
    return [str(point) for point in points.of(field)]


def undeclared(
    monkeypatch: pytest.MonkeyPatch, spec: str, images: Tensor, inplace: bool = False
) -> tuple[FeaturePoints, Outputs, Outputs]:
    """What is found in a network of ours that does not say where its features are, and what it declares."""
    network = build(spec, example=images, num_classes=5)
    _, declared = shown(network, images)
    for module in network.modules():
        if isinstance(module, nn.ReLU):
            module.inplace = inplace
    monkeypatch.delattr(type(network), "feature_points")
    return (*shown(network, images), declared)


@pytest.mark.parametrize("inplace", [False, True])
@pytest.mark.parametrize(
    "spec",
    [
        pytest.param("resnet(channels=[4, 8, 16], blocks=3)", id="resnet20"),
        pytest.param("resnet(channels=[8, 16, 32], stem=4)", id="resnet8x4"),
        pytest.param("resnet(channels=[8, 12, 16, 20], blocks=2)", id="resnet18"),
        pytest.param("resnet(channels=[8, 12, 16, 20], blocks=2, bottleneck=true)", id="resnet50"),
        "wrn_16_1",
        "wrn_16_2",
        "mobilenetv2(width=0.2)",
        "shufflenetv1",
        "shufflenetv2",
    ],
)
def test_the_networks_of_the_crd_benchmark(spec: str, inplace: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    _, found, declared = undeclared(monkeypatch, spec, IMAGES, inplace)
    for stage, ours in zip(found.stages, declared.stages, strict=True):
        assert torch.equal(stage, ours)
    assert torch.equal(found.stem, declared.stem)
    assert torch.equal(found.embedding, declared.embedding)
    assert torch.equal(found.logits, declared.logits)


@pytest.mark.parametrize("depth", [1, 2])
def test_vgg_where_every_block_has_its_resolution(depth: int, monkeypatch: pytest.MonkeyPatch) -> None:
    images = torch.randn(2, 3, 64, 64)  # at 32x32 the last two blocks share theirs
    spec = f"vgg(channels=[4, 8, 16, 16, 20], depth={depth})"
    points, found, declared = undeclared(monkeypatch, spec, images, inplace=True)
    assert texts(points, "preactivations") == ["block1", "block2", "block3", "block4"]
    assert all(point.overwritten for point in points.preactivations)
    for field in ("stages", "preactivations"):
        for tensor, ours in zip(found[field], declared[field], strict=True):
            assert torch.equal(tensor, ours)
    assert torch.equal(found.stem, declared.stem)
    assert torch.equal(found.embedding, declared.embedding)


class Residual(nn.Module):
    """A residual block as torchvision writes it: one ReLU for all, and the sum in place."""

    def __init__(self, entering: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, width, 3, stride, 1, bias=False)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn1, self.bn2 = nn.BatchNorm2d(width), nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = nn.Conv2d(entering, width, 1, stride) if entering != width else None

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn1(self.conv1(x)))
        out = self.bn2(self.conv2(out))
        out += identity
        return self.relu(out)  # type: ignore[no-any-return]


def test_preactivations_are_the_sums_before_a_relu_in_place() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        nn.Sequential(Residual(4, 4, 1), Residual(4, 4, 1)),
        nn.Sequential(Residual(4, 8, 2), Residual(8, 8, 1)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5)),
    )
    points, outputs = shown(network, IMAGES)
    assert texts(points, "stem") == ["2"]
    assert texts(points, "stages") == ["3", "4"]
    assert texts(points, "preactivations") == [f"{stage}.1.relu#1:input" for stage in (3, 4)]
    assert all((before < 0).any() for before in outputs.preactivations)
    for before, stage in zip(outputs.preactivations, outputs.stages, strict=True):
        assert torch.equal(before.relu(), stage)


def test_a_plain_sequential_with_everything_in_place() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(1, 6, 5), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Conv2d(6, 8, 5), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.MaxPool2d(2)),
        *(nn.Flatten(), nn.Linear(200, 12), nn.ReLU(inplace=True)),
        *(nn.Dropout(inplace=True), nn.Linear(12, 5)),
    )
    images = torch.randn(2, 1, 32, 32)
    points, outputs = shown(network, images)
    assert texts(points, "stages") == ["1", "5"]
    assert texts(points, "preactivations") == ["0", "4"]
    assert texts(points, "embedding") == ["9"]
    assert points.stem is None
    with torch.no_grad():
        assert torch.equal(outputs.stages[0], network[0](images).relu())
        assert torch.equal(outputs.preactivations[0], network[0](images))
        assert torch.equal(outputs.preactivations[1], network[:5](images))
        assert torch.equal(outputs.embedding, network[:10](images))


class LeNet(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5), nn.Conv2d(6, 16, 5)
        self.relu, self.pool = nn.ReLU(inplace=True), nn.MaxPool2d(2)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.relu(self.conv1(x)))
        x = self.pool(self.relu(self.conv2(x)))
        x = self.relu(self.fc2(self.relu(self.fc1(x.flatten(1)))))
        return self.fc3(F.dropout(x, 0.5, self.training))  # type: ignore[no-any-return]


def test_a_module_that_runs_often_is_tapped_by_call() -> None:
    network, images = LeNet(), torch.randn(2, 1, 32, 32)
    points, outputs = shown(network, images)
    assert texts(points, "stages") == ["relu", "relu#1"]
    assert texts(points, "embedding") == ["relu#3"]
    with torch.no_grad():
        first = network.conv1(images).relu()
        second = network.conv2(network.pool(first)).relu()
        embedding = network.fc2(network.fc1(network.pool(second).flatten(1)).relu()).relu()
    assert torch.equal(outputs.stages[0], first)
    assert torch.equal(outputs.stages[1], second)
    assert torch.equal(outputs.embedding, embedding)


class Block(nn.Module):
    """A block that ends by going to the next resolution, or to more channels in its last layer."""

    def __init__(self, entering: int, width: int, pool: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entering, width, 3, padding=1)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.pool = nn.MaxPool2d(2) if pool else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(F.relu(self.widen(F.relu(self.conv(x)))))  # type: ignore[no-any-return]


def test_blocks_that_pool_are_stages_as_they_are() -> None:
    network = nn.Sequential(
        *(Block(3, 4), Block(8, 5), Block(10, 6, pool=False)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3)),
    )
    points, _ = shown(network, IMAGES)
    assert texts(points, "stages") == ["0", "2"]
    assert points.stem is None


class Unit(nn.Module):
    def __init__(self, entering: int, width: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(entering, width, kernel, stride, kernel // 2, groups=groups)
        self.bn = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)))


class Separable(nn.Module):
    def __init__(self, entering: int, width: int) -> None:
        super().__init__()
        self.depthwise, self.pointwise = Unit(entering, entering, 3, 2, entering), Unit(entering, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.pointwise(self.depthwise(x))  # type: ignore[no-any-return]


def test_a_convolution_1x1_that_widens_inside_a_block_belongs_to_it() -> None:
    blocks = nn.Sequential(Separable(3, 6), Separable(6, 9), Separable(9, 12))
    head = (nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(12, 3))
    assert texts(shown(nn.Sequential(*blocks, *head), IMAGES)[0], "stages") == ["0", "1", "2"]
    widened = nn.Sequential(*blocks, Unit(12, 24, 1), *head[:2], nn.Linear(24, 3))
    points, outputs = shown(widened, IMAGES)
    assert texts(points, "stages") == ["0", "1", "2"]
    assert outputs.embedding.shape == (3, 24)


def test_a_convolution_as_classifier_has_a_map_to_pool() -> None:
    network = nn.Sequential(
        *(
            nn.Conv2d(3, 6, 3, 2),
            nn.ReLU(),
            nn.Conv2d(6, 8, 3, 2),
            nn.ReLU(),
            nn.Dropout(),
            nn.Conv2d(8, 5, 1),
        ),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten()),
    )
    points, outputs = shown(network, IMAGES)
    assert texts(points, "embedding") == ["pool(3)"]
    with torch.no_grad():
        assert torch.allclose(outputs.embedding, network[:4](IMAGES).mean((2, 3)))
        assert torch.allclose(
            network[5](outputs.embedding[:, :, None, None]).flatten(1), outputs.logits, atol=1e-6
        )


def test_layers_of_a_perceptron_after_activation_and_before_dropout() -> None:
    network = nn.Sequential(
        *(nn.Linear(8, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout()),
        *(nn.Linear(16, 12), nn.Tanh(), nn.Dropout(), nn.Linear(12, 4)),
    )
    table = torch.randn(4, 8)
    points, outputs = shown(network, table)
    assert texts(points, "stages") == ["2", "5"]
    assert texts(points, "embedding") == ["5"]
    assert texts(points, "preactivations") == []
    with torch.no_grad():
        assert torch.equal(outputs.stages[0], network[:3](table))
        assert torch.equal(outputs.embedding, network[:6](table))


def test_a_deep_perceptron_is_divided_in_quarters() -> None:
    layers = [nn.Sequential(nn.Linear(6, 6), nn.ReLU()) for _ in range(10)]
    points, _ = shown(nn.Sequential(*layers, nn.Linear(6, 2)), torch.randn(2, 6))
    assert texts(points, "stages") == ["2", "4", "7", "9"]
    assert texts(points, "preactivations") == ["2.0", "4.0", "7.0", "9.0"]


def test_a_linear_network_has_an_embedding_and_no_stages() -> None:
    table = torch.randn(2, 6)
    points, outputs = shown(nn.Linear(6, 2), table)
    assert points.stages == ()
    assert torch.equal(outputs.embedding, table)


def test_sequences_of_channels_are_maps_of_one_axis() -> None:
    network = nn.Sequential(
        *(nn.Conv1d(3, 6, 3, 2), nn.BatchNorm1d(6), nn.ReLU(), nn.Conv1d(6, 8, 3, 2), nn.ReLU()),
        *(nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(8, 3)),
    )
    signal = torch.randn(2, 3, 50)
    points, outputs = shown(network, signal)
    assert texts(points, "stages") == ["2", "4"]
    with torch.no_grad():
        assert torch.equal(outputs.stages[1], network[:5](signal))


class Encoder(nn.Module):
    def __init__(self, layers: int = 6, norm_first: bool = False) -> None:
        super().__init__()
        self.table = nn.Embedding(20, 8, padding_idx=0)
        self.place = nn.Parameter(torch.randn(7, 8))
        layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, norm_first=norm_first)
        self.encoder = nn.TransformerEncoder(layer, layers, enable_nested_tensor=not norm_first)
        self.head = nn.Linear(8, 3)

    def forward(self, ids: Tensor) -> Tensor:
        padding = ids == 0
        hidden = self.encoder(self.table(ids) + self.place, src_key_padding_mask=padding)
        keep = (~padding).unsqueeze(2).float()
        return self.head((hidden * keep).sum(1) / keep.sum(1))  # type: ignore[no-any-return]


@pytest.mark.parametrize("norm_first", [False, True])
def test_a_transformer_encoder_has_its_layers_at_quarter_depth(norm_first: bool) -> None:
    ids = torch.randint(1, 20, (3, 7))
    ids[1, 4:] = 0  # padding, for which torch's fused layers would pass nested tensors
    network = Encoder(norm_first=norm_first)
    points, outputs = shown(network, ids)
    assert texts(points, "stages")[:3] == ["encoder.layers.1", "encoder.layers.2", "encoder.layers.4"]
    hidden, padding = network.table(ids) + network.place, ids == 0
    assert torch.equal(outputs.stem, hidden)
    for number, layer in enumerate(network.encoder.layers):
        hidden = layer(hidden, src_key_padding_mask=padding)
        if number in (1, 2, 4, 5):
            assert torch.equal(outputs.stages[(1, 2, 4, 5).index(number)], hidden)
    assert torch.equal(network.head(outputs.embedding), outputs.logits)


def test_a_shallow_encoder_has_a_stage_for_each_layer() -> None:
    points, _ = shown(Encoder(layers=2), torch.randint(1, 20, (2, 7)))
    assert texts(points, "stages") == ["encoder.layers.0", "encoder"]


def test_bert() -> None:
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        vocab_size=50,
        hidden_size=16,
        num_hidden_layers=5,
        num_attention_heads=2,
        intermediate_size=32,
        num_labels=4,
    )
    network = transformers.BertForSequenceClassification(config)
    inputs = {
        "input_ids": torch.randint(5, 50, (3, 7)),
        "attention_mask": torch.ones(3, 7, dtype=torch.int64),
    }
    inputs["attention_mask"][1, 4:] = 0
    points, outputs = shown(network, inputs)
    assert texts(points, "stages") == [f"bert.encoder.layer.{layer}" for layer in (1, 2, 3, 4)]
    assert texts(points, "embedding") == ["bert.pooler"]
    with torch.no_grad():
        own = network(**inputs, output_hidden_states=True)
    assert torch.equal(outputs.stem, own.hidden_states[0])
    assert all(map(torch.equal, outputs.stages, own.hidden_states[2:]))
    assert torch.equal(network.classifier(outputs.embedding), own.logits)
    assert torch.equal(outputs.mask, inputs["attention_mask"].bool())


def test_a_network_that_picks_one_of_its_positions_has_no_embedding() -> None:
    class LastToken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.head = nn.Embedding(20, 8), nn.Linear(8, 3)

        def forward(self, ids: Tensor) -> Tensor:
            return self.head(self.table(ids))[:, -1]  # type: ignore[no-any-return]

    assert find(LastToken(), torch.randint(0, 20, (2, 7))).embedding is None


def test_two_classifiers_have_no_embedding_in_common() -> None:
    class Pair(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.one, self.two = nn.Linear(4, 6), nn.Linear(6, 3), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            hidden = self.body(x).relu()
            return (self.one(hidden) + self.two(hidden)) / 2  # type: ignore[no-any-return]

    assert find(Pair(), torch.randn(2, 4)).embedding is None


class Cosine(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 6))

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(F.normalize(x), F.normalize(self.weight)) * 16


def test_a_classifier_that_normalizes_its_input_itself() -> None:
    network = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), Cosine())
    points, _ = shown(network, torch.randn(2, 4))
    assert texts(points, "embedding") == ["1"]


class Mix(nn.Module):
    """A residual block on (B, H, W, C)."""

    def __init__(self) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, 16), nn.Linear(16, 8)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.two(F.gelu(self.one(x)))  # type: ignore[no-any-return]


class MixTokens(Mix):
    """The same on (B, H*W, C), laid out as a map again."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.flatten(1, 2)).reshape(x.shape)


class ChannelsLast(nn.Module):
    """A network in the manner of Swin: (B, H, W, C) from the patches to the pooling."""

    def __init__(self, block: type[nn.Module] = Mix, *, turns_back: bool = False) -> None:
        super().__init__()
        self.turns_back = turns_back
        self.patches, self.merge = nn.Conv2d(3, 8, 4, 4), nn.Linear(32, 8)
        self.stage1, self.stage2 = nn.Sequential(block(), block()), nn.Sequential(block(), block())
        self.norm, self.turn, self.head = nn.LayerNorm(8), nn.Identity(), nn.Linear(8, 5)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stage1(self.patches(x).permute(0, 2, 3, 1))
        quarters = [x[:, row::2, column::2] for row in (0, 1) for column in (0, 1)]
        x = self.norm(self.stage2(self.merge(torch.cat(quarters, -1))))
        if self.turns_back:
            return self.head(self.turn(x.permute(0, 3, 1, 2)).mean((2, 3)))  # type: ignore[no-any-return]
        return self.head(x).mean((1, 2))  # type: ignore[no-any-return]


@pytest.mark.parametrize("turns_back", [False, True])
@pytest.mark.parametrize("block", [Mix, MixTokens])
def test_maps_with_channels_last_are_captured_with_channels_first(
    block: type[nn.Module], turns_back: bool
) -> None:
    network, images = ChannelsLast(block, turns_back=turns_back), torch.randn(3, 3, 32, 48)
    points, outputs = shown(network, images)
    assert texts(points, "stages") == ["stage1", "stage2"]
    assert texts(points, "stem") == ["stage1:input"]
    assert outputs.stages[0].shape == (3, 8, 8, 12)
    with torch.no_grad():
        assert torch.equal(outputs.stem, network.patches(images))
        first = network.stage1(network.patches(images).permute(0, 2, 3, 1))
        last = network.norm(outputs.stages[1].permute(0, 2, 3, 1))
        assert torch.equal(outputs.stages[0], first.permute(0, 3, 1, 2))
        torch.testing.assert_close(outputs.embedding, last.mean((1, 2)))
        torch.testing.assert_close(network.head(outputs.embedding), outputs.logits)


def test_a_named_map_with_channels_last_is_turned_too() -> None:
    network = ChannelsLast()
    points = find(network, IMAGES, overrides={"stages": ["stage2", "norm"], "embedding": "norm"})
    assert str(points.embedding) == "pool(norm)"
    with torch.no_grad():
        outputs = Tap(network, points, ["stages", "embedding"])(IMAGES)
        normed = network.norm(outputs.stages[0].movedim(1, -1))
    assert torch.equal(outputs.stages[1], normed.movedim(-1, 1))
    torch.testing.assert_close(outputs.embedding, normed.mean((1, 2)))


class Dropped(nn.Module):
    def __init__(self, entering: int, width: int) -> None:
        super().__init__()
        self.dropout, self.conv = nn.Dropout(), nn.Conv2d(entering, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(self.dropout(x)))


def test_dropout_before_the_convolution_that_widens_the_last_map_does_not_hide_it() -> None:
    network = nn.Sequential(
        *(Separable(3, 6), Separable(6, 9), Dropped(9, 24)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(24, 3)),
    )
    assert texts(shown(network, IMAGES)[0], "stages") == ["0", "1"]


def test_residual_blocks_of_one_pixel_are_a_stage_and_the_averaging_after_them_is_none() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
        *(Residual(4, 4, 1), Residual(4, 8, 2), Residual(8, 16, 2)),
        *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, 5)),
    )
    points, outputs = shown(network, torch.randn(3, 3, 4, 4))
    assert texts(points, "stages") == ["3", "4", "5"]
    assert outputs.stages[2].shape == (3, 16, 1, 1)


def test_plain_layers_of_one_pixel_are_a_classifiers() -> None:
    network = nn.Sequential(
        *(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 6, 3, 2, 1), nn.ReLU()),
        *(nn.Conv2d(6, 20, 8), nn.ReLU(), nn.Conv2d(20, 20, 1), nn.ReLU(), nn.Flatten(), nn.Linear(20, 3)),
    )
    assert texts(shown(network, IMAGES)[0], "stages") == ["1", "3"]
