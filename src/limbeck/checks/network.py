"""What a Distiller refuses of the student, the teachers and what they are called with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from itertools import chain

from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from limbeck.errors import LimbeckError
from limbeck.methods.base import Method, inner_first
from limbeck.teachers import Teacher


def networks(student: object, teachers: Mapping[str, Teacher], example: object) -> None:
    """Refuses what is no network, and networks that share memory: training one would change the other."""
    if not isinstance(student, nn.Module):
        raise LimbeckError(f"the student must be an nn.Module, not {student!r:.80}")
    callable_with("the example", example)
    live = [teacher.network for teacher in teachers.values()]
    theirs = {_memory(tensor) for network in live if network is not None for tensor in _tensors(network)}
    for name, tensor in chain(student.named_parameters(), student.named_buffers()):
        if not is_lazy(tensor) and _memory(tensor) in theirs:
            raise LimbeckError(
                f"the student's {name} is the teacher's too, so training would change the teacher; "
                "copy.deepcopy one of them"
            )


def _tensors(network: nn.Module) -> Iterator[Tensor]:
    """The parameters and buffers of a network that have memory."""
    return (each for each in chain(network.parameters(), network.buffers()) if not is_lazy(each))


def _memory(tensor: Tensor) -> tuple[str, int]:
    """What two tensors have in common that are one, or parts of one."""
    try:
        address = tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError):  # of a subclass that keeps its values elsewhere
        address = 0
    return ("memory", address) if address else ("object", id(tensor))


def trained(student: nn.Module, objective: Method) -> None:
    """Refuses a student of which nothing is trained, unless a method ships more than the student."""
    shipped_whole = all(type(method).deploy is Method.deploy for method in inner_first(objective))
    if shipped_whole and not any(parameter.requires_grad for parameter in student.parameters()):
        raise LimbeckError(
            f"nothing of the student {type(student).__name__} is trained: it has no parameter with "
            "requires_grad=True; call student.requires_grad_(True), or for those parts that are to learn"
        )


def callable_with(what: str, inputs: object) -> None:
    """Refuses what networks are not called with."""
    if not isinstance(inputs, (Tensor, Mapping)):
        raise LimbeckError(f"{what} must be a tensor or named tensors, not a {type(inputs).__name__}")
