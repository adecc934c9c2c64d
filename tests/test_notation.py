"""The notation: what it reads, what it refuses and in which words, and that text and tree are one."""

from __future__ import annotations

import random
import string
import sys
from collections.abc import Callable

import pytest

from limbeck.errors import LimbeckError
from limbeck.notation import MAX_DEPTH, MAX_LENGTH, Call, Sum, Value, parse, parse_call, show, weighted


def one(text: str) -> Call:
    """The only call of a text with weight 1."""
    ((weight, call),) = parse(text).terms
    assert weight == 1
    return call


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("ce", [(1.0, "ce")]),
        ("ce()", [(1.0, "ce")]),
        ("  ce  ", [(1.0, "ce")]),
        ("0.1*ce + 0.9*kd", [(0.1, "ce"), (0.9, "kd")]),
        ("ce + kd + ce", [(1.0, "ce"), (1.0, "kd"), (1.0, "ce")]),
        ("ce * 2", [(2.0, "ce")]),
        ("2*ce*3", [(6.0, "ce")]),
        ("2*3*ce", [(6.0, "ce")]),
        ("0*ce", [(0.0, "ce")]),
        ("+2*ce", [(2.0, "ce")]),
        ("--2*ce", [(2.0, "ce")]),
        ("-2*-3*ce", [(6.0, "ce")]),
        ("5e-4*ce", [(0.0005, "ce")]),
        ("1e16*ce", [(1e16, "ce")]),
        ("2*(ce + kd)", [(2.0, "ce"), (2.0, "kd")]),
        ("2*(ce + 3*(kd + at)*2) + sp", [(2.0, "ce"), (12.0, "kd"), (12.0, "at"), (1.0, "sp")]),
        ("((ce))", [(1.0, "ce")]),
        ("(ce + kd) + (at + sp)", [(1.0, "ce"), (1.0, "kd"), (1.0, "at"), (1.0, "sp")]),
        ("ce +\n  0.9*kd\n", [(1.0, "ce"), (0.9, "kd")]),
        ("ce\r\n+ kd", [(1.0, "ce"), (1.0, "kd")]),
    ],
)
def test_sums_and_weights(text: str, terms: list[tuple[float, str]]) -> None:
    assert parse(text) == Sum(tuple((weight, Call(name)) for weight, name in terms))


@pytest.mark.parametrize(
    ("text", "weight"),
    [
        ("0.1*(0.2*ce)", 0.02),
        ("0.1*0.2*ce", 0.02),
        ("0.1*3*ce", 0.3),
        ("0.7*(0.1*ce)", 0.07),
        ("1.1*1.1*ce", 1.21),
        ("0.1*(0.1*(0.1*ce + kd))", 0.001),
    ],
)
def test_products_of_weights_are_rounded_as_a_reader_would(text: str, weight: float) -> None:
    assert parse(text).terms[0][0] == weight
    assert str(parse(text)).startswith(f"{weight}*ce")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("4", 4),
        ("-4", -4),
        ("--4", 4),
        ("+-4", -4),
        ("4.0", 4.0),
        ("5e-4", 0.0005),
        ("0x10", 16),
        ("1_000", 1000),
        ("True", True),
        ("False", False),
        ("true", True),
        ("false", False),
        ("'a b'", "a b"),
        ('"a" "b"', "ab"),
        (r'"\"\\\n"', '"\\\n'),
        ("[]", []),
        ("[1, 2.5, 'x', [true]]", [1, 2.5, "x", [True]]),
        ("(1, 2)", [1, 2]),
        ("kd", Call("kd")),
        ("kd(t=2)", Call("kd", (), {"t": 2})),
        ("2*kd", Sum(((2.0, Call("kd")),))),
        ("ce + kd", Sum(((1.0, Call("ce")), (1.0, Call("kd"))))),
    ],
)
def test_values_of_arguments(text: str, value: Value) -> None:
    for found in (one(f"m(x={text})").kwargs["x"], one(f"m({text})").args[0]):
        assert found == value
        assert type(found) is type(value), "4 is not 4.0, and true is not 1"


