"""Why somebody may do something or may not, in words, from what is on disk and in the settings."""

from __future__ import annotations

from images.reference import is_repository
from registry.access.identity import ANONYMOUS, Decision, Identity, Kind
from registry.access.passwords import load_htpasswd
from registry.access.policy import Policy
from registry.access.robots import load_robots
from registry.access.snapshot import Places, asks_for_credentials
from registry.errors import RegistryConfigError


def explain(places: Places, who: str, action: str, repository: str) -> Decision:
    """Decide as the server would; ``who`` is a user, ``robot:NAME`` or ``anonymous``. Blocks.

    Raises:
        RegistryConfigError: ``repository`` is no name, or a file cannot be read.
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
