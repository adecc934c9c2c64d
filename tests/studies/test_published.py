from __future__ import annotations

import pytest

from limbeck.errors import LimbeckError
from limbeck.models import MODELS, NAMED
from limbeck.studies.published import names, published


def test_every_table_has_a_source_and_names_networks_of_limbeck() -> None:
    assert names() == ["crd", "dkd", "dot", "infoflow", "mgd", "sskd", "tfkd"]
    for name in set(names()) - {"infoflow", "tfkd"}:  # their networks are not limbeck's
        table = published(name)
        assert table.url.startswith("https://")
        for pair in table.pairs:
            assert {pair.teacher, pair.student} <= {*NAMED, *MODELS}
            assert pair.teacher_accuracy is not None


def test_figures_by_value() -> None:
    mgd = published("mgd").of(("vgg13",), "vgg8")
    assert mgd is not None
    assert (mgd.teacher_accuracy, mgd.student_accuracy) == (74.64, 70.36)
    assert (mgd.methods["MAS+KD"], mgd.methods["MAG+AFD"]) == (74.18, 73.89)
    assert len(mgd.methods) == 24
    crd = published("crd").of(("resnet32x4",), "shufflenetv2")
    assert crd is not None
    assert crd.methods["CRD"] == 75.65
    assert "FSP" not in crd.methods
    assert published("crd").of(("resnet110",), "resnet20") is None
    tfkd = published("tfkd").of(("mobilenetv2",), "mobilenetv2")
    assert tfkd is not None
    assert tfkd.methods["LSR"] == 69.32


def test_an_unknown_table_is_named_with_the_nearest() -> None:
    with pytest.raises(LimbeckError, match="unknown published table 'crds'; did you mean 'crd'"):
        published("crds")
