"""The door to other people's networks: `package.module:factory(width=2)`."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from types import ModuleType

from torch import nn

from limbeck.errors import LimbeckError, told, unknown
from limbeck.files import cache_directory, parse_json
from limbeck.notation import Call, Sum, Value, parse_call, show


def call_factory(spec: str) -> nn.Module:
    """Imports the module before the colon and calls what is named after it, with its arguments as given.

    Raises:
        LimbeckError: for a factory that a directory names and the user never has (see `named_by`), a module
            that cannot be imported, a name it has not, arguments the factory does not take, a factory that
            raises anything, with the line where it did, and one that makes no network.
    """
    name, _, text = spec.partition(":")
    call = parse_call(text, "model factory")
    directory = _directory.get()
    if directory is None:
        trust(spec)
    else:
        check_trust(spec, directory)
    for value in (*call.args, *call.kwargs.values()):
        refuse_names(spec, value)
    with _working_directory_importable():
        network = _call(_factory(_import(name), call.name), call, f"{name}:{call.name}")
    if not isinstance(network, nn.Module):
        raise LimbeckError(f"{name}:{call.name} returned {type(network).__name__}, not a torch.nn.Module")
    return network


@contextmanager
def named_by(directory: Path) -> Iterator[None]:
    """A context in which factories are named by a run's directory, which may be somebody else's.

    A factory that the user has named before, or trusted once (--trust-code, LIMBECK_TRUST_CODE=1), with the
    same arguments is called; any other is refused.
    """
    before = _directory.set(directory)
    try:
        yield
    finally:
        _directory.reset(before)


def names_factory(spec: str) -> bool:
    """Whether a model's text is that of a factory, or of another package's door."""
    return ":" in spec.partition("(")[0]


def trust(spec: str) -> None:
    """Remembers a factory that the user has named: it may be called where a directory names it."""
    known = [spec, _origin(spec)]
    if known not in _trusted():
        with suppress(OSError):  # then it is asked for again
            file = _record()
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(known) + "\n")


def check_trust(spec: str, directory: Path) -> None:
    """Refuses a factory that a run's directory names and the user never has.

    Raises:
        LimbeckError: saying how it is trusted.
    """
    if os.environ.get("LIMBECK_TRUST_CODE", "0") not in ("", "0"):
        trust(spec)
    elif [spec, origin := _origin(spec)] not in _trusted():
        there = f"{str(directory)!r} names the factory {spec!r},"
        if origin is None:
            raise LimbeckError(
                f"{there} and no file of a module {spec.partition(':')[0]!r} is found from here; go to its "
                "folder, or name that in PYTHONPATH"
            )
        raise LimbeckError(
            f"{there} which is code that you have not named yet; if you trust whoever made {origin!r}, say "
            "so once with --trust-code (LIMBECK_TRUST_CODE=1)"
        )


def _origin(spec: str) -> str | None:
    """Where the package of a factory is, which is not imported for that; None where there is none."""
    name = spec.partition(":")[0].partition(".")[0]
    importlib.invalidate_caches()
    with _working_directory_importable():
        try:
            found = importlib.util.find_spec(name)
        except (ImportError, ValueError):
            return None
    if found is None:
        return None
    places = [found.origin] if found.has_location else [*(found.submodule_search_locations or ())]
    return os.path.realpath(places[0]) if places and places[0] else None


def _trusted() -> list[list[str | None]]:
    """The factories that the user has named, each with the place of its package."""
    try:
        lines = _record().read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return []
    found = []
    for line in lines:
        with suppress(ValueError):  # half a line
            found.append(parse_json(line))
    return found


def _record() -> Path:
    return cache_directory() / "factories.jsonl"


_directory: ContextVar[Path | None] = ContextVar("directory", default=None)


def _import(name: str) -> ModuleType:
    if name.endswith(".py"):
        raise LimbeckError(
            f"{name!r} is a file, and a factory is written package.module:factory(...): leave out .py, as in "
            f"{name.removesuffix('.py').replace('/', '.')}:..."
        )
    if not all(part.isidentifier() for part in name.split(".")):
        raise LimbeckError(f"{name!r} is no module name; a factory is written package.module:factory(...)")
    importlib.invalidate_caches()  # the file may be younger than the last look at its directory
    try:
        return importlib.import_module(name)
    except (ImportError, SyntaxError) as error:
        raise LimbeckError(f"cannot import the module {name!r}: {error}") from error
    except Exception as error:
        raise LimbeckError(f"cannot import the module {name!r}: {told(error)}") from error


def _factory(module: ModuleType, name: str) -> Callable[..., object]:
    if not hasattr(module, name):
        makers = [
            known for known, value in vars(module).items() if _makes(value) and not known.startswith("_")
        ]
        raise unknown(f"factory in {module.__name__}:", name, makers)
    factory: Callable[..., object] = getattr(module, name)
    if not _makes(factory):
        raise LimbeckError(
            f"{module.__name__}:{name} is a {type(factory).__name__}, not a function or class that makes one"
        )
    return factory


def _makes(value: object) -> bool:
    return callable(value) and not isinstance(value, nn.Module)


def _call(factory: Callable[..., object], call: Call, what: str) -> object:
    try:
        signature = inspect.signature(factory)
    except ValueError:
        raise LimbeckError(f"{what} does not tell its arguments; wrap it in a function of your own") from None
    open_ended = any(parameter.kind is parameter.VAR_KEYWORD for parameter in signature.parameters.values())
    for argument in call.kwargs:
        if argument not in signature.parameters and not open_ended:
            raise unknown(f"argument of {what}:", argument, signature.parameters)
    try:
        signature.bind(*call.args, **call.kwargs)
    except TypeError as error:
        raise LimbeckError(f"{what}: {error}") from error
    try:
        return factory(*call.args, **call.kwargs)
    except LimbeckError:
        raise
    except Exception as error:
        raise LimbeckError(f"{what}: {told(error)}") from error


def refuse_names(spec: str, value: Value) -> None:
    """Refuses a bare name as an argument: a factory takes numbers, texts and lists."""
    if isinstance(value, (Call, Sum)):
        raise LimbeckError(
            f"{spec}: {value} is neither a number, a text nor a list; write {show(str(value))} for a text"
        )
    for item in value if isinstance(value, list) else ():
        refuse_names(spec, item)


@contextmanager
def _working_directory_importable() -> Iterator[None]:
    """Searches the working directory first, as `python -m` does, and leaves `sys.path` as it was."""
    here = os.getcwd()
    if here in sys.path:
        yield
        return
    sys.path.insert(0, here)
    try:
        yield
    finally:
        if here in sys.path:
            sys.path.remove(here)