def test_arguments_keep_their_order() -> None:
    call = one("m(ce, 2*kd, b=1, a=2, c=3)")
    assert [str(value) for value in call.args] == ["ce", "2*kd"]
    assert list(call.kwargs.items()) == [("b", 1), ("a", 2), ("c", 3)]


@pytest.mark.parametrize(
    "text",
    [
        "ce",
        "0.1*ce + 0.9*kd(temperature=4)",
        "ce + icd(alpha=0.5)",
        'mgd(0.2*ce + 0.8*kd(temperature=4), scheme="stable")',
        'a(b(c(1, "x", [2, [True]]), -3.5), d=e(f=2*g))',
        "1e+16*ce",
        "0*ce",
        "1e-05*kd(t=1e-05)",
    ],
)
def test_what_is_printed_is_what_was_written(text: str) -> None:
    assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (4, "4"),
        (4.0, "4.0"),
        (0.1 + 0.2, "0.30000000000000004"),
        (True, "True"),
        ('it\'s "so"', '"it\'s \\"so\\""'),
        ("a\\b", '"a\\\\b"'),
        ("a\nb\rc\td\0", '"a\\nb\\rc\\td\\u0000"'),
        ("ü→😀", '"ü→😀"'),
        ((1, "x"), '[1, "x"]'),
        ([[]], "[[]]"),
        (Call("m", (Call("ce"),), {"a": [1]}), "m(ce, a=[1])"),
    ],
)
def test_show(value: object, text: str) -> None:
    assert show(value) == text


def test_a_weight_of_one_is_not_printed() -> None:
    assert [weighted(weight, "ce") for weight in (1, 1.0, 0.5, 2.0)] == ["ce", "ce", "0.5*ce", "2*ce"]


@pytest.mark.parametrize("code", [*range(0x20), 0x7F, 0x85, 0xA0, 0x2028, 0x2029, 0xFEFF, 0x1F600])
def test_any_character_of_a_string_survives(code: int) -> None:
    value = f"a{chr(code)}b"
    assert one(str(Call("m", (value,), {"x": value}))) == Call("m", (value,), {"x": value})


CHARACTERS = string.printable + "\0\x1bäß→😀\\\"'\n"


def random_call(rng: random.Random, depth: int) -> Call:
    names = rng.sample(["alpha", "beta", "gamma", "delta"], rng.randint(0, 3))
    return Call(
        rng.choice(["ce", "kd", "mgd", "label_smoothing", "_x1"]),
        tuple(random_value(rng, depth) for _ in range(rng.randint(0, 2))),
        {name: random_value(rng, depth) for name in names},
    )


def random_sum(rng: random.Random, depth: int, least: int) -> Sum:
    """A sum that is not a bare call: with `least` 1, its only term has a weight."""
    count = rng.randint(least, 3)
    weights = [float(f"{rng.choice([rng.random(), 10 ** rng.uniform(-12, 12)]):.12g}") for _ in range(count)]
    return Sum(tuple((weight, random_call(rng, depth)) for weight in weights))


def random_value(rng: random.Random, depth: int) -> Value:
    makers: list[Callable[[], Value]] = [
        lambda: rng.random() < 0.5,
        lambda: rng.randint(-(10**12), 10**12),
        lambda: rng.choice([-1, 1]) * 10 ** rng.uniform(-300, 300),
        lambda: "".join(rng.choices(CHARACTERS, k=rng.randint(0, 12))),
        lambda: [random_value(rng, depth - 1) for _ in range(rng.randint(0, 3))],
        lambda: random_call(rng, depth - 1),
        lambda: random_sum(rng, depth - 1, least=1),
    ]
    return rng.choice(makers[: 7 if depth else 4])()


