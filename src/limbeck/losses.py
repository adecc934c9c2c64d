"""Pure functions, tensors in, scalar out: every method's equation, for somebody else's framework."""

from __future__ import annotations

from limbeck.methods.ab import activation_boundary
from limbeck.methods.afd import attentive_feature_distillation
from limbeck.methods.at import attention_transfer
from limbeck.methods.bounded import bounded
from limbeck.methods.cc import correlation_congruence
from limbeck.methods.ce import cross_entropy
from limbeck.methods.crd import crd
from limbeck.methods.dist import dist
from limbeck.methods.dkd import dkd
from limbeck.methods.dml import mutual_learning
from limbeck.methods.fitnet import fitnet
from limbeck.methods.fsp import fsp
from limbeck.methods.ft import factor_transfer
from limbeck.methods.huber import huber
from limbeck.methods.icd import icd
from limbeck.methods.imitation import imitation
from limbeck.methods.infoflow import infoflow
from limbeck.methods.kcd import kcd
from limbeck.methods.kd import kd
from limbeck.methods.kdsvd import kdsvd
from limbeck.methods.lwkd import lwkd
from limbeck.methods.mse import mse
from limbeck.methods.nst import nst
from limbeck.methods.ofd import ofd
from limbeck.methods.pkt import pkt
from limbeck.methods.reviewkd import hierarchical_context
from limbeck.methods.rkd import rkd_angle, rkd_distance
from limbeck.methods.rrd import rrd
from limbeck.methods.simkd import simkd
from limbeck.methods.sp import similarity_preserving
from limbeck.methods.srrl import srrl
from limbeck.methods.tfkd import tfkd
from limbeck.methods.vid import vid

__all__ = [
    "activation_boundary",
    "attention_transfer",
    "attentive_feature_distillation",
    "bounded",
    "correlation_congruence",
    "crd",
    "cross_entropy",
    "dist",
    "dkd",
    "factor_transfer",
    "fitnet",
    "fsp",
    "hierarchical_context",
    "huber",
    "icd",
    "imitation",
    "infoflow",
    "kcd",
    "kd",
    "kdsvd",
    "lwkd",
    "mse",
    "mutual_learning",
    "nst",
    "ofd",
    "pkt",
    "rkd_angle",
    "rkd_distance",
    "rrd",
    "similarity_preserving",
    "simkd",
    "srrl",
    "tfkd",
    "vid",
]
