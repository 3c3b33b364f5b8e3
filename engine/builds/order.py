"""What one build command asks for, and what it ends in."""

from __future__ import annotations

from records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

    from builder.request import BuildRequest, BuildResult
    from engine.builds.attesting.options import Attesting
    from engine.builds.delivery.annotations import Annotation
    from engine.builds.delivery.outputs import Output
    from engine.builds.remote_cache.options import CacheSource, CacheTarget
    from engine.builds.sources.wanted import Sources
    from images.descriptor import Descriptor
    from images.digest import Digest
    from images.platform import Platform
    from images.reference import Reference


class BuildOrder(Record):
    """A request to the builder, and around it what the builder knows nothing of."""

    request: BuildRequest
    platforms: tuple[Platform, ...] = ()
    """What to build for at the same time; one or none is the request's own matter."""
    annotations: tuple[Annotation, ...] = ()
    """Of every level; the request's own are of the manifest alone."""
    cache_from: tuple[CacheSource, ...] = ()
    """Caches elsewhere that are asked before a step is done."""
    cache_to: tuple[CacheTarget, ...] = ()
    """Caches elsewhere that the results of steps go to."""
    outputs: tuple[Output, ...] = ()
    """Where the result goes; none means the local store, under the request's tags."""
    squash: bool = False
    """Ship the layers that the build made as one; the cache has them one by one."""
    attesting: Attesting | None = None
    """What is to be stated about the images."""
    verify: bool = False
    """Build everything once more, apart, and deliver only what came out the same."""
    policy: str = ""
    """A file of rules for this order's sources, in place of those of all; bake's targets have it.
    """
    keys: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Files of ssh keys by the name of the agent that is to hold them."""
    sources: Sources | None = None
    """What has to be brought in before the request can be built; None if all of it is here."""

    @property
    def plain(self) -> bool:
        """Whether the builder alone can fulfil it: one image, into the store, as it is."""
        return not (
            self.indexed
            or self.outputs
            or self.squash
            or self.attesting
            or self.verify
            or any(item.level != "manifest" for item in self.annotations)
        )

    @property
    def to_stdout(self) -> bool:
        """Whether standard output is the result's."""
        return any(output.dest == "-" for output in self.outputs)

    @property
    def targets(self) -> tuple[Platform, ...]:
        """The platforms of the images, in their order."""
        from images.platform import Platform

        return self.platforms or (self.request.platform or Platform.host(),)

    @property
    def indexed(self) -> bool:
        """Whether an index of the images is wanted; of a single one too, by BuildKit's argument."""
        asked = self.request.build_args.get("BUILDKIT_MULTI_PLATFORM", "")
        return len(self.platforms) > 1 or asked.lower() in ("1", "t", "true")


class BuildOutcome(Record):
    """``root`` is what tags name: the manifest of the only image, or an index of ``images``."""

    root: Descriptor
    images: tuple[BuildResult, ...]
    named: tuple[Reference, ...] = ()
    """Names that stand for it in the local store now,"""
    pushed: tuple[Reference, ...] = ()
    """at registries,"""
    places: tuple[str, ...] = ()
    """and the files and directories it was written to."""
    titles: tuple[Reference, ...] = ()
    """Names that archives and layouts among these have for it."""
    tagged: tuple[tuple[Reference, Descriptor], ...] = ()
    """Of the names at registries those with a tag, each with what it stands for: outputs in another
    form have a root of their own."""
    others: tuple[Reference, ...] = ()
    """Those of the names above that stand for another form than ``root``."""
    ref: str = ""
    """Under which the build is on record, as in buildx' history."""
    warnings: tuple[tuple[str, str], ...] = ()
    """What was warned of, each with its place; no secret is in there."""

    @property
    def cached(self) -> bool:
        """Whether nothing had to be executed."""
        return all(image.cached for image in self.images)

    @property
    def image_id(self) -> Digest:
        """What names the outcome as a whole: the image's id, or the digest of the index."""
        only = self.images[0]
        return only.image_id if self.root == only.descriptor else self.root.digest
