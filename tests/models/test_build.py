import copy
import io
from typing import Any

import pytest
import torch
from declared import declared, scramble
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.features import Tap, call, find
from limbeck.models import CNN, MLP, MODELS, build
from limbeck.outputs import Inputs, apply

DIGITS = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
PHOTOS = torch.rand(3, 3, 28, 36, generator=torch.Generator().manual_seed(1))
TEXTS = {
    "input_ids": torch.randint(0, 50, (3, 9), generator=torch.Generator().manual_seed(2)),
    "attention_mask": (torch.arange(9) < torch.tensor([[9], [1], [5]])).long(),
}

TEXT_MODELS = ("gpt", "textcnn", "transformer")
PIXEL_MODELS = ("unet", "deeplab", "deeplab_mobilenetv2", "lraspp", "lraspp_mobilenetv2")
RESTORERS = ("edsr", "fsrcnn")
IMAGE_MODELS = [name for name in MODELS if name not in (*TEXT_MODELS, "fcos")]  # it answers at places
ACTIVE_MODELS = [name for name in IMAGE_MODELS if name not in RESTORERS]
"""Those that declare pre-activations; the stages of the others are no activations."""
NO_RELU_LAST = ("wrn", "mobilenetv2", "shufflenetv2", "deeplab_mobilenetv2", "lraspp_mobilenetv2")
"""Their stages are no pre-activations after a ReLU; their own tests say what they are."""


def seeded(spec: str, seed: int = 0, **facts: Any) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return build(spec, **facts)


def example_of(name: str) -> Inputs:
    """What a network of the table takes."""
    return TEXTS if name in TEXT_MODELS else PHOTOS


def fresh(name: str, seed: int = 0) -> nn.Module:
    """A network of the table, for 7 classes."""
    return seeded(name, seed, example=example_of(name), num_classes=7, facts={"vocab_size": 50})


def test_every_entry_says_what_it_is_in_one_line() -> None:
    for entry in MODELS.values():
        assert entry.summary
        assert entry.source[-4:].isdigit() or "arXiv:" in entry.source
        assert "\n" not in entry.summary + entry.source


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_every_image_model_takes_photos_that_are_not_square(name: str) -> None:
    network = seeded(name, example=PHOTOS, num_classes=7).eval()
    sides = {
        "unet": (28, 36),
        "deeplab_mobilenetv2": (2, 3),
        **dict.fromkeys(("deeplab", "lraspp", "lraspp_mobilenetv2"), (4, 5)),
        **dict.fromkeys(RESTORERS, (56, 72)),
    }.get(name, ())
    assert network(PHOTOS).shape == (3, 7, *sides)
    assert network(PHOTOS[:1]).shape == (1, 7, *sides)


@pytest.mark.parametrize("name", ACTIVE_MODELS)
def test_every_image_model_declares_points_that_hold_what_the_words_mean(name: str) -> None:
    network = scramble(seeded(name, example=PHOTOS, num_classes=7))
    features = declared(network, PHOTOS)
    stages, preactivations = features["stages"], features["preactivations"]
    assert isinstance(stages, list)
    assert isinstance(preactivations, list)
    assert len(stages) == len(preactivations) >= 2
    for stage, preactivation in zip(stages, preactivations, strict=True):
        assert torch.equal(stage, preactivation.relu()) or name in NO_RELU_LAST
        assert stage.shape == preactivation.shape
        assert (preactivation < 0).any()
    embedding, logits = features["embedding"], features["logits"]
    assert isinstance(embedding, Tensor)
    assert isinstance(logits, Tensor)
    dense = name in PIXEL_MODELS
    assert embedding.dim() == (4 if dense else 2)
    kind = nn.Conv2d if dense else nn.Linear
    classifier = [module for module in network.modules() if isinstance(module, kind)][-1]
    torch.testing.assert_close(classifier(embedding), logits)


@pytest.mark.parametrize("name", ACTIVE_MODELS)
def test_a_step_of_training_updates_the_statistics_once(name: str) -> None:
    network = seeded(name, example=PHOTOS, num_classes=7)
    tap = Tap(network.train(), find(network, PHOTOS), ("stages", "preactivations", "embedding"))
    tap(PHOTOS)
    counts = [
        int(module.num_batches_tracked)
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d) and module.num_batches_tracked is not None
    ]
    assert set(counts) <= {1}


