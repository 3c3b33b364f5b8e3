"""How registries are reached and what is demanded of what comes from them; light to import."""

from __future__ import annotations

import os
from collections.abc import Mapping

from records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pathlib import Path
    from typing import Protocol

    from engine.signatures import Found
    from engine.trusting import TrustData
    from images.client import RegistryClient
    from images.digest import Digest
    from images.reference import Reference
    from trust.policy import Policy
    from trust.requirements import NotarySigned

    class Judge(Protocol):
        """Somebody else who has to accept what a build uses, besides the policy in force here."""

        def image(self, reference: Reference, digest: Digest) -> None:
            """Return if an image may be used; what is raised refuses it."""

        def url(self, url: str, *, pinned: bool) -> None:
            """Return if a file or repository may be added; ``pinned`` by its checksum or commit."""


def _environ() -> Mapping[str, str]:
    return dict(os.environ)


class Access(Record):
    """How registries are reached and what is demanded of images that come from them.

    ``verify_keys`` (public key files) replace the policy file; ``policy_file`` names one in place
    of the usual ones (``trust.policyfile``). ``insecure`` is ``ClientOptions.insecure``.
    """

    root: str
    insecure: frozenset[str] = frozenset()
    policy_file: Path | None = None
    verify_keys: tuple[Path, ...] = ()
    environ: Mapping[str, str] = field(default_factory=_environ, repr=False)
    judge: Judge | None = None
    """Asked about everything besides the policy: whoever ordered the build, at another machine."""

    @property
    def explicit(self) -> bool:
        """Whether this call names what is demanded, and so means what is in the store as well."""
        return self.policy_file is not None or bool(self.verify_keys)

    @property
    def content_trust(self) -> bool:
        """Whether tags mean what their repository's trust data says (DOCKER_CONTENT_TRUST)."""
        from engine.content_trust.settings import enabled

        return enabled(self.environ)

    def client(self, *, reading: bool = False, plain: bool = False) -> RegistryClient:
        """A client with the user's credentials, to be closed by ``async with``.

        ``reading`` means that it will not write, and may ask mirrors. ``plain`` makes one that
        needs no event loop.

        Raises:
            RegistriesFileError: registries.conf cannot be used.
        """
        from images.client import ClientOptions, RegistryClient
        from images.client.mirrors import Registries
        from images.client.registries_file import load
        from images.credentials import CredentialStore

        known = load(self.environ)
        options = ClientOptions(
            self.insecure | known.insecure,
            environ=self.environ,
            registries=known if reading else Registries(),
        )
        wire = None
        if plain:
            from images.client.plain_wire import PlainWire

            wire = PlainWire(options)
        credentials = CredentialStore.from_environment(self.environ)
        return RegistryClient(credentials, options, wire=wire)

    def trust_data(self) -> TrustData:
        """How the trust data is asked for that a policy wants; nothing of it is loaded before."""

        async def gather(reference: Reference, digest: Digest, wanted: NotarySigned) -> Found:
            from engine.content_trust.evidence import gatherer
            from trust.policyfile import read_key

            return await gatherer(self, read_key=read_key)(reference, digest, wanted)

        return gather

    def policy(self) -> Policy:
        """The policy in force.

        Raises:
            PolicyFileError: a file was named, or is in its usual place, and cannot be used.
        """
        from pathlib import Path

        from trust.policyfile import current_policy

        if self.verify_keys:
            from trust.verify import policy_of_key

            files = [str(path) for path in self.verify_keys]
            return policy_of_key(files=files, source="--verify-key")
        return current_policy(Path(self.root), explicit=self.policy_file, environ=self.environ)
