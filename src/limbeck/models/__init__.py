"""The networks of limbeck by name, and a door to everybody else's.

Another package adds its own through the entry-point group `limbeck.models` (name = "module:Class", or a
function); what it takes of `in_channels`, `size`, `in_features`, `vocab_size` and `num_classes` is filled in.

>>> build("cnn(channels=[4, 8])", example=torch.rand(2, 1, 8, 8), num_classes=10)
>>> build("resnet20", example=torch.rand(2, 3, 32, 32), num_classes=100)
>>> build("timm:resnet18", example=torch.rand(2, 3, 32, 32), num_classes=100)
>>> build("my_models:make_student(width=2)")
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from inspect import getdoc

from torch import nn

from limbeck.errors import LimbeckError, unknown
from limbeck.models import causal, encoders, huggingface, lora
from limbeck.models.cnn import CNN
from limbeck.models.deeplab import DeepLab, MobileDeepLab
from limbeck.models.dscnn import DSCNN
from limbeck.models.edsr import EDSR
from limbeck.models.factory import call_factory
from limbeck.models.fcos import FCOS
from limbeck.models.fsrcnn import FSRCNN
from limbeck.models.gpt import GPT, KVCache
from limbeck.models.inputs import complete
from limbeck.models.lenet import LeNet5
from limbeck.models.lraspp import LRASPP, MobileLRASPP
from limbeck.models.mlp import MLP
from limbeck.models.mobilenetv2 import MobileNetV2
from limbeck.models.named import NAMED, spelled_out
from limbeck.models.normalize import CIFAR100, IMAGENET, Normalization, normalization_of, normalize_inputs
from limbeck.models.rescale import Rescaling, rescale_outputs, rescaling_of
from limbeck.models.resnet import ResNet
from limbeck.models.shufflenetv1 import ShuffleNetV1
from limbeck.models.shufflenetv2 import ShuffleNetV2
from limbeck.models.standalone import Standalone, standalone
from limbeck.models.textcnn import TextCNN
from limbeck.models.transformer import Transformer
from limbeck.models.unet import UNet
from limbeck.models.vgg import VGG
from limbeck.models.weights import count_parameters, fingerprint, load_into, load_state, save
from limbeck.models.wrn import WideResNet
from limbeck.models.zoos import from_zoo, is_zoo
from limbeck.notation import parse_call
from limbeck.outputs import Inputs
from limbeck.plugins import builders


@dataclass(frozen=True)
class Entry:
    """A network of the table: what makes it, one line about it, and where it comes from."""

    make: Callable[..., nn.Module]
    summary: str
    source: str


MODELS: Mapping[str, Entry] = {
    "lenet5": Entry(LeNet5, "two convolutions, max-pooled, and three linear layers", "LeCun et al. 1998"),
    "cnn": Entry(CNN, "plain convolutions, like VGG", "Simonyan & Zisserman 2015, arXiv:1409.1556"),
    "vgg": Entry(VGG, "VGG with batch norm", "Simonyan & Zisserman 2015, arXiv:1409.1556"),
    "resnet": Entry(ResNet, "residual network in its CIFAR form", "He et al. 2016, arXiv:1512.03385"),
    "wrn": Entry(WideResNet, "wide residual network", "Zagoruyko & Komodakis 2016, arXiv:1605.07146"),
    "dscnn": Entry(DSCNN, "depthwise separable convolutions", "Howard et al. 2017, arXiv:1704.04861"),
    "mobilenetv2": Entry(MobileNetV2, "inverted residuals", "Sandler et al. 2018, arXiv:1801.04381"),
    "shufflenetv1": Entry(ShuffleNetV1, "grouped convolutions", "Zhang et al. 2018, arXiv:1707.01083"),
    "shufflenetv2": Entry(ShuffleNetV2, "split and shuffled channels", "Ma et al. 2018, arXiv:1807.11164"),
    "unet": Entry(UNet, "U-Net, for segmentation", "Ronneberger et al. 2015, arXiv:1505.04597"),
    "deeplab": Entry(
        DeepLab, "DeepLabV3 over residual stages, for segmentation", "Chen et al. 2017, arXiv:1706.05587"
    ),
    "deeplab_mobilenetv2": Entry(
        MobileDeepLab, "DeepLabV3 over MobileNetV2, for segmentation", "Chen et al. 2017, arXiv:1706.05587"
    ),
    "lraspp": Entry(
        LRASPP, "LR-ASPP over residual stages, for segmentation", "Howard et al. 2019, arXiv:1905.02244"
    ),
    "lraspp_mobilenetv2": Entry(
        MobileLRASPP, "LR-ASPP over MobileNetV2, for segmentation", "Howard et al. 2019, arXiv:1905.02244"
    ),
    "fcos": Entry(FCOS, "anchor-free detector over residual stages", "Tian et al. 2019, arXiv:1904.01355"),
    "edsr": Entry(EDSR, "residual blocks, for super-resolution", "Lim et al. 2017, arXiv:1707.02921"),
    "fsrcnn": Entry(FSRCNN, "small and fast, for super-resolution", "Dong et al. 2016, arXiv:1608.00367"),
    "mlp": Entry(MLP, "multi-layer perceptron, for tables and small images", "Rumelhart et al. 1986"),
    "gpt": Entry(
        GPT, "causal language model, decoder", "Radford et al. 2019; Touvron et al. 2023, arXiv:2302.13971"
    ),
    "textcnn": Entry(TextCNN, "convolutions over words, for texts", "Kim 2014, arXiv:1408.5882"),
    "transformer": Entry(Transformer, "encoder for texts", "Vaswani et al. 2017, arXiv:1706.03762"),
}

__all__ = [
    "CIFAR100",
    "CNN",
    "DSCNN",
    "EDSR",
    "FSRCNN",
    "GPT",
    "IMAGENET",
    "LRASPP",
    "MLP",
    "MODELS",
    "NAMED",
    "VGG",
    "DeepLab",
    "Entry",
    "KVCache",
    "LeNet5",
    "MobileDeepLab",
    "MobileLRASPP",
    "MobileNetV2",
    "Normalization",
    "ResNet",
    "Rescaling",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "Standalone",
    "TextCNN",
    "Transformer",
    "UNet",
    "WideResNet",
    "build",
    "causal",
    "count_parameters",
    "fingerprint",
    "load_into",
    "load_state",
    "lora",
    "normalization_of",
    "normalize_inputs",
    "rescale_outputs",
    "rescaling_of",
    "save",
    "standalone",
    "table",
]


def table() -> Mapping[str, Entry]:
    """Every network by its name: limbeck's own, and those of installed packages after them."""
    others = {
        name: Entry(make, (getdoc(make) or "no description").partition("\n")[0], make.__module__)
        for name, make in builders("models").items()
        if name not in MODELS
    }
    return {**MODELS, **others}


