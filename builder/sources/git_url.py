"""The URL of a git repository, with what it says of ref, directory and manner of checkout.

``https://host/repo.git#ref:dir`` or, by query, ``?ref= tag= branch= subdir= checksum= commit=
keep-git-dir= submodules= mtime= fetch-by-commit=`` (docs.docker.com/build/concepts/context, "URL
fragments" and "URL queries"). An http URL is one of git when its path ends in ``.git``; ``ssh://``,
``git://`` and ``user@host:path`` always are.
"""

from __future__ import annotations

import re
from urllib.parse import parse_qs, unquote, urlsplit

from builder.errors import BuildInputError
from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

QUERY_FIELDS: Final = 64

_SCP: Final = re.compile(
    r"([A-Za-z0-9_-]+@[A-Za-z0-9.-]+):([^?#]*)(?:\?([^#]*))?(?:#(.*))?\Z", re.S
)
_COMMIT: Final = re.compile(r"[0-9a-f]{1,64}\Z")
_FULL_COMMIT: Final = re.compile(r"(?:[0-9a-f]{40}|[0-9a-f]{64})\Z")
_NOT_IN_REF: Final = re.compile(r"[\0-\x20\x7f~^:?*\[\\]|\.\.|@\{|//|\.lock(?:/|\Z)|[/.]\Z|\A[/-]")
"""git-check-ref-format(1); a leading ``-`` besides, which would be an option."""
_SHORTHAND: Final = "github.com/"
_TRUE, _FALSE = frozenset({"true", "1", "t", ""}), frozenset({"false", "0", "f"})
_REFS: Final = {"tag": "refs/tags/", "branch": "refs/heads/"}


class GitUrl(Record):
    """A parsed URL. ``remote`` is what git is given; ``subdir`` is relative, without ``..``."""

    remote: str
    ref: str = ""
    subdir: str = ""
    checksum: str = ""
    """The start of a commit's id, or all of it."""
    keep_git_dir: bool | None = None
    submodules: bool = True
    mtime: str = "checkout"
    """What dates the files: ``checkout`` or ``commit``."""
    fetch_by_commit: bool = False
    """Ask for ``checksum`` itself, whatever ``ref`` leads to."""

    @property
    def commit(self) -> str:
        """The commit if the URL alone settles it, else empty."""
        if is_commit(self.ref):
            return self.ref
        return self.checksum if is_commit(self.checksum) and self.fetch_by_commit else ""

    @property
    def pin(self) -> str | None:
        """The whole commit that the URL holds the repository to, if it states one."""
        return self.commit or (self.checksum if is_commit(self.checksum) else None)

    def __str__(self) -> str:
        """The short form, for people."""
        fragment = self.ref + (f":{self.subdir}" if self.subdir else "")
        return self.remote + (f"#{fragment}" if fragment else "")


def is_commit(text: str) -> bool:
    """Whether this is the whole id of a commit, SHA-1 or SHA-256."""
    return _FULL_COMMIT.match(text) is not None


def parse_git_url(text: str, *, local: bool = False) -> GitUrl | None:
    """Parse; None for what is no git URL.

    ``local`` takes ``github.com/owner/repo`` and ``file://`` too, as only the one who builds may
    write them.

    Raises:
        BuildInputError: it is one, and its ref, query or directory is malformed.
    """
    match = _SCP.match(text)
    if match is not None and "://" not in text:
        return _made(text, f"{match[1]}:{match[2]}", match[3] or "", match[4] or "")
    if local and text.startswith(_SHORTHAND):
        text = f"https://{text}"
        path_decides = False
    else:
        path_decides = True
    try:
        parts = urlsplit(text)
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    schemes = {"ssh", "git", "http", "https", *(("file",) if local else ())}
    if scheme not in schemes or not text.lower().startswith(f"{scheme}://"):
        return None
    if path_decides and scheme in ("http", "https") and not parts.path.endswith(".git"):
        return None
    if scheme == "file" and parts.netloc:
        raise _malformed(text, "a path of this machine begins with file:///")
    remote = f"{scheme}://{parts.netloc}{parts.path}"
    return _made(text, remote, parts.query, parts.fragment)


