"""The one notation of limbeck: `0.1*ce + 0.9*kd(temperature=4)`, read without evaluating anything.

Python's own parser makes the tree; this module accepts only the nodes the notation has (names, numbers,
strings, booleans, lists, calls, `+`, `*`, parentheses) and turns them into `Call` and `Sum`. What a name
means is the caller's business: objectives, models and data sets are all written this way.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import sys
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NoReturn, TypeAlias, Union

from limbeck.errors import LimbeckError

Value: TypeAlias = Union[bool, int, float, str, "list[Value]", "Call", "Sum"]

MAX_DEPTH = 32
MAX_LENGTH = 10_000
BOOLEANS = {"true": True, "false": False}  # as YAML writes them; Python's own are read too


@dataclass(frozen=True)
class Call:
    """A name with its arguments; a bare name is a call without any."""

    name: str
    args: tuple[Value, ...] = ()
    kwargs: Mapping[str, Value] = field(default_factory=dict)

    def __str__(self) -> str:
        inside = [show(value) for value in self.args]
        inside += [f"{name}={show(value)}" for name, value in self.kwargs.items()]
        return f"{self.name}({', '.join(inside)})" if inside else self.name


@dataclass(frozen=True)
class Sum:
    """Weighted calls."""

    terms: tuple[tuple[float, Call], ...]

    def __str__(self) -> str:
        return " + ".join(weighted(weight, str(call)) for weight, call in self.terms)


def weighted(weight: float, text: str) -> str:
    """`text` with its weight before it, as a paper prints it: no weight where it is 1."""
    return text if weight == 1 else f"{weight:.12g}*{text}"


def show(value: object) -> str:
    """A value as the notation writes it."""
    if isinstance(value, str):
        return json.dumps(value, ensure_ascii=False)  # its escapes are Python's too
    if isinstance(value, (list, tuple)):
        return f"[{', '.join(show(item) for item in value)}]"
    return str(value)


def parse(text: str, what: str = "objective") -> Sum:
    """Reads a weighted sum of calls.

    Args:
        text: in the notation, for example `"ce + 0.9*kd(temperature=4)"`.
        what: what the text is, for messages.
    Raises:
        LimbeckError: naming the place and what the notation allows there.
    """
    node = _Reader(text, what)
    return node.sum(node.tree, 0)


def parse_call(text: str, what: str) -> Call:
    """Reads one call without a weight, for example `"cnn(channels=[4, 8])"`."""
    parsed = parse(text, what)
    if len(parsed.terms) != 1 or parsed.terms[0][0] != 1:
        raise LimbeckError(f"{what} {text!r} must be one name, with arguments in parentheses if it has any")
    return parsed.terms[0][1]


class _Reader:
    def __init__(self, text: str, what: str) -> None:
        self.text, self.what = (
            text.replace("\r", " ").replace("\n", " ").strip(),
            what,
        )  # YAML has many-line texts
        if not self.text:
            raise LimbeckError(f"{what} {text!r:.80} is not in the notation: it is empty")
        if len(text) > MAX_LENGTH:
            raise LimbeckError(f"the {what} is {len(text)} characters long; at most {MAX_LENGTH} are read")
        try:
            self.tree = ast.parse(self.text, mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else "it cannot be read"
            if "decimal literal" in reason:
                reason = "a number and a name have * between them, as in 0.1*ce"
            elif bare := re.search(r"=\s*([~./\w-]*[~./][~./\w-]*)", self.text):
                reason += f'; a text stands in quotes, "{bare[1]}"'
            raise LimbeckError(f"{what} {self._short()} is not in the notation: {reason}") from None
        tokens = tokenize.generate_tokens(io.StringIO(self.text).readline)
        if any(token.type == tokenize.COMMENT for token in tokens):
            raise LimbeckError(f"{what} {self._short()}: a comment is not in the notation")

    def _short(self) -> str:
        return repr(self.text if len(self.text) <= 80 else self.text[:77] + "...")

    def refuse(self, node: ast.expr, reason: str) -> NoReturn:
        part = ast.get_source_segment(self.text, node)
        where = f" at {part!r}" if part and part != self.text and len(part) <= 80 else ""
        raise LimbeckError(f"{self.what} {self._short()}{where}: {reason}")

    def sum(self, node: ast.expr, depth: int) -> Sum:
        terms: list[tuple[float, Call]] = []
        for part in self._addends(node):
            factor, rest = self._factor(part)
            if rest is None:
                self.refuse(part, "a number alone is no term; write weight*name")
            if isinstance(rest, ast.BinOp):
                inner = self.sum(rest, self._deeper(rest, depth)).terms
            else:
                inner = ((1.0, self.call(rest, depth)),)
            for weight, call in inner:
                weight = float(f"{factor * weight:.12g}") + 0.0  # 0.1*(0.2*x) is 0.02*x, and -0.0 is 0
                if not 0 <= weight < math.inf:
                    self.refuse(part, f"a weight must be a finite number of at least 0, not {weight:g}")
                terms.append((weight, call))
        return Sum(tuple(terms))

    def _addends(self, node: ast.expr) -> list[ast.expr]:
        """The parts of a sum in order; iterative, so that a long flat sum is not a deep one."""
        parts: list[ast.expr] = []
        pending = [node]
        while pending:
            part = pending.pop()
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Add):
                pending += [part.left, part.right]
            else:
                parts.append(part)
        return parts[::-1]

    def _factor(self, node: ast.expr) -> tuple[float, ast.expr | None]:
        """Splits `2*0.5*x` into 1.0 and the one factor that is no number (None if there is none)."""
        factor, rest, pending = 1.0, None, [node]
        while pending:
            part = pending.pop()
            if isinstance(part, ast.BinOp) and isinstance(part.op, ast.Mult):
                pending += [part.left, part.right]
            elif isinstance(part, ast.BinOp) and not isinstance(part.op, ast.Add):
                self.refuse(part, "the notation has + and * only")
            elif _is_number(part):
                factor *= self.number(part)
            elif rest is not None:
                self.refuse(node, "a term may be multiplied by numbers only")
            else:
                rest = part
        return factor, rest

    def call(self, node: ast.expr, depth: int) -> Call:
        named = node.func if isinstance(node, ast.Call) else node
        if isinstance(named, ast.Name) and named.id in BOOLEANS:
            self.refuse(node, f"{named.id} is a value, not a name that has a weight or arguments")
        if isinstance(node, ast.Name):
            return Call(node.id)
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
            quoted = (
                f"; a string has quotes, {show(ast.get_source_segment(self.text, node))}"
                if isinstance(node, ast.Attribute)
                else ""
            )
            self.refuse(node, f"the notation has names, numbers, strings, lists, calls, + and * only{quoted}")
        deeper = self._deeper(node, depth)
        kwargs: dict[str, Value] = {}
        for keyword in node.keywords:
            if keyword.arg is None:
                self.refuse(node, "** is not in the notation")
            if keyword.arg in kwargs:
                self.refuse(node, f"the argument {keyword.arg!r} is given twice")
            kwargs[keyword.arg] = self.value(keyword.value, deeper)
        return Call(node.func.id, tuple(self.value(arg, deeper) for arg in node.args), kwargs)

    def value(self, node: ast.expr, depth: int) -> Value:
        if _is_number(node):
            return self.number(node)
        if isinstance(node, ast.Constant) and isinstance(node.value, (bool, str)):
            return node.value
        if isinstance(node, ast.Name) and node.id in BOOLEANS:
            return BOOLEANS[node.id]
        if isinstance(node, (ast.List, ast.Tuple)):
            return [self.value(item, self._deeper(node, depth)) for item in node.elts]
        if isinstance(node, ast.BinOp):
            return self.sum(node, depth)
        return self.call(node, depth)

    def number(self, node: ast.expr) -> int | float:
        sign = 1
        while isinstance(node, ast.UnaryOp):
            sign = -sign if isinstance(node.op, ast.USub) else sign
            node = node.operand
        assert isinstance(node, ast.Constant)
        assert isinstance(node.value, (int, float))
        if node.value > sys.float_info.max:  # a long enough integer too: it is no weight and no argument
            self.refuse(node, "numbers must be finite")
        return sign * node.value

    def _deeper(self, node: ast.expr, depth: int) -> int:
        if depth >= MAX_DEPTH:
            self.refuse(node, f"nested more than {MAX_DEPTH} deep")
        return depth + 1


def _is_number(node: ast.expr) -> bool:
    while isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        node = node.operand
    return isinstance(node, ast.Constant) and type(node.value) in (int, float)
