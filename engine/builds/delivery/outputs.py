"""``-o/--output``: what a build ends in, parsed and judged before anything is built.

Types and attributes have BuildKit's names (buildx documentation, "Exporters"). Parsing is pure: no
file is looked at, and nothing depends on the terminal.
"""

from __future__ import annotations

from engine.builds.delivery.annotations import Annotation, parse_attribute
from images.errors import EnvironmentFault, InputError
from images.reference import Reference
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from typing import Final, NoReturn

STDOUT: Final = "-"
"""The ``dest`` that means standard output."""

IMAGE: Final = "image"
REGISTRY: Final = "registry"
OCI: Final = "oci"
DOCKER: Final = "docker"
LOCAL: Final = "local"
TAR: Final = "tar"
CACHE_ONLY: Final = "cacheonly"

_PACKING = ("compression", "compression-level", "force-compression", "oci-mediatypes")
_NAMED = (*_PACKING, "name", "rewrite-timestamp", "oci-artifact")
_REMOTE = (
    *_NAMED,
    *("push", "push-by-digest", "insecure", "registry.insecure", "store", "unpack"),
    *("name-canonical", "dangling-name-prefix"),
)
_ATTRIBUTES: Final = {
    IMAGE: _REMOTE,
    REGISTRY: _REMOTE,
    OCI: (*_NAMED, "dest", "tar"),
    DOCKER: (*_NAMED, "dest", "tar"),
    LOCAL: ("dest", "platform-split", "mode", "attestation-prefix"),
    TAR: ("dest", "platform-split", "attestation-prefix"),
    CACHE_ONLY: (),
}
TYPES: Final = tuple(_ATTRIBUTES)
LEVELS: Final = {"gzip": range(10), "zstd": range(23), "estargz": range(10)}
"""Compressions with the levels that each has."""
COMPRESSIONS: Final = (*LEVELS, "uncompressed")
_OCI_ONLY = ("zstd", "estargz")
_TRUE = ("", "1", "t", "true", "yes", "on")
_FALSE = ("0", "f", "false", "no", "off")


class OutputError(InputError):
    """An output is malformed or contradicts itself or another; ``where`` is the flag."""

    code = "output"
    exit_status = 125


class OutputCutError(EnvironmentFault):
    """Whoever reads standard output stopped before the end of the result."""

    code = "output-cut"


class Packing(Record):
    """The form that an image's documents and layers are given.

    ``compression`` empty leaves layers as they are. It concerns the layers that the build made;
    with ``force`` those of the base too.
    """

    compression: str = ""
    level: int | None = None
    force: bool = False
    docker_types: bool = False
    """Docker's media types in place of OCI's."""
    squash: bool = False
    """The layers that the build made become one."""

    @property
    def changes(self) -> bool:
        """Whether it asks for anything."""
        return self != Packing()


class Output(Record):
    """One place that the result goes to.

    ``dest`` is a path, ``-`` for standard output, empty where the type needs none. ``names`` are
    those of the output itself; empty means the build's tags.
    """

    type: str
    dest: str = ""
    names: tuple[Reference, ...] = ()
    store: bool = False
    """Into the local store, under the names."""
    push: bool = False
    push_by_digest: bool = False
    """Names nothing: who pulls has to know the digest."""
    insecure: bool = False
    unpack: bool = False
    tar: bool = True
    """One archive; otherwise a directory."""
    platform_split: bool | None = None
    """A directory per platform; None means where there are several."""
    delete: bool = False
    """What a directory has and the result has not is removed."""
    packing: Packing = Packing()
    types_asked: bool = False
    """Docker's media types were asked for by name; otherwise they give way to what needs OCI's."""
    rewrite_timestamps: bool | None = None
    artifact_statements: bool | None = None
    """Attestations as OCI artifacts (``oci-artifact``); None leaves the choice to who makes
    them."""
    annotations: tuple[Annotation, ...] = ()
    attestation_prefix: str = ""
    """What stands before the names of the files that hold statements."""

    @property
    def is_image(self) -> bool:
        """Whether documents of an image are handed over, rather than the files in it."""
        return self.type not in (LOCAL, TAR, CACHE_ONLY)

    @property
    def holds_index(self) -> bool:
        """Whether several images fit in, under one index."""
        return not (self.type == DOCKER and self.dest)


STORED: Final = Output(IMAGE, store=True)
"""What a build without any ``-o`` does, and ``--load``."""


