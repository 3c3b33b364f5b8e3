"""The definitions behind ``lading bake``: HCL, its JSON form, compose files, expressions, --set."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from random import Random

from engine.bake.errors import BakeError
from engine.bake.files import DefinitionFile, load_files
from engine.bake.functions.library import library
from engine.bake.model import ATTRIBUTES
from engine.bake.overrides import parse_overrides
from engine.bake.render import selection_json
from engine.bake.resolve import cleaned, select
from images.errors import ImagesError
from tests.engine.bake.support import evaluate, surroundings
from tests.fuzz.harness import Target

BAKE = Path(__file__).parents[1] / "engine/bake"
NOWHERE = Path("/nowhere")
# Slow by design: bcrypt is bounded by its cost, a limit of its own.
FUNCTIONS = sorted(set(library(lambda: 0.0, "/")) - {"bcrypt", "rsadecrypt"})

TOKENS = tuple(
    text.encode()
    for text in (
        *ATTRIBUTES,
        *FUNCTIONS,
        *"\n{}[]()\"$%~.,:?!=<>&|+-*/#'\\",
        *("${", "%{ if ", "%{ for x in ", "%{ endif }", "%{ endfor }", "<<E\n", "<<-E\n", "\nE\n"),
        *(
            "variable ",
            "function ",
            "target ",
            "group ",
            "matrix = ",
            "name = ",
            "for x in ",
            "...",
        ),
        *(
            "null",
            "true",
            "1e400",
            "1.5",
            "target.a.",
            '"a"',
            "[*]",
            ".*",
            "=>",
            "&&",
            "é",
            "\ufeff",
        ),
    )
)
YAML_TOKENS = tuple(
    text.encode()
    for text in (
        *"\n:-{}[]&*!|>'\"#?,",
        *("services:\n", "  a:\n", "    build:\n", "      args:\n", "<<: *x\n", "&x ", "!reset\n"),
        *(
            "!override\n",
            "${A:-",
            "${A?",
            "$$",
            "x-bake:\n",
            "extends: a\n",
            "include:\n",
            "ulimits:\n",
        ),
        *("secrets:\n", "extra_hosts:\n", "additional_contexts:\n", "ssh:\n", "shm_size: 1\n"),
    )
)


def _define(name: str, data: bytes) -> None:
    around = surroundings({"A": "x", "V_JSON": "[1]"})
    config = load_files([DefinitionFile(name, data)], around, NOWHERE)
    selection_json(cleaned(select(config, [target.name for target in config.targets][:5], {})))


def _hcl(data: bytes) -> None:
    _define("docker-bake.hcl", data)


def _json(data: bytes) -> None:
    _define("docker-bake.json", data)


def _compose(data: bytes) -> None:
    _define("compose.yaml", data)


def _expression(data: bytes) -> None:
    evaluate(data.decode("utf-8", "replace"))


def _overrides(data: bytes) -> None:
    texts = data.decode("utf-8", "replace").split("\n")
    parse_overrides(texts, ["a", "app"], {"A": "1"})


@cache
def _corpus(suffix: str) -> list[bytes]:
    paths = sorted((BAKE / "corpus").iterdir())
    return [path.read_bytes() for path in paths if path.name.endswith(suffix)]


@cache
def _expressions() -> list[bytes]:
    lines = (BAKE / "expressions.jsonl").read_text().splitlines()
    return [json.loads(line)[0].encode() for line in lines]


def _generated(random: Random, depth: int = 0) -> str:
    """An expression by the rules."""
    choice = random.randrange(12 if depth < 5 else 5)
    inner = (
        [_generated(random, depth + 1) for _ in range(random.randrange(4))] if choice > 4 else []
    )
    first = inner[0] if inner else "1"
    return [
        lambda: str(random.choice([0, 1, -7, 2.5, 10**40, 1e-9])),
        lambda: random.choice(["true", "false", "null", "[]", "{}"]),
        lambda: json.dumps(
            random.choice(["", "a", "a,b", "1.2.3", "2020-01-02T03:04:05Z", "10.0.0.0/8"])
        ),
        lambda: random.choice(['"%s"', '"(a+)+$"', '"%5.2f"', '"YYYY-MM"']),
        lambda: f'"{random.choice("abcé")}"',
        lambda: f"[{', '.join(inner)}]",
        lambda: f"{{ a = {first}, b = {inner[-1] if inner else 2} }}",
        lambda: f"{random.choice(FUNCTIONS)}({', '.join(inner)})",
        lambda: f"({first} {random.choice(['+', '-', '*', '/', '%', '==', '<', '&&'])} {first})",
        lambda: f"({first} ? {first} : {inner[-1] if inner else 'null'})",
        lambda: f"[for k, v in {first} : v if k != null]",
        lambda: f'"x${{{first}}}%{{ if true }}y%{{ endif }}"',
    ][choice]()


def _generate(random: Random) -> bytes:
    return _generated(random).encode()


ERRORS = (BakeError,)
TARGETS = (
    Target("bake-hcl", _hcl, ERRORS, lambda: _corpus(".hcl"), tokens=TOKENS, base_seconds=15.0),
    Target("bake-json", _json, ERRORS, lambda: _corpus(".json"), tokens=TOKENS, base_seconds=15.0),
    Target(
        "bake-compose",
        _compose,
        (BakeError, ImagesError),
        lambda: _corpus(".yaml"),
        tokens=YAML_TOKENS,
        base_seconds=5.0,
        byte_seconds=1e-3,
    ),
    Target(
        "bake-expression",
        _expression,
        ERRORS,
        _expressions,
        _generate,
        tokens=TOKENS,
        base_seconds=15.0,
    ),
    Target("bake-set", _overrides, ERRORS, lambda: [b"a.tags=x", b"*.args.A=1\na*.push=true"]),
)
