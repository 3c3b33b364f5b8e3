"""The rules: who may do what in which repositories. Pure values; the order of rules is irrelevant.

Whom an outside source vouches for is never among ``users``: only ``outside`` and ``groups`` name
them, so nobody comes in by a rule that was written before there was such a source.
A rule that denies outweighs every rule that allows; what no rule allows is denied. Without rules
every user may pull, push and delete everything, which is one rule that stands in for them.
``anonymous_pull`` is a rule of its own beside the others. A robot's own permissions are rules, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from records import Record
from registry.access.identity import Decision, Identity, Kind
from registry.access.patterns import compile_pattern, literal_prefix, text_test
from registry.access.settings import AccessSettings, Effect, Right, RuleSettings

ACTIONS: Final = ("pull", "push", "delete", "admin")
"""What can be asked of a repository."""

_USERS_MAY: Final = RuleSettings(
    repositories=("**",),
    actions=(Right.PULL, Right.PUSH, Right.DELETE),
    users=("*",),
    name="without rules, users may pull, push and delete",
)
_ANONYMOUS_PULL: Final = RuleSettings(
    repositories=("**",),
    actions=(Right.PULL,),
    users=("*",),
    robots=("*",),
    anonymous=True,
    name="anonymous_pull",
)
_DENIED: Final = Decision(allowed=False, rule="no rule allows it")


class _Rule(Record):
    """A rule as it applies to one caller."""

    label: str
    denies: bool
    actions: frozenset[str]
    patterns: tuple[str, ...]
    tests: tuple[Callable[[str], bool], ...]

    def covers(self, repository: str) -> bool:
        return any(test(repository) for test in self.tests)


@dataclass(frozen=True, slots=True)
class Rights:
    """Everything that the rules say about one caller."""

    identity: Identity
    rules: tuple[_Rule, ...]

    def decide(self, action: str, repository: str) -> Decision:
        """Whether the caller may ``action`` (one of ``ACTIONS``) in ``repository``, and why."""
        allowed: str | None = None
        for rule in self.rules:
            if action not in rule.actions or not rule.covers(repository):
                continue
            if rule.denies:
                return Decision(allowed=False, rule=rule.label)
            allowed = allowed or rule.label
        return _DENIED if allowed is None else Decision(allowed=True, rule=allowed)

    def granted(self, actions: Iterable[str], repository: str) -> frozenset[str]:
        """Those of ``actions`` that the caller may; ``*`` asks for all there are."""
        wanted = set(actions)
        if "*" in wanted:
            wanted |= set(ACTIONS)
        return frozenset(a for a in ACTIONS if a in wanted and self.decide(a, repository).allowed)

    def somewhere(self, action: str) -> bool:
        """Whether some rule allows ``action`` anywhere."""
        return any(action in rule.actions and not rule.denies for rule in self.rules)

    def prefixes(self, action: str) -> tuple[str, ...]:
        """Ascending beginnings, none within another, of all names where ``action`` may be."""
        user = self.identity.own_name
        found = {
            literal_prefix(pattern, user=user)
            for rule in self.rules
            if action in rule.actions and not rule.denies
            for pattern in rule.patterns
        }
        kept: list[str] = []
        for prefix in sorted(found):
            if not kept or not prefix.startswith(kept[-1]):
                kept.append(prefix)
        return tuple(kept)

    def everything(self, action: str) -> bool:
        """Whether ``action`` is allowed in all repositories and denied in none."""
        rules = [rule for rule in self.rules if action in rule.actions]
        return not any(rule.denies for rule in rules) and any("**" in r.patterns for r in rules)


class Policy:
    """The rules of one configuration."""

    def __init__(self, settings: AccessSettings) -> None:
        self._rules = settings.rules or (_USERS_MAY,)
        if settings.anonymous_pull:
            self._rules = (*self._rules, _ANONYMOUS_PULL)
        self._groups: Mapping[str, frozenset[str]] = MappingProxyType(
            {group.name: frozenset(group.users) for group in settings.groups}
        )

    def rights(self, identity: Identity, *, own: Sequence[RuleSettings] = ()) -> Rights:
        """What the rules, and a robot's ``own`` ones, say about a caller."""
        rules = [
            _for(identity, rule, label=rule.name or f"rules[{number}]")
            for number, rule in enumerate(self._rules)
            if self._concerns(rule, identity)
        ]
        rules += [
            _for(
                identity,
                rule,
                label=rule.name or f"permissions of {identity}: {', '.join(rule.repositories)}",
            )
            for rule in own
        ]
        return Rights(identity, tuple(rules))

    def administrators(self) -> frozenset[str]:
        """Users that some rule names as administrators."""
        named: set[str] = set()
        for rule in self._rules:
            if rule.effect is Effect.ALLOW and not {Right.ADMIN, Right.ALL}.isdisjoint(
                rule.actions
            ):
                named.update(rule.users)
                named.update(*(self._groups.get(group, ()) for group in rule.groups))
        return frozenset(named - {"*"})

    def _concerns(self, rule: RuleSettings, identity: Identity) -> bool:
        name = identity.name
        match identity.kind:
            case Kind.USER:
                grouped = any(name in self._groups.get(group, ()) for group in rule.groups)
                return grouped or "*" in rule.users or name in rule.users
            case Kind.ROBOT:
                return "*" in rule.robots or name in rule.robots
            case Kind.OUTSIDE:
                grouped = not set(identity.groups).isdisjoint(rule.groups)
                return grouped or any(text_test(pattern)(name) for pattern in rule.outside)
            case Kind.ANONYMOUS:
                return rule.anonymous
        return False


def _for(identity: Identity, rule: RuleSettings, *, label: str) -> _Rule:
    actions = {action.value for action in rule.actions}
    denies = rule.effect is Effect.DENY
    if "*" in actions or ("admin" in actions and not denies):
        actions = set(ACTIONS)
    return _Rule(
        label=label,
        denies=denies,
        actions=frozenset(actions),
        patterns=rule.repositories,
        tests=tuple(compile_pattern(p, user=identity.own_name) for p in rule.repositories),
    )
