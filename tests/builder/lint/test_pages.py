"""Each rule has a page, and what the page says is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder.lint.own import OWN
from builder.lint.repairs import MENDABLE
from builder.lint.rules import RULES
from builder.lint.selection import CATALOG, SETS, Selection
from tests.builder.lint.kit import found

PAGES = Path(__file__).parents[3] / "docs/lint"
BLOCK = re.compile(r"(Bad|Good):\n\n```dockerfile\n(.*?)```", re.DOTALL)
IGNORE = re.compile(r"```dockerignore\n(.*?)```", re.DOTALL)
CONTEXT = re.compile(r"```context\n(.*?)```", re.DOTALL)


def page(name: str) -> str:
    return (PAGES / f"{name}.md").read_text()


def test_pages_and_rules_agree() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*CATALOG, "README"}
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\)", page("README"), re.MULTILINE)
    assert listed == [*sorted(OWN), *sorted(RULES)]


def test_there_are_22_rules_of_buildkit() -> None:
    assert len(RULES) == 22
    assert [rule.name for rule in RULES.values() if rule.experimental] == [
        "InvalidDefinitionDescription"
    ]


@pytest.mark.parametrize("name", CATALOG)
def test_the_examples_of_a_page(name: str) -> None:
    """With the recommended rules and itself the bad example breaks this one alone."""
    text = page(name)
    assert text.startswith(f"# {name}\n")
    blocks = dict(BLOCK.findall(text))
    given, files = IGNORE.search(text), CONTEXT.search(text)
    ignore = given[1] if given else None
    listing = None if files is None else lambda: frozenset(files[1].split())
    rules = SETS["recommended"] | {name} if name in OWN else SETS["buildkit"]
    selection = Selection(rules)
    # One of the bad examples can only be built with an argument.
    bad = found(
        blocks["Bad"],
        ignore=ignore,
        build_args={"TAG": "1"},
        selection=selection,
        listing=listing,
    )
    assert {rule for rule, _ in bad} == {name}
    assert found(blocks["Good"], ignore=ignore, selection=selection, listing=listing) == []


@pytest.mark.parametrize("name", OWN)
def test_what_a_page_says_of_its_rule(name: str) -> None:
    rule, text = OWN[name], page(name)
    assert f"Level: {rule.level.name.lower()}." in text
    numbers = re.findall(r"DL\d{4}", text)
    assert tuple(numbers) == rule.aliases
    row = next(line for line in page("README").splitlines() if line.startswith(f"| [{name}]"))
    _, _, _, level, aliases, mends, _ = (cell.strip() for cell in row.split("|"))
    assert (level, tuple(aliases.split())) == (rule.level.name.lower(), rule.aliases)
    assert (mends == "yes") == ("`--fix`" in text)
    assert (mends == "unsafe") == ("`--unsafe-fixes`" in text)


@pytest.mark.parametrize("name", RULES)
def test_what_a_page_says_of_mending(name: str) -> None:
    assert ("lading lint --fix" in page(name)) == (name in MENDABLE)


@pytest.mark.parametrize(
    ("name", "address"),
    [
        ("JSONArgsRecommended", "json-args-recommended"),
        ("SecretsUsedInArgOrEnv", "secrets-used-in-arg-or-env"),
        ("UndefinedArgInFrom", "undefined-arg-in-from"),
        ("NoEmptyContinuation", "no-empty-continuation"),
    ],
)
def test_addresses(name: str, address: str) -> None:
    assert RULES[name].url == f"https://docs.docker.com/go/dockerfile/rule/{address}/"
    assert OWN["EarlyArg"].url == "docs/lint/EarlyArg.md"
