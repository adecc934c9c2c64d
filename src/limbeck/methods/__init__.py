"""The methods, one paper one file, and the table of them all.

Another package adds its own through the entry-point group `limbeck.methods` (name = "module:Class").
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from limbeck.plugins import Table, registered

if TYPE_CHECKING:
    from limbeck.data_facts import DataFacts
    from limbeck.methods.ab import AB
    from limbeck.methods.afd import AFD
    from limbeck.methods.afd_attention import AFDAttention
    from limbeck.methods.at import AT
    from limbeck.methods.base import Method, Objective
    from limbeck.methods.bdd import BDD
    from limbeck.methods.bounded import Bounded
    from limbeck.methods.bss import BSS
    from limbeck.methods.cc import CC
    from limbeck.methods.ce import CE
    from limbeck.methods.ceskd import CESKD
    from limbeck.methods.ckd import CKD
    from limbeck.methods.contrastive import Contrastive
    from limbeck.methods.cosent import CoSENT
    from limbeck.methods.cosine import Cosine
    from limbeck.methods.crd import CRD
    from limbeck.methods.cutmix import CutMix
    from limbeck.methods.cwd import CWD
    from limbeck.methods.declarations import Claim, Context, Networks, Phase, Reads
    from limbeck.methods.dgkd import DGKD
    from limbeck.methods.dist import DIST
    from limbeck.methods.dkd import DKD
    from limbeck.methods.dml import DML
    from limbeck.methods.dot import DOT
    from limbeck.methods.dual import Dual
    from limbeck.methods.ekd import EKD
    from limbeck.methods.embedding_mse import EmbeddingMSE
    from limbeck.methods.embeddistill import EmbedDistill
    from limbeck.methods.fcos import FCOS
    from limbeck.methods.fitnet import FitNet
    from limbeck.methods.focal import Focal
    from limbeck.methods.fsp import FSP
    from limbeck.methods.ft import FT
    from limbeck.methods.giou import GIoU
    from limbeck.methods.gold import GOLD
    from limbeck.methods.huber import Huber
    from limbeck.methods.icd import ICD
    from limbeck.methods.ikd import IKD
    from limbeck.methods.imitation import Imitation
    from limbeck.methods.infoflow import InfoFlow
    from limbeck.methods.kcd import KCD
    from limbeck.methods.kd import KD
    from limbeck.methods.kdsvd import KDSVD
    from limbeck.methods.label_smoothing import LabelSmoothing
    from limbeck.methods.listwise import Listwise
    from limbeck.methods.logit_standardization import LogitStandardization
    from limbeck.methods.lwkd import LWKD
    from limbeck.methods.mae import MAE
    from limbeck.methods.margin_mse import MarginMSE
    from limbeck.methods.masked_generative import MaskedGenerative
    from limbeck.methods.matryoshka import Matryoshka
    from limbeck.methods.metakd_sr import MetaKDSR
    from limbeck.methods.mgd import MGD
    from limbeck.methods.minillm import MiniLLM
    from limbeck.methods.mixkd import MixKD
    from limbeck.methods.mixup import Mixup
    from limbeck.methods.mse import MSE
    from limbeck.methods.mtpd import MTPD
    from limbeck.methods.multilevel import Multilevel
    from limbeck.methods.nasty import Nasty
    from limbeck.methods.nst import NST
    from limbeck.methods.ofd import OFD
    from limbeck.methods.okd import OKD
    from limbeck.methods.on_policy import OnPolicy
    from limbeck.methods.one import ONE
    from limbeck.methods.pairwise import Pairwise
    from limbeck.methods.pkd import PKD
    from limbeck.methods.pkt import PKT
    from limbeck.methods.pseudo_boxes import PseudoBoxes
    from limbeck.methods.r2kd import R2KD
    from limbeck.methods.rdd import RDD
    from limbeck.methods.reviewkd import ReviewKD
    from limbeck.methods.rkd import RKD
    from limbeck.methods.rolewise import Rolewise
    from limbeck.methods.rrd import RRD
    from limbeck.methods.rtk import RTK
    from limbeck.methods.seqkd import SeqKD
    from limbeck.methods.sftn import SFTN
    from limbeck.methods.simkd import SimKD
    from limbeck.methods.skd import SKD
    from limbeck.methods.sp import SP
    from limbeck.methods.srrl import SRRL
    from limbeck.methods.sskd import SSKD
    from limbeck.methods.terms import Losses, Term
    from limbeck.methods.tfkd import TFKD
    from limbeck.methods.tinybert import TinyBERT
    from limbeck.methods.uld import ULD
    from limbeck.methods.vid import VID

_PLACES = {
    "ab": "limbeck.methods.ab:AB",
    "afd": "limbeck.methods.afd:AFD",
    "afd_attention": "limbeck.methods.afd_attention:AFDAttention",
    "at": "limbeck.methods.at:AT",
    "bdd": "limbeck.methods.bdd:BDD",
    "bounded": "limbeck.methods.bounded:Bounded",
    "bss": "limbeck.methods.bss:BSS",
    "cc": "limbeck.methods.cc:CC",
    "ce": "limbeck.methods.ce:CE",
    "ceskd": "limbeck.methods.ceskd:CESKD",
    "ckd": "limbeck.methods.ckd:CKD",
    "contrastive": "limbeck.methods.contrastive:Contrastive",
    "cosent": "limbeck.methods.cosent:CoSENT",
    "cosine": "limbeck.methods.cosine:Cosine",
    "crd": "limbeck.methods.crd:CRD",
    "cutmix": "limbeck.methods.cutmix:CutMix",
    "cwd": "limbeck.methods.cwd:CWD",
    "dgkd": "limbeck.methods.dgkd:DGKD",
    "dist": "limbeck.methods.dist:DIST",
    "dkd": "limbeck.methods.dkd:DKD",
    "dml": "limbeck.methods.dml:DML",
    "dot": "limbeck.methods.dot:DOT",
    "dual": "limbeck.methods.dual:Dual",
    "ekd": "limbeck.methods.ekd:EKD",
    "embedding_mse": "limbeck.methods.embedding_mse:EmbeddingMSE",
    "embeddistill": "limbeck.methods.embeddistill:EmbedDistill",
    "fcos": "limbeck.methods.fcos:FCOS",
    "fitnet": "limbeck.methods.fitnet:FitNet",
    "focal": "limbeck.methods.focal:Focal",
    "fsp": "limbeck.methods.fsp:FSP",
    "ft": "limbeck.methods.ft:FT",
    "giou": "limbeck.methods.giou:GIoU",
    "gold": "limbeck.methods.gold:GOLD",
    "huber": "limbeck.methods.huber:Huber",
    "icd": "limbeck.methods.icd:ICD",
    "ikd": "limbeck.methods.ikd:IKD",
    "imitation": "limbeck.methods.imitation:Imitation",
    "infoflow": "limbeck.methods.infoflow:InfoFlow",
    "kcd": "limbeck.methods.kcd:KCD",
    "kd": "limbeck.methods.kd:KD",
    "kdsvd": "limbeck.methods.kdsvd:KDSVD",
    "label_smoothing": "limbeck.methods.label_smoothing:LabelSmoothing",
    "listwise": "limbeck.methods.listwise:Listwise",
    "logit_standardization": "limbeck.methods.logit_standardization:LogitStandardization",
    "lwkd": "limbeck.methods.lwkd:LWKD",
    "mae": "limbeck.methods.mae:MAE",
    "margin_mse": "limbeck.methods.margin_mse:MarginMSE",
    "masked_generative": "limbeck.methods.masked_generative:MaskedGenerative",
    "matryoshka": "limbeck.methods.matryoshka:Matryoshka",
    "metakd_sr": "limbeck.methods.metakd_sr:MetaKDSR",
    "mgd": "limbeck.methods.mgd:MGD",
    "minillm": "limbeck.methods.minillm:MiniLLM",
    "mixkd": "limbeck.methods.mixkd:MixKD",
    "mixup": "limbeck.methods.mixup:Mixup",
    "mse": "limbeck.methods.mse:MSE",
    "mtpd": "limbeck.methods.mtpd:MTPD",
    "multilevel": "limbeck.methods.multilevel:Multilevel",
    "nasty": "limbeck.methods.nasty:Nasty",
    "nst": "limbeck.methods.nst:NST",
    "ofd": "limbeck.methods.ofd:OFD",
    "okd": "limbeck.methods.okd:OKD",
    "on_policy": "limbeck.methods.on_policy:OnPolicy",
    "one": "limbeck.methods.one:ONE",
    "pairwise": "limbeck.methods.pairwise:Pairwise",
    "pkd": "limbeck.methods.pkd:PKD",
    "pkt": "limbeck.methods.pkt:PKT",
    "pseudo_boxes": "limbeck.methods.pseudo_boxes:PseudoBoxes",
    "r2kd": "limbeck.methods.r2kd:R2KD",
    "rdd": "limbeck.methods.rdd:RDD",
    "reviewkd": "limbeck.methods.reviewkd:ReviewKD",
    "rkd": "limbeck.methods.rkd:RKD",
    "rolewise": "limbeck.methods.rolewise:Rolewise",
    "rrd": "limbeck.methods.rrd:RRD",
    "rtk": "limbeck.methods.rtk:RTK",
    "seqkd": "limbeck.methods.seqkd:SeqKD",
    "sftn": "limbeck.methods.sftn:SFTN",
    "simkd": "limbeck.methods.simkd:SimKD",
    "skd": "limbeck.methods.skd:SKD",
    "sp": "limbeck.methods.sp:SP",
    "srrl": "limbeck.methods.srrl:SRRL",
    "sskd": "limbeck.methods.sskd:SSKD",
    "tfkd": "limbeck.methods.tfkd:TFKD",
    "tinybert": "limbeck.methods.tinybert:TinyBERT",
    "uld": "limbeck.methods.uld:ULD",
    "vid": "limbeck.methods.vid:VID",
}

METHODS: Table[type[Method]] = Table(_PLACES)
"""limbeck's own methods by name, each imported when it is looked up."""

