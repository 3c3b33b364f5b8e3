"""Which tags stay: rules by repository and tag, and tags that may never move.

A rule selects tags. Of these it keeps the newest, those pushed or pulled lately, and those whose
manifest another manifest of the repository needs; it wants to remove the others. A tag that several
rules select stays when one of them keeps it; a tag that no rule selects stays, and so does an
immutable one. Plain functions on rows: the collection removes what ``doomed`` returns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated

from records import Record
from registry.configuration.declare import Duration, refuse
from registry.errors import RegistryConfigError
from registry.rules import repository_matcher, repository_problems, tag_matcher


class RetentionRule(Record):
    """Keeps some of the tags that it selects, and removes the others."""

    repositories: Annotated[str, "Pattern of repositories"] = "**"
    tags: Annotated[str, "Pattern of tags: * ? [a-z]"] = "*"
    keep_last: Annotated[int | None, "Keep so many tags, those that moved last"] = None
    pushed_within: Annotated[Duration | None, "Keep what was pushed so lately"] = None
    pulled_within: Annotated[Duration | None, "Keep what was pulled so lately"] = None
    keep_referenced: Annotated[bool, "Keep tags of what another manifest needs"] = True

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        yield from repository_problems(self.repositories)
        limits = (self.keep_last, self.pushed_within, self.pulled_within)
        if all(limit is None for limit in limits):
            yield RegistryConfigError(
                "the rule keeps nothing",
                where="keep_last",
                fix="set keep_last, pushed_within or pulled_within; keep_last = 0 if you mean it",
            )
        if any(limit is not None and limit < 0 for limit in limits):
            yield RegistryConfigError("a limit must not be negative", where="keep_last")


class ImmutableRule(Record):
    """Tags that may be made once and then neither move nor go."""

    repositories: Annotated[str, "Pattern of repositories"] = "**"
    tags: Annotated[str, "Pattern of tags: * ? [a-z]"] = "*"

    def __post_init__(self) -> None:
        refuse(repository_problems(self.repositories))

    def __str__(self) -> str:
        return f"{self.repositories}:{self.tags}"


@dataclass(frozen=True, slots=True)
class TagRow:
    """A tag as retention sees it; moments in seconds since the epoch.

    ``used`` is when its manifest was last pushed, pulled or asked for. ``referenced`` says whether
    another manifest of the repository needs that manifest. ``turn`` orders moves of one second: the
    number of the move, 0 when it is forgotten.
    """

    name: str
    moved: int
    pushed: int
    used: int
    referenced: bool
    turn: int = 0


class Immutability:
    """The rules about tags that never move, ready to be asked."""

    def __init__(self, rules: Iterable[ImmutableRule]) -> None:
        self._rules = [
            (rule, repository_matcher(rule.repositories), tag_matcher(rule.tags)) for rule in rules
        ]

    def rule(self, repository: str, tag: str) -> ImmutableRule | None:
        """The first rule that makes this tag immutable; None when it may move."""
        for rule, is_repository, is_tag in self._rules:
            if is_repository(repository) and is_tag(tag):
                return rule
        return None


class Retention:
    """The rules about tags that stay, ready to be asked."""

    def __init__(self, rules: Iterable[RetentionRule], immutability: Immutability) -> None:
        self._rules = [
            (rule, repository_matcher(rule.repositories), tag_matcher(rule.tags)) for rule in rules
        ]
        self._immutability = immutability

    def concerns(self, repository: str) -> bool:
        """Whether any rule is about this repository."""
        return any(is_repository(repository) for _, is_repository, _ in self._rules)

    def doomed(self, repository: str, rows: Sequence[TagRow], *, now: float) -> list[str]:
        """The tags of ``repository`` that the rules remove, of all its tags in ``rows``."""
        selected: set[str] = set()
        kept: set[str] = set()
        for rule, is_repository, is_tag in self._rules:
            if is_repository(repository):
                chosen = [row for row in rows if is_tag(row.name)]
                selected.update(row.name for row in chosen)
                kept.update(_kept(rule, chosen, now))
        return sorted(
            name for name in selected - kept if self._immutability.rule(repository, name) is None
        )


def _kept(rule: RetentionRule, rows: Sequence[TagRow], now: float) -> Iterator[str]:
    newest = sorted(rows, key=lambda row: (-row.moved, -row.turn, row.name))
    for place, row in enumerate(newest):
        if (
            (rule.keep_last is not None and place < rule.keep_last)
            or (rule.pushed_within is not None and row.pushed >= now - rule.pushed_within)
            or (rule.pulled_within is not None and row.used >= now - rule.pulled_within)
            or (rule.keep_referenced and row.referenced)
        ):
            yield row.name
