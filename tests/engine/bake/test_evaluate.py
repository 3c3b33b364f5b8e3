"""Expressions and functions beside buildx's answers (``expressions.jsonl``), and their limits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.bake.errors import BakeError, BakeLimitError, BakeValueError
from engine.bake.values.json import encode
from tests.engine.bake.support import config, evaluate

LINES = Path(__file__).with_name("expressions.jsonl").read_text().splitlines()
CASES = [json.loads(line) for line in LINES]


@pytest.mark.parametrize(("text", "answer"), CASES)
def test_has_the_value_that_buildx_gives(text: str, answer: str | None) -> None:
    if answer is None:
        with pytest.raises(BakeError):
            evaluate(text)
    else:
        assert encode(evaluate(text)) == answer


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        # Where buildx has no answer, or one that helps nobody.
        ('byteslen("é")', "2"),
        ('bytesslice("hello", 1, 2)', '"el"'),
        ("length({ a = 1 })", "1"),
        ('hasindex({ a = 1 }, "a")', "true"),
        ('index({ a = 1 }, "a")', "1"),
        ("[[1, 2], [3, 4]].1.0", "3"),
        ("convert({ a = 1 }, object({ a = string, b = optional(bool) }))", '{"a":"1","b":null}'),
        ("timestamp()", '"2023-11-14T22:13:20Z"'),
        ("homedir()", '"/home/someone"'),
        ("length(uuidv4())", None),
        ('substr(bcrypt("x", 4), 0, 7)', '"$2a$04$"'),
        ("modulo(7, 0)", None),
    ],
)
def test_has_values_of_its_own(text: str, answer: str | None) -> None:
    if answer is None:
        with pytest.raises(BakeValueError):
            evaluate(text)
    else:
        assert encode(evaluate(text)) == answer


def test_decrypts_what_was_encrypted_for_a_key() -> None:
    import base64

    from cryptography.hazmat.primitives.asymmetric import padding, rsa
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    from engine.bake.values.value import string

    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    secret = base64.b64encode(key.public_key().encrypt(b"open", padding.PKCS1v15())).decode()
    found = evaluate("rsadecrypt(secret, key)", secret=string(secret), key=string(pem))
    assert found.data == "open"


@pytest.mark.parametrize(
    ("text", "place", "says", "fix"),
    [
        ("1 +", 4, "unexpected", None),
        ("uper(1)", 1, "no function uper", "did you mean upper?"),
        ("{ name = 1 }.nme", 14, "no attribute nme", "did you mean name?"),
        ("[1, 2][7]", 7, "7 is no index of 2 elements", "begin at 0"),
        ('join(",", ["a", null])', 1, "join: an element is null", None),
        ('upper("a", "b")', 1, "takes 1 arguments, not 2", None),
        ('substr("abc", "x", 1)', 15, "offset: a number is required", None),
        ('1 + "x"', 5, "a number is required", None),
        ("1 / 0", 5, "division by zero", None),
        ("true ? 1 : [1]", 1, "both branches must be of one type", None),
        ("{ for x in [1, 1] : x => x }", 21, "two elements have the key '1'", "write ..."),
        ("[for x in 5 : x]", 11, "number has no elements", None),
        ('"a${[1]}"', 5, "string required, but this is tuple", None),
    ],
)
def test_errors_point_at_the_smallest_part(
    text: str, place: int, says: str, fix: str | None
) -> None:
    with pytest.raises(BakeError) as caught:
        config(f"x = {text}\n")
    error = caught.value
    assert says in error.what
    assert error.place is not None
    assert (error.place.line, error.place.column) == (1, place + 4)
    assert error.excerpt().splitlines()[3].index("^") == len("   1 | >>> ") + place + 3
    assert fix is None or fix in (error.fix or "")


@pytest.mark.parametrize(
    "text",
    [
        "(" * 120 + "1" + ")" * 120,
        "!" * 400 + "true",
        "1" + " + 1" * 400,
        '"' + "${" * 150,
        "[for a in range(1000) : [for b in range(1000) : [for c in range(1000) : c]]]",
        "setproduct(range(1000), range(1000))",
        'format("%9999999d", 1)',
        'indent(100000000, "a\\nb")',
        "pow(10, 300) * pow(10, 300) " + "* pow(10, 300)" * 20,
        "1e999999",
        'cidrsubnets("::/0", 200)',
        'bcrypt("x", 31)',
        'regex("(a*)*b", join("", [for x in range(1000) : "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"]))',
        'regex("((a{1000}){1000}){1000}", "a")',
        "range(0, 1, 0.0000001)",
        'jsondecode("' + "[" * 5000 + '")',
    ],
)
def test_hostile_expressions_end_soon(text: str) -> None:
    with pytest.raises(BakeError):
        evaluate(text)


def test_shared_parts_are_weighed_as_often_as_they_occur() -> None:
    lines = ['v0 = ["lol", "lol", "lol", "lol", "lol", "lol", "lol", "lol", "lol", "lol"]']
    lines += [f"v{n} = [{', '.join([f'v{n - 1}'] * 10)}]" for n in range(1, 12)]
    lines.append('target "default" { args = { X = jsonencode(v11) } }')
    with pytest.raises(BakeLimitError):
        config("\n".join(lines))
