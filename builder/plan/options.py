"""What a caller may say about a plan, besides the Dockerfile itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from builder.runner import Resources
from images.platform import Platform
from records import Record, field

if TYPE_CHECKING:
    from builder.contexts import NamedContext


class PlanOptions(Record):
    """Everything that changes the plan; all of it is data."""

    platform: Platform
    build_platform: Platform
    target: str | None = None
    build_args: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    network: str = "default"
    """For every RUN that does not choose for itself."""
    extra_hosts: tuple[tuple[str, str], ...] = ()
    resources: Resources = field(default_factory=Resources)
    no_cache_stages: tuple[str, ...] = ()
    """Names or numbers of stages whose steps are done anew."""
    precise_args: bool = False
    """A RUN has, and depends on, only those ARGs that its text mentions."""
    filename: str = "Dockerfile"
    name_platform: bool = False
    """Names of steps begin with their platform."""
    contexts: Mapping[str, NamedContext] = field(default_factory=dict)
    """Stand in for stages and images of their names; directories and images alone."""
