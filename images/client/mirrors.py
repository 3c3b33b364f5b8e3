"""Where a repository is read from: mirrors first, then its own place, or one it was moved to.

containers-registries.conf(5). A name goes on meaning what it says: the policy judges it, and it
names what was pulled, wherever the bytes came from. Nothing of this concerns pushing.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

from images.client.auth import scope
from images.client.errors import BlockedError
from records import Record, replace

if TYPE_CHECKING:
    from images.client.request import Request


class When(StrEnum):
    """What a mirror is asked for."""

    ALL = "all"
    DIGEST = "digest-only"
    TAG = "tag-only"


class Mirror(Record):
    """``location`` is ``host[:port][/path]`` and takes the place of the source's prefix."""

    location: str
    when: When = When.ALL


class Source(Record):
    """What holds for the repositories below ``prefix``: a place, or ``*.`` and a domain.

    An empty ``location`` leaves names as they are.
    """

    prefix: str
    location: str = ""
    mirrors: tuple[Mirror, ...] = ()
    blocked: bool = False

    def covers(self, repository: str) -> bool:
        """Whether ``host/name`` is the prefix, or below it."""
        if self.prefix.startswith("*."):
            host = repository.partition("/")[0].partition(":")[0]
            return host.endswith(self.prefix[1:])
        return repository == self.prefix or repository.startswith(self.prefix + "/")


class Registries(Record):
    """The sources, of which the longest prefix counts; ``insecure`` is for ``ClientOptions``."""

    sources: tuple[Source, ...] = ()
    insecure: frozenset[str] = frozenset()
    origin: str = ""
    """The file they were read from."""

    def ways(self, request: Request) -> tuple[Request, ...]:
        """How a read can be made: once by each mirror that is asked for it, last at its own place.

        Raises:
            BlockedError: the repository is not to be read at all.
        """
        repository = request.repository
        found = [source for source in self.sources if source.covers(str(repository))]
        if not found or not repository.name or not isinstance(request.path, str):
            return (request,)
        source = max(found, key=lambda it: len(it.prefix))
        if source.blocked:
            raise BlockedError(
                f"reading from {repository} is blocked",
                where=self.origin,
                fix="use another registry, or change the file",
            )
        digest = ":" in request.path.rpartition("/")[2]
        wanted = (When.ALL, When.DIGEST if digest else When.TAG)
        places = [mirror.location for mirror in source.mirrors if mirror.when in wanted]
        return tuple(_at(request, source, place) for place in (*places, source.location))


def _at(request: Request, source: Source, location: str) -> Request:
    """The same request to another repository."""
    old = request.repository
    if not location:
        return request
    path = (
        location if source.prefix.startswith("*.") else str(old).replace(source.prefix, location, 1)
    )
    host, _, name = path.partition("/")
    name = name or old.name
    assert isinstance(request.path, str)
    return replace(
        request,
        repository=replace(old, registry=host, name=name),
        path=request.path.replace(f"/v2/{old.name}/", f"/v2/{name}/", 1),
        scopes=frozenset(
            text.replace(scope(old.name, ""), scope(name, ""), 1) for text in request.scopes
        ),
    )
