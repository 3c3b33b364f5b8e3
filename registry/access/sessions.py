"""What one credential may do, decided once: by token, by Basic login, or by having none.

A session holds the rights of an identity and, for a token, what the token grants; both have to
allow. Decisions are remembered as long as the session is, and sessions end when anything changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from registry.access.identity import Decision, Grant, Identity
from registry.access.policy import Rights
from registry.protocols import Access

_DECISIONS: Final = 64
"""Kept for each session; with all sessions that is some 30 MB, whatever clients ask for."""

BY_LOGIN: Final = "callers with credentials may"
NOT_IN_TOKEN: Final = "the token does not grant it"  # noqa: S105 -- a sentence


@dataclass(slots=True)
class Session:
    """One credential's standing; ``ends`` is in seconds since the epoch.

    ``granted`` maps repositories to actions; None: there is no token that limits. ``bound`` is the
    thumbprint of the client certificate that the token goes with.
    """

    rights: Rights
    ends: float = float("inf")
    granted: Mapping[str, frozenset[str]] | None = None
    catalog: bool = True
    bound: str = ""
    _decisions: dict[Access, Grant | Decision] = field(default_factory=dict)

    @property
    def identity(self) -> Identity:
        """Whose it is."""
        return self.rights.identity

    def decide(self, access: Access) -> Grant | Decision:
        """The permission, or the decision that denies it."""
        known = self._decisions.get(access)
        if known is None:
            if len(self._decisions) >= _DECISIONS:
                self._decisions.clear()
            known = self._decisions[access] = self._decide(access)
        return known

    def _decide(self, access: Access) -> Grant | Decision:
        identity = self.identity
        if access.action in ("base", "catalog"):
            if access.action == "base" or (identity.named and self.catalog):
                return Grant(identity, BY_LOGIN)
            return Decision(allowed=False, rule=NOT_IN_TOKEN)
        if self.granted is not None:
            granted = self.granted.get(access.repository, frozenset())
            if access.action not in granted:
                return Decision(allowed=False, rule=NOT_IN_TOKEN)
        decision = self.rights.decide(access.action, access.repository)
        return Grant(identity, decision.rule) if decision.allowed else decision


def granted_by(claims: Mapping[str, Any]) -> tuple[dict[str, frozenset[str]], bool]:
    """What a token's ``access`` claim grants: actions by repository, and whether the catalog."""
    granted: dict[str, frozenset[str]] = {}
    catalog = False
    entries = claims.get("access")
    for entry in entries if isinstance(entries, list) else []:
        if not isinstance(entry, dict) or not isinstance(entry.get("actions"), list):
            continue
        name = str(entry.get("name"))
        actions = frozenset(str(action) for action in entry["actions"])
        if entry.get("type") == "repository":
            granted[name] = granted.get(name, frozenset()) | actions
        elif entry.get("type") == "registry" and name == "catalog":
            catalog = catalog or "*" in actions
    return granted, catalog
