"""The methods, one paper one file, and the table of them all.

Another package adds its own through the entry-point group `limbeck.methods` (name = "module:Class").
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points

from limbeck.errors import LimbeckError
from limbeck.methods.ab import AB
from limbeck.methods.afd import AFD
from limbeck.methods.at import AT
from limbeck.methods.base import Method, Objective
from limbeck.methods.bounded import Bounded
from limbeck.methods.cc import CC
from limbeck.methods.ce import CE
from limbeck.methods.crd import CRD
from limbeck.methods.declarations import Claim, Context, DataFacts, Phase, Reads
from limbeck.methods.dist import DIST
from limbeck.methods.dkd import DKD
from limbeck.methods.dml import DML
from limbeck.methods.dot import DOT
from limbeck.methods.fitnet import FitNet
from limbeck.methods.fsp import FSP
from limbeck.methods.ft import FT
from limbeck.methods.huber import Huber
from limbeck.methods.icd import ICD
from limbeck.methods.imitation import Imitation
from limbeck.methods.kd import KD
from limbeck.methods.kdsvd import KDSVD
from limbeck.methods.label_smoothing import LabelSmoothing
from limbeck.methods.logit_standardization import LogitStandardization
from limbeck.methods.lwkd import LWKD
from limbeck.methods.mgd import MGD
from limbeck.methods.mse import MSE
from limbeck.methods.nst import NST
from limbeck.methods.ofd import OFD
from limbeck.methods.pkt import PKT
from limbeck.methods.reviewkd import ReviewKD
from limbeck.methods.rkd import RKD
from limbeck.methods.rrd import RRD
from limbeck.methods.simkd import SimKD
from limbeck.methods.sp import SP
from limbeck.methods.srrl import SRRL
from limbeck.methods.terms import Losses, Term
from limbeck.methods.tfkd import TFKD
from limbeck.methods.vid import VID

METHODS: dict[str, type[Method]] = {
    "ab": AB,
    "afd": AFD,
    "at": AT,
    "bounded": Bounded,
    "cc": CC,
    "ce": CE,
    "crd": CRD,
    "dist": DIST,
    "dkd": DKD,
    "dml": DML,
    "dot": DOT,
    "fitnet": FitNet,
    "fsp": FSP,
    "ft": FT,
    "huber": Huber,
    "icd": ICD,
    "imitation": Imitation,
    "kd": KD,
    "kdsvd": KDSVD,
    "label_smoothing": LabelSmoothing,
    "logit_standardization": LogitStandardization,
    "lwkd": LWKD,
    "mgd": MGD,
    "mse": MSE,
    "nst": NST,
    "ofd": OFD,
    "pkt": PKT,
    "reviewkd": ReviewKD,
    "rkd": RKD,
    "rrd": RRD,
    "simkd": SimKD,
    "sp": SP,
    "srrl": SRRL,
    "tfkd": TFKD,
    "vid": VID,
}

__all__ = [
    "AB",
    "AFD",
    "AT",
    "CC",
    "CE",
    "CRD",
    "DIST",
    "DKD",
    "DML",
    "DOT",
    "FSP",
    "FT",
    "ICD",
    "KD",
    "KDSVD",
    "LWKD",
    "METHODS",
    "MGD",
    "MSE",
    "NST",
    "OFD",
    "PKT",
    "RKD",
    "RRD",
    "SP",
    "SRRL",
    "TFKD",
    "VID",
    "Bounded",
    "Claim",
    "Context",
    "DataFacts",
    "FitNet",
    "Huber",
    "Imitation",
    "LabelSmoothing",
    "LogitStandardization",
    "Losses",
    "Method",
    "Objective",
    "Phase",
    "Reads",
    "ReviewKD",
    "SimKD",
    "Term",
    "table",
]


def table() -> Mapping[str, type[Method]]:
    """Every method by its name in the notation: limbeck's own, and those of installed packages after them."""
    return {**_foreign(), **METHODS}


@cache
def _foreign() -> Mapping[str, type[Method]]:
    found: dict[str, type[Method]] = {}
    for point in entry_points(group="limbeck.methods"):
        try:
            method = point.load()
        except (ImportError, AttributeError) as error:
            raise LimbeckError(f"the entry point {point.name!r} = {point.value!r} fails: {error}") from error
        if not (isinstance(method, type) and issubclass(method, Method)) or method.name != point.name:
            raise LimbeckError(
                f"the entry point {point.name!r} = {point.value!r} must be a Method of that name"
            )
        found[point.name] = method
    return found
