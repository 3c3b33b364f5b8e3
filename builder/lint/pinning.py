"""Rules about versions of packages: apt, apk, pip, npm and gem.

Only words that are surely names of packages are judged: no variables, no files, no addresses.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final

from builder.lint import own
from builder.lint.invocations import Invocation, invocations
from builder.lint.packages import apt_packages
from builder.lint.rules import Finding, Rule
from builder.lint.shell import Word
from builder.lint.survey import Survey


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PIP_VALUED: Final = _words(
    "-r -c -e -i -f -t -C --requirement --constraint --editable --index-url --extra-index-url "
    "--find-links --target --prefix --root --trusted-host --proxy --timeout --retries --platform "
    "--only-binary --no-binary --python-version --implementation --abi --cache-dir --log --src "
    "--progress-bar --upgrade-strategy --global-option --config-settings --root-user-action "
    "--python --no-build-isolation-package --default-timeout --cert"
)
_NPM_VALUED: Final = _words(
    "-C --prefix --registry --cache --loglevel --omit --include --userconfig --tag -w --workspace "
    "--cwd --modules-folder --network-timeout --network-concurrency --cache-folder"
)
_APK_VALUED: Final = _words(
    "-t -X -p --virtual --repository --root --arch --keys-dir --repositories-file "
    "--wait --cache-dir --cache-max-age --progress-fd"
)
_GEM_VALUED: Final = _words(
    "-v --version -i --install-dir -n --bindir -s --source --platform -p -P --trust-policy "
    "-g --file --without --build-root -B --http-proxy --document"
)
_NAME = re.compile(r"[A-Za-z0-9][\w.+-]*\Z")
_PIP_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(?:\[[\w,.-]*\])?\Z")
_NPM_NAME = re.compile(r"(?:@[\w.~-]+/)?[A-Za-z0-9_][\w.~-]*\Z")
_ARCHIVE = re.compile(r"\.(?:whl|zip|deb|gem|apk|tgz|tar(?:\.\w+)?)\Z")
_INSTALLER: Final = frozenset({"pip", "setuptools", "wheel"})
"""Brought up to date before they install the rest; what is installed does not depend on them."""


def findings(survey: Survey) -> Iterator[Finding]:
    """The packages of any version, in order."""
    for stage in survey.stages:
        for script in survey.scripts(stage):
            for run in invocations(script):
                for rule, unpinned in _MANAGERS:
                    yield from _told(rule, run, unpinned(run))


def _told(rule: Rule, run: Invocation, words: list[Word]) -> Iterator[Finding]:
    for word in words:
        place = run.script.place(word.start, word.end)
        yield rule.at(run.script.node, word.value, place=place)


def _plain(words: list[Word], pattern: re.Pattern[str]) -> list[Word]:
    return [
        word
        for word in words
        if (word.literal or "[" in word.value)
        and pattern.match(word.value)
        and not _ARCHIVE.search(word.value)
    ]


def _apt(run: Invocation) -> list[Word]:
    return _plain([word for word in apt_packages(run) if word.value[-1:] not in "-+"], _NAME)


def _apk(run: Invocation) -> list[Word]:
    operands = run.operands(_APK_VALUED) if run.name == "apk" else []
    return _plain(operands[1:], _NAME) if operands and operands[0].value == "add" else []


def _pip(run: Invocation) -> list[Word]:
    operands = run.operands(_PIP_VALUED) if run.name in ("pip", "uv pip") else []
    if not operands or operands[0].value != "install" or run.has("-c", "--constraint"):
        return []
    names = _plain(operands[1:], _PIP_NAME)
    if run.has("-U", "--upgrade"):
        names = [word for word in names if word.value not in _INSTALLER]
    return names


def _npm(run: Invocation) -> list[Word]:
    if run.name not in ("npm", "pnpm", "yarn"):
        return []
    operands = run.operands(_NPM_VALUED)
    verbs = [word.value for word in operands[:2]]
    if run.name == "yarn" and verbs == ["global", "add"]:
        return _plain(operands[2:], _NPM_NAME)
    adding = {"npm": ("install", "i", "add"), "yarn": ("add",), "pnpm": ("add",)}[run.name]
    return _plain(operands[1:], _NPM_NAME) if verbs and verbs[0] in adding else []


def _gem(run: Invocation) -> list[Word]:
    operands = run.operands(_GEM_VALUED) if run.name == "gem" else []
    if not operands or operands[0].value != "install" or run.has("-v", "--version", "-g"):
        return []
    return _plain(operands[1:], _NAME)


_MANAGERS: Final[tuple[tuple[Rule, Callable[[Invocation], list[Word]]], ...]] = (
    (own.PIN_APT_VERSIONS, _apt),
    (own.PIN_APK_VERSIONS, _apk),
    (own.PIN_PIP_VERSIONS, _pip),
    (own.PIN_NPM_VERSIONS, _npm),
    (own.PIN_GEM_VERSIONS, _gem),
)
