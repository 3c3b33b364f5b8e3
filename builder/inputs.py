"""Reading what a build starts from: the Dockerfile's bytes and the ignore file that goes with it.

``<Dockerfile>.dockerignore`` beside the Dockerfile wins over ``.dockerignore`` at the context's
root; both files are read even when they ignore themselves.
"""

from __future__ import annotations

import os

from builder.errors import BuildInputError
from records import Record, field

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Final

    from builder.contexts import NamedContext
    from builder.ignore import IgnorePatterns
    from builder.request import BuildRequest

NAMES: Final = ("Dockerfile", "dockerfile", "Containerfile")
"""Looked for in this order when no file is named."""
SIZE_LIMIT: Final = 8 << 20
"""Bytes of a Dockerfile or ignore file."""


class LocalInputs(Record):
    """A context directory, absolute and resolved, and the ignore file that goes with it."""

    path: str
    ignore: bytes | None
    ignore_name: str = ".dockerignore"
    name: str = ""
    """How messages call it: the name of a named context, empty for the build context."""
    origin: str = ""
    """What it was made from, if the user named no directory."""


class BuildInputs(Record):
    """``name`` is how messages call the Dockerfile; ``context`` is absolute and resolved."""

    name: str
    dockerfile: bytes
    context: str | None
    ignore: bytes | None
    ignore_name: str = ".dockerignore"
    named: Mapping[str, LocalInputs] = field(default_factory=dict)
    """The named contexts that are directories, by key."""
    origin: str = ""
    """As ``LocalInputs.origin``, of the build context."""

    @property
    def main(self) -> LocalInputs | None:
        """The build context, if there is one."""
        if self.context is None:
            return None
        return LocalInputs(self.context, self.ignore, self.ignore_name, "", self.origin)


def read_inputs(request: BuildRequest) -> BuildInputs:
    """Read the Dockerfile and the ignore files.

    Raises:
        BuildInputError: a context is not a directory, or a file is missing, unreadable or huge.
    """
    context = _context(request.context)
    if isinstance(request.dockerfile, bytes):
        name = request.dockerfile_name or "Dockerfile"
        content, path = request.dockerfile, None
    else:
        path = _find(context) if request.dockerfile is None else os.fspath(request.dockerfile)
        content, name = _read(path), os.path.basename(path)
    ignore, ignore_name = (None, "") if request.origin else _ignore(context, path)
    named = _named(request.contexts) if request.contexts else {}
    return BuildInputs(name, content, context, ignore, ignore_name, named, request.origin)


def ignore_patterns(inputs: BuildInputs) -> IgnorePatterns | None:
    """The patterns of the build context; None where there is no ignore file.

    Raises:
        IgnorePatternError: a line of the file is not a pattern.
    """
    if inputs.ignore is None:
        return None
    from builder.ignore import IgnorePatterns

    return IgnorePatterns.parse(inputs.ignore, filename=inputs.ignore_name)


def _named(contexts: Mapping[str, NamedContext]) -> dict[str, LocalInputs]:
    from builder.contexts import LocalContext

    found = {}
    for key, context in contexts.items():
        if isinstance(context, LocalContext):
            path = _directory(context.path, f"the named context {key}")
            ignore, ignore_name = (None, "") if context.origin else _ignore(path, None)
            found[key] = LocalInputs(path, ignore, ignore_name, key, context.origin)
    return found


def _context(path: str | os.PathLike[str] | None) -> str | None:
    return None if path is None else _directory(path, "the build context")


def _directory(path: str | os.PathLike[str], what: str) -> str:
    resolved = os.path.realpath(path)
    if not os.path.isdir(resolved):
        missing = "does not exist" if not os.path.exists(resolved) else "is not a directory"
        raise BuildInputError(
            f"{what} {os.fspath(path)} {missing}", fix="name the directory to build from"
        )
    return resolved


def _find(context: str | None) -> str:
    if context is None:
        raise BuildInputError(
            "there is no Dockerfile", fix="name one with -f, or give a context directory"
        )
    for name in NAMES:
        path = os.path.join(context, name)
        if os.path.isfile(path):
            return path
    raise BuildInputError(
        f"there is no Dockerfile in {context}",
        fix="name the file with -f, or build from the directory that holds it",
    )


def _ignore(context: str | None, dockerfile: str | None) -> tuple[bytes | None, str]:
    if context is None:
        return None, ".dockerignore"
    candidates = [os.path.join(context, ".dockerignore")]
    if dockerfile is not None:
        candidates.insert(0, f"{dockerfile}.dockerignore")
    for path in candidates:
        try:
            return _limited(path), os.path.basename(path)
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(path, error) from error
    return None, ".dockerignore"


def _read(path: str) -> bytes:
    try:
        return _limited(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _limited(path: str) -> bytes:
    with open(path, "rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise BuildInputError(f"{path} is longer than {SIZE_LIMIT} bytes")
    return content


def _unreadable(path: str, error: OSError) -> BuildInputError:
    return BuildInputError(
        f"cannot read {path}: {error.strerror}", fix="check the path given with -f"
    )