def build(
    spec: str,
    *,
    example: Inputs | None = None,
    num_classes: int | None = None,
    facts: Mapping[str, int] | None = None,
    task: str | None = None,
) -> nn.Module:
    """The network a text stands for, with fresh weights drawn from torch's global generator.

    Args:
        spec: a name of `table()`, `lenet5` or `cnn(channels=[4, 8])`, or of `NAMED`, `resnet20`; one of a
            zoo, `timm:resnet18` or `torchvision:resnet18` (see `limbeck.models.zoos`); one of Hugging Face,
            `hf:FOLDER(layers=2)` (see `limbeck.models.huggingface`); static embeddings of an encoder,
            `static("FOLDER")` (see `limbeck.models.encoders`); or else
            `package.module:factory(width=2)`, which imports the module (the working directory is searched
            too) and calls the factory with exactly the arguments given.
        example: inputs the network will get, (B, C, H, W) images or (B, F) features. They tell a network of
            the table its `in_channels` and `size`, or `in_features`, unless the spec does.
        num_classes: number of logits of a network of the table, unless the spec tells it.
        facts: further arguments that follow from the data, such as the `vocab_size` in `Source.facts`; a
            network of the table takes those it has.
        task: name of the task, which says what a network of Hugging Face does with images.
    Raises:
        LimbeckError: for an unknown name or argument, one that is missing, or one that contradicts the
            data; for a factory that is not there or makes no network.
    """
    if huggingface.is_hf(spec):
        return huggingface.build(spec, example, num_classes, facts, task=task)
    if encoders.static_source(spec) is not None:
        return encoders.static_of(spec)
    if is_zoo(spec):
        return from_zoo(spec, example, num_classes)
    module, colon, _ = spec.partition(":")
    if colon and "(" not in module:
        return call_factory(spec)
    call = spelled_out(parse_call(spec, "model"))
    known_models = table()
    if call.name not in known_models:
        raise unknown("model", call.name, [*known_models, *NAMED])
    make = known_models[call.name].make
    known = {**(facts or {}), **({} if num_classes is None else {"num_classes": num_classes})}
    network = make(*call.args, **complete(call, make, example, known))
    if not isinstance(network, nn.Module):
        raise LimbeckError(
            f"the entry point {call.name!r} of limbeck.models returned {type(network).__name__}, "
            "not a torch.nn.Module"
        )
    return network
