"""Each rule has a page, and what the page says is true."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from builder.lint.rules import RULES
from tests.builder.lint.kit import found

PAGES = Path(__file__).parents[3] / "docs/lint"
BLOCK = re.compile(r"(Bad|Good):\n\n```dockerfile\n(.*?)```", re.DOTALL)
IGNORE = re.compile(r"```dockerignore\n(.*?)```", re.DOTALL)


def test_pages_and_rules_agree() -> None:
    assert {path.stem for path in PAGES.glob("*.md")} == {*RULES, "README"}
    listed = re.findall(r"^\| \[(\w+)\]\(\1\.md\)", (PAGES / "README.md").read_text(), re.MULTILINE)
    assert listed == sorted(RULES)


def test_there_are_22_rules() -> None:
    assert len(RULES) == 22
    assert [rule.name for rule in RULES.values() if rule.experimental] == [
        "InvalidDefinitionDescription"
    ]


@pytest.mark.parametrize("name", RULES)
def test_the_examples_of_a_page(name: str) -> None:
    page = (PAGES / f"{name}.md").read_text()
    assert page.startswith(f"# {name}\n")
    blocks = dict(BLOCK.findall(page))
    given = IGNORE.search(page)
    ignore = given[1] if given else None
    # One of the bad examples can only be built with an argument.
    bad = found(blocks["Bad"], ignore=ignore, build_args={"TAG": "1"})
    assert {rule for rule, _ in bad} == {name}
    assert found(blocks["Good"], ignore=ignore) == []


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
