"""When content may be collected: leases, rules for what no tag names, and the schedule."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from records import Record
from registry.configuration.declare import Duration, refuse
from registry.errors import RegistryConfigError
from registry.rules import repository_problems

DAY = 86400.0


class UntaggedRule(Record):
    """Manifests without a tag go when nobody pushed or pulled them for a time."""

    repositories: Annotated[str, "Pattern of repositories"] = "**"
    after: Annotated[Duration, "How long after the last push or pull"] = 30 * DAY

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        yield from repository_problems(self.repositories)
        if self.after < 0:
            yield RegistryConfigError("after must not be negative", where="after")


class CollectionSettings(Record):
    """Collection of what nobody needs, while the registry serves."""

    lease: Annotated[Duration, "How long content stays that a client was told exists"] = 3600.0
    interval: Annotated[Duration | None, "Time between collections; null for none"] = DAY
    budget: Annotated[Duration, "Longest a scheduled collection works at a time"] = 3600.0
    undo: Annotated[Duration, "How long what a tag pointed to before is kept"] = 7 * DAY
    history: Annotated[Duration, "How long moves of tags are remembered"] = 90 * DAY
    dangling: Annotated[Duration, "How long referrers without their subject are kept"] = 7 * DAY
    untagged: Annotated[
        tuple[UntaggedRule, ...], "Untagged manifests stay without such a rule"
    ] = ()

    def __post_init__(self) -> None:
        refuse(self._problems())

    def _problems(self) -> Iterator[RegistryConfigError]:
        if self.lease <= 0:
            yield RegistryConfigError("lease must be positive", where="lease")
        for name in ("undo", "history", "dangling"):
            if getattr(self, name) < 0:
                yield RegistryConfigError(f"{name} must not be negative", where=name)
        if self.interval is not None and self.interval <= 0:
            yield RegistryConfigError(
                "interval must be positive", where="interval", fix="use null for no schedule"
            )
        if self.budget <= 0:
            yield RegistryConfigError("budget must be positive", where="budget")
        if self.history < self.undo:
            yield RegistryConfigError(
                "a move can only be undone while it is remembered",
                where="history",
                fix="make history at least as long as undo",
            )
