"""Rules that tell the gradients of task and distillation apart need terms of both."""

from __future__ import annotations

import pytest

from limbeck import LimbeckError
from limbeck.objective import parse

every_rule = pytest.mark.parametrize("rule", ["dot", "rolewise"])


@every_rule
@pytest.mark.parametrize(
    ("base", "kind", "example"),
    [
        ("kd", "task", "ce"),
        ("ce", "distillation", "kd"),
        ("mgd(kd)", "task", "ce"),
        ("label_smoothing + ab", "distillation", "kd"),
    ],
)
def test_terms_of_one_kind_are_refused(rule: str, base: str, kind: str, example: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        parse(f"{rule}({base})")
    assert str(caught.value) == (
        f"{rule} tells the gradients of task and distillation apart, and '{base}' has no {kind} term; "
        f"add one, for example {example}"
    )


@every_rule
@pytest.mark.parametrize("base", ["ckd", "0.5*dml + ce", "ce + mgd(kd)"])
def test_a_method_may_have_both(rule: str, base: str) -> None:
    assert str(parse(f"{rule}({base})")) == f"{rule}({base})"
