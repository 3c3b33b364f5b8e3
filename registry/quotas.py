"""How much a repository may take, in bytes and tags.

Bytes are those of the blobs and manifests that a repository has; a blob of two repositories counts
in both, and stays counted until it is deleted or collected. A quota holds for each repository that
its pattern matches, or for all of them together. It is judged within the transaction that would
exceed it, so concurrent pushes cannot pass it between them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated

from records import Record
from registry.access.patterns import literal_prefix
from registry.configuration.declare import Size, refuse
from registry.errors import QuotaError, RegistryConfigError
from registry.guard import Usage, Usages
from registry.rules import repository_matcher, repository_problems


class QuotaRule(Record):
    """The most that repositories may take."""

    repositories: Annotated[str, "Pattern of repositories"] = "**"
    bytes: Annotated[Size | None, "Most bytes; unset is no limit"] = None
    tags: Annotated[int | None, "Most tags; unset is no limit"] = None
    together: Annotated[bool, "Count all repositories of the pattern as one"] = False

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        yield from repository_problems(self.repositories)
        for name in ("bytes", "tags"):
            limit = getattr(self, name)
            if limit is not None and limit < 0:
                yield RegistryConfigError(f"{name} must not be negative", where=name)


class Quotas:
    """The rules, ready to be asked."""

    def __init__(self, rules: Iterable[QuotaRule]) -> None:
        self._rules = [(rule, repository_matcher(rule.repositories)) for rule in rules]

    @property
    def any(self) -> bool:
        """Whether there is a rule."""
        return bool(self._rules)

    def check(self, repository: str, before: Usage, after: Usage, others: Usages) -> None:
        """Judge a repository that grew from ``before`` to ``after``.

        Shrinking, and pushing again what is there, is always allowed.

        Raises:
            QuotaError: a rule does not allow it.
        """
        for rule, matches in self._rules:
            if not matches(repository):
                continue
            grew_bytes = rule.bytes is not None and after.bytes > before.bytes
            grew_tags = rule.tags is not None and after.tags > before.tags
            if not (grew_bytes or grew_tags):
                continue
            total = _together(rule, others) if rule.together else after
            if rule.bytes is not None and grew_bytes and total.bytes > rule.bytes:
                raise QuotaError(rule.repositories, "bytes", rule.bytes, total.bytes)
            if rule.tags is not None and grew_tags and total.tags > rule.tags:
                raise QuotaError(rule.repositories, "tags", rule.tags, total.tags)

    def room(self, repository: str, usage: Usage, others: Usages) -> int | None:
        """How many bytes are left of the narrowest quota, 0 at least; None without one."""
        left = [
            rule.bytes - (_together(rule, others) if rule.together else usage).bytes
            for rule, matches in self._rules
            if rule.bytes is not None and matches(repository)
        ]
        return max(min(left), 0) if left else None


def _together(rule: QuotaRule, others: Usages) -> Usage:
    matches = repository_matcher(rule.repositories)
    usages = [usage for name, usage in others(literal_prefix(rule.repositories)) if matches(name)]
    return Usage(sum(u.bytes for u in usages), sum(u.tags for u in usages))
