"""The recommended and optional rules by the functions that look for them."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from typing import Final, NamedTuple

from builder.lint import commands, copying, layout, ordering, own, packages, pinning
from builder.lint.rules import Finding, Rule
from builder.lint.survey import Survey


class Check(NamedTuple):
    """A function and the rules it may find broken, by all their names."""

    look: Callable[[Survey], Iterator[Finding]]
    rules: frozenset[str]


def _check(look: Callable[[Survey], Iterator[Finding]], *rules: Rule) -> Check:
    return Check(look, frozenset(name for rule in rules for name in (rule.name, *rule.aliases)))


CHECKS: Final = (
    _check(
        packages.findings,
        own.APT_ASSUME_YES,
        own.APT_GET_INSTEAD_OF_APT,
        own.APT_LISTS_LEFT,
        own.APT_NO_INSTALL_RECOMMENDS,
        own.APT_UPDATE_ALONE,
        own.APK_CACHE_LEFT,
        own.DNF_CACHE_LEFT,
        own.PIP_CACHE_LEFT,
    ),
    _check(packages.cache_mounts, own.CACHE_MOUNT_RECOMMENDED),
    _check(
        pinning.findings,
        own.PIN_APT_VERSIONS,
        own.PIN_APK_VERSIONS,
        own.PIN_PIP_VERSIONS,
        own.PIN_NPM_VERSIONS,
        own.PIN_GEM_VERSIONS,
    ),
    _check(commands.directories, own.WORKDIR_INSTEAD_OF_CD, own.WORKDIR_INSTEAD_OF_MKDIR),
    _check(commands.sudo, own.SUDO_IN_RUN),
    _check(commands.pipes, own.PIPE_WITHOUT_PIPEFAIL, own.DOWNLOAD_PIPED_TO_SHELL),
    _check(commands.errexit, own.HEREDOC_WITHOUT_ERREXIT),
    _check(commands.credentials, own.BUILD_ARG_AS_CREDENTIAL),
    _check(commands.signals, own.SHELL_WITHOUT_EXEC),
    _check(copying.findings, own.COPY_INSTEAD_OF_ADD, own.WILDCARD_MATCHES_NOTHING),
    _check(
        layout.findings,
        own.FLOATING_BASE_IMAGE,
        own.LAST_USER_ROOT,
        own.USER_MISSING,
        own.HEALTHCHECK_MISSING,
        own.UNUSED_STAGE,
        own.UNREFERENCED_STAGE,
    ),
    _check(
        ordering.findings,
        own.UNUSED_ARG,
        own.DUPLICATE_ENV,
        own.EARLY_ARG,
        own.COPY_BEFORE_INSTALL,
    ),
)


def findings(survey: Survey, wanted: Container[str]) -> Iterator[Finding]:
    """What the checks find that look for one of the wanted rules; others of theirs too."""
    for check in CHECKS:
        if any(name in wanted for name in check.rules):
            yield from check.look(survey)
