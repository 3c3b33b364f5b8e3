"""Rules about COPY and ADD: their sources, destinations and modes."""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Final

from builder.lint import own
from builder.lint.rules import Change, Finding, Fix, Place
from builder.lint.survey import Survey, text_of
from builder.plan.sources import is_git, is_url
from builder.wildcards import is_wild, tokens
from dockerfile_grammar import nodes

_ARCHIVE = re.compile(r"\.(?:tar|tgz|tbz2?|txz|tzst|tar\.\w+|gz|bz2|xz|zst|lzma)\Z", re.IGNORECASE)
_OCTAL = re.compile(r"[0-7]{3,4}\Z")
_EXTENSION = re.compile(r"[^./*?\[$]+\.\w+\Z")
_DIRECTORY_NAMES: Final = frozenset({".", "..", ""})


def findings(survey: Survey) -> Iterator[Finding]:
    """What speaks in a check: ADD for plain files, wildcards that match nothing."""
    for stage in survey.stages:
        for node in stage.instructions:
            if isinstance(node, nodes.Add):
                yield from _plain_add(node)
            if isinstance(node, nodes.Add | nodes.Copy):
                yield from _nothing(survey, node)


def mistakes(survey: Survey) -> Iterator[Finding]:
    """What speaks in every build: a missing slash, modes that lock directories."""
    for stage in survey.stages:
        for position, node in enumerate(stage.instructions):
            if isinstance(node, nodes.Add | nodes.Copy):
                yield from _slash(survey, stage, position, node)
                yield from _locked(survey, node)


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
    return name in _DIRECTORY_NAMES or _EXTENSION.match(name) is not None


def _nothing(survey: Survey, node: nodes.Add | nodes.Copy) -> Iterator[Finding]:
    """Only where nothing at all would be copied: ``COPY a b* ./`` says that b may be missing."""
    if isinstance(node, nodes.Copy) and (node.from_ is not None or node.parents):
        return
    if not node.sources or node.heredocs or survey.files is None:
        return
    for source in node.sources:
        if "$" in source or is_url(source) or is_git(source):
            return
        try:
            found = tokens(posixpath.normpath(source).lstrip("/"))
        except ValueError:
            return
        if not is_wild(found) or _matches(found, survey.files):
            return
    yield own.WILDCARD_MATCHES_NOTHING.at(node, " ".join(node.sources))


def _matches(found: list[tuple[str, str]], files: frozenset[str]) -> bool:
    pattern = re.compile("".join(text for _, text in found))
    return any(pattern.fullmatch(path.rstrip("/")) for path in files)


def _slash(
    survey: Survey, stage: nodes.Stage, position: int, node: nodes.Add | nodes.Copy
) -> Iterator[Finding]:
    count = len(node.sources) + len(node.heredocs)
    destination = node.destination
    if count < 2 or "$" in destination or destination.rpartition("/")[2] in _DIRECTORY_NAMES:
        return
    if any("$" in source for source in node.sources) and count < 3:
        return
    if _is_known(survey, stage, position, destination):
        return
    written = node.original.rstrip()
    fix = None
    if written.endswith(destination):
        end = len(written)
        change = Change(Place(end, end), "/")
        fix = Fix("end the destination with a slash", (change,))
    yield own.SEVERAL_SOURCES_NEED_SLASH.at(node, node.keyword.upper(), count, destination, fix=fix)


def _is_known(survey: Survey, stage: nodes.Stage, position: int, path: str) -> bool:
    """Whether something above makes a directory of this name, or may do so."""
    wanted = posixpath.normpath(path).rstrip("/")
    for index in survey.lineage(stage.index):
        nodes_here = survey.stages[index].instructions
        for node in nodes_here[:position] if index == stage.index else nodes_here:
            match node:
                case nodes.Workdir():
                    made = [node.path]
                case nodes.Volume():
                    made = list(node.paths)
                case nodes.Copy() | nodes.Add():
                    made = [node.destination]
                case nodes.Run():
                    if wanted in text_of(node):
                        return True
                    continue
                case _:
                    continue
            if any("$" in item or _is_at_or_below(item, wanted) for item in made):
                return True
    return False


def _is_at_or_below(made: str, wanted: str) -> bool:
    return f"{posixpath.normpath(made)}/".startswith(f"{wanted}/")


def _locked(survey: Survey, node: nodes.Add | nodes.Copy) -> Iterator[Finding]:
    if node.chmod is None or not _OCTAL.match(node.chmod):
        return
    mode = int(node.chmod, 8)
    if not any(mode >> shift & 4 and not mode >> shift & 1 for shift in (6, 3, 0)):
        return
    local = not (isinstance(node, nodes.Copy) and node.from_ is not None)
    for source in node.sources:
        if not (is_url(source) or is_git(source)) and _holds_directories(
            survey, source, local=local
        ):
            yield own.CHMOD_HIDES_DIRECTORY.at(node, node.chmod, source)
            return


def _holds_directories(survey: Survey, source: str, *, local: bool) -> bool:
    """Whether COPY takes directories along; the one that is named keeps the destination's mode.

    Where the files are not known, only the whole of a context or a stage is taken to hold some.
    """
    files = survey.files if local else None
    path = posixpath.normpath(source).strip("/")
    if files is None:
        return path in ("", ".")
    below = "" if path == "." else f"{path}/"
    return any(name.endswith("/") and name.startswith(below) and name != below for name in files)
