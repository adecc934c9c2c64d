"""One answer for one sample, in any of the forms that a file has."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from limbeck.data.files.labels import class_name
from limbeck.errors import LimbeckError, listed, unknown
from limbeck.files import parse_json
from limbeck.outputs import NEVER

ROUNDING = 0.02
"""How far from 1 a sum of probabilities may be that somebody has rounded."""


class Answer(NamedTuple):
    """What is known of one sample.

    Attributes:
        form: the field that it stood in, one of `FORMS`.
        logits: (C,) float64, as given or logarithms of probabilities, `NEVER` for a probability of 0.
        known: (C,) bool, the classes that it tells the probabilities of; that of the others is their sum, of
            which each has an equal part in `logits`.
        total: the sum of the probabilities as they were given, by which they were divided.
    """

    form: str
    logits: NDArray[np.float64]
    known: NDArray[np.bool_]
    total: float = 1.0

    @property
    def probabilities(self) -> NDArray[np.float64]:
        """(C,) the softmax of the logits."""
        odds = np.exp(self.logits - self.logits.max())
        shares: NDArray[np.float64] = odds / odds.sum()
        return shares

    @property
    def partial(self) -> bool:
        """Whether some class has no probability of its own, or none at all."""
        return not self.known.all() or bool((self.logits == NEVER).any())


@dataclass(frozen=True)
class Classes:
    """The classes that answers are about.

    Attributes:
        names: as the data has them, in the order of the logits.
    """

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    def place(self, value: Any, where: str) -> int:
        """The number of a class.

        Args:
            value: what a file calls it; a whole number has one form, as in the labels of data.
            where: the row, for messages.
        Raises:
            LimbeckError: for a name that is none; it names the nearest.
        """
        if isinstance(value, str) and value in self._places:
            return self._places[value]
        name = class_name(value, None, where, "label")
        if name not in self._places:
            raise self._no_class(str(value).strip(), where)
        return self._places[name]

    def _no_class(self, name: str, where: str) -> LimbeckError:
        alike = [each for each in self.names if each.casefold() == name.casefold()]
        if alike:
            return LimbeckError(
                f"the class {name!r} in {where} differs from {alike[0]!r} of the data in case alone; write "
                "it as the data does"
            )
        if re.fullmatch(r"(LABEL_)?\d+", name):
            return LimbeckError(
                f"the class {name!r} in {where} is a number, and the classes of the data have names, "
                f"{listed(self.names)}; write these, or set id2label of the model that answers"
            )
        return unknown(f"class in {where}:", name, self.names)


def label(value: Any, classes: Classes, where: str) -> Answer:
    """A class is right for sure."""
    if isinstance(value, (list, tuple)):
        raise LimbeckError(
            f"the label in {where} is a list, {value!r:.60}; several answers for a sample are called answers"
        )
    return _certain("label", {classes.place(value, where): 1.0}, classes)


def answers(value: Any, classes: Classes, where: str) -> Answer:
    """Votes for classes, of which each has as much probability as it has votes."""
    if not isinstance(value, (list, tuple)):
        raise LimbeckError(
            f"the answers in {where} should be a list of classes, [CLASS, ...], not {value!r:.60}"
        )
    shares: dict[int, float] = {}
    for vote in value:
        if vote is None or (isinstance(vote, str) and not vote.strip()):
            raise LimbeckError(f"one of the answers in {where} is empty; leave it out")
        place = classes.place(vote, where)
        shares[place] = shares.get(place, 0.0) + 1 / len(value)
    return _certain("answers", shares, classes)


def probabilities(value: Any, classes: Classes, where: str) -> Answer:
    """A distribution; what it leaves of 1 belongs to the classes that it does not name, together."""
    shares = _numbers("probabilities", value, classes, where)
    for place, share in shares.items():
        if not 0 <= share <= 1 + ROUNDING:
            total = sum(shares.values())
            remedy = "; divide percentages by 100" if abs(total - 100) <= 100 * ROUNDING else ""
            raise LimbeckError(
                f"the probability of {classes.names[place]!r} in {where} is {share:g}, and not from 0 to 1"
                f"{remedy}"
            )
    total = sum(shares.values())
    if total < 1 - ROUNDING and len(shares) == len(classes):
        raise LimbeckError(
            f"the probabilities in {where} sum to {total:.4g}, and those of all classes should sum to 1; "
            "divide them by their sum, or leave out the classes that nothing is known of"
        )
    return _shared("probabilities", shares, classes, where)


def logprobs(value: Any, classes: Classes, where: str) -> Answer:
    """Logarithms of probabilities, as an API gives them for some classes."""
    found = _numbers("logprobs", value, classes, where)
    for place, number in found.items():
        if number > math.log1p(ROUNDING):
            raise LimbeckError(
                f"the log-probability of {classes.names[place]!r} in {where} is {number:g}, and none is "
                "above 0; scores of another kind are called logits"
            )
    return _shared("logprobs", {place: math.exp(each) for place, each in found.items()}, classes, where)


def logits(value: Any, classes: Classes, where: str) -> Answer:
    """Logits of all classes, by name or in the order of the classes."""
    if isinstance(value, (list, tuple)):
        if len(value) != len(classes):
            raise LimbeckError(
                f"{where} has {len(value)} logits, and there are {len(classes)} classes; give them by name, "
                '{"CLASS": LOGIT, ...}'
            )
        value = dict(zip(classes.names, value, strict=True))
    found = _numbers("logits", value, classes, where)
    missing = [name for place, name in enumerate(classes.names) if place not in found]
    if missing:
        raise LimbeckError(
            f"{where} has no logit of the class {missing[0]!r}, and without one for each there are no "
            "probabilities; give what is known of some classes as logprobs"
        )
    for place, number in found.items():
        if not math.isfinite(number):
            raise LimbeckError(f"the logit of {classes.names[place]!r} in {where} is {number:g}, not finite")
    given = np.array([found[place] for place in range(len(classes))])
    return Answer("logits", given, np.ones(len(classes), bool))


FORMS: Mapping[str, Callable[[Any, Classes, str], Answer]] = {
    "label": label,
    "answers": answers,
    "probabilities": probabilities,
    "logprobs": logprobs,
    "logits": logits,
}
"""What makes an answer of the value of a field, by the name of the field."""

BY_CLASS = ("probabilities", "logprobs", "logits")
"""The fields that have a number for each of some classes, which may be columns: "probabilities.CLASS"."""


def merged(given: Sequence[Answer], classes: Classes, where: str) -> Answer:
    """One answer of several for the same sample: the mean of their probabilities.

    Where they do not tell the same classes apart, those count that all of them do, and the others together.

    Args:
        given: the answers, at least one; where all are the same, that stays as it is.
        classes: what they are about.
        where: the sample, for messages.
    Raises:
        LimbeckError: if no class is told by all of them.
    """
    first = given[0]
    if all((each.logits == first.logits).all() and (each.known == first.known).all() for each in given):
        return first
    known = np.all([each.known for each in given], axis=0)
    if not known.any():
        raise LimbeckError(
            f"the answers for {where} tell the probabilities of different classes, and of none in common; "
            "keep one of them"
        )
    mean = np.mean([each.probabilities for each in given], axis=0)
    forms = {each.form for each in given}
    return _distribution("answers" if forms <= {"label", "answers"} else "probabilities", mean, known)


def from_text(form: str, value: str, where: str) -> Any:
    """The value of a field that a CSV has as JSON, a list or a mapping.

    Raises:
        LimbeckError: for a text that is no JSON.
    """
    try:
        return parse_json(value)
    except ValueError:
        raise LimbeckError(
            f"the {form} in {where} should be JSON, a list in brackets or numbers by class in braces, not "
            f"{value!r:.60}"
        ) from None


def _numbers(form: str, value: Any, classes: Classes, where: str) -> dict[int, float]:
    """Numbers by class; a class with nothing at all, as columns and Parquet have them, is left out."""
    if not isinstance(value, Mapping):
        raise LimbeckError(
            f'the {form} in {where} should be numbers by class, {{"CLASS": NUMBER, ...}}, not {value!r:.60}'
        )
    found: dict[int, float] = {}
    for name, given in value.items():
        if given is None or (isinstance(given, str) and not given.strip()):
            continue
        place = classes.place(name, where)
        try:
            number = math.nan if isinstance(given, bool) else float(given)
        except (TypeError, ValueError):
            number = math.nan
        if math.isnan(number):
            raise LimbeckError(f"the {form} in {where} have {given!r:.40} for {name!r}, which is no number")
        if place in found:
            raise LimbeckError(f"the {form} in {where} have two numbers for {classes.names[place]!r}")
        found[place] = number
    return found


def _shared(form: str, shares: Mapping[int, float], classes: Classes, where: str) -> Answer:
    """A distribution of some probabilities, of which what they leave of 1 is for the other classes."""
    total = sum(shares.values())
    if total > 1 + ROUNDING:
        raise LimbeckError(
            f"the probabilities in {where} sum to {total:.4g}, which is more than 1; divide them by their "
            "sum, or call scores of another kind logits"
        )
    if not total:
        raise LimbeckError(f"the probabilities in {where} are all 0, so that no class has any")
    every = len(shares) == len(classes)
    scale = total if every else max(total, 1.0)
    mean, known = np.zeros(len(classes)), np.zeros(len(classes), bool)
    for place, share in shares.items():
        mean[place], known[place] = share / scale, True
    if not every:
        mean[~known] = max(1 - total, 0.0) / (~known).sum()
    return _distribution(form, mean, known)._replace(total=total if every or total > 1 else 1.0)


def _certain(form: str, shares: Mapping[int, float], classes: Classes) -> Answer:
    mean = np.zeros(len(classes))
    for place, share in shares.items():
        mean[place] = share
    return _distribution(form, mean, np.ones(len(classes), bool))


def _distribution(form: str, mean: NDArray[np.float64], known: NDArray[np.bool_]) -> Answer:
    """Probabilities as logits; a sum that is of one class, or of nothing, tells the classes in it as well."""
    left = ~known
    if left.any():
        mean = np.where(known, mean, mean[left].sum() / left.sum())
        known = known | (left.sum() == 1) | (mean == 0)
    with np.errstate(divide="ignore"):
        return Answer(form, np.where(mean > 0, np.log(mean), NEVER), known)
