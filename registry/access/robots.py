"""Robot accounts: a secret shown once and kept as a hash, an end, and permissions of their own.

They live in one JSON file under the registry's root, which is replaced whole and which every
process watches. Secrets are long and random, so one SHA-256 is enough and a login costs nothing.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from registry.access.patterns import pattern_problem
from registry.access.settings import Right, RuleSettings
from registry.errors import RegistryConfigError
from registry.smallfiles import SmallFile, locked, replace

SECRET_PREFIX: Final = b"lading_robot_"
"""How every secret begins, so that scanners find leaked ones and log-ins know what they are."""

_NAME: Final = re.compile(r"[a-z0-9]+(?:[-_/][a-z0-9]+)*\Z")
_NAME_LIMIT: Final = 100
_ENTRY_FIELDS: Final = frozenset({"secret", "created", "expires", "permissions"})

_MALFORMED: Final = (
    ValueError,
    TypeError,
    KeyError,
    AttributeError,
    OverflowError,
    RecursionError,
)


@dataclass(frozen=True, slots=True)
class Robot:
    """One account; times are seconds since the epoch, ``expires`` None is never.

    ``secret`` is the hex SHA-256 of what logs it in.
    """

    name: str
    secret: str
    created: int
    expires: int | None
    permissions: tuple[RuleSettings, ...]

    def valid(self, now: float) -> bool:
        """Whether its time has not come."""
        return self.expires is None or now < self.expires

    def proves(self, secret: bytes) -> bool:
        """Whether this is its secret."""
        return hmac.compare_digest(self.secret, hashlib.sha256(secret).hexdigest())


def load_robots(path: SmallFile) -> dict[str, Robot]:
    """The robots by name; none when there is no file.

    Raises:
        RegistryConfigError: the file is not what ``create_robot`` writes.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise RegistryConfigError(f"cannot read: {error.strerror}", where=str(path)) from error
    try:
        document = json.loads(data)
        return {name: _robot(name, entry) for name, entry in document["robots"].items()}
    except (*_MALFORMED, RegistryConfigError) as error:
        raise RegistryConfigError(
            f"not a file of robots: {error}",
            where=str(path),
            fix="edit it only by: lading registry robot",
        ) from error


def create_robot(
    path: SmallFile,
    name: str,
    permissions: Sequence[RuleSettings],
    *,
    now: float,
    expires: float | None = None,
) -> str:
    """Add a robot and return its secret, which is kept nowhere; blocks.

    Raises:
        RegistryConfigError: a name that cannot be, or that a robot has already.
    """
    if not _NAME.match(name) or len(name) > _NAME_LIMIT:
        raise RegistryConfigError(
            "a robot's name is lowercase letters and digits, joined by -, _ or /", where=name
        )
    secret = SECRET_PREFIX.decode() + secrets.token_urlsafe(32)
    robot = Robot(
        name=name,
        secret=hashlib.sha256(secret.encode()).hexdigest(),
        created=int(now),
        expires=None if expires is None else int(expires),
        permissions=tuple(permissions),
    )
    with locked(path):
        robots = load_robots(path)
        if name in robots:
            raise RegistryConfigError(
                "the robot is there already", where=name, fix="revoke it first, or take a new name"
            )
        replace(path, _document({**robots, name: robot}))
    return secret


def revoke_robot(path: SmallFile, name: str) -> None:
    """Remove a robot; its secret and its tokens end with it. Blocks.

    Raises:
        RegistryConfigError: there is no such robot.
    """
    with locked(path):
        robots = load_robots(path)
        if robots.pop(name, None) is None:
            raise RegistryConfigError("no such robot", where=name)
        replace(path, _document(robots))


def parse_permission(text: str) -> RuleSettings:
    """Read ``PATTERN:ACTION[,ACTION...]``, for example ``team/**:pull,push``.

    Raises:
        RegistryConfigError: it is something else.
    """
    pattern, colon, actions = text.rpartition(":")
    problem = pattern_problem(pattern) if colon else "there is no colon"
    try:
        rights = tuple(Right(action) for action in actions.split(","))
    except ValueError:
        problem = problem or f"{actions!r} are not actions"
    if problem is not None:
        raise RegistryConfigError(
            problem, where=text, fix="write PATTERN:ACTIONS, for example 'team/**:pull,push'"
        )
    return _permission(pattern, rights)


def written_permission(rule: RuleSettings) -> str:
    """What ``parse_permission`` reads."""
    return f"{rule.repositories[0]}:{','.join(action.value for action in rule.actions)}"


def _permission(pattern: str, rights: Sequence[Right]) -> RuleSettings:
    return RuleSettings(repositories=(pattern,), actions=tuple(rights), robots=("*",))


def _robot(name: str, entry: Mapping[str, Any]) -> Robot:
    if set(entry) != _ENTRY_FIELDS:
        raise ValueError(f"{name} has other fields than {sorted(_ENTRY_FIELDS)}")
    expires = entry["expires"]
    return Robot(
        name=name,
        secret=str(entry["secret"]),
        created=int(entry["created"]),
        expires=None if expires is None else int(expires),
        permissions=tuple(parse_permission(text) for text in entry["permissions"]),
    )


def _document(robots: Mapping[str, Robot]) -> bytes:
    entries = {
        robot.name: {
            "secret": robot.secret,
            "created": robot.created,
            "expires": robot.expires,
            "permissions": [written_permission(rule) for rule in robot.permissions],
        }
        for robot in robots.values()
    }
    return json.dumps({"robots": entries}, indent=2).encode() + b"\n"
