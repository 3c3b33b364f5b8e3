"""What a COPY or ADD asks for, its words expanded."""

from __future__ import annotations

from records import Record


class InlineSource(Record):
    """A here-document: a source file of its own, named by its delimiter."""

    name: str
    content: bytes


class CopyRequest(Record):
    """One COPY, or one ADD of local files.

    ``unpack`` says whether local archives among the sources are unpacked, as ADD does by default.
    ``created`` (nanoseconds) is the time of everything that no source gives a time.
    """

    sources: tuple[str, ...]
    destination: str
    workdir: str = "/"
    inline: tuple[InlineSource, ...] = ()
    chown: str | None = None
    chmod: str | None = None
    exclude: tuple[str, ...] = ()
    parents: bool = False
    link: bool = False
    unpack: bool = False
    created: int = 0
    instruction: str = "COPY"
    """How messages call it."""
