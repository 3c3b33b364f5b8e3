"""The publisher's side: sign a tag, revoke it, signers and delegations, rotation, starting anew.

Docker's rules: a repository without delegations is signed in ``targets``; with delegations a tag
goes into each direct one that a key here may sign. The first signing makes the trust data, with the
snapshot and the timestamp kept by the server. Another publish that comes first is met by reading
again and signing again.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from engine.content_trust.server import RejectedError, TrustServer
from engine.content_trust.updating import Updater, utc_now
from images.client.threads import to_thread
from images.descriptor import Descriptor
from trust.tuf import roles
from trust.tuf.cache import MetadataCache
from trust.tuf.draft import YEAR, Draft
from trust.tuf.errors import MissingKeyError, NoTrustDataError, PublishError, UnsignedTagError
from trust.tuf.keys import Key, Signer
from trust.tuf.keystore import TrustKeys
from trust.tuf.metadata import FileMeta
from trust.tuf.pinning import Pins
from trust.tuf.trusted import TRUST_ON_FIRST_USE, TrustedSet

ATTEMPTS: Final = 5
ROOT_LIFETIME: Final = 10 * YEAR

Change = Callable[[Draft], Draft]


@dataclass(frozen=True, slots=True)
class Collection:
    """The trust data of one repository, to be changed with the keys at hand."""

    server: TrustServer
    cache: MetadataCache
    keys: TrustKeys
    now: Callable[[], datetime] = utc_now
    pins: Pins = TRUST_ON_FIRST_USE

    @property
    def gun(self) -> str:
        """The repository's full name."""
        return self.server.gun

    async def read(self) -> TrustedSet:
        """Everything that is published; raises as ``Updater.update``."""
        updater = Updater(self.server, self.cache, self.pins, self.now)
        return await updater.update(everything=True)

    async def exists(self) -> bool:
        """Whether the repository has trust data."""
        try:
            await self.server.current(roles.ROOT)
        except NoTrustDataError:
            return False
        return True

    async def initialize(self) -> None:
        """Make trust data: a root key is reused, else made; targets gets a key of its own.

        Raises:
            RejectedError: the server's rules. PassphraseError: a key does not open.
        """
        draft = await self.new_draft()
        await self._publish(draft)

    async def new_draft(self) -> Draft:
        """Trust data that does not exist yet, with the server's keys in it."""
        timestamp = await self.server.key(roles.TIMESTAMP)
        snapshot = await self.server.key(roles.SNAPSHOT)
        root, targets = await to_thread(self._first_keys)
        return Draft.new(
            self.gun,
            root=[root],
            targets=targets,
            snapshot=snapshot,
            timestamp=timestamp,
            now=self.now(),
        )

    async def sign(self, tag: str, target: Descriptor) -> tuple[str, ...]:
        """Sign ``tag`` as ``target`` by every role that a key here may; returns the roles.

        Raises:
            NoTrustDataError: ``initialize`` comes first.
            MissingKeyError: no key here may sign.
        """
        meta = FileMeta(target.size, {"sha256": bytes.fromhex(target.digest.hex)})
        signed: list[str] = []

        def change(draft: Draft) -> Draft:
            signed[:] = self.signable(draft, tag)
            for role in signed:
                draft = draft.add_target(role, tag, meta)
            return draft

        await self.change(change)
        return tuple(signed)

    async def revoke(self, tag: str | None) -> tuple[str, ...]:
        """Take ``tag``, or every released one, from the roles that a key here may sign.

        Docker leaves a tag alone that ``targets`` itself signed before there were signers, and it
        stays trusted; here it goes too.

        Raises:
            UnsignedTagError: there is nothing to take away.
            MissingKeyError: a role releases the tag whose keys are not here.
        """
        revoked: list[str] = []

        def change(draft: Draft) -> Draft:
            held = {name for role in roles.RELEASED for name in _names(draft, role)}
            if not (held if tag is None else tag in held):
                what = "no signed tags to remove" if tag is None else f"no trust data for {tag}"
                raise UnsignedTagError(what, where=self.gun)
            revoked[:] = sorted(held) if tag is None else [tag]
            for name in revoked:
                draft = self._without(draft, name)
            return draft

        await self.change(change)
        return tuple(revoked)

    async def add_signer(self, name: str, keys: Iterable[Key]) -> None:
        """Let a signer release tags: ``targets/<name>`` and ``targets/releases``; everything."""
        fresh = tuple(keys)

        def change(draft: Draft) -> Draft:
            for role in (roles.signer_role(name), roles.RELEASES):
                draft = draft.delegate(role, add=fresh, paths=("",))
            return draft

        await self.change(change)

    async def remove_signer(self, name: str) -> None:
        """Take a signer away, with its keys from ``targets/releases``, which is signed anew.

        Raises:
            UnsignedTagError: there is no such signer.
        """

        def change(draft: Draft) -> Draft:
            role = roles.signer_role(name)
            delegation = draft.delegation(role)
            if delegation is None:
                raise UnsignedTagError(f"no signer {name} for repository", where=self.gun)
            gone = {key.bare().id for key in draft.keys_of(role)[0]}
            draft = draft.undelegate(role)
            if draft.delegation(roles.RELEASES) is None:
                return draft
            draft = draft.delegate(roles.RELEASES, remove=gone)
            return draft.witness(roles.RELEASES) if self._can_sign(draft, roles.RELEASES) else draft

        await self.change(change)

    async def delegate(
        self,
        role: str,
        keys: Iterable[Key] = (),
        *,
        paths: Iterable[str] = (),
        threshold: int | None = None,
    ) -> None:
        """Create a delegation, or add keys and paths to one, as ``notary delegation add`` does.

        A new one without ``paths`` may sign nothing yet. A higher threshold holds for what the role
        signed before, too.

        Raises:
            PublishError: a bad name, no parent, or a threshold that its keys cannot meet.
        """
        fresh, more = tuple(keys), tuple(paths)

        def change(draft: Draft) -> Draft:
            old = draft.delegation(role)
            known = () if old is None else old.paths
            merged = tuple(dict.fromkeys((*known, *more)))
            return draft.delegate(role, add=fresh, paths=merged, threshold=threshold)

        await self.change(change)

    async def undelegate(
        self, role: str, *, keys: Iterable[str] = (), paths: Iterable[str] = ()
    ) -> None:
        """Take keys (by id) and paths from a delegation, or without them the whole of it.

        What stays is signed anew where a key here may, since a lost key's word counts no more.

        Raises:
            PublishError: there is no such delegation.
        """
        gone, closed = tuple(keys), tuple(paths)

        def change(draft: Draft) -> Draft:
            old = draft.delegation(role)
            if old is None:
                raise PublishError(f"there is no delegation {role}", where=self.gun)
            if not gone and not closed:
                return draft.undelegate(role)
            left = tuple(path for path in old.paths if path not in closed)
            draft = draft.delegate(role, remove=gone, paths=left)
            return draft.witness(role) if gone and self._can_sign(draft, role) else draft

        await self.change(change)

    async def witness(self, names: Iterable[str]) -> None:
        """Have delegations signed again as they are, by the keys that they have now.

        Raises:
            PublishError: there is no such role. MissingKeyError: none of its keys is here.
        """
        chosen = tuple(names)

        def change(draft: Draft) -> Draft:
            for role in chosen:
                draft = draft.witness(role)
            return draft

        await self.change(change)

    async def rotate(self, role: str, *, server: bool = False) -> Key:
        """Give a base role a new key, kept here or (``server``) by the server; returns it."""
        if server:
            key = await self.server.rotate_key(role)
        else:
            key = await to_thread(self._new_key, role)
        await self.change(lambda draft: draft.rotate(role, [key]))
        return key

    async def change(self, change: Change) -> None:
        """Read, change, sign and publish; again when another publish came first."""
        await to_thread(self.cache.discard_changes)

        async def once() -> None:
            trusted = await self.read()
            await self._publish(change(Draft.of(trusted)))

        await _insist(once)

    async def _publish(self, draft: Draft) -> None:
        now = self.now()
        made = await to_thread(draft.sign, self.keys.signer, now=now)
        if made:
            await self.server.publish(made)

    def signable(self, draft: Draft, name: str) -> tuple[str, ...]:
        """The roles that may sign ``name`` and have a key here.

        Raises:
            MissingKeyError: there are delegations, and none of their keys is here.
        """
        top = draft.targets[roles.TARGETS]
        if not top.delegations:
            return (roles.TARGETS,)
        found = tuple(
            delegation.name
            for delegation in top.delegations
            if roles.allows(delegation.paths, name) and self._can_sign(draft, delegation.name)
        )
        if not found:
            raise MissingKeyError(
                "no valid signing keys for delegation roles",
                where=self.gun,
                fix="load a signer's private key with `lading trust key load`",
            )
        return found

    def _without(self, draft: Draft, name: str) -> Draft:
        holding = [role for role in draft.targets if name in draft.targets[role].targets]
        for role in holding:
            if self._can_sign(draft, role):
                draft = draft.remove_target(role, name)
            elif role in roles.RELEASED:
                raise MissingKeyError(
                    f"{role} releases {name}, and none of its keys is here", where=self.gun
                )
        return draft

    def _can_sign(self, draft: Draft, role: str) -> bool:
        return any(self.keys.holds(key.bare().id) for key in draft.keys_of(role)[0])

    def _first_keys(self) -> tuple[Key, Key]:
        found = self.keys.find(roles.ROOT)
        root = self.keys.create(roles.ROOT) if found is None else self.keys.open(found.id)
        targets = self.keys.create(roles.TARGETS, gun=self.gun)
        return self._certified(root), targets.key

    def _new_key(self, role: str) -> Key:
        made = self.keys.create(role, gun="" if role == roles.ROOT else self.gun)
        return self._certified(made) if role == roles.ROOT else made.key

    def _certified(self, signer: Signer) -> Key:
        now = self.now()
        start = now - timedelta(minutes=5)
        return signer.certified(self.gun, start=start, end=now + ROOT_LIFETIME).key


async def _insist(once: Callable[[], Awaitable[None]]) -> None:
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return await once()
        except RejectedError as error:
            if error.name != "VERSION" or attempt == ATTEMPTS:
                raise
    raise AssertionError("the last attempt returns or raises")


def _names(draft: Draft, role: str) -> tuple[str, ...]:
    loaded = draft.targets.get(role)
    return () if loaded is None else tuple(loaded.targets)
