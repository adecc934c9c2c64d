"""Reads what limbeck wrote before there were other tasks than classification: evaluations of version 1."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from limbeck.errors import LimbeckError
from limbeck.tasks import Classification


def converted(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record of version 1 as one of version 2.

    Raises:
        LimbeckError: if a field is missing or has another form.
    """
    try:
        return _converted(record)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        problem = f"{type(error).__name__} {error}"
        raise LimbeckError(f"its evaluation of version 1 is damaged: {problem}") from None


def _converted(record: Mapping[str, Any]) -> dict[str, Any]:
    names, fidelity = record["class_names"], record["fidelity"]
    same = ("suite", "split", "samples", "device", "machine", "seed", "notes")
    return {
        "version": 2,
        "task": Classification(tuple(names)).record(),
        **{name: record[name] for name in same},
        "data": {name: record["data"][name] for name in ("name", "fingerprint")},
        "networks": {role: _network(each) for role, each in record["networks"].items()},
        "agreement": fidelity
        and {
            "agreement": fidelity["agreement"],
            "distance": fidelity["kl"],
            "correlation": fidelity["correlation"],
            "examples": [
                {
                    "index": mistake["index"],
                    **{who: names[mistake[who]] for who in ("target", "student", "teacher")},
                }
                for mistake in record["mistakes"]
            ],
        },
        "cka": fidelity and fidelity["cka"],
    }


def _network(result: Mapping[str, Any]) -> dict[str, Any]:
    accuracy = result["accuracy"]
    rates = {name: accuracy[name] for name in ("top1", "top5") if accuracy[name] is not None}
    return {
        **{name: result[name] for name in ("name", "run", "robustness", "noiseless", "cost")},
        "metrics": {
            **{name: rate["value"] for name, rate in rates.items()},
            "nll": result["nll"],
            "ece": result["calibration"]["ece"],
        },
        "intervals": rates,
        "findings": {name: result[name] for name in ("accuracy", "nll", "calibration", "confusion")},
    }
