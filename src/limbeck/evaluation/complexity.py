"""The supervision complexity: how hard targets are to learn for a network, by its kernel. A reconstruction.

It is of "Supervision Complexity and its Role in Knowledge Distillation" (2301.12245), of which no code was
published. Recalled and not verified are the kernel and the complexity sqrt(Y^T K^-1 Y * tr K) / n; chosen
here are that targets are centered by their means over the samples, the ridge, and the kernel of many outputs.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, jacrev, vmap

from limbeck.errors import LimbeckError
from limbeck.features import call, logits_of
from limbeck.outputs import Inputs, apply, size_of

Kernel: TypeAlias = Literal["full", "mean"]
"""The whole kernel of n samples with C outputs, (n*C, n*C); or the mean over its outputs, (n, n)."""

RIDGE = 1e-4
MEMORY = 2**30


def tangent_kernel(
    network: nn.Module,
    inputs: Inputs,
    *,
    kernel: Kernel = "full",
    answer: Callable[[nn.Module, Inputs], Tensor] | None = None,
    memory: int = MEMORY,
) -> Tensor:
    """The empirical neural tangent kernel of a network in eval mode, in float64.

    "full" has a row for each output of each sample, K[(a, c), (b, d)] = <df_c(x_a)/dw, df_d(x_b)/dw>, sample
    by sample. "mean" has a row for each sample, K[a, b] = 1/C * sum_c K[(a, c), (b, c)]: it takes the outputs
    for independent and alike, which a full kernel of the form K[a, b] * 1[c = d] is exactly. w is all
    parameters of the network.

    Args:
        network: the network; it is copied and stays as it is.
        inputs: n samples, on the device where the kernel is computed.
        kernel: which kernel.
        answer: a function that gives the (B, C) logits of a network for B samples; what the network returns
            counts if it is None.
        memory: bytes that the derivatives of a block of samples may take; there are two blocks at a time, and
            the smaller they are, the more often a derivative is computed anew.
    Returns: (n*C, n*C) or (n, n).
    Raises:
        LimbeckError: for a network without parameters, one that torch.func cannot differentiate, and one
            whose derivatives for one sample are larger than `memory`.
    """
    asked = _Asked(copy.deepcopy(network).double().eval(), answer or _returned)
    weights = {name: parameter.detach() for name, parameter in asked.named_parameters()}
    if not weights:
        raise LimbeckError(f"{type(network).__name__} has no parameters, and so no tangent kernel")
    with torch.no_grad():
        outputs = asked(apply(lambda tensor: tensor[:1], inputs)).shape[-1]
    samples, together = size_of(inputs), outputs if kernel == "full" else 1
    bytes_of_one = 8 * together * sum(weight.numel() for weight in weights.values())
    if bytes_of_one > memory:
        raise LimbeckError(
            f"the derivatives of {type(network).__name__} for one sample take {bytes_of_one / 1e9:.1f} GB, "
            f"and {memory / 1e9:.1f} GB are given to them; so large a network's kernel is not computed"
        )
    blocks = torch.split(torch.arange(samples), memory // bytes_of_one)

    def derivatives(block: Tensor, output: int | None) -> dict[str, Tensor]:
        """(rows, numbers) by parameter."""
        some = apply(lambda tensor: tensor[block.to(tensor.device)], inputs)
        return _derivatives(asked, weights, some, output)

    rows = samples * together
    found = torch.zeros(rows, rows, dtype=torch.float64, device=next(iter(weights.values())).device)
    for output in [None] if kernel == "full" else range(outputs):
        for place, first in enumerate(blocks):
            left = derivatives(first, output)
            for second in blocks[: place + 1]:
                right = left if second is first else derivatives(second, output)
                above, beside = (_span(block, together) for block in (first, second))
                for name in weights:
                    found[above, beside] += left[name] @ right[name].T
                if second is not first:
                    found[beside, above] = found[above, beside].T
    return found if kernel == "full" else found / outputs


def supervision_complexity(kernel: Tensor, targets: Tensor, *, ridge: float = RIDGE) -> Tensor:
    """The complexity of targets for a kernel, sqrt(Y^T K^-1 Y * tr K) / n.

    Y is the targets without their mean over the samples, output by output, so that an offset that is the same
    for all samples costs nothing; K is the kernel with the ridge on its diagonal. A kernel of samples alone
    stands for one that treats all outputs alike and apart, of which the trace is C times as large.

    Args:
        kernel: (n*C, n*C) sample by sample, or (n, n); see `tangent_kernel`.
        targets: (n, C), or (K, n, C) for several kinds of targets.
        ridge: share of the mean of the kernel's diagonal that is added to the diagonal.
    Returns: a scalar, or (K,).
    Raises:
        LimbeckError: for shapes that do not fit, and a kernel that is singular with the ridge.
    """
    check_kernel(kernel, targets, ridge)
    several = targets.to(kernel).reshape(-1, *targets.shape[-2:])
    centered = several - several.mean(1, keepdim=True)
    rows, samples = len(kernel), targets.shape[-2]
    columns = centered.reshape(len(several), rows, -1)
    diagonal = kernel.diagonal()
    kernel = kernel + ridge * diagonal.mean() * torch.eye(rows, dtype=kernel.dtype, device=kernel.device)
    lower, failed = torch.linalg.cholesky_ex(kernel)
    if int(failed):
        raise LimbeckError(
            f"the kernel of {samples} samples is singular with a ridge of {ridge:g}; give a larger ridge"
        )
    halves = torch.linalg.solve_triangular(lower, columns.permute(1, 0, 2).reshape(rows, -1), upper=False)
    forms = halves.reshape(rows, len(several), -1).square().sum((0, 2))
    trace = columns.shape[2] * kernel.diagonal().sum()
    found: Tensor = (forms * trace).sqrt() / samples
    return found if targets.ndim == 3 else found[0]


def isotropic_complexity(targets: Tensor) -> Tensor:
    """What the complexity of targets (n, C) or (K, n, C) is for the kernel that prefers nothing, K = I."""
    centered = targets - targets.mean(-2, keepdim=True)
    samples, outputs = targets.shape[-2:]
    return centered.square().sum((-2, -1)).mul(outputs / samples).sqrt()


def check_kernel(kernel: Tensor, targets: Tensor, ridge: float) -> None:
    """Refuses what no complexity is of.

    Raises:
        LimbeckError: naming what does not fit.
    """
    if targets.ndim not in (2, 3):
        raise LimbeckError(f"targets should have the shape (n, C) or (K, n, C), not {tuple(targets.shape)}")
    samples, outputs = targets.shape[-2:]
    if (
        kernel.ndim != 2
        or kernel.shape[0] != kernel.shape[1]
        or len(kernel) not in (samples, samples * outputs)
    ):
        raise LimbeckError(
            f"the kernel of {samples} samples with {outputs} outputs should have the shape "
            f"{(samples * outputs,) * 2} or {(samples,) * 2}, not {tuple(kernel.shape)}"
        )
    if not ridge >= 0:
        raise LimbeckError(f"the ridge is a share of the kernel's diagonal from 0 on, not {ridge:g}")


class _Asked(nn.Module):
    """A network with how its logits are taken from it."""

    def __init__(self, network: nn.Module, answer: Callable[[nn.Module, Inputs], Tensor]) -> None:
        super().__init__()
        self.network, self.answer = network, answer

    def forward(self, inputs: Inputs) -> Tensor:
        return self.answer(self.network, inputs)


def _returned(network: nn.Module, inputs: Inputs) -> Tensor:
    return logits_of(call(network, inputs))


def _derivatives(
    network: nn.Module, weights: Mapping[str, Tensor], inputs: Inputs, output: int | None
) -> dict[str, Tensor]:
    """The derivatives by each parameter: of one output (B, numbers), or of all (B*C, numbers)."""

    def logits(parameters: Mapping[str, Tensor], sample: Inputs) -> Tensor:
        alone = apply(lambda tensor: tensor.unsqueeze(0), sample)
        answer: Tensor = functional_call(network, dict(parameters), (alone,))
        return answer[0] if output is None else answer[0, output]

    of_one = jacrev(logits) if output is None else grad(logits)
    try:
        found = vmap(of_one, in_dims=(None, 0))(weights, inputs)
    except RuntimeError as error:
        if isinstance(error, torch.OutOfMemoryError):
            raise
        raise LimbeckError(
            "the network's derivatives by single samples cannot be computed by torch.func: "
            f"{str(error).strip().splitlines()[0]}"
        ) from error
    return {name: found[name].reshape(-1, weight.numel()) for name, weight in weights.items()}


def _span(block: Tensor, together: int) -> slice:
    """The rows of some samples that follow each other."""
    return slice(int(block[0]) * together, (int(block[-1]) + 1) * together)
