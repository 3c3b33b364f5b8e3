"""Registry credentials where Docker and Podman keep them: read, stored and erased.

``$DOCKER_CONFIG/config.json`` (else ``~/.docker/config.json``) with ``auths``, ``credsStore`` and
``credHelpers``; ``$REGISTRY_AUTH_FILE`` (containers-auth.json(5)) is read first when set. Helpers
speak the docker-credential-helpers protocol. The file is written whole or not at all, mode 0600,
and every key we do not know stays.
"""

from __future__ import annotations

import base64
import binascii
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from images.errors import EnvironmentFault, InputError
from images.reference import DEFAULT_REGISTRY
from records import Record, field

HUB_KEY: Final = "https://index.docker.io/v1/"
"""The key under which Docker files the credentials of docker.io."""
TOKEN_USER: Final = "<token>"  # noqa: S105 - the protocol's marker, not a secret
FILE_LIMIT: Final = 1 << 20
HELPER_LIMIT: Final = 1 << 20
HELPER_TIMEOUT: Final = 60.0
_NOT_FOUND: Final = "credentials not found in native keychain"


class CredentialsError(EnvironmentFault):
    """The configuration file or a credential helper does not work."""

    code = "credentials"


class Credentials(Record):
    """What proves who we are: a password, an OAuth2 refresh token, or a ready bearer token."""

    username: str = ""
    password: str = field(default="", repr=False)
    identity_token: str = field(default="", repr=False)
    registry_token: str = field(default="", repr=False)

    def __bool__(self) -> bool:
        return bool(self.username or self.identity_token or self.registry_token)


class CredentialStore(Record):
    """Credentials by registry host. ``run_helper`` runs a helper program and can be replaced."""

    path: Path
    auth_file: Path | None = None
    run_helper: Callable[[str, str, bytes], bytes] = field(
        default=lambda name, action, data: _run_helper(name, action, data), repr=False
    )

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> CredentialStore:
        """The user's own store."""
        home = Path(environ.get("HOME") or Path.home())
        directory = Path(environ.get("DOCKER_CONFIG") or home / ".docker")
        auth_file = environ.get("REGISTRY_AUTH_FILE")
        return cls(directory / "config.json", Path(auth_file) if auth_file else None)

    def get(self, registry: str, repository: str = "") -> Credentials | None:
        """The credentials for ``registry``, or None.

        In ``auth_file`` a key may name a namespace or repository; the most specific one wins.

        Raises:
            CredentialsError: a file is malformed or a helper fails.
        """
        if self.auth_file is not None:
            found = self._look_up(self.auth_file, _specific_keys(registry, repository))
            if found is not None:
                return found
        return self._look_up(self.path, [_key(registry)])

    def store(self, registry: str, credentials: Credentials) -> None:
        """Keep credentials, in the configured helper or else in the file.

        Raises:
            CredentialsError: neither works.
        """
        key = _key(registry)
        with self._editing() as config:
            helper = _helper(config, key)
            if helper is not None:
                secret = credentials.identity_token or credentials.password
                user = TOKEN_USER if credentials.identity_token else credentials.username
                document = {"ServerURL": key, "Username": user, "Secret": secret}
                self.run_helper(helper, "store", json.dumps(document).encode())
                _section(config, "auths")[key] = {}
            else:
                _forget(config, key)
                _section(config, "auths")[key] = _encode(credentials)

    def erase(self, registry: str) -> bool:
        """Forget credentials; False when there were none.

        Raises:
            CredentialsError: the file cannot be written or the helper fails.
        """
        key = _key(registry)
        with self._editing() as config:
            helper = _helper(config, key)
            known = _forget(config, key)
            if helper is not None:
                known = self._ask(helper, key) is not None or known
                self.run_helper(helper, "erase", key.encode())
        return known

    def _look_up(self, path: Path, keys: list[str]) -> Credentials | None:
        config = _read(path)
        for key in keys:
            helper = _helper(config, key)
            found = self._ask(helper, key) if helper is not None else None
            if found is None:
                auths = _section(config, "auths")
                matching = (auths[name] for name in auths if _canonical(name) == _canonical(key))
                found = next(filter(None, (_decode(entry, path) for entry in matching)), None)
            if found is not None:
                return found
        return None

    def _ask(self, helper: str, key: str) -> Credentials | None:
        try:
            answer = self.run_helper(helper, "get", key.encode())
        except HelperRefusal as error:
            if _NOT_FOUND in error.what:
                return None
            raise
        try:
            document = json.loads(answer)
            user, secret = str(document["Username"]), str(document["Secret"])
        except (ValueError, KeyError, TypeError) as error:
            raise CredentialsError(
                "its answer is not understood", where=_program(helper)
            ) from error
        if user == TOKEN_USER:
            return Credentials(identity_token=secret)
        return Credentials(user, secret) if user else None

    @contextmanager
    def _editing(self) -> Iterator[dict[str, Any]]:
        """The file's document, to be changed in the block; written back by one writer at a time."""
        import copy
        import fcntl

        # Docker follows a linked config.json, as dotfile managers make them.
        path = Path(os.path.realpath(self.path))
        try:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise CredentialsError(
                f"cannot use the folder: {error.strerror}", where=str(path.parent)
            ) from error
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            config = _read(path)
            before = copy.deepcopy(config)
            yield config
            if config != before:
                _write(path, config)
                os.fsync(lock)
        finally:
            os.close(lock)


