"""Rules about COPY and ADD: what is recommended."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator

from builder.copying.selection import has_wildcard
from builder.lint import own
from builder.lint.rules import Change, Finding, Fix, Place
from builder.lint.survey import DIRECTORY_NAMES, Survey
from builder.plan.sources import is_git, is_url
from builder.wildcards import Walker, tokens
from dockerfile_grammar import nodes

_ARCHIVE = re.compile(r"\.(?:tar|tgz|tbz2?|txz|tzst|tar\.\w+|gz|bz2|xz|zst|lzma)\Z", re.IGNORECASE)
_EXTENSION = re.compile(r"[^./*?\[$]+\.\w+\Z")


def findings(survey: Survey) -> Iterator[Finding]:
    """What speaks in a check: ADD for plain files, wildcards that match nothing."""
    for stage in survey.stages:
        for node in stage.instructions:
            if isinstance(node, nodes.Add):
                yield from _plain_add(node)
            if isinstance(node, nodes.Add | nodes.Copy):
                yield from _nothing(survey, node)


def _plain_add(node: nodes.Add) -> Iterator[Finding]:
    if (
        not node.sources
        or node.checksum
        or node.unpack is not None
        or node.keep_git_dir is not None
    ):
        return
    for source in node.sources:
        if "$" in source or is_url(source) or is_git(source) or _ARCHIVE.search(source):
            return
        if source.rstrip("/").endswith("*"):
            return
    place = Place(0, len(node.keyword))
    fix = None
    if all(_is_no_archive(source) for source in node.sources):
        word = "copy" if node.keyword.islower() else "COPY"
        fix = Fix("write COPY", (Change(place, word),))
    yield own.COPY_INSTEAD_OF_ADD.at(node, " ".join(node.sources), place=place, fix=fix)


def _is_no_archive(source: str) -> bool:
    """A directory, or a name whose extension is no archive's."""
    name = source.rpartition("/")[2]
    return name in DIRECTORY_NAMES or _EXTENSION.match(name) is not None


def _nothing(survey: Survey, node: nodes.Add | nodes.Copy) -> Iterator[Finding]:
    """Only where nothing at all would be copied: ``COPY a b* ./`` says that b may be missing."""
    if isinstance(node, nodes.Copy) and (node.from_ is not None or node.parents):
        return
    if not node.sources or node.heredocs or survey.files is None:
        return
    for source in node.sources:
        if "$" in source or is_url(source) or is_git(source):
            return
        path = posixpath.normpath(f"/{source}").lstrip("/")
        try:
            parts = [Walker(tokens(part)) for part in path.split("/")]
        except ValueError:
            return
        if not has_wildcard(path) or _matches(parts, survey.files):
            return
    yield own.WILDCARD_MATCHES_NOTHING.at(node, " ".join(node.sources))


def _matches(parts: list[Walker], files: frozenset[str]) -> bool:
    """Wildcards match part by part (Go, path/filepath.Match)."""
    for file in files:
        names = file.rstrip("/").split("/")
        if len(names) == len(parts) and all(
            part.matches(name) for part, name in zip(parts, names, strict=True)
        ):
            return True
    return False
