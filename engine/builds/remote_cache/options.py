"""``--cache-from`` and ``--cache-to``: buildx's syntax into typed choices.

A value is one line of CSV (RFC 4180) whose fields are ``key=value``; without any ``=`` it names
images of a registry, as ``user/app:cache`` does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Final, TypeVar

from engine.options.errors import OptionError, invalid
from images.digest import Digest
from images.errors import ImagesError
from images.reference import Reference
from records import Record

if TYPE_CHECKING:
    from pathlib import Path

REGISTRY, LOCAL, INLINE = "registry", "local", "inline"
FROM, TO = "--cache-from", "--cache-to"
MODES: Final = ("min", "max")
COMPRESSIONS: Final[Mapping[str, str]] = {"gzip": "gzip", "zstd": "zstd", "uncompressed": "none"}
LEVELS: Final[Mapping[str, int]] = {"gzip": 9, "zstd": 22}
DEFAULT_TAG: Final = "latest"
"""Of a cache in a directory, as buildx has it."""

_ELSEWHERE: Final[Mapping[str, str]] = {
    "gha": "use type=registry with a repository of ghcr.io, or type=local with actions/cache",
    "s3": "use type=registry; `lading registry serve` can keep its blobs in S3",
    "azblob": "use type=registry with any registry that keeps its blobs there",
}
_T = TypeVar("_T")


class CacheSource(Record):
    """A cache to look steps up in. ``kind`` is ``registry`` (or an image's own) or ``local``."""

    kind: str
    ref: Reference | None = None
    path: Path | None = None
    tag: str = DEFAULT_TAG
    digest: Digest | None = None
    """Of the manifest, instead of what the tag names."""
    insecure: bool = False
    ignore_error: bool = True
    """A cache that is missing or broken is a warning."""
    verify: bool = False
    """The cache's manifest must be signed as the policy in force asks of images."""

    @property
    def label(self) -> str:
        """How people know it."""
        return str(self.path) if self.ref is None else self.ref.familiar


class CacheTarget(Record):
    """A cache to fill; ``kind`` is ``registry`` or ``local``."""

    kind: str
    ref: Reference | None = None
    path: Path | None = None
    tag: str = DEFAULT_TAG
    mode: str = "min"
    compression: str | None = None
    """``gzip``, ``zstd`` or ``none``; None leaves what is compressed as it is."""
    level: int | None = None
    force: bool = False
    """Compress again what is compressed otherwise."""
    insecure: bool = False
    ignore_error: bool = True
    mounts: bool = False
    """Cache mounts travel with it."""
    reset: bool = False
    """Nothing of earlier builds is kept."""

    @property
    def label(self) -> str:
        """How people know it."""
        return str(self.path) if self.ref is None else self.ref.familiar


def parse_sources(texts: Iterable[str]) -> tuple[CacheSource, ...]:
    """The values of ``--cache-from``, in their order.

    Raises:
        OptionError: malformed, or of a type that is not supported.
    """
    found: list[CacheSource] = []
    for text in texts:
        fields = _fields(text, FROM)
        if fields and not any("=" in part for part in fields):
            found += [CacheSource(REGISTRY, _reference(part, text, FROM)) for part in fields]
        else:
            found.append(_source(_Options.read(text, fields, FROM)))
    return tuple(found)


def parse_targets(texts: Iterable[str]) -> tuple[tuple[CacheTarget, ...], bool]:
    """The values of ``--cache-to``, and whether the image is to carry its cache (``type=inline``).

    Raises:
        OptionError: malformed, or of a type that is not supported.
    """
    found: list[CacheTarget] = []
    inline = False
    for text in texts:
        fields = _fields(text, TO)
        if len(fields) == 1 and "=" not in fields[0]:
            found.append(CacheTarget(REGISTRY, _reference(fields[0], text, TO)))
            continue
        options = _Options.read(text, fields, TO)
        if options.kind == INLINE:
            options.choice("mode", ("min",), "min")
            options.flag("ignore-error", default=True)
            options.finish()
            inline = True
        else:
            found.append(_target(options))
    return tuple(found), inline


def _source(options: _Options) -> CacheSource:
    ignore_error = options.flag("ignore-error", default=True)
    if options.kind == LOCAL:
        source = CacheSource(
            LOCAL,
            path=options.path("src"),
            tag=options.text("tag") or DEFAULT_TAG,
            digest=options.value("digest", Digest.parse),
            ignore_error=ignore_error,
        )
    else:
        source = CacheSource(
            REGISTRY,
            options.reference(),
            insecure=options.flag("registry.insecure"),
            ignore_error=ignore_error,
            verify=options.flag("verify"),
        )
    options.finish()
    return source


def _target(options: _Options) -> CacheTarget:
    compression = options.choice("compression", tuple(COMPRESSIONS))
    local = options.kind == LOCAL
    options.only_true("image-manifest", "a cache is always an image manifest here")
    options.only_true("oci-mediatypes", "Docker's manifests cannot describe a cache")
    target = CacheTarget(
        options.kind,
        None if local else options.reference(),
        options.path("dest") if local else None,
        tag=(options.text("tag") if local else None) or DEFAULT_TAG,
        mode=options.choice("mode", MODES) or "min",
        compression=None if compression is None else COMPRESSIONS[compression],
        level=options.level(compression or "zstd"),
        force=options.flag("force-compression"),
        insecure=False if local else options.flag("registry.insecure"),
        ignore_error=options.flag("ignore-error", default=True),
        mounts=options.flag("mounts"),
        reset=options.flag("reset"),
    )
    options.finish()
    return target


class _Options:
    """The keys of one value, taken one by one, so that what is left is unknown."""

    def __init__(self, text: str, flag: str, values: dict[str, str]) -> None:
        self.kind = values.pop("type", "")
        self._text = text
        self._flag = flag
        self._values = values

    @classmethod
    def read(cls, text: str, fields: Iterable[str], flag: str) -> _Options:
        values: dict[str, str] = {}
        for part in fields:
            key, equals, value = part.partition("=")
            if not equals:
                raise invalid(text, flag, f"{part!r} is not key=value")
            values[key.strip().lower()] = value
        options = cls(text, flag, values)
        if options.kind in _ELSEWHERE:
            raise invalid(
                text, flag, f"type={options.kind} is not supported", fix=_ELSEWHERE[options.kind]
            )
        if options.kind not in (REGISTRY, LOCAL, INLINE):
            what = f"unknown type {options.kind!r}" if options.kind else "it has no type"
            raise invalid(text, flag, what, fix="use type=registry, type=local or type=inline")
        return options

    def text(self, key: str) -> str | None:
        return self._values.pop(key, None)

    def value(self, key: str, parse: Callable[[str], _T]) -> _T | None:
        text = self.text(key)
        if text is None:
            return None
        try:
            return parse(text)
        except (ImagesError, ValueError) as error:
            raise invalid(self._text, self._flag, f"{key}: {error}") from error

    def path(self, key: str) -> Path:
        from pathlib import Path

        text = self.text(key)
        if not text:
            raise invalid(self._text, self._flag, f"type=local needs {key}=DIRECTORY")
        return Path(text)

    def reference(self) -> Reference:
        found = self.value("ref", Reference.parse)
        if found is None:
            raise invalid(self._text, self._flag, f"type={self.kind} needs ref=NAME")
        return found

    def flag(self, key: str, *, default: bool = False) -> bool:
        text = self.text(key)
        if text is None:
            return default
        if text.lower() not in ("true", "false", "1", "0"):
            raise invalid(self._text, self._flag, f"{key} is true or false, not {text!r}")
        return text.lower() in ("true", "1")

    def only_true(self, key: str, why: str) -> None:
        if not self.flag(key, default=True):
            raise invalid(self._text, self._flag, f"{key}=false: {why}", fix=f"leave {key} out")

    def choice(self, key: str, allowed: tuple[str, ...], default: str | None = None) -> str | None:
        text = self.text(key)
        if text is not None and text not in allowed:
            what = f"{key} is one of {', '.join(allowed)}, not {text!r}"
            raise invalid(self._text, self._flag, what)
        return text or default

    def level(self, compression: str) -> int | None:
        level = self.value("compression-level", int)
        highest = LEVELS.get(compression, 0)
        if level is not None and not 0 <= level <= highest:
            what = f"compression-level of {compression} is 0 to {highest}"
            raise invalid(self._text, self._flag, what)
        return level

    def finish(self) -> None:
        if self._values:
            raise invalid(
                self._text,
                self._flag,
                f"type={self.kind} knows no {', '.join(sorted(self._values))}",
                fix="docs/remote-cache.md lists what each type knows",
            )


def _fields(text: str, flag: str) -> list[str]:
    fields = text.split(",")
    if any(mark in text for mark in '"\r\n'):
        import csv

        try:
            fields = next(csv.reader([text], strict=True), [])
        except csv.Error as error:
            raise invalid(text, flag, str(error)) from error
    if not any(fields):
        raise OptionError("an empty value names no cache", where=flag)
    return fields


def _reference(name: str, text: str, flag: str) -> Reference:
    try:
        return Reference.parse(name)
    except ImagesError as error:
        raise invalid(text, flag, error.what, fix=error.fix) from error
