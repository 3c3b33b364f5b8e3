"""Where FROM and COPY --from get images: the local store, else a registry under the policy.

A policy that a build names itself judges what is in the store too (docs/decisions/0014), by the
signatures that the registry has now; the usual policy file judges what is pulled.
"""

from __future__ import annotations

from builder.bases import ResolvedBase, StoreResolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.access import Access
    from engine.builds.lock import BuildLock
    from images.client.progress import ProgressSink
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore


class PullingResolver:
    """A ``BaseResolver`` that pulls what is missing, or everything with ``always``.

    ``lock`` holds names to digests, and is told what the others meant.
    """

    def __init__(
        self,
        store: ImageStore,
        access: Access,
        *,
        progress: ProgressSink,
        always: bool = False,
        lock: BuildLock | None = None,
    ) -> None:
        self._local = StoreResolver(store)
        self._store = store
        self._access = access
        self._progress = progress
        self._lock = lock
        # A tag means what its trust data says today, so nothing local can tell.
        self._always = always or access.content_trust

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        """The image, pulled first where it is missing or ``always`` was asked.

        Raises:
            TrustError, RegistryError: the policy or the registry refuses.
            LockFileError: the lock is frozen and does not know the name.
            PlatformUnknownError: there is none for this platform.
        """
        held = None if self._lock is None else self._lock.image(reference, platform)
        if held is None:
            descriptor = self._find(reference, platform)
        elif self._access.content_trust:
            descriptor = self._find(reference, platform)
            _check_held(reference, held, descriptor)
        else:
            descriptor = self._find(reference.with_digest(held), platform)
        if self._lock is not None:
            self._lock.note_image(reference, platform, descriptor.digest)
        return self._local.image(reference, descriptor, platform)

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        """The digest the local name stands for; None when only ``resolve`` can tell: a pull, a
        policy that was named, a lock.
        """
        access = self._access
        if self._always or access.explicit or access.judge or self._lock is not None:
            return None
        return self._local.pin(reference, platform)

    def _find(self, reference: Reference, platform: Platform) -> Descriptor:
        stored = None if self._always else self._store.resolve(reference)
        if stored is not None and self._may_use(reference, stored):
            if self._complete(stored, platform):
                return stored
            # The other platforms of the same index: what a tag means now is another matter.
            reference = reference.with_digest(stored.digest)
        return self._pull(reference, platform)

    def _pull(self, reference: Reference, platform: Platform) -> Descriptor:
        from engine.registries import pull

        # What is here already is not sent again; a digest that is here is not even asked for.
        return pull(
            reference, self._store, self._access, platform=platform, progress=self._progress
        )

    def _complete(self, stored: Descriptor, platform: Platform) -> bool:
        """Whether what an index holds for the platform is here: pulls fetch one platform alone."""
        from images.errors import ImagesError
        from images.mediatype import is_index

        if not is_index(stored.media_type):
            return True
        try:
            image = self._store.image(stored, platform)
        except ImagesError:
            return False
        return all(self._store.blobs.has(layer.digest) for layer in image.manifest.layers)

    def _may_use(self, reference: Reference, stored: Descriptor) -> bool:
        """Whether no signature is needed to use what is stored.

        Raises:
            VerificationError: the policy refuses it, whatever its signatures.
        """
        if self._access.judge is not None:
            self._access.judge.image(reference, stored.digest)
        if not self._access.explicit:
            return True
        from trust.signature import Signatures
        from trust.verify import verify

        policy = self._access.policy()
        if policy.decide(reference).needs_signatures:
            return False
        verify(reference, stored.digest, policy, Signatures())
        return True


def _check_held(reference: Reference, held: Digest, descriptor: Descriptor) -> None:
    """Trust data and lock must agree; neither may overrule the other."""
    if descriptor.digest != held:
        from engine.builds.lock import LockFileError

        raise LockFileError(
            f"the lock holds it to {held}, its trust data names {descriptor.digest}",
            where=reference.familiar,
            fix="build with --pull to lock what is signed now",
        )
