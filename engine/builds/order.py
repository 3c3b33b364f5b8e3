"""What one build command asks for, and what it ends in."""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from builder.request import BuildRequest, BuildResult
    from images.descriptor import Descriptor


class BuildOrder(Record):
    """A request to the builder, and around it what the builder knows nothing of."""

    request: BuildRequest


class BuildOutcome(Record):
    """``root`` is what tags name: the manifest of the only image, or an index of ``images``."""

    root: Descriptor
    images: tuple[BuildResult, ...]

    @property
    def cached(self) -> bool:
        """Whether nothing had to be executed."""
        return all(image.cached for image in self.images)
