"""Which named context a name of a Dockerfile means, if any.

A context for the platform at hand (``name::linux/amd64``) goes before one for all. Names are
compared as references are, so that ``alpine`` and ``docker.io/library/alpine:latest`` are one name;
``scratch`` is never another thing than nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from builder.contexts import ImageContext, LocalContext, TargetContext, context_name
from builder.errors import PlanError
from builder.plan.model import PlanWarning
from builder.plan.ops import SCRATCH
from images.errors import ImagesError

if TYPE_CHECKING:
    from builder.contexts import NamedContext
    from dockerfile_grammar import nodes
    from images.platform import Platform


class ContextNames:
    """The named contexts of a build, looked up by what a Dockerfile says."""

    def __init__(self, contexts: Mapping[str, NamedContext]) -> None:
        self._contexts = contexts
        self.used: dict[str, None] = {}
        """Keys of those that were found, in order."""

    def __bool__(self) -> bool:
        return bool(self._contexts)

    def find(self, name: str, platform: Platform) -> tuple[str, LocalContext | ImageContext] | None:
        """The key and the context for ``name`` on ``platform``.

        Raises:
            PlanError: it has not been brought in.
        """
        if not self._contexts or name == SCRATCH:
            return None
        plain = _plain(name)
        for key in (f"{plain}::{platform}", plain):
            context = self._contexts.get(key)
            if context is not None:
                self.used[key] = None
                return key, _settled(key, context)
        return None

    def unused(self) -> list[PlanWarning]:
        """A warning for each name that nothing asked for, on any platform."""
        found = {key.partition("::")[0] for key in self.used}
        names = dict.fromkeys(key.partition("::")[0] for key in self._contexts)
        return [
            PlanWarning(f"named context {name} is not used by any FROM, --from or from=")
            for name in names
            if name not in found
        ]

    def replaced(self, stages: Iterable[nodes.Stage]) -> frozenset[int]:
        """The numbers of stages that a context stands in for, on some platform at least."""
        names = {key.partition("::")[0] for key in self._contexts}
        return frozenset(
            stage.index for stage in stages if stage.name and _plain(stage.name) in names
        )


def _plain(name: str) -> str:
    """The name as keys have it; stages may have names that no image can have."""
    try:
        return context_name(name)
    except ImagesError:
        return name.lower()


def _settled(key: str, context: NamedContext) -> LocalContext | ImageContext:
    if isinstance(context, LocalContext | ImageContext):
        return context
    if isinstance(context, TargetContext):
        raise PlanError(
            f"the named context {key} is the target {context.target} of a bake file",
            fix="build it with lading bake",
        )
    raise PlanError(
        f"the named context {key} has not been brought in",
        fix="plan it with the command that builds it",
    )
