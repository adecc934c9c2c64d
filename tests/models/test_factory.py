import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from limbeck.errors import LimbeckError
from limbeck.models import build

MODELS = """
import torch
from torch import nn

def make(width=1, *, scale=1.0):
    from beside import classes
    network = nn.Linear(width, classes)
    network.scale = scale
    return network

def greedy(**settings):
    network = nn.Linear(2, 3)
    network.settings = settings
    return network

def picky(width):
    raise ValueError(f"width must be even, not {width}")

def forgetful():
    return {"model": nn.Linear(2, 3)}

def buggy():
    return undefined_name

def silent():
    raise KeyError

def deep():
    return nn.Linear(2, 3).load_state_dict({})

def stopped():
    raise KeyboardInterrupt

ready_made = nn.Linear(2, 3)
number = 3
"""


@pytest.fixture(autouse=True)
def _in_her_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "my_models.py").write_text(MODELS)
    (tmp_path / "beside.py").write_text("classes = 3\n")
    (tmp_path / "needy.py").write_text("import a_package_she_has_not\n")
    (tmp_path / "unfinished.py").write_text("def make(:\n")
    (tmp_path / "hasty.py").write_text("from torch import nn\n\nwidths = {}\nwidth = widths['small']\n")
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "heads.py").write_text("from torch.nn import Linear as Head\n")
    monkeypatch.chdir(tmp_path)
    before = set(sys.modules)
    path = list(sys.path)
    yield
    assert sys.path == path
    for name in set(sys.modules) - before:
        if name.split(".")[0] in ("my_models", "beside", "needy", "unfinished", "hasty", "parts"):
            del sys.modules[name]


def test_a_factory_beside_her_is_called_with_exactly_her_arguments() -> None:
    network = build("my_models:make(width=2, scale=0.5)", example=torch.rand(2, 1, 8, 8), num_classes=10)
    assert isinstance(network, nn.Linear)
    assert vars(network)["scale"] == 0.5
    assert (network.in_features, network.out_features) == (2, 3)
    bare = build("my_models:make")
    assert isinstance(bare, nn.Linear)
    assert vars(bare)["scale"] == 1.0
    assert bare.in_features == 1


def test_packages_positional_and_open_ended_arguments() -> None:
    head = build("parts.heads:Head(4, 2, bias=false)")
    assert isinstance(head, nn.Linear)
    assert (head.in_features, head.out_features) == (4, 2)
    assert "bias" not in head.state_dict()
    assert build('my_models:greedy(a=[1, 2], b="x")').settings == {"a": [1, 2], "b": "x"}


def test_installed_packages_are_found() -> None:
    assert isinstance(build("torch.nn:Conv2d(1, 2, kernel_size=3)"), nn.Conv2d)


def test_a_directory_that_is_importable_already_stays_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    before = list(sys.path)
    build("my_models:make")
    assert sys.path == before
    monkeypatch.undo()


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("nowhere:make", "cannot import the module 'nowhere': No module named 'nowhere'"),
        ("parts.nowhere:make", "cannot import the module 'parts.nowhere': No module named 'parts.nowhere'"),
        ("needy:make", "cannot import the module 'needy': No module named 'a_package_she_has_not'"),
        ("unfinished:make", "cannot import the module 'unfinished': invalid syntax (unfinished.py, line 1)"),
        (":make", "'' is no module name"),
        ("my_models.py:make", ": leave out .py, as in my_models:..."),
        ("..my_models:make", "'..my_models' is no module name"),
        ("my models:make", "'my models' is no module name"),
        ("my_models:", "is not in the notation"),
        ("my_models:make()()", "the notation has"),
        ("my_models:mak", "unknown factory in my_models: 'mak'; did you mean 'make'?"),
        ("my_models:ready_made", "my_models:ready_made is a Linear, not a function or class"),
        ("my_models:number", "my_models:number is a int, not a function or class"),
        ("my_models:make(widht=2)", "unknown argument of my_models:make: 'widht'; did you mean 'width'?"),
        ("my_models:make(1, 2)", "my_models:make: too many positional arguments"),
        ("my_models:picky", "my_models:picky: missing a required argument: 'width'"),
        (
            "my_models:picky(3)",
            "my_models:picky: width must be even, not 3 (ValueError at my_models.py:17)",
        ),
        (
            "my_models:buggy",
            "my_models:buggy: name 'undefined_name' is not defined (NameError at my_models.py:23)",
        ),
        ("my_models:silent", "my_models:silent: KeyError at my_models.py:26"),
        ("my_models:deep", "Error(s) in loading state_dict for Linear: (RuntimeError at my_models.py:29)"),
        ("hasty:make", "cannot import the module 'hasty': 'small' (KeyError at hasty.py:4)"),
        ('my_models:make(width="wide")', "my_models:make: "),
        ("my_models:make(width=wide)", 'wide is neither a number, a text nor a list; write "wide"'),
        ("my_models:make(width=[[wide]])", "wide is neither a number"),
        ("my_models:forgetful", "my_models:forgetful returned dict, not a torch.nn.Module"),
        ("math:sqrt(2)", "math:sqrt returned float, not a torch.nn.Module"),
        ("builtins:dict(a=1)", "builtins:dict does not tell its arguments; wrap it in a function"),
    ],
)
def test_a_wrong_factory_is_refused(spec: str, message: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        build(spec)
    assert message in str(caught.value)


def test_a_bug_in_her_factory_keeps_its_traceback() -> None:
    with pytest.raises(LimbeckError) as caught:
        build("my_models:buggy")
    cause = caught.value.__cause__
    assert type(cause) is NameError
    assert traceback.extract_tb(cause.__traceback__)[-1].line == "return undefined_name"


def test_an_interruption_is_no_mistake_of_hers() -> None:
    with pytest.raises(KeyboardInterrupt):
        build("my_models:stopped")
