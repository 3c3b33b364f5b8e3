"""Which rules are on: by sets, by names, by hadolint's numbers.

``buildkit`` are BuildKit's, ``default`` also ours that find almost surely mistakes, ``recommended``
also those that are usually right, ``all`` every rule there is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, Self

from builder.errors import BuildInputError
from builder.lint.own import OWN
from builder.lint.rules import RULES, Level, Rule
from dockerfile_grammar.suggest import nearest
from records import Record

CATALOG: Final[Mapping[str, Rule]] = {**RULES, **OWN}
"""Every rule by its name."""
_ALIASES: Final[Mapping[str, frozenset[str]]] = {
    alias: frozenset(rule.name for rule in OWN.values() if alias in rule.aliases)
    for rule in OWN.values()
    for alias in rule.aliases
}
OWN_NAMES: Final = frozenset(OWN) | frozenset(_ALIASES)
"""What our own rules answer to."""
ASKED_NAMES: Final = OWN_NAMES - {r.name for r in OWN.values() if r.level is Level.DEFAULT}
"""Those of rules that a plain build does not ask."""


def _up_to(level: Level) -> frozenset[str]:
    found = (rule for rule in CATALOG.values() if not rule.experimental)
    return frozenset(rule.name for rule in found if rule.level <= level)


SETS: Final[Mapping[str, frozenset[str]]] = {
    "buildkit": frozenset(name for name, rule in RULES.items() if not rule.experimental),
    "default": _up_to(Level.DEFAULT),
    "recommended": _up_to(Level.RECOMMENDED),
    "all": frozenset(CATALOG),
}


class SelectionError(BuildInputError):
    """A set or a rule that does not exist."""

    code = "lint-selection"


class Selection(Record):
    """The names of the rules that are on. ``chosen`` says that somebody asked for them."""

    names: frozenset[str]
    chosen: bool = False

    @classmethod
    def of(cls, name: str) -> Self:
        """One of the sets."""
        return cls(SETS[name])

    @classmethod
    def parse(cls, text: str, *, usual: str) -> Self:
        """Read ``recommended,-LastUserRoot`` or ``DL3008``: sets and rules, ``-`` takes away.

        Where nothing is named but what is taken away, it is taken from the set ``usual``.

        Raises:
            SelectionError: there is no such rule.
        """
        words = [word.strip() for word in text.split(",") if word.strip()]
        names = set[str]()
        if all(word.startswith("-") for word in words):
            names |= SETS[usual]
        for word in words:
            if word.startswith("-"):
                names -= _named(word[1:])
            else:
                names |= _named(word)
        return cls(frozenset(names), chosen=True)

    def wants(self, rule: Rule) -> bool:
        """Whether a rule is on."""
        return rule.name in self.names


def selected(text: str | None, *, usual: str) -> Selection:
    """What was asked for, else the usual set.

    Raises:
        SelectionError: as ``Selection.parse``.
    """
    return Selection.of(usual) if text is None else Selection.parse(text, usual=usual)


BUILDKIT: Final = Selection.of("buildkit")


def _named(word: str) -> frozenset[str]:
    found = SETS.get(word) or _ALIASES.get(word.upper())
    if found is not None:
        return found
    if word in CATALOG:
        return frozenset({word})
    raise SelectionError(f"there is no rule {word}", fix=_suggestion(word, (*SETS, *CATALOG)))


def _suggestion(word: str, known: Iterable[str]) -> str:
    found = nearest(word, known)
    return f"did you mean {found}?" if found else "docs/lint/README.md lists the rules"