@pytest.mark.parametrize("name", IMAGE_MODELS)
def test_channels_last_changes_nothing(name: str) -> None:
    network = scramble(seeded(name, example=PHOTOS, num_classes=7))
    expected = declared(network, PHOTOS)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    found = declared(network, PHOTOS.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ACTIVE_MODELS)
def test_every_image_model_overwrites_no_tensor_it_was_given_or_declares(name: str) -> None:
    network = scramble(seeded(name, example=PHOTOS, num_classes=7))
    inputs = PHOTOS.clone()
    preactivations = declared(network, inputs)["preactivations"]
    assert torch.equal(inputs, PHOTOS)
    assert all(tensor._version == 0 for tensor in preactivations)


@pytest.mark.parametrize("name", MODELS)
def test_weights_are_a_function_of_the_seed(name: str) -> None:
    first, again, other = (fresh(name, seed).state_dict() for seed in (0, 0, 1))
    assert all(torch.equal(first[key], again[key]) for key in first)
    assert any(not torch.equal(first[key], other[key]) for key in first)


def answer(network: nn.Module, example: Inputs) -> Tensor:
    """All that a network answers, in one tensor: a detector has logits, boxes and centerness."""
    found = call(network, example)
    parts = list(found.values()) if isinstance(found, dict) else [found]
    return torch.cat([part.flatten(1).float() for part in parts if part.is_floating_point()], dim=1)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient_from_the_logits(name: str) -> None:
    network = fresh(name)
    answer(network, example_of(name)).square().sum().backward()  # type: ignore[no-untyped-call]
    for key, parameter in network.named_parameters():
        assert parameter.grad is not None, key
        assert parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", MODELS)
def test_every_model_can_be_copied_and_pickled(name: str) -> None:
    network = fresh(name).eval()
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    example = example_of(name)
    assert torch.equal(answer(network, example), answer(copy.deepcopy(network), example))
    assert torch.equal(answer(network, example), answer(loaded, example))


def test_the_spec_may_give_all_facts_itself() -> None:
    network = build("cnn(channels=[4], in_channels=3, size=[12, 9], num_classes=5)")
    assert isinstance(network, CNN)
    assert network(torch.rand(2, 3, 12, 9)).shape == (2, 5)


def test_the_spec_may_repeat_the_facts_of_the_data() -> None:
    build("cnn(size=8)", example=DIGITS, num_classes=10)
    build("cnn(size=[8, 8], in_channels=1, num_classes=10)", example=DIGITS, num_classes=10)
    build("cnn(size=[28, 36])", example=PHOTOS, num_classes=10)


