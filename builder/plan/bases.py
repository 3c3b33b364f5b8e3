"""Base images in a plan: names to references, each image one source step, its config adopted."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from builder.errors import PlanError, Source
from builder.plan.config import ConfigDraft
from builder.plan.model import BasePin, HistoryDraft
from dockerfile_grammar import nodes
from images.errors import ImagesError
from images.platform import Platform
from images.reference import Reference

if TYPE_CHECKING:
    from builder.bases import BaseResolver, ResolvedBase


class BaseImages:
    """Resolves names, and remembers what was asked for; ``source`` gives places for messages."""

    def __init__(
        self, resolver: BaseResolver, source: Callable[[nodes.SourceRange], Source]
    ) -> None:
        self._resolver = resolver
        self._source = source
        self.pins: dict[BasePin, None] = {}
        """Every name that was resolved, in order."""

    def resolve(self, text: str, platform: Platform, location: nodes.SourceRange) -> ResolvedBase:
        """The image of a name.

        Raises:
            PlanError: not a name of an image.
            ImagesError: it cannot be resolved.
        """
        reference = self.reference(text, location)
        try:
            return self.resolve_reference(reference, platform)
        except Exception as error:
            source = self._source(location)
            error.add_note(f"{source.where}: {source.first_line}")
            raise

    def resolve_reference(self, reference: Reference, platform: Platform) -> ResolvedBase:
        """The image of a reference.

        Raises:
            ImagesError: it cannot be resolved.
        """
        self.pins[BasePin(full(reference), str(platform))] = None
        return self._resolver.resolve(reference, platform)

    def reference(self, text: str, location: nodes.SourceRange) -> Reference:
        """The name as a reference.

        Raises:
            PlanError: it is none.
        """
        try:
            return Reference.parse(text)
        except ImagesError as error:
            raise PlanError(
                f'failed to parse stage name "{text}": {error.what}',
                source=self._source(location),
                fix=error.fix,
            ) from error


def adopt_config(draft: ConfigDraft, base: ResolvedBase) -> None:
    """Begin a stage with the config, author and history of its base."""
    draft.inherit(base.config.config)
    draft.author = base.config.author
    draft.layers = len(base.layers)
    draft.os_version = base.config.platform.os_version
    draft.os_features = base.config.platform.os_features
    draft.history = [
        HistoryDraft(entry.created_by, inherited=entry) for entry in base.config.history
    ]


def full(reference: Reference) -> str:
    """The whole name: registry, repository, tag, digest."""
    tag = f":{reference.tag}" if reference.tag is not None else ""
    digest = f"@{reference.digest}" if reference.digest is not None else ""
    return f"{reference.name}{tag}{digest}"


def familiar(text: str) -> str:
    """The whole name of what may be an image, the text itself where it is none."""
    try:
        return full(Reference.parse(text))
    except ImagesError:
        return text
