"""The networks of the CRD benchmark (Tian et al., ICLR 2020, arXiv:1910.10699) by their names there."""

from __future__ import annotations

from collections.abc import Mapping

from limbeck.errors import LimbeckError
from limbeck.notation import Call, parse_call

_IMAGENET = "channels=[64, 128, 256, 512]"

NAMED: Mapping[str, str] = {
    "resnet8": "resnet(blocks=1)",
    "resnet14": "resnet(blocks=2)",
    "resnet20": "resnet(blocks=3)",
    "resnet32": "resnet(blocks=5)",
    "resnet44": "resnet(blocks=7)",
    "resnet56": "resnet(blocks=9)",
    "resnet110": "resnet(blocks=18)",
    "resnet8x4": "resnet(channels=[64, 128, 256], blocks=1, stem=32)",
    "resnet32x4": "resnet(channels=[64, 128, 256], blocks=5, stem=32)",
    "resnet18": f'resnet({_IMAGENET}, blocks=2, classifier="linear")',
    "resnet34": f'resnet({_IMAGENET}, blocks=[3, 4, 6, 3], classifier="linear")',
    "resnet50": f'resnet({_IMAGENET}, blocks=[3, 4, 6, 3], bottleneck=true, classifier="linear")',
    "wrn_16_1": "wrn(depth=16, width=1)",
    "wrn_16_2": "wrn(depth=16, width=2)",
    "wrn_40_1": "wrn(depth=40, width=1)",
    "wrn_40_2": "wrn(depth=40, width=2)",
    "vgg8": "vgg(depth=1)",
    "vgg11": "vgg(depth=[1, 1, 2, 2, 2])",
    "vgg13": "vgg(depth=2)",
    "vgg16": "vgg(depth=[2, 2, 3, 3, 3])",
    "vgg19": "vgg(depth=[2, 2, 4, 4, 4])",
}
"""What each is short for; `mobilenetv2`, `shufflenetv1` and `shufflenetv2` are in `MODELS` as they are."""


def spelled_out(call: Call) -> Call:
    """The call that one of a name in `NAMED` is short for; any other as it is.

    Raises:
        LimbeckError: where a name in `NAMED` is given more than facts of the data.
    """
    if call.name not in NAMED:
        return call
    whole = parse_call(NAMED[call.name], "model")
    if call.args or not call.kwargs.keys() <= {"in_channels", "size", "num_classes"}:
        raise LimbeckError(f"{call}: {call.name} is {whole}; write that with arguments of your own")
    return Call(whole.name, kwargs={**whole.kwargs, **call.kwargs})
