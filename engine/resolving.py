"""Where FROM and COPY --from get images: the local store, else a registry under the policy."""

from __future__ import annotations

from builder.bases import ResolvedBase, StoreResolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from engine.access import Access
    from images.client.progress import ProgressSink
    from images.platform import Platform
    from images.reference import Reference
    from images.store import ImageStore


class PullingResolver:
    """A ``BaseResolver`` that pulls what is missing, or everything with ``always``."""

    def __init__(
        self, store: ImageStore, access: Access, *, progress: ProgressSink, always: bool = False
    ) -> None:
        self._local = StoreResolver(store)
        self._store = store
        self._access = access
        self._progress = progress
        # A tag means what its trust data says today, so nothing local can tell.
        self._always = always or access.content_trust

    def resolve(self, reference: Reference, platform: Platform) -> ResolvedBase:
        """The image, pulled first where it is missing or ``always`` was asked.

        Raises:
            TrustError, RegistryError: the policy or the registry refuses.
            PlatformUnknownError: there is none for this platform.
        """
        if self._always or self._store.resolve(reference) is None:
            from engine.registries import pull

            pull(reference, self._store, self._access, platform=platform, progress=self._progress)
        return self._local.resolve(reference, platform)

    def pin(self, reference: Reference, platform: Platform) -> str | None:
        """The digest the local name stands for; None when a pull would have to tell."""
        return None if self._always else self._local.pin(reference, platform)