@pytest.mark.parametrize("seed", range(20))
def test_random_trees_come_back_from_their_text(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(15):
        tree = random_sum(rng, depth=3, least=1)
        text = str(tree)
        if len(text) <= MAX_LENGTH:
            assert parse(text) == tree
            assert str(parse(text)) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "objective '' is not in the notation: it is empty"),
        (" \n ", "objective ' \\n ' is not in the notation: it is empty"),
        ("ce**2", "objective 'ce**2': the notation has + and * only"),
        ("0.5*ce + 2**3*kd", "objective '0.5*ce + 2**3*kd' at '2**3': the notation has + and * only"),
        ("ce - kd", "objective 'ce - kd': the notation has + and * only"),
        ("ce / 2", "objective 'ce / 2': the notation has + and * only"),
        ("kd(t=1/3)", "objective 'kd(t=1/3)' at '1/3': the notation has + and * only"),
        ("-1*ce", "objective '-1*ce': a weight must be a finite number of at least 0, not -1"),
        (
            "ce + 2*(kd + -1*at)",
            "objective 'ce + 2*(kd + -1*at)' at '-1*at': a weight must be a finite number of at least 0, "
            "not -1",
        ),
        (
            "1e308*1e308*ce",
            "objective '1e308*1e308*ce': a weight must be a finite number of at least 0, not inf",
        ),
        (
            "1e308*(1e308*ce + kd)",
            "objective '1e308*(1e308*ce + kd)': a weight must be a finite number of at least 0, not inf",
        ),
        ("1e999*ce", "objective '1e999*ce' at '1e999': numbers must be finite"),
        ("kd(t=-1e999)", "objective 'kd(t=-1e999)' at '1e999': numbers must be finite"),
        ("ce + 3", "objective 'ce + 3' at '3': a number alone is no term; write weight*name"),
        ("2*3", "objective '2*3': a number alone is no term; write weight*name"),
        ("ce*kd", "objective 'ce*kd': a term may be multiplied by numbers only"),
        ("2*(ce + kd)*at", "objective '2*(ce + kd)*at': a term may be multiplied by numbers only"),
        ("'2'*ce", "objective \"'2'*ce\": a term may be multiplied by numbers only"),
        ("2j*ce", "objective '2j*ce': a term may be multiplied by numbers only"),
        ("kd(t=1, t=2)", "objective 'kd(t=1, t=2)': the argument 't' is given twice"),
        ("kd(**x)", "objective 'kd(**x)': ** is not in the notation"),
        ("ce # + kd", "objective 'ce # + kd': a comment is not in the notation"),
        ("ce +", "objective 'ce +' is not in the notation: invalid syntax"),
        ("(ce", "objective '(ce' is not in the notation: '(' was never closed"),
        ("ce; kd", "objective 'ce; kd' is not in the notation: invalid syntax"),
        (
            "0.1ce + kd",
            "objective '0.1ce + kd' is not in the notation: a number and a name have * between them, as in "
            "0.1*ce",
        ),
        (
            "a(b=tickets.csv)",
            "objective 'a(b=tickets.csv)' at 'tickets.csv': the notation has names, numbers, strings, lists, "
            'calls, + and * only; a string has quotes, "tickets.csv"',
        ),
        ("x = ce", "objective 'x = ce' is not in the notation: invalid syntax"),
        ("import os", "objective 'import os' is not in the notation: invalid syntax"),
        ("ce\ud800", "objective 'ce\\ud800' is not in the notation: it cannot be read"),
        ("true", "objective 'true': true is a value, not a name that has a weight or arguments"),
        (
            "a(b=[1*true])",
            "objective 'a(b=[1*true])' at 'true': true is a value, not a name that has a weight or arguments",
        ),
        (
            "a(false())",
            "objective 'a(false())' at 'false()': false is a value, not a name that has a "
            "weight or arguments",
        ),
    ],
)
def test_refusals_name_the_place_and_what_is_right(text: str, reason: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        parse(text)
    assert str(caught.value) == reason


@pytest.mark.parametrize(
    "part",
    [
        "__import__('os').system('true')",
        "ce.weight",
        "ce[0]",
        "ce()()",
        "[ce][0]",
        "(lambda: ce)()",
        "lambda: ce",
        "-ce",
        "not ce",
        "~2",
        "ce if kd else at",
        "ce and kd",
        "ce < kd",
        "{'a': 1}",
        "{1, 2}",
        "[x for x in y]",
        "(x for x in y)",
        "f'{ce}'",
        "b'ce'",
        "2j",
        "None",
        "...",
        "(x := 2)",
        "await x",
    ],
)
def test_nothing_but_the_notation_is_read_anywhere(part: str) -> None:
    allowed = (
        "the notation has names, numbers, strings, lists, calls, [+] and [*] only|is not in the notation"
    )
    for text in (
        part,
        f"0.5*ce + {part}",
        f"kd({part})",
        f"kd(t={part})",
        f"kd(t=[1, {part}])",
        f"m(ce + {part})",
    ):
        with pytest.raises(LimbeckError, match=allowed):
            parse(text)


@pytest.mark.parametrize("text", ["'ce'", "[ce]", "ce, kd", "True", "kd(*[1])", "3 + 'a'"])
def test_only_calls_are_terms(text: str) -> None:
    with pytest.raises(LimbeckError):
        parse(text)


@pytest.mark.parametrize(
    "text", ["1" + "0" * 400 + "*ce", "kd(t=1" + "0" * 400 + ")", "kd(t=-1" + "0" * 400 + ")"]
)
def test_an_integer_too_long_for_a_float_is_not_finite(text: str) -> None:
    with pytest.raises(LimbeckError, match="numbers must be finite"):
        parse(text)
    assert one(f"kd(t={int(sys.float_info.max)})").kwargs["t"] == int(sys.float_info.max)


def test_a_text_of_any_length_is_quoted_in_short() -> None:
    with pytest.raises(LimbeckError) as caught:
        parse("ce + " * 1000 + "ce**2")
    assert (
        str(caught.value)
        == f"objective {('ce + ' * 16)[:77] + '...'!r} at 'ce**2': the notation has + and * only"
    )


def test_a_text_that_is_too_long_is_not_read() -> None:
    padded = "ce" + " " * (MAX_LENGTH - 2)
    assert str(parse(padded)) == "ce"
    with pytest.raises(
        LimbeckError, match=f"the views is {MAX_LENGTH + 1} characters long; at most {MAX_LENGTH}"
    ):
        parse(padded + " ", "views")


def test_a_long_sum_is_not_a_deep_one() -> None:
    assert len(parse(" + ".join(["ce"] * 800)).terms) == 800
    assert len(parse("2*(" + " + ".join(["ce"] * 800) + ")").terms) == 800
    assert parse("2*" * 800 + "ce").terms[0][0] == pytest.approx(2.0**800, rel=1e-11)
    assert parse("-" * 800 + "4*ce").terms == ((4.0, Call("ce")),)


@pytest.mark.parametrize(
    ("before", "after", "middle"),
    [("m(", ")", "ce"), ("m(x=", ")", "ce"), ("2*(ce + ", ")", "kd"), ("m(2*", ")", "ce")],
)
def test_nesting_is_limited(before: str, after: str, middle: str) -> None:
    deepest = MAX_DEPTH
    while True:  # a call and the sum in it may count as two
        try:
            parse(before * deepest + middle + after * deepest)
            break
        except LimbeckError:
            deepest -= 1
    assert deepest >= MAX_DEPTH // 2
    for depth in (deepest + 1, 90):
        with pytest.raises(LimbeckError, match=f"nested more than {MAX_DEPTH} deep"):
            parse(before * depth + middle + after * depth)


def test_lists_are_nested_no_deeper_than_calls() -> None:
    parse("m(x=" + "[" * (MAX_DEPTH - 1) + "1" + "]" * (MAX_DEPTH - 1) + ")")
    with pytest.raises(LimbeckError, match="nested more than"):
        parse("m(x=" + "[" * MAX_DEPTH + "1" + "]" * MAX_DEPTH + ")")


def test_parentheses_alone_are_no_nesting() -> None:
    assert parse("(" * 100 + "ce" + ")" * 100) == parse("ce")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 4000,
        "[" * 4000 + "]" * 4000,
        "-" * 9000 + "1*ce",
        "9" * 5000 + "*ce",
    ],
)
def test_what_the_parser_itself_gives_up_on_is_refused(text: str) -> None:
    with pytest.raises(LimbeckError, match="is not in the notation"):
        parse(text)


