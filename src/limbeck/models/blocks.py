"""What the convolutional networks are made of."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn


def conv(before: int, after: int, kernel: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """A convolution without bias, padded so that (H, W) become their shares by the stride, rounded up."""
    return nn.Conv2d(before, after, kernel, stride, padding=kernel // 2, groups=groups, bias=False)


def conv_unit(before: int, after: int, kernel: int = 3, *, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """`conv`, `bn`, `relu`: a convolution padded to keep the size, batch norm and ReLU."""
    first = conv(before, after, kernel, stride=stride, groups=groups)
    return nn.Sequential(OrderedDict(conv=first, bn=nn.BatchNorm2d(after), relu=nn.ReLU()))


def initialize(network: nn.Module) -> None:
    """Draws convolution weights anew, from Kaiming's normal with fan-out, in the order they were registered.

    Fan-out is kernel area times output channels, whatever the groups: the convention of the CIFAR networks.
    Biases of convolutions become 0.
    """
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