class HelperRefusal(CredentialsError):
    """A credential helper answered with an error; ``what`` holds its words."""

    code = "credential-helper"


def _run_helper(name: str, action: str, data: bytes) -> bytes:
    """Run ``docker-credential-NAME ACTION`` with ``data`` on its standard input."""
    import subprocess

    program = _program(name)
    try:
        done = subprocess.run(
            [program, action], input=data, capture_output=True, timeout=HELPER_TIMEOUT, check=False
        )
    except FileNotFoundError as error:
        raise CredentialsError(
            "the credential helper is not installed",
            where=program,
            fix="install it, or remove it from credsStore and credHelpers in ~/.docker/config.json",
        ) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CredentialsError(
            f"the credential helper does not work: {error}", where=program
        ) from error
    if done.returncode != 0:
        said = (done.stdout or done.stderr)[:500].decode("utf-8", "replace").strip()
        raise HelperRefusal(f"{action} failed: {said}", where=program)
    if len(done.stdout) > HELPER_LIMIT:
        raise CredentialsError("its answer is too long", where=program)
    return done.stdout


def _program(name: str) -> str:
    if not name or "/" in name or "\0" in name:
        raise CredentialsError(
            f"invalid credential helper name {name!r}", fix="name it as in credsStore: pass"
        )
    return f"docker-credential-{name}"


def _key(registry: str) -> str:
    return HUB_KEY if registry == DEFAULT_REGISTRY else registry


def _canonical(key: str) -> str:
    """A key as host[:port][/namespace], however it was written: old files hold URLs."""
    bare = key.partition("://")[2] if "://" in key else key
    bare = bare.removesuffix("/").removesuffix("/v1").removesuffix("/v2")
    if bare in ("index.docker.io", "registry-1.docker.io", "docker.io"):
        return DEFAULT_REGISTRY
    return bare


def _specific_keys(registry: str, repository: str) -> list[str]:
    parts = [registry, *filter(None, repository.split("/"))]
    return ["/".join(parts[:length]) for length in range(len(parts), 0, -1)]


def _read(path: Path) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            raw = file.read(FILE_LIMIT + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise CredentialsError(f"cannot read it: {error.strerror}", where=str(path)) from error
    try:
        if len(raw) > FILE_LIMIT:
            raise ValueError(f"longer than {FILE_LIMIT} bytes")
        config = json.loads(raw or b"{}")
        if not isinstance(config, dict):
            raise TypeError("not an object")
    except (ValueError, TypeError, RecursionError) as error:
        raise CredentialsError(
            f"not a Docker configuration: {error}",
            where=str(path),
            fix="repair the file or move it away",
        ) from error
    return config


def _write(path: Path, config: Mapping[str, Any]) -> None:
    stage = path.with_name(f".{path.name}.{os.getpid()}-{os.urandom(4).hex()}")
    try:
        fd = os.open(stage, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write(json.dumps(config, indent="\t").encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.rename(stage, path)
    except OSError as error:
        stage.unlink(missing_ok=True)
        raise CredentialsError(f"cannot write it: {error.strerror}", where=str(path)) from error


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.setdefault(name, {})
    if not isinstance(section, dict):
        raise CredentialsError(f"{name} in the Docker configuration is not an object")
    return section


def _helper(config: dict[str, Any], key: str) -> str | None:
    """The helper responsible for ``key``: its own first, then the general one."""
    helpers = config.get("credHelpers")
    if isinstance(helpers, dict):
        for name, helper in helpers.items():
            if _canonical(name) == _canonical(key):
                return str(helper) or None
    return str(config.get("credsStore") or "") or None


def _forget(config: dict[str, Any], key: str) -> bool:
    auths = _section(config, "auths")
    doomed = [name for name in auths if _canonical(name) == _canonical(key)]
    for name in doomed:
        del auths[name]
    return bool(doomed)


def _encode(credentials: Credentials) -> dict[str, str]:
    if ":" in credentials.username:
        raise InputError("a user name with a colon cannot be stored", fix="registries know none")
    password = "" if credentials.identity_token else credentials.password
    entry = {"auth": base64.b64encode(f"{credentials.username}:{password}".encode()).decode()}
    if credentials.identity_token:
        entry["identitytoken"] = credentials.identity_token
    return entry


def _decode(entry: object, path: Path) -> Credentials | None:
    if not isinstance(entry, dict):
        return None
    user, password = str(entry.get("username") or ""), str(entry.get("password") or "")
    if entry.get("auth"):
        try:
            pair = base64.b64decode(str(entry["auth"]), validate=True).decode()
        except (binascii.Error, UnicodeDecodeError) as error:
            raise CredentialsError(
                "an auth entry is not base64 of user:password", where=str(path), fix="log in again"
            ) from error
        user, _, password = pair.partition(":")
        password = password.rstrip("\0")  # as Docker reads what some tools pad
    found = Credentials(
        user,
        password,
        str(entry.get("identitytoken") or ""),
        str(entry.get("registrytoken") or ""),
    )
    return found if found else None