def parse_outputs(
    values: Iterable[str], *, push: bool = False, load: bool = False, where: str = "--output"
) -> tuple[Output, ...]:
    """Every ``-o``, then ``--push`` and ``--load``; empty when there is none of them.

    ``--push`` makes the ``image`` outputs push where there are some.

    Raises:
        OutputError: malformed, unknown or contradictory; says which attributes there are.
        ImagesError: a name, a platform or an annotation is malformed.
    """
    outputs = [parse_output(value, where=where) for value in values]
    if push:
        from records import replace

        if any(output.type in (IMAGE, REGISTRY) for output in outputs):
            outputs = [
                replace(output, push=True) if output.type in (IMAGE, REGISTRY) else output
                for output in outputs
            ]
        else:
            outputs.append(Output(REGISTRY, push=True))
    if load and not any(output.store for output in outputs):
        outputs.append(STORED)
    _check_together(outputs, where)
    return tuple(outputs)


def parse_output(text: str, *, where: str = "--output") -> Output:
    """One ``-o``: ``type=...,...``, a bare directory, or ``-`` for a tar on standard output.

    Raises:
        OutputError, ImagesError: as ``parse_outputs``.
    """
    if not text:
        raise OutputError("empty", where=where, fix="write -o DIR or -o type=...,dest=...")
    import csv

    try:
        (fields,) = csv.reader([text], strict=True)
    except (csv.Error, ValueError) as error:
        raise OutputError(f"{text!r} is not comma-separated: {error}", where=where) from error
    if len(fields) == 1 and "=" not in fields[0]:
        return Output(TAR, STDOUT) if text == STDOUT else Output(LOCAL, text)
    pairs: dict[str, str] = {}
    for field in fields:
        key, _, value = field.partition("=")
        key = key.strip() if "[" in key else key.strip().lower()
        if key in pairs:
            raise OutputError(f"{key} is given twice", where=where)
        pairs[key] = value
    kind = pairs.pop("type", "")
    if kind not in _ATTRIBUTES:
        _refuse_type(kind, where)
    return _Attributes(kind, pairs, where).output()


