"""A run's student on the Hugging Face hub."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from limbeck.errors import LimbeckError
from limbeck.files import write_text
from limbeck.runs.directory import TOKENIZER, Run, place_of
from limbeck.runs.exporting import export
from limbeck.runs.modelcard import is_users, model_card
from limbeck.runs.network_record import read_card

PUBLISHED = ("README.md", "student.safetensors", "student.onnx", "student.pt2", "tokenizer.json")
"""The files of a run that others can use; its config and its records name places on this machine."""

_REPO = re.compile(r"[\w.-]+/[\w.-]+")


@dataclass(frozen=True)
class Pushed:
    """What went to the hub, or would go.

    Attributes:
        url: where it is; None if nothing was sent.
        files: bytes of each file by its name.
    """

    url: str | None
    files: dict[str, int]


def push(run: Run | Path | str, repo: str, *, private: bool = False, dry_run: bool = False) -> Pushed:
    """Uploads a run's student with its card to a repository on the hub, which is made if it is not there.

    A network of `transformers` goes as a folder that its class loads by `from_pretrained` (see the format hf
    of `limbeck export`), any other as the files that `limbeck.load` reads. The token is that of
    `hf auth login` or of $HF_TOKEN.

    Args:
        run: the run or its directory.
        repo: the repository, USER/NAME.
        private: whether a repository that is made is private.
        dry_run: whether nothing is sent.
    Raises:
        LimbeckError: for a run that is not finished, a name that is none, and a hub that cannot be reached or
            refuses.
    """
    run = Run(place_of(run))
    if not run.finished:
        raise LimbeckError(f"{str(run.path)!r} is no finished run, so there is no student to push")
    if _REPO.fullmatch(repo) is None:
        raise LimbeckError(f"the repository should be USER/NAME, such as me/small-classifier, not {repo!r}")
    with _published(run) as folder:
        files = {
            str(file.relative_to(folder)): file.stat().st_size
            for file in sorted(folder.rglob("*"))
            if file.is_file()
        }
        return Pushed(None if dry_run else _uploaded(folder, repo, private, run), files)


@contextmanager
def _published(run: Run) -> Iterator[Path]:
    """A folder of what goes to the hub."""
    card = read_card(run.path / "student.safetensors")
    with TemporaryDirectory() as temporary:
        folder = Path(temporary) / "student"
        if card is not None and card.network is not None and card.graft is None and card.rescaling is None:
            export(run, "hf", folder)
        else:
            folder.mkdir()
            for name in PUBLISHED:
                if (run.path / name).is_file():
                    shutil.copy2(run.path / name, folder / name)
            if not is_users(folder / "README.md"):
                write_text(folder / "README.md", model_card(run, run.result, published=True))
            if (run.path / TOKENIZER).is_dir():
                shutil.copytree(run.path / TOKENIZER, folder / TOKENIZER)
        yield folder


def _uploaded(folder: Path, repo: str, private: bool, run: Run) -> str:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, LocalTokenNotFoundError

    hub = HfApi()
    try:
        url = hub.create_repo(repo, private=private, exist_ok=True)
        hub.upload_folder(
            repo_id=repo,
            folder_path=folder,
            commit_message=f"A student distilled with limbeck: {run.path.name}",
        )
    except LocalTokenNotFoundError as error:
        raise LimbeckError(
            "there is no token for the Hugging Face hub; log in with `hf auth login`"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        remedy = (
            "; log in with `hf auth login` as somebody who may write there" if status in (401, 403) else ""
        )
        raise LimbeckError(f"the hub refused {repo!r} with the status {status}{remedy}") from error
    except Exception as error:  # of the HTTP library that huggingface_hub happens to use
        raise LimbeckError(f"the Hugging Face hub ({hub.endpoint}) cannot be reached: {error}") from error
    return str(url)
