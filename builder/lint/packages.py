"""Rules about package managers: what they leave in the layer, and what they ask.

They speak of stages whose files are in the image where it is about size, of all others where it is
about the build. A cache mount, a setting or a clean-up in the same RUN is respected.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator
from itertools import chain
from typing import Final

from builder.lint import own
from builder.lint.invocations import Invocation, invocations
from builder.lint.rules import Change, Finding, Fix
from builder.lint.scripts import Script
from builder.lint.shell import Word
from builder.lint.survey import Survey, cached, text_of
from dockerfile_grammar import nodes

APT: Final = frozenset({"apt", "apt-get", "aptitude"})
APT_VALUED: Final = frozenset({"-o", "-t", "-c", "--option", "--target-release", "--config-file"})
_APT_SAME: Final = frozenset(
    {"install", "update", "remove", "purge", "autoremove", "autoclean", "clean"}
)
"""What ``apt`` and ``apt-get`` do alike."""
_APT_FETCHING: Final = frozenset(
    {"install", "upgrade", "dist-upgrade", "full-upgrade", "build-dep", "satisfy", "source"}
)
_APT_CLEANED = re.compile(r"/var/lib/(?:apt|\{|\*)|\bdist-?clean\b|clean[\w-]{0,40}\.sh")
_APK_CLEANED = re.compile(r"/var/cache/(?:apk|\{|\*)|/etc/apk/cache|apk\s+cache\s+clean")
_DNF_CLEANED = re.compile(
    r"\bclean\s+(?:all|packages)\b|/var/cache/(?:yum|dnf|\{|\*)|/var/cache/?\s"
)
_PIP_CLEANED = re.compile(r"PIP_NO_CACHE_DIR|pip\w*\s+cache\s+purge|no-cache-dir|\.cache\b")
_APT_SPARING: Final = ("--no-install-recommends", "-R", "-s", "--simulate", "-d", "--dry-run")
_APK_CLEAN: Final = ("--no-cache", "--cache-dir", "--no-network", "-s", "--simulate")
_YES: Final = frozenset({"-y", "--yes", "--assume-yes", "--force-yes", "-s", "-d", "--simulate"})


def findings(survey: Survey) -> Iterator[Finding]:
    """What these rules say about a file, stage by stage."""
    sparing = [_sets_pip(stage) for stage in survey.stages]
    for stage in survey.stages:
        pip_spares = any(sparing[index] for index in survey.lineage(stage.index))
        for script in survey.scripts(stage):
            runs = list(invocations(script))
            yield from _apt(survey, runs)
            if stage.index in survey.shipped:
                yield from _apt_left(script, runs)
                yield from _apt_recommends(survey, runs)
                yield from _apk_left(script, runs)
                yield from _dnf_left(script, runs)
                if not pip_spares:
                    yield from _pip_left(script, runs)
        yield from _stale_lists(survey, stage)


def cache_mounts(survey: Survey) -> Iterator[Finding]:
    """Once for each RUN and tool that downloads what a cache mount could keep."""
    for stage in survey.stages:
        for script in survey.scripts(stage):
            told = set[str]()
            for run in invocations(script):
                verb = subcommand(run)
                target = None if verb is None else _CACHES.get((run.name, verb.value))
                if verb is None or target is None or run.has("--no-cache", "--no-cache-dir"):
                    continue
                if target not in told and not cached(script.node, target):
                    told.add(target)
                    command = f"{run.name} {verb.value}"
                    place = script.place(run.command.start, run.command.end)
                    yield own.CACHE_MOUNT_RECOMMENDED.at(script.node, command, target, place=place)


def subcommand(run: Invocation) -> Word | None:
    """The first word that is no flag: ``install`` of ``apt-get -y install``."""
    operands = run.operands(APT_VALUED)
    return operands[0] if operands else None


def apt_packages(run: Invocation) -> list[Word]:
    """What an ``apt-get install`` names; nothing for other commands."""
    if run.name not in APT:
        return []
    operands = run.operands(APT_VALUED)
    return operands[1:] if operands and operands[0].value == "install" else []


def insertion(script: Script, after: Word, text: str) -> Change:
    """``text`` behind a word of a script."""
    return Change(script.place(after.end, after.end), text)


def _apt(survey: Survey, runs: list[Invocation]) -> Iterator[Finding]:
    pipelines = runs[0].script.parsed.pipelines if runs else ()
    piped = {id(element) for pipeline in pipelines for element in pipeline.elements[1:]}
    for run in runs:
        verb = subcommand(run) if run.name in APT else None
        if verb is None:
            continue
        script = run.script
        if run.name == "apt" and verb.value in _APT_SAME:
            name = run.words[0]
            place = script.place(name.start, name.end)
            change = Change(place, "apt-get")
            fix = Fix("write apt-get", (change,)) if name.text == "apt" else None
            yield own.APT_GET_INSTEAD_OF_APT.at(script.node, verb.value, place=place, fix=fix)
        if verb.value == "install" and _asks(survey, run, fed=_fed(run, piped)):
            place = script.place(run.command.start, verb.end)
            fix = Fix("add -y", (insertion(script, verb, " -y"),))
            yield own.APT_ASSUME_YES.at(script.node, run.name, place=place, fix=fix)


def _asks(survey: Survey, run: Invocation, *, fed: bool) -> bool:
    if survey.assumes_yes or fed or run.has(*_YES):
        return False
    quiet = "".join(flag for flag in run.flags if re.fullmatch(r"-[A-Za-z]+", flag))
    levels = any(flag.startswith(("-q=2", "--quiet=2")) for flag in run.flags)
    dynamic = any(not word.literal and word.value.startswith("$") for word in run.arguments)
    return quiet.count("q") < 2 and not levels and not dynamic


def _fed(run: Invocation, piped: set[int]) -> bool:
    """Whether something is piped into it, such as ``yes``."""
    redirects = run.command.redirects
    return id(run.command) in piped or any(item.operator.startswith("<") for item in redirects)


def _apt_recommends(survey: Survey, runs: list[Invocation]) -> Iterator[Finding]:
    if survey.spares_recommends:
        return
    for run in runs:
        verb = subcommand(run)
        if verb is None or not apt_packages(run) or run.has(*_APT_SPARING):
            continue
        script = run.script
        change = insertion(script, verb, " --no-install-recommends")
        yield own.APT_NO_INSTALL_RECOMMENDS.at(
            script.node,
            run.name,
            place=script.place(run.command.start, verb.end),
            fix=Fix("add --no-install-recommends", (change,), safe=False),
        )


def _apt_left(script: Script, runs: list[Invocation]) -> Iterator[Finding]:
    updates = [run for run in runs if _is_update(run)]
    if not updates or not any(_fetches(run) for run in runs):
        return
    if _APT_CLEANED.search(script.text) or cached(script.node, "/var/lib/apt/lists"):
        return
    command = updates[0].command
    yield own.APT_LISTS_LEFT.at(
        script.node, updates[0].name, place=script.place(command.start, command.end)
    )


def _is_update(run: Invocation) -> bool:
    verb = subcommand(run) if run.name in APT else None
    return verb is not None and verb.value == "update"


def _fetches(run: Invocation) -> bool:
    verb = subcommand(run) if run.name in APT else None
    return verb is not None and verb.value in _APT_FETCHING


def _stale_lists(survey: Survey, stage: nodes.Stage) -> Iterator[Finding]:
    """An update alone, and a later RUN of the stage or its heirs that installs from its lists."""
    alone = [
        (position, script, run)
        for position, script in enumerate(survey.scripts(stage))
        for run in _lonely_update(script)
    ]
    if not alone:
        return
    later = chain([stage.index], survey.heirs(stage.index))
    scripts = [script for index in later for script in survey.scripts(survey.stages[index])]
    users = [number for number, script in enumerate(scripts) if _installs_stale(script)]
    for position, script, run in alone:
        first = bisect_right(users, position)
        if first < len(users):
            yield own.APT_UPDATE_ALONE.at(
                script.node,
                run.name,
                scripts[users[first]].node.range.start,
                place=script.place(run.command.start, run.command.end),
            )


def _lonely_update(script: Script) -> list[Invocation]:
    """The first update of a RUN that does nothing with it, as far as its commands are known."""
    runs = list(invocations(script))
    updates = [run for run in runs if _is_update(run)]
    known = all(run.name for run in runs) and not cached(script.node, "/var/lib/apt/lists")
    return updates[:1] if known and not any(map(_fetches, runs)) else []


def _installs_stale(script: Script) -> bool:
    runs = list(invocations(script))
    return any(map(apt_packages, runs)) and not any(map(_is_update, runs))


def _apk_left(script: Script, runs: list[Invocation]) -> Iterator[Finding]:
    if _APK_CLEANED.search(script.text) or cached(script.node, "/var/cache/apk", "/etc/apk/cache"):
        return
    for run in runs:
        verb = subcommand(run) if run.name == "apk" else None
        if verb is not None and verb.value == "add" and not run.has(*_APK_CLEAN):
            yield own.APK_CACHE_LEFT.at(
                script.node,
                place=script.place(run.command.start, verb.end),
                fix=Fix("add --no-cache", (insertion(script, verb, " --no-cache"),)),
            )


def _dnf_left(script: Script, runs: list[Invocation]) -> Iterator[Finding]:
    names = {"dnf", "yum", "microdnf"}
    if _DNF_CLEANED.search(script.text) or cached(script.node, "/var/cache/dnf", "/var/cache/yum"):
        return
    for run in runs:
        verb = subcommand(run) if run.name in names else None
        if verb is not None and verb.value in ("install", "groupinstall", "update", "upgrade"):
            place = script.place(run.command.start, verb.end)
            yield own.DNF_CACHE_LEFT.at(script.node, run.name, place=place)
            return


def _pip_left(script: Script, runs: list[Invocation]) -> Iterator[Finding]:
    if _PIP_CLEANED.search(script.text) or any("cache" in value for value in _cached(script)):
        return
    for run in runs:
        verb = subcommand(run) if run.name == "pip" else None
        if verb is not None and verb.value == "install":
            yield own.PIP_CACHE_LEFT.at(
                script.node,
                place=script.place(run.command.start, verb.end),
                fix=Fix("add --no-cache-dir", (insertion(script, verb, " --no-cache-dir"),)),
            )


def _cached(script: Script) -> Iterator[str]:
    for mount in script.node.mounts:
        options = dict(mount.options)
        if options.get("type") == "cache":
            yield options.get("target") or options.get("dst") or options.get("destination") or ""


def _sets_pip(stage: nodes.Stage) -> bool:
    """Whether a stage says in a variable or a file that pip keeps no cache."""
    texts = map(text_of, stage.instructions)
    return any("PIP_NO_CACHE_DIR" in text or "pip.conf" in text for text in texts)


_CACHES: Final = {
    ("apk", "add"): "/var/cache/apk",
    ("npm", "ci"): "/root/.npm",
    ("npm", "install"): "/root/.npm",
    ("yarn", "install"): "/usr/local/share/.cache/yarn",
    ("pip", "install"): "/root/.cache/pip",
    ("uv pip", "install"): "/root/.cache/uv",
    ("uv", "sync"): "/root/.cache/uv",
    ("go", "build"): "/root/.cache/go-build",
    ("go", "install"): "/root/.cache/go-build",
    ("go", "mod"): "/go/pkg/mod",
    ("cargo", "build"): "/usr/local/cargo/registry",
    ("cargo", "install"): "/usr/local/cargo/registry",
    ("cargo", "fetch"): "/usr/local/cargo/registry",
    ("bundle", "install"): "/usr/local/bundle/cache",
    ("composer", "install"): "/tmp/cache",
    ("dotnet", "restore"): "/root/.nuget/packages",
    ("mvn", "package"): "/root/.m2",
    ("apt-get", "install"): "/var/cache/apt",
    ("apt", "install"): "/var/cache/apt",
}
"""Where tools keep what they have downloaded when they run as root."""
