"""Why somebody may do something or may not, in words, from what is on disk and in the settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from images.reference import is_repository
from registry.access.denials import load_denials
from registry.access.identity import ANONYMOUS, Decision, Identity, Kind
from registry.access.passwords import load_htpasswd
from registry.access.policy import Policy
from registry.access.robots import load_robots
from registry.access.snapshot import Places, asks_for_credentials
from registry.errors import RegistryConfigError


def explain(
    places: Places, who: str, action: str, repository: str, *, groups: Sequence[str] = ()
) -> Decision:
    """Decide as the server would; blocks.

    ``who`` is a user, ``robot:NAME``, ``outside:SOURCE/NAME`` or ``anonymous``; ``groups``,
    SOURCE/NAME each, are those that an outside source would say somebody is in.

    Raises:
        RegistryConfigError: ``repository`` is no name, ``who`` or ``groups`` cannot be, or a file
            cannot be read.
    """
    if not is_repository(repository):
        raise RegistryConfigError(
            "not a repository name", where=repository, fix="write it without host and tag"
        )
    robots = load_robots(places.robots)
    if not asks_for_credentials(places, robots):
        return Decision(allowed=True, rule="the registry has no users, so everybody may")
    policy = Policy(places.settings)
    if who == str(ANONYMOUS):
        return policy.rights(ANONYMOUS).decide(action, repository)
    denials = load_denials(places.denials)
    if who in denials or f"user:{who}" in denials:
        return Decision(allowed=False, rule=f"the deny list names {who}")
    if who.startswith("outside:"):
        return policy.rights(_outside(places, who, groups)).decide(action, repository)
    if groups:
        raise RegistryConfigError("groups of users are in the configuration", where="--group")
    name = who.removeprefix("robot:")
    if name != who:
        robot = robots.get(name)
        if robot is None:
            return Decision(allowed=False, rule=f"there is no robot {name}")
        identity = Identity(Kind.ROBOT, name)
        return policy.rights(identity, own=robot.permissions).decide(action, repository)
    name = who.removeprefix("user:")
    if not places.users.exists() or name not in load_htpasswd(places.users):
        return Decision(allowed=False, rule=f"there is no user {name} in {places.users}")
    return policy.rights(Identity(Kind.USER, name)).decide(action, repository)


def _outside(places: Places, who: str, groups: Sequence[str]) -> Identity:
    """Somebody of an outside source, which is configured."""
    sources = places.settings.sources
    try:
        identity = Identity.parse(who)
    except ValueError as error:
        raise RegistryConfigError(
            f"{who!r} is nobody", where="who", fix="write outside:SOURCE/NAME"
        ) from error
    for name in (identity.name, *groups):
        if name.partition("/")[0] not in sources:
            raise RegistryConfigError(
                f"{name!r}: no outside source of that name is configured",
                where="who" if name == identity.name else "--group",
                fix="there are: " + (", ".join(sources) or "none"),
            )
    return replace(identity, groups=tuple(groups))