class _Attributes:
    """The attributes of one output, each taken once; what is left is unknown."""

    def __init__(self, kind: str, pairs: dict[str, str], where: str) -> None:
        self._kind = kind
        self._pairs = pairs
        self._where = where
        for name in pairs:
            self._check_name(name)

    def output(self) -> Output:
        kind = self._kind
        remote = kind in (IMAGE, REGISTRY)
        dest = self._pairs.get("dest", "")
        tar = self._flag("tar", default=True)
        self._check_dest(dest, tar=tar)
        loads = kind == DOCKER and not dest
        push = self._flag("push", default=kind == REGISTRY)
        by_digest = self._flag("push-by-digest", default=False)
        return Output(
            type=kind,
            dest=dest or (STDOUT if kind in (OCI, TAR) else ""),
            names=self._names(),
            store=self._flag("store", default=kind == IMAGE or loads),
            push=push,
            push_by_digest=by_digest,
            insecure=self._flag("registry.insecure", default=self._flag("insecure", default=False)),
            unpack=self._flag("unpack", default=False),
            tar=tar and not remote,
            platform_split=self._optional("platform-split"),
            delete=self._mode() == "delete",
            packing=self._packing(loads=loads),
            types_asked=self._optional("oci-mediatypes") is False,
            rewrite_timestamps=self._optional("rewrite-timestamp"),
            artifact_statements=self._optional("oci-artifact"),
            annotations=self._annotations(),
            attestation_prefix=self._prefix(),
        )

    def _check_name(self, name: str) -> None:
        known = _ATTRIBUTES[self._kind]
        if name in known or (name.startswith("annotation") and self._annotatable):
            return
        from dockerfile_grammar.suggest import with_suggestion

        others = [kind for kind, names in _ATTRIBUTES.items() if name in names]
        fix = f"type={self._kind} has {', '.join(sorted(known)) or 'no attributes'}"
        if others:
            fix = f"{name} belongs to type={' and '.join(others)}; {fix}"
        raise OutputError(
            with_suggestion(f"type={self._kind} has no attribute {name}", name, known),
            where=self._where,
            fix=fix,
        )

    @property
    def _annotatable(self) -> bool:
        return "name" in _ATTRIBUTES[self._kind]

    def _flag(self, name: str, *, default: bool) -> bool:
        value = self._optional(name)
        return default if value is None else value

    def _optional(self, name: str) -> bool | None:
        text = self._pairs.get(name)
        if text is None:
            return None
        if text.lower() in _TRUE:
            return True
        if text.lower() in _FALSE:
            return False
        raise OutputError(f"{name}={text} is neither true nor false", where=self._where)

    def _names(self) -> tuple[Reference, ...]:
        text = self._pairs.get("name", "")
        names = [part.strip() for part in text.split(",") if part.strip() not in ("", "*")]
        return tuple(Reference.parse(name) for name in names)

    def _prefix(self) -> str:
        prefix = self._pairs.get("attestation-prefix", "")
        if "/" in prefix or "\0" in prefix:
            raise OutputError(
                f"attestation-prefix={prefix} is no beginning of a file's name",
                where=self._where,
                fix="leave the slash out: statements are beside what they are about",
            )
        return prefix

    def _mode(self) -> str:
        mode = self._pairs.get("mode", "copy")
        if mode not in ("copy", "delete"):
            raise OutputError(
                f"unknown mode {mode!r}", where=self._where, fix="use mode=copy or mode=delete"
            )
        return mode

    def _check_dest(self, dest: str, *, tar: bool) -> None:
        if "dest" in self._pairs and not dest:
            raise OutputError("dest is empty", where=self._where)
        directory = self._kind == LOCAL or (self._kind in (OCI, DOCKER) and not tar)
        if directory and dest in ("", STDOUT):
            raise OutputError(
                f"type={self._kind} needs a directory",
                where=self._where,
                fix=f"add dest=DIR{'' if self._kind == LOCAL else ', or leave tar=false out'}",
            )

    def _packing(self, *, loads: bool) -> Packing:
        compression, level = self._compression()
        oci = self._optional("oci-mediatypes")
        if oci is False and compression in _OCI_ONLY:
            raise OutputError(
                f"{compression} layers have no Docker media type",
                where=self._where,
                fix="leave oci-mediatypes=false out, or use compression=gzip",
            )
        # Docker's own archives have always had Docker's types; what only loads need not.
        docker = self._kind == DOCKER and not loads and compression not in _OCI_ONLY
        return Packing(
            compression=compression,
            level=level,
            force=self._flag("force-compression", default=False),
            docker_types=docker if oci is None else not oci,
        )

    def _compression(self) -> tuple[str, int | None]:
        compression = self._pairs.get("compression", "")
        if compression and compression not in COMPRESSIONS:
            from dockerfile_grammar.suggest import with_suggestion

            raise OutputError(
                with_suggestion(f"unknown compression {compression}", compression, COMPRESSIONS),
                where=self._where,
                fix=f"use one of {', '.join(COMPRESSIONS)}",
            )
        if self._flag("force-compression", default=False):
            compression = compression or "gzip"
        text = self._pairs.get("compression-level")
        if text is None:
            return compression, None
        compression = compression or "gzip"
        levels = LEVELS.get(compression)
        if levels is None or not text.isdecimal() or int(text) not in levels:
            allowed = f"0 to {levels[-1]}" if levels else "no levels"
            raise OutputError(
                f"compression-level={text} cannot be",
                where=self._where,
                fix=f"{compression} has {allowed}",
            )
        return compression, int(text)

    def _annotations(self) -> tuple[Annotation, ...]:
        names = [name for name in self._pairs if name.startswith("annotation")]
        return tuple(parse_attribute(n, self._pairs[n], where=self._where) for n in names)


def _refuse_type(kind: str, where: str) -> NoReturn:
    from dockerfile_grammar.suggest import with_suggestion

    what = f"unknown type {kind}" if kind else "no type"
    raise OutputError(
        with_suggestion(what, kind, TYPES), where=where, fix=f"use type= one of {', '.join(TYPES)}"
    )


def _check_together(outputs: Sequence[Output], where: str) -> None:
    if sum(output.dest == STDOUT for output in outputs) > 1:
        raise OutputError("only one output can go to standard output", where=where)
    places = [output.dest for output in outputs if output.dest not in ("", STDOUT)]
    if len(set(places)) < len(places):
        raise OutputError("two outputs go to the same place", where=where)
    if len({output.rewrite_timestamps for output in outputs} - {None}) > 1:
        raise OutputError("outputs disagree about rewrite-timestamp", where=where)