__all__ = [
    "AB",
    "AFD",
    "AT",
    "BDD",
    "BSS",
    "CC",
    "CE",
    "CESKD",
    "CKD",
    "CRD",
    "CWD",
    "DGKD",
    "DIST",
    "DKD",
    "DML",
    "DOT",
    "EKD",
    "FCOS",
    "FSP",
    "FT",
    "GOLD",
    "ICD",
    "IKD",
    "KCD",
    "KD",
    "KDSVD",
    "LWKD",
    "MAE",
    "METHODS",
    "MGD",
    "MSE",
    "MTPD",
    "NST",
    "OFD",
    "OKD",
    "ONE",
    "PKD",
    "PKT",
    "R2KD",
    "RDD",
    "RKD",
    "RRD",
    "RTK",
    "SFTN",
    "SKD",
    "SP",
    "SRRL",
    "SSKD",
    "TFKD",
    "ULD",
    "VID",
    "AFDAttention",
    "Bounded",
    "Claim",
    "CoSENT",
    "Context",
    "Contrastive",
    "Cosine",
    "CutMix",
    "DataFacts",
    "Dual",
    "EmbedDistill",
    "EmbeddingMSE",
    "FitNet",
    "Focal",
    "GIoU",
    "Huber",
    "Imitation",
    "InfoFlow",
    "LabelSmoothing",
    "Listwise",
    "LogitStandardization",
    "Losses",
    "MarginMSE",
    "MaskedGenerative",
    "Matryoshka",
    "MetaKDSR",
    "Method",
    "MiniLLM",
    "MixKD",
    "Mixup",
    "Multilevel",
    "Nasty",
    "Networks",
    "Objective",
    "OnPolicy",
    "Pairwise",
    "Phase",
    "PseudoBoxes",
    "Reads",
    "ReviewKD",
    "Rolewise",
    "SeqKD",
    "SimKD",
    "Term",
    "TinyBERT",
    "table",
]


def table() -> Mapping[str, type[Method]]:
    """Every method by its name in the notation: limbeck's own, and those of installed packages.

    A name that limbeck has itself stays limbeck's.
    """
    from limbeck.methods.base import Method

    return ChainMap(METHODS, dict(registered("methods", Method)))


_HOMES = {
    "Claim": "limbeck.methods.declarations",
    "Context": "limbeck.methods.declarations",
    "DataFacts": "limbeck.data_facts",
    "Losses": "limbeck.methods.terms",
    "Method": "limbeck.methods.base",
    "Networks": "limbeck.methods.declarations",
    "Objective": "limbeck.methods.base",
    "Phase": "limbeck.methods.declarations",
    "Reads": "limbeck.methods.declarations",
    "Term": "limbeck.methods.terms",
}
_NAMES = {place.partition(":")[2]: name for name, place in _PLACES.items()}


def __getattr__(name: str) -> Any:
    """Imports a class when somebody asks for it: an equation should not wait for the others."""
    if name in _NAMES:
        return METHODS[_NAMES[name]]
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'limbeck.methods' has no attribute {name!r}")
