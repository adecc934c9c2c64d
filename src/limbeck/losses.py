"""Pure functions, tensors in, scalar out: every method's equation, for somebody else's framework."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from limbeck.methods.ab import activation_boundary
    from limbeck.methods.afd import attentive_feature_distillation
    from limbeck.methods.afd_attention import linked_attention
    from limbeck.methods.at import attention_transfer
    from limbeck.methods.bdd import bdd
    from limbeck.methods.bounded import bounded
    from limbeck.methods.bss import bss
    from limbeck.methods.cc import correlation_congruence
    from limbeck.methods.ce import cross_entropy
    from limbeck.methods.ceskd import ceskd
    from limbeck.methods.ckd import comparative
    from limbeck.methods.contrastive import contrastive
    from limbeck.methods.cosent import cosent
    from limbeck.methods.cosine import cosine
    from limbeck.methods.crd import crd
    from limbeck.methods.cwd import cwd
    from limbeck.methods.dgkd import dgkd
    from limbeck.methods.dist import dist
    from limbeck.methods.dkd import dkd
    from limbeck.methods.dml import mutual_learning
    from limbeck.methods.dual import uncertainty_weighted_kd
    from limbeck.methods.ekd import guided
    from limbeck.methods.embedding_mse import embedding_mse
    from limbeck.methods.embeddistill import embeddistill
    from limbeck.methods.fitnet import fitnet
    from limbeck.methods.focal import focal
    from limbeck.methods.fsp import fsp
    from limbeck.methods.ft import factor_transfer
    from limbeck.methods.giou import giou
    from limbeck.methods.gold import gold
    from limbeck.methods.huber import huber
    from limbeck.methods.icd import icd
    from limbeck.methods.imitation import imitation
    from limbeck.methods.infoflow import infoflow
    from limbeck.methods.kcd import kcd
    from limbeck.methods.kd import kd
    from limbeck.methods.kdsvd import kdsvd
    from limbeck.methods.listwise import listwise
    from limbeck.methods.lwkd import lwkd
    from limbeck.methods.mae import mae
    from limbeck.methods.margin_mse import margin_mse
    from limbeck.methods.masked_generative import masked_generative
    from limbeck.methods.metakd_sr import metakd_sr
    from limbeck.methods.minillm import minillm_long, minillm_single
    from limbeck.methods.mixkd import mixkd
    from limbeck.methods.mse import mse
    from limbeck.methods.multilevel import exit_hint
    from limbeck.methods.nasty import nasty
    from limbeck.methods.nst import nst
    from limbeck.methods.ofd import ofd
    from limbeck.methods.one import native_ensemble
    from limbeck.methods.pairwise import pairwise
    from limbeck.methods.pkd import pkd
    from limbeck.methods.pkt import pkt
    from limbeck.methods.r2kd import correlation_distance, rank_distance
    from limbeck.methods.rdd import rdd
    from limbeck.methods.reviewkd import hierarchical_context
    from limbeck.methods.rkd import rkd_angle, rkd_distance
    from limbeck.methods.rrd import rrd
    from limbeck.methods.sftn import student_friendly
    from limbeck.methods.simkd import simkd
    from limbeck.methods.sp import similarity_preserving
    from limbeck.methods.srrl import srrl
    from limbeck.methods.sskd import sskd
    from limbeck.methods.tfkd import tfkd
    from limbeck.methods.tinybert import tinybert
    from limbeck.methods.uld import uld
    from limbeck.methods.vid import vid

__all__ = [
    "activation_boundary",
    "attention_transfer",
    "attentive_feature_distillation",
    "bdd",
    "bounded",
    "bss",
    "ceskd",
    "comparative",
    "contrastive",
    "correlation_congruence",
    "correlation_distance",
    "cosent",
    "cosine",
    "crd",
    "cross_entropy",
    "cwd",
    "dgkd",
    "dist",
    "dkd",
    "embedding_mse",
    "embeddistill",
    "exit_hint",
    "factor_transfer",
    "fitnet",
    "focal",
    "fsp",
    "giou",
    "gold",
    "guided",
    "hierarchical_context",
    "huber",
    "icd",
    "imitation",
    "infoflow",
    "kcd",
    "kd",
    "kdsvd",
    "linked_attention",
    "listwise",
    "lwkd",
    "mae",
    "margin_mse",
    "masked_generative",
    "metakd_sr",
    "minillm_long",
    "minillm_single",
    "mixkd",
    "mse",
    "mutual_learning",
    "nasty",
    "native_ensemble",
    "nst",
    "ofd",
    "pairwise",
    "pkd",
    "pkt",
    "rank_distance",
    "rdd",
    "rkd_angle",
    "rkd_distance",
    "rrd",
    "similarity_preserving",
    "simkd",
    "srrl",
    "sskd",
    "student_friendly",
    "tfkd",
    "tinybert",
    "uld",
    "uncertainty_weighted_kd",
    "vid",
]

_HOMES = {
    "activation_boundary": "ab",
    "attention_transfer": "at",
    "attentive_feature_distillation": "afd",
    "comparative": "ckd",
    "correlation_congruence": "cc",
    "correlation_distance": "r2kd",
    "cross_entropy": "ce",
    "exit_hint": "multilevel",
    "factor_transfer": "ft",
    "guided": "ekd",
    "hierarchical_context": "reviewkd",
    "linked_attention": "afd_attention",
    "minillm_long": "minillm",
    "minillm_single": "minillm",
    "mutual_learning": "dml",
    "native_ensemble": "one",
    "rank_distance": "r2kd",
    "rkd_angle": "rkd",
    "rkd_distance": "rkd",
    "similarity_preserving": "sp",
    "student_friendly": "sftn",
    "uncertainty_weighted_kd": "dual",
}
"""Modules of `limbeck.methods` with the functions that are not named like theirs."""


def __getattr__(name: str) -> Any:
    """Imports a function when somebody asks for it: an equation should not wait for the others."""
    if name not in __all__:
        raise AttributeError(f"module 'limbeck.losses' has no attribute {name!r}")
    found = getattr(import_module(f"limbeck.methods.{_HOMES.get(name, name)}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return __all__
