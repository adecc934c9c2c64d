"""torch.export's archive: runs in torch without the student's code, and feeds AOTInductor and ExecuTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor
from torch.export import ExportedProgram

from limbeck.outputs import Inputs
from limbeck.runs.exports.metadata import named_tensors


def write(
    program: ExportedProgram,
    names: Sequence[str],
    file: Path,
    metadata: Mapping[str, str],
    fields: Sequence[str] = (),
) -> str:
    """Writes the archive, with the metadata as its extra files; says what there is to know of it."""
    with file.open("wb") as stream:  # given a path, torch warns of any that does not end in .pt2
        torch.export.save(program, stream, extra_files=dict(metadata))
    return f"a program of torch.export, written by torch {torch.__version__}"


def reopen(file: Path, place: int = 0) -> Callable[[Inputs], Tensor]:
    """What the archive answers.

    Args:
        file: the archive.
        place: which of its outputs; the first are the logits.
    """
    with file.open("rb") as stream:
        module = torch.export.load(stream).module()

    def answer(inputs: Inputs) -> Tensor:
        result = module(*named_tensors(inputs).values())
        return result if isinstance(result, Tensor) else result[place]

    return answer
