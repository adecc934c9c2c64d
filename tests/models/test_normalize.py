import copy
import io
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from limbeck.errors import LimbeckError
from limbeck.models import CIFAR100, CNN, MLP, Normalization, normalization_of, normalize_inputs

RGB = Normalization((0.5, 0.25, 0.125), (0.2, 0.4, 0.8))
PIXELS = torch.rand(4, 3, 8, 9, generator=torch.Generator().manual_seed(0))


class Echo(nn.Module):
    """Gives back what it is called with; the parameter has a dtype and a device."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, inputs: Tensor, *rest: object, **named: object) -> object:
        return (inputs, rest, named) if rest or named else inputs


def by_hand(pixels: Tensor) -> Tensor:
    channels = [(pixels[:, i] - RGB.mean[i]) / RGB.std[i] for i in range(3)]
    return torch.stack(channels, 1)


def small() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return CNN([4, 8], in_channels=3, size=(8, 9), num_classes=5).eval()


def test_images_are_normalized_by_channel() -> None:
    network = normalize_inputs(Echo(), RGB)
    given = PIXELS.clone()
    torch.testing.assert_close(network(given), by_hand(PIXELS))
    assert torch.equal(given, PIXELS)


def test_tables_are_normalized_by_feature() -> None:
    network = normalize_inputs(Echo(), Normalization((1.0, -2.0), (0.5, 4.0)))
    rows = torch.tensor([[2.0, 2.0], [1.0, -6.0]])
    assert torch.equal(network(rows), torch.tensor([[2.0, 1.0], [0.0, -1.0]]))


def test_uint8_pixels_are_taken_as_fractions_in_the_dtype_of_the_network() -> None:
    whole = (PIXELS * 255).round().to(torch.uint8)
    for dtype in (torch.float32, torch.float64):
        for network in (normalize_inputs(Echo(), RGB).to(dtype), normalize_inputs(Echo().to(dtype), RGB)):
            torch.testing.assert_close(network(whole), by_hand(whole.to(dtype) / 255))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_floats_keep_their_dtype(dtype: torch.dtype) -> None:
    normalized = normalize_inputs(Echo(), RGB)(PIXELS.to(dtype))
    torch.testing.assert_close(normalized, by_hand(PIXELS.to(dtype).double()).to(dtype))


def test_named_inputs_and_further_arguments_pass_as_they_are() -> None:
    network = normalize_inputs(Echo(), RGB)
    assert network(inputs=PIXELS) is PIXELS
    normalized, rest, named = network(PIXELS, 7, flag=True)
    torch.testing.assert_close(normalized, by_hand(PIXELS))
    assert (rest, named) == ((7,), {"flag": True})
    tokens = {"tokens": torch.zeros(2, 5, dtype=torch.int64)}
    assert network(tokens) is tokens


def test_the_network_stays_what_it_was() -> None:
    network, plain = small(), small()
    assert normalize_inputs(network, RGB) is network
    assert type(network) is CNN
    assert list(network.state_dict()) == list(plain.state_dict())
    network.load_state_dict(plain.state_dict())
    torch.testing.assert_close(network(PIXELS), plain(by_hand(PIXELS)))


def test_the_normalization_can_be_asked_for() -> None:
    assert normalization_of(small()) is None
    assert normalization_of(normalize_inputs(small(), RGB)) == RGB


def test_a_second_normalization_is_refused_inside_another_network_too() -> None:
    network = normalize_inputs(small(), RGB)
    with pytest.raises(LimbeckError, match="CNN normalizes its inputs already"):
        normalize_inputs(network, RGB)
    around = nn.Sequential(network, nn.Softmax(1))
    assert normalization_of(around) == RGB
    with pytest.raises(LimbeckError, match="Sequential normalizes its inputs already"):
        normalize_inputs(around, RGB)


def pickled(network: nn.Module) -> nn.Module:
    file = io.BytesIO()
    torch.save(network, file)
    file.seek(0)
    loaded = torch.load(file, weights_only=False)
    assert isinstance(loaded, nn.Module)
    return loaded


@pytest.mark.parametrize("again", [copy.deepcopy, pickled])
def test_copies_normalize_by_themselves(again: Callable[[nn.Module], nn.Module]) -> None:
    network = normalize_inputs(small(), RGB)
    twin = again(network)
    assert normalization_of(twin) == RGB
    assert torch.equal(twin(PIXELS), network(PIXELS))
    twin.double()
    assert twin(PIXELS.double()).dtype == torch.float64
    assert network(PIXELS).dtype == torch.float32
    with pytest.raises(LimbeckError, match="already"):
        normalize_inputs(twin, RGB)


def test_a_hook_added_in_another_process_does_not_replace_it(tmp_path: Path) -> None:
    torch.save(normalize_inputs(small(), RGB), tmp_path / "network.pt")
    script = (
        "import sys, torch; from limbeck.models import normalization_of\n"
        "network = torch.load(sys.argv[1], weights_only=False)\n"
        "for _ in range(200): network.register_forward_pre_hook(lambda module, args: None)\n"
        "print(normalization_of(network))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "network.pt")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == repr(RGB)


@pytest.mark.parametrize("strict", [False, True])
def test_it_is_exported(strict: bool) -> None:
    if strict and torch.__version__ < "2.10":
        pytest.skip("torch before 2.10 exports no network with a hook strictly, and limbeck does not either")
    network = normalize_inputs(small(), RGB)
    shapes = ({0: torch.export.Dim("batch")},)
    exported = torch.export.export(network, (PIXELS,), dynamic_shapes=shapes, strict=strict).module()
    pixels = torch.rand(7, 3, 8, 9)
    torch.testing.assert_close(exported(pixels), network(pixels))
    torch.testing.assert_close(network(PIXELS), small()(by_hand(PIXELS)))


def test_it_is_compiled_in_one_graph() -> None:
    network = normalize_inputs(small(), RGB)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(PIXELS), network(PIXELS))


def test_it_works_under_autocast() -> None:
    network = normalize_inputs(small(), RGB)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        logits = network(PIXELS)
    assert logits.dtype == torch.bfloat16
    torch.testing.assert_close(logits.float(), network(PIXELS), rtol=0.1, atol=0.1)


def test_its_constants_follow_the_network_to_its_device() -> None:
    assert normalize_inputs(Echo(), RGB).to("meta")(PIXELS.to("meta")).device.type == "meta"
    assert normalize_inputs(Echo().to("meta"), RGB)(PIXELS.to("meta")).device.type == "meta"


def test_gradients_reach_the_pixels() -> None:
    pixels = PIXELS.clone().requires_grad_()
    normalize_inputs(Echo(), RGB)(pixels).sum().backward()
    expected = (1 / torch.tensor(RGB.std)).view(1, 3, 1, 1).expand_as(pixels)
    torch.testing.assert_close(pixels.grad, expected)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        (torch.rand(2, 1, 8, 8), r"shape \(B, 3, ...\), and got \(2, 1, 8, 8\)"),
        (torch.rand(3), r"shape \(B, 3, ...\), and got \(3,\)"),
        (
            torch.ones(2, 3, 8, 8, dtype=torch.int64),
            "Echo takes pixels as floats in .* or uint8, not torch.int64",
        ),
    ],
)
def test_other_inputs_are_refused(inputs: Tensor, message: str) -> None:
    with pytest.raises(LimbeckError, match=message):
        normalize_inputs(Echo(), RGB)(inputs)


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((), (), "not 0 and 0"),
        ((0.5,), (0.5, 0.5), "not 1 and 2"),
        ((0.5, 0.5), (0.5, 0.0), r"stds above 0, not \(0.5, 0.5\) and \(0.5, 0.0\)"),
        ((0.5,), (-1.0,), "stds above 0"),
        ((math.nan,), (1.0,), "finite means"),
        ((0.0,), (math.inf,), "finite stds"),
    ],
)
def test_an_impossible_normalization_is_refused(
    mean: tuple[float, ...], std: tuple[float, ...], message: str
) -> None:
    with pytest.raises(LimbeckError, match=message):
        Normalization(mean, std)


def test_it_suits_a_perceptron_on_images() -> None:
    network = MLP([4], in_features=3 * 8 * 9, num_classes=2)
    expected = network(by_hand(PIXELS))
    torch.testing.assert_close(normalize_inputs(network, RGB)(PIXELS), expected)


def test_its_summary_is_rounded() -> None:
    assert CIFAR100.summary == "mean 0.5071, 0.4867, 0.4408; std 0.2675, 0.2565, 0.2761"
    assert Normalization((1 / 3,), (12345.6,)).summary == "mean 0.3333; std 1.235e+04"