@pytest.mark.skipif(
    not (3, 11) <= sys.version_info < (3, 13), reason="the parser of this version of Python reads it"
)
def test_a_long_sum_is_refused_where_the_parser_gives_up() -> None:
    with pytest.raises(LimbeckError, match="is not in the notation"):
        parse("ce+" * 3000 + "ce")


def test_attributes_of_attributes_are_refused() -> None:
    with pytest.raises(LimbeckError, match=r"is not in the notation|the notation has names, numbers"):
        parse("x." * 4000 + "x")


def test_one_call() -> None:
    assert parse_call("cnn(channels=[4, 8])", "model") == Call("cnn", (), {"channels": [4, 8]})
    assert parse_call("1*cnn", "model") == Call("cnn")


@pytest.mark.parametrize("text", ["2*cnn", "cnn + mlp"])
def test_a_sum_is_not_one_call(text: str) -> None:
    with pytest.raises(LimbeckError) as caught:
        parse_call(text, "model")
    assert (
        str(caught.value) == f"model {text!r} must be one name, with arguments in parentheses if it has any"
    )


def test_messages_name_what_the_text_is() -> None:
    with pytest.raises(LimbeckError, match=r"^data set 'digits\[0\]': the notation has"):
        parse_call("digits[0]", "data set")
    with pytest.raises(LimbeckError, match=r"^model '' is not in the notation: it is empty$"):
        parse_call("", "model")