def test_the_first_argument_needs_no_name() -> None:
    network = build("mlp([5])", example=DIGITS, num_classes=10)
    assert isinstance(network, MLP)
    assert network.classifier.in_features == 5


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("resnt", "unknown model 'resnt'; did you mean 'resnet'?"),
        ("cnn(chanels=[4])", "unknown argument of cnn: 'chanels'; did you mean 'channels'?"),
        ("cnn(num_classes=9)", "cnn(num_classes=9): num_classes is 10 in the data"),
        ("cnn(in_channels=3)", "cnn(in_channels=3): in_channels is 1 in the data"),
        ("cnn(size=9)", "cnn(size=9): size is 8 in the data"),
        ("cnn(size=[8, 9])", "cnn(size=[8, 9]): size is 8 in the data"),
        ("mlp(in_features=63)", "mlp(in_features=63): in_features is 64 in the data"),
        ("cnn(channels=[])", "the argument channels=[]"),
        ("cnn(channels=[4, 0])", "the argument channels=[4, 0]: 0 should be greater than or equal to 1"),
        ("cnn(channels=[4.5])", "the argument channels=[4.5]"),
        ("cnn(channels=4)", "the argument channels=4"),
        ("cnn(channels=wide)", "the argument channels=wide"),
        ("cnn(depth=true)", "the argument depth=True"),
        ("cnn(size=8.0)", "the argument size=8.0"),
        ("mlp(dropout=1.5)", "the argument dropout=1.5 should be less than or equal to 1"),
        ("mlp([8], 0.1, 3)", "mlp: too many positional arguments"),
        ("0.5*cnn", "must be one name"),
        ("cnn + mlp", "must be one name"),
        ("runs/teacher", "model 'runs/teacher': the notation has"),
        ("lenet5", "lenet5 needs images of at least 16 x 16 pixels, not 8 x 8"),
        ("cnn(channels=[4, 4, 4, 4])", "cnn with 4 stages needs images of at least 16 x 16 pixels"),
        ("resnet(channels=[4, 4, 4, 4, 4])", "resnet with 5 stages needs images of at least 16 x 16"),
        ("dscnn(channels=[4, 4, 4, 4, 4])", "dscnn with 5 stages needs images of at least 16 x 16"),
        ("mobilenetv2", "mobilenetv2 needs images of at least 16 x 16 pixels, not 8 x 8"),
        ("mobilenetv2(width=0)", "the argument width=0 should be greater than 0"),
        (
            "resnet(blocks=[1, 2])",
            "resnet: blocks must be one number, or 3 as there are channels, not [1, 2]",
        ),
        ("resnet(blocks=0)", "the argument blocks=0 should be greater than or equal to 1"),
        ('resnet(classifier="head")', "the argument classifier=\"head\" should be 'fc' or 'linear'"),
        ("vgg(depth=[1, 1])", "vgg: depth must be one number, or 5 as there are channels, not [1, 1]"),
        ("wrn(depth=18)", "wrn has a depth of 6n + 4 layers, such as 10, 16, 22, 28 or 40, not 18"),
    ],
)
def test_a_wrong_spec_is_refused(spec: str, message: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        build(spec, example=DIGITS, num_classes=10)
    assert message in str(caught.value)


def test_missing_facts_are_named() -> None:
    with pytest.raises(LimbeckError, match=r"cnn needs num_classes, in_channels, size; write cnn\("):
        build("cnn")
    with pytest.raises(LimbeckError, match="mlp needs num_classes"):
        build("mlp", example=DIGITS)
    with pytest.raises(LimbeckError, match=r"textcnn needs vocab_size; write textcnn\(vocab_size="):
        build("textcnn", example=TEXTS, num_classes=3)
    with pytest.raises(LimbeckError, match=r"mlp takes features of shape \(B, F\), not named"):
        build("mlp", example={"tokens": torch.zeros(2, 5)}, num_classes=3)


def test_an_image_network_on_other_inputs_says_what_it_takes() -> None:
    with pytest.raises(LimbeckError, match=r"takes images of shape \(B, C, H, W\).*shape \(2, 30\)"):
        build("cnn", example=torch.rand(2, 30), num_classes=2)
    with pytest.raises(LimbeckError, match=r"takes images.*named inputs \(tokens\)"):
        build("cnn", example={"tokens": torch.zeros(2, 5)}, num_classes=2)


def test_a_text_network_on_images_says_what_it_takes() -> None:
    with pytest.raises(
        LimbeckError, match=r"takes token ids of shape \(B, L\), not inputs of shape \(2, 1, 8, 8\)"
    ):
        build("transformer", example=DIGITS, num_classes=2)


def test_facts_that_a_network_has_no_argument_for_are_left_out_and_others_must_agree() -> None:
    facts = {"vocab_size": 50}
    build("cnn", example=DIGITS, num_classes=2, facts=facts)
    assert build("textcnn(vocab_size=50)", num_classes=2, facts=facts).embedding.num_embeddings == 50  # type: ignore[union-attr]
    with pytest.raises(LimbeckError, match=r"textcnn\(vocab_size=40\): vocab_size is 50 in the data"):
        build("textcnn(vocab_size=40)", example=TEXTS, num_classes=2, facts=facts)


def test_a_vocabulary_may_be_padded() -> None:
    network = build("textcnn(vocab_size=60)", example=TEXTS, num_classes=2, facts={"vocab_size": 50})
    assert network.embedding.num_embeddings == 60  # type: ignore[union-attr]


def test_a_colon_within_the_arguments_is_no_factory() -> None:
    with pytest.raises(LimbeckError, match="unknown argument of cnn: 'file'"):
        build('cnn(file="a:b")', example=DIGITS, num_classes=10)


@pytest.mark.parametrize("name", MODELS)
def test_every_model_is_exported_with_a_batch_size_left_open(name: str) -> None:
    network = fresh(name).eval()
    example = example_of(name)
    args = (example,) if isinstance(example, Tensor) else ()
    kwargs = {} if isinstance(example, Tensor) else dict(example)
    batch = {0: torch.export.Dim("batch")}
    shapes = [batch] if isinstance(example, Tensor) else dict.fromkeys(example, batch)
    exported = torch.export.export(network, args, kwargs, dynamic_shapes=shapes)
    two = apply(lambda tensor: tensor[:2], example)
    torch.testing.assert_close(call(exported.module(), two), call(network, two))
