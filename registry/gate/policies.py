"""The policy of a rule, read once with every key it names: no request opens a file of it.

Clients are told which rule refused them, so folders of this machine are left out of what they read.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from registry.errors import RegistryConfigError
from trust.errors import KeyFileError, TrustError
from trust.keys import PublicKey
from trust.openpgp import dearmored
from trust.policy import Decider, Policy, Scoped
from trust.policyfile import load_policy, read_key
from trust.requirements import OpenPgpSigned, Requirement, SigstoreSigned


@dataclass(frozen=True, slots=True)
class LoadedPolicy:
    """A policy, and the bytes of its keys by the names that it has for them now."""

    policy: Policy
    keys: dict[str, bytes] = field(hash=False)

    def read_key(self, name: str) -> bytes:
        """The key file of that name, as it was when the policy was loaded."""
        # Keys of other kinds are read when they are needed.
        return self.keys[name] if name in self.keys else read_key(name)


def load(path: Path, *, read: Callable[[str], bytes] = read_key) -> LoadedPolicy:
    """Read the policy at ``path``, what it imports, and its keys.

    Raises:
        RegistryConfigError: any of them cannot be read, or not be understood.
    """
    loader = _Loader(read)
    try:
        policy = loader.policy(load_policy(path))
    except TrustError as error:
        where = "policy" if error.where is None else error.where
        raise RegistryConfigError(error.what, where=where, fix=error.fix) from error
    return LoadedPolicy(policy, loader.keys)


class _Loader:
    def __init__(self, read: Callable[[str], bytes]) -> None:
        self._read = read
        self._names: dict[str, str] = {}
        self.keys: dict[str, bytes] = {}

    def policy(self, policy: Policy) -> Policy:
        """The same policy, whose keys are names in ``keys``."""
        return replace(
            policy,
            default=None if policy.default is None else self._requirements(policy.default),
            scopes={
                scope: Scoped(self._requirements(rule.requirements), rule.name)
                for scope, rule in policy.scopes.items()
            },
            source=Path(policy.source).name,
            imports=tuple(map(self._imported, policy.imports)),
        )

    def _imported(self, decider: Decider) -> Decider:
        return self.policy(decider) if isinstance(decider, Policy) else decider

    def _requirements(self, requirements: tuple[Requirement, ...]) -> tuple[Requirement, ...]:
        return tuple(
            replace(item, key_paths=tuple(self._key(path, item) for path in item.key_paths))
            if isinstance(item, (SigstoreSigned, OpenPgpSigned))
            else item
            for item in requirements
        )

    def _key(self, path: str, requirement: SigstoreSigned | OpenPgpSigned) -> str:
        if path not in self._names:
            data = self._read(path)
            try:
                if isinstance(requirement, SigstoreSigned):
                    PublicKey.from_pem(data, where=path)
                else:
                    dearmored(data)
            except KeyFileError as error:
                error.fix = error.fix or "correct keyPath in the policy"
                raise
            # Two keys of one name in two folders are told apart by their whole paths.
            name = Path(path).name
            self._names[path] = path if name in self.keys else name
            self.keys[self._names[path]] = data
        return self._names[path]