PIECES = [
    *"()[]{}+-*/=,.:;#'\"\\ \n\t0123456789",
    *[
        "ce",
        "kd",
        "mgd(ce, x=1)",
        "0.1*",
        "1e999",
        "1e-5",
        " + ",
        "**",
        "true",
        "None",
        "not ",
        "lambda ",
        "if ",
    ],
    *[
        "for x in y",
        "f'",
        "b'",
        "__import__('os')",
        "'a'",
        '"""',
        "\x00",
        "\ud800",
        "ü",
        "😀",
        "9" * 400,
        "-" * 50,
    ],
]


@pytest.mark.filterwarnings("ignore::SyntaxWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("seed", range(20))
def test_only_a_limbeck_error_comes_out_of_nonsense(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(100):
        text = str(random_sum(rng, depth=2, least=1)) if rng.random() < 0.5 else ""
        for _ in range(rng.randint(0, 8)):
            place = rng.randint(0, len(text))
            text = text[:place] + rng.choice(PIECES) + text[place + rng.randint(0, 2) :]
        try:
            tree = parse(text)
        except LimbeckError:
            continue
        assert parse(str(tree)) == tree, text


def test_no_weight_is_a_negative_zero() -> None:
    assert str(parse("-.0*kd")) == str(parse("-0.0*(2*kd)")) == "0*kd"


def test_a_path_without_quotes_is_told_from_other_mistakes() -> None:
    with pytest.raises(
        LimbeckError, match=r'is not in the notation: .*; a text stands in quotes, "/tmp/x\.csv"$'
    ):
        parse_call("text(path=/tmp/x.csv)", "data set")
    with pytest.raises(LimbeckError) as caught:
        parse_call("text(path=", "data set")
    assert "quotes" not in str(caught.value)