def _made(text: str, remote: str, query: str, fragment: str) -> GitUrl:
    host = remote.partition("://")[2] or remote
    if host.rpartition("@")[2].startswith("-") or not remote.isprintable() or " " in remote:
        raise _malformed(text, "its address holds what no address does")
    ref, _, subdir = unquote(fragment).partition(":")
    found = {"ref": ref, "subdir": subdir.strip("/")}
    for key, values in _queries(text, query).items():
        if len(values) > 1:
            raise _malformed(text, f'query "{key}" has multiple values')
        _take(text, found, key, values[0])
    _check(text, found)
    return GitUrl(
        remote,
        found["ref"],
        found["subdir"],
        found.get("checksum", ""),
        _switch(text, found, "keep-git-dir"),
        _switch(text, found, "submodules") is not False,
        found.get("mtime", "checkout"),
        _switch(text, found, "fetch-by-commit") is True,
    )


def _queries(text: str, query: str) -> dict[str, list[str]]:
    try:
        return parse_qs(query, keep_blank_values=True, max_num_fields=QUERY_FIELDS)
    except ValueError as error:
        raise _malformed(text, "the query is too long") from error


def _take(text: str, found: dict[str, str], key: str, value: str) -> None:
    """Note one part of the query; what is said twice must be said alike."""
    name = {"tag": "ref", "branch": "ref", "commit": "checksum"}.get(key, key)
    if name not in _KNOWN:
        raise _malformed(text, f'unexpected query "{key}"')
    if not value and name not in _SWITCHES:
        raise _malformed(text, f'query "{key}" has no value')
    if key in _REFS:
        value = value if value.startswith(_REFS[key]) else _REFS[key] + value
    if name == "subdir":
        value = value.strip("/")
    before = found.get(name)
    if before and before != value:
        raise _malformed(text, f'{name} conflicts: "{before}" vs "{value}"')
    found[name] = value


def _check(text: str, found: dict[str, str]) -> None:
    ref, subdir, checksum = found["ref"], found["subdir"], found.get("checksum", "")
    if ref and _NOT_IN_REF.search(ref):
        raise _malformed(text, f'"{ref}" is not a ref')
    if not {"..", ".git"}.isdisjoint(subdir.split("/")) or "\0" in subdir:
        raise _malformed(text, f'"{subdir}" is not a directory inside the repository')
    found["subdir"] = "/".join(part for part in subdir.split("/") if part not in ("", "."))
    if checksum and not _COMMIT.match(checksum):
        raise _malformed(text, f'"{checksum}" is not a commit, which is written in hex digits')
    if found.get("mtime", "checkout") not in ("checkout", "commit"):
        raise _malformed(text, f'unknown mtime "{found["mtime"]}": it is checkout or commit')
    if "fetch-by-commit" in found and not (is_commit(checksum) or is_commit(ref)):
        raise _malformed(text, "fetch-by-commit needs checksum= with a whole commit")


def _switch(text: str, found: dict[str, str], name: str) -> bool | None:
    value = found.get(name)
    if value is None:
        return None
    if value.lower() in _TRUE:
        return True
    if value.lower() in _FALSE:
        return False
    raise _malformed(text, f'query "{name}" is neither true nor false: "{value}"')


_SWITCHES: Final = frozenset({"keep-git-dir", "submodules", "fetch-by-commit"})
_KNOWN: Final = _SWITCHES | {"ref", "subdir", "checksum", "mtime"}


def _malformed(text: str, why: str) -> BuildInputError:
    from builder.sources.public import public_url

    return BuildInputError(
        f"{public_url(text)}: {why}",
        fix="write https://host/repo.git#ref:directory",
    )
