"""Reading what a build starts from: the Dockerfile's bytes and the ignore file that goes with it.

``<Dockerfile>.dockerignore`` beside the Dockerfile wins over ``.dockerignore`` at the context's
root; both files are read even when they ignore themselves.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from builder.errors import BuildInputError
from records import Record

if TYPE_CHECKING:
    from builder.ignore import IgnorePatterns
    from builder.request import BuildRequest

NAMES: Final = ("Dockerfile", "dockerfile", "Containerfile")
"""Looked for in this order when no file is named."""
SIZE_LIMIT: Final = 8 << 20
"""Bytes of a Dockerfile or ignore file."""


class BuildInputs(Record):
    """``name`` is how messages call the Dockerfile; ``context`` is absolute and resolved."""

    name: str
    dockerfile: bytes
    dockerfile_path: Path | None
    context: Path | None
    ignore: bytes | None
    ignore_name: str = ".dockerignore"


def read_inputs(request: BuildRequest) -> BuildInputs:
    """Read both files.

    Raises:
        BuildInputError: the context is not a directory, or a file is missing, unreadable or huge.
    """
    context = _context(request.context)
    if isinstance(request.dockerfile, bytes):
        name, content, path = "Dockerfile", request.dockerfile, None
    else:
        path = request.dockerfile or _find(context)
        content, name = _read(path), path.name
    ignore, ignore_name = _ignore(context, path)
    return BuildInputs(name, content, path, context, ignore, ignore_name)


def ignore_patterns(inputs: BuildInputs) -> IgnorePatterns | None:
    """The patterns of the build context; None where there is no ignore file.

    Raises:
        IgnorePatternError: a line of the file is not a pattern.
    """
    if inputs.ignore is None:
        return None
    from builder.ignore import IgnorePatterns

    return IgnorePatterns.parse(inputs.ignore, filename=inputs.ignore_name)


def _context(path: Path | None) -> Path | None:
    if path is None:
        return None
    resolved = path.resolve()
    if not resolved.is_dir():
        missing = "does not exist" if not resolved.exists() else "is not a directory"
        raise BuildInputError(
            f"the build context {path} {missing}", fix="name the directory to build from"
        )
    return resolved


def _find(context: Path | None) -> Path:
    if context is None:
        raise BuildInputError(
            "there is no Dockerfile", fix="name one with -f, or give a context directory"
        )
    for name in NAMES:
        if (context / name).is_file():
            return context / name
    raise BuildInputError(
        f"there is no Dockerfile in {context}",
        fix="name the file with -f, or build from the directory that holds it",
    )


def _ignore(context: Path | None, dockerfile: Path | None) -> tuple[bytes | None, str]:
    if context is None:
        return None, ".dockerignore"
    candidates = [context / ".dockerignore"]
    if dockerfile is not None:
        candidates.insert(0, dockerfile.with_name(dockerfile.name + ".dockerignore"))
    for path in candidates:
        try:
            return _limited(path), path.name
        except (FileNotFoundError, NotADirectoryError):
            continue
        except OSError as error:
            raise _unreadable(path, error) from error
    return None, ".dockerignore"


def _read(path: Path) -> bytes:
    try:
        return _limited(path)
    except OSError as error:
        raise _unreadable(path, error) from error


def _limited(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(SIZE_LIMIT + 1)
    if len(content) > SIZE_LIMIT:
        raise BuildInputError(f"{path} is longer than {SIZE_LIMIT} bytes")
    return content


def _unreadable(path: Path, error: OSError) -> BuildInputError:
    return BuildInputError(
        f"cannot read {path}: {error.strerror}", fix="check the path given with -f"
    )
