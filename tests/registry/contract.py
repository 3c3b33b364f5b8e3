"""The durability contract as tests quote it; a sentence that its document lacks is an error."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

DOCUMENT = Path(__file__).parents[2] / "docs" / "registry.md"
_PROMISE = re.compile(r"^(\d+)\. \*\*(.+?)\*\*", re.MULTILINE | re.DOTALL)

F = TypeVar("F", bound=Callable[..., object])


def promises() -> dict[int, str]:
    """The bold first sentence of each numbered promise, in one line."""
    section = DOCUMENT.read_text().partition("\n## The durability contract\n")[2]
    section = section.partition("\n## ")[0]
    return {int(number): " ".join(text.split()) for number, text in _PROMISE.findall(section)}


def holds(*sentences: str) -> Callable[[F], F]:
    """Mark a test as the keeper of promises, quoted word for word."""
    known = set(promises().values())
    for sentence in sentences:
        assert sentence in known, f"docs/registry.md does not promise: {sentence}"

    def unchanged(test: F) -> F:
        return test

    return unchanged
