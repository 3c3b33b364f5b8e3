"""The rules of our own: names, descriptions, messages, levels, and what hadolint calls them.

They speak where BuildKit is silent. What makes them fire is in ``packages``, ``pinning``,
``commands``, ``copying``, ``layout`` and ``ordering``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from builder.lint.rules import Level, Rule


def _rule(
    name: str,
    description: str,
    message: Callable[..., str],
    level: Level = Level.RECOMMENDED,
    *,
    aliases: str = "",
    advice: str = "",
) -> Rule:
    return Rule(
        name,
        description,
        message,
        level=level,
        aliases=tuple(aliases.split()),
        advice=advice,
        own=True,
    )


def _cost(steps: int) -> str:
    return "1 later step" if steps == 1 else f"{steps} later steps"


# Almost surely mistakes.

RUN_WITHOUT_EFFECT: Final = _rule(
    "RunWithoutEffect",
    "A RUN that only changes its shell leaves nothing behind",
    "'{}' is forgotten when this step ends; {}".format,
    Level.DEFAULT,
)
ENTRYPOINT_IGNORES_CMD: Final = _rule(
    "EntrypointIgnoresCmd",
    "A shell-form ENTRYPOINT does not see CMD",
    "The shell-form ENTRYPOINT on line {} ignores this CMD".format,
    Level.DEFAULT,
    advice='write ENTRYPOINT ["program", "argument"]',
)
PLATFORM_ARG_DEFAULT: Final = _rule(
    "PlatformArgDefault",
    "A default for an automatic platform argument replaces its value",
    "'ARG {0}={1}' is {1} for every platform: a default replaces the automatic value".format,
    Level.DEFAULT,
    advice="declare it without a default",
)
SEVERAL_SOURCES_NEED_SLASH: Final = _rule(
    "SeveralSourcesNeedSlash",
    "The destination of several sources is a directory and ends with a slash",
    "{0} has {1} sources, so its destination should be a directory: {2}/".format,
    Level.DEFAULT,
    aliases="DL3021",
)
CHMOD_HIDES_DIRECTORY: Final = _rule(
    "ChmodHidesDirectory",
    "A mode without x makes directories unsearchable",
    "--chmod={0} takes the right to enter from the directories in {1}".format,
    Level.DEFAULT,
    advice="use --chmod=u=rwX,go=rX, which gives x to directories alone",
)

# Package managers.

APT_ASSUME_YES: Final = _rule(
    "AptAssumeYes",
    "apt-get install should not ask",
    "'{} install' asks for consent, and nobody can answer: use -y".format,
    aliases="DL3014",
)
APT_GET_INSTEAD_OF_APT: Final = _rule(
    "AptGetInsteadOfApt",
    "apt is for people, apt-get for scripts",
    "'apt {0}' has no stable command line: use apt-get {0}".format,
    aliases="DL3027",
)
APT_LISTS_LEFT: Final = _rule(
    "AptListsLeft",
    "Package lists stay in the layer",
    "The package lists that '{} update' fetches stay in the image".format,
    aliases="DL3009",
    advice="end the RUN with rm -rf /var/lib/apt/lists/*, or mount a cache there",
)
APT_NO_INSTALL_RECOMMENDS: Final = _rule(
    "AptNoInstallRecommends",
    "Recommended packages are installed too",
    "'{} install' brings recommended packages too: use --no-install-recommends".format,
    aliases="DL3015",
)
APT_UPDATE_ALONE: Final = _rule(
    "AptUpdateAlone",
    "apt-get update in a RUN of its own gets stale in the cache",
    "The lists of this '{} update' are cached, and the install on line {} will use old ones".format,
    advice="write apt-get update && apt-get install in one RUN",
)
APK_CACHE_LEFT: Final = _rule(
    "ApkCacheLeft",
    "The index of apk stays in the layer",
    "'apk add' leaves its index in the image: use --no-cache".format,
    aliases="DL3019",
)
DNF_CACHE_LEFT: Final = _rule(
    "DnfCacheLeft",
    "The cache of the package manager stays in the layer",
    "'{0} install' leaves its cache in the image: add {0} clean all to this RUN".format,
    aliases="DL3032 DL3040",
)
PIP_CACHE_LEFT: Final = _rule(
    "PipCacheLeft",
    "The cache of pip stays in the layer",
    "'pip install' leaves its cache in the image: use --no-cache-dir or a cache mount".format,
    aliases="DL3042",
)
PIN_APT_VERSIONS: Final = _rule(
    "PinAptVersions",
    "Versions of Debian packages should be pinned",
    "Package '{0}' is installed in any version: write {0}=VERSION".format,
    Level.OPTIONAL,
    aliases="DL3008",
)
PIN_APK_VERSIONS: Final = _rule(
    "PinApkVersions",
    "Versions of Alpine packages should be pinned",
    "Package '{0}' is installed in any version: write {0}=VERSION".format,
    Level.OPTIONAL,
    aliases="DL3018",
)
PIN_PIP_VERSIONS: Final = _rule(
    "PinPipVersions",
    "Versions of Python packages should be pinned",
    "Package '{0}' is installed in any version: write {0}==VERSION".format,
    aliases="DL3013",
    advice="or install from a requirements file that pins them",
)
PIN_NPM_VERSIONS: Final = _rule(
    "PinNpmVersions",
    "Versions of Node packages should be pinned",
    "Package '{0}' is installed in any version: write {0}@VERSION".format,
    aliases="DL3016",
)
PIN_GEM_VERSIONS: Final = _rule(
    "PinGemVersions",
    "Versions of Ruby gems should be pinned",
    "Gem '{0}' is installed in any version: write {0}:VERSION".format,
    aliases="DL3028",
)
CACHE_MOUNT_RECOMMENDED: Final = _rule(
    "CacheMountRecommended",
    "A cache mount would keep downloads between builds",
    "'{}' downloads everything again in each new build: add --mount=type=cache,target={}".format,
    Level.OPTIONAL,
)

# Commands.

WORKDIR_INSTEAD_OF_CD: Final = _rule(
    "WorkdirInsteadOfCd",
    "WORKDIR changes directory for all that follows",
    "Use WORKDIR {0} instead of cd {0}".format,
    Level.OPTIONAL,
    aliases="DL3003",
)
WORKDIR_INSTEAD_OF_MKDIR: Final = _rule(
    "WorkdirInsteadOfMkdir",
    "WORKDIR makes its directory",
    "WORKDIR {0} makes the directory and enters it, also for the steps that follow".format,
)
SUDO_IN_RUN: Final = _rule(
    "SudoInRun",
    "RUN needs no sudo",
    "sudo is not needed here, where commands run as root".format,
    aliases="DL3004",
    advice="leave it out; USER changes the user",
)
PIPE_WITHOUT_PIPEFAIL: Final = _rule(
    "PipeWithoutPipefail",
    "The status of a pipeline is that of its last command",
    "When '{}' fails, this step goes on, because a pipe follows it".format,
    aliases="DL4006",
    advice='put SHELL ["/bin/bash", "-o", "pipefail", "-c"] above, or set -o pipefail in the step',
)
DOWNLOAD_PIPED_TO_SHELL: Final = _rule(
    "DownloadPipedToShell",
    "A download that is executed unseen",
    "{} executes whatever {} brings, also half of it".format,
    advice="download it to a file, compare its checksum (ADD --checksum), then run it",
)
HEREDOC_WITHOUT_ERREXIT: Final = _rule(
    "HeredocWithoutErrexit",
    "The lines of a here-document go on after a failure",
    "When '{}' fails, the lines below are executed nevertheless: begin with set -e".format,
)
BUILD_ARG_AS_CREDENTIAL: Final = _rule(
    "BuildArgAsCredential",
    "Build arguments are no place for credentials",
    "Build argument '{0}' is used as a credential, and stays in the image's history".format,
    advice="use --mount=type=secret,id=NAME,env=NAME",
)
SHELL_WITHOUT_EXEC: Final = _rule(
    "ShellWithoutExec",
    "The shell does not pass signals on",
    "{0} starts '{1}' below a shell that passes no signals on: write exec {1}".format,
)

# Files.

COPY_INSTEAD_OF_ADD: Final = _rule(
    "CopyInsteadOfAdd",
    "COPY is enough where nothing is fetched or unpacked",
    "ADD fetches and unpacks; for '{}' COPY is enough".format,
    aliases="DL3020",
)
WILDCARD_MATCHES_NOTHING: Final = _rule(
    "WildcardMatchesNothing",
    "A wildcard without a match copies nothing, silently",
    "Nothing in the build context matches '{}', so nothing is copied".format,
)

# Bases, users, stages.

FLOATING_BASE_IMAGE: Final = _rule(
    "FloatingBaseImage",
    "The base image should have a version",
    "Base image '{}' is another one tomorrow: name a version".format,
    aliases="DL3006 DL3007",
)
LAST_USER_ROOT: Final = _rule(
    "LastUserRoot",
    "The last USER should not be root",
    "Containers of this image run as root, because the last USER is '{}'".format,
    aliases="DL3002",
)
USER_MISSING: Final = _rule(
    "UserMissing",
    "The image should have a USER",
    "No USER is set, so containers run as the base image says, usually as root".format,
    Level.OPTIONAL,
)
HEALTHCHECK_MISSING: Final = _rule(
    "HealthcheckMissing",
    "The image should have a HEALTHCHECK",
    "No HEALTHCHECK is set".format,
    Level.OPTIONAL,
    aliases="DL3057",
)
UNUSED_STAGE: Final = _rule(
    "UnusedStage",
    "A stage without name that nothing uses",
    "Nothing uses this stage, and without a name it cannot be a target".format,
)
UNREFERENCED_STAGE: Final = _rule(
    "UnreferencedStage",
    "A stage that only --target reaches",
    "Nothing in this file uses stage '{}'".format,
    Level.OPTIONAL,
)

# Variables and the cache.

UNUSED_ARG: Final = _rule(
    "UnusedArg",
    "A build argument that nothing reads",
    "Build argument '{}' is declared, but nothing reads it".format,
)
DUPLICATE_ENV: Final = _rule(
    "DuplicateEnv",
    "A variable is set twice before anything reads it",
    "'{}' is set again before anything reads the value from line {}".format,
)
EARLY_ARG: Final = _rule(
    "EarlyArg",
    "A build argument invalidates what stands between its declaration and its first use",
    lambda name, use, steps, lines: (
        f"Every new value of '{name}' does {_cost(steps)} anew that do not need it (line {lines}): "
        f"declare it right before line {use}"
    ),
)
COPY_BEFORE_INSTALL: Final = _rule(
    "CopyBeforeInstall",
    "The whole context is copied before dependencies are installed",
    lambda command, line, steps: (
        f"Any change in the context does '{command}' (line {line}) anew"
        + (f", and with it {_cost(steps)}" if steps else "")
    ),
    advice="copy the files that name the dependencies first, install, then copy the rest",
)

OWN: Final[Mapping[str, Rule]] = {
    rule.name: rule
    for rule in (
        RUN_WITHOUT_EFFECT,
        ENTRYPOINT_IGNORES_CMD,
        PLATFORM_ARG_DEFAULT,
        SEVERAL_SOURCES_NEED_SLASH,
        CHMOD_HIDES_DIRECTORY,
        APT_ASSUME_YES,
        APT_GET_INSTEAD_OF_APT,
        APT_LISTS_LEFT,
        APT_NO_INSTALL_RECOMMENDS,
        APT_UPDATE_ALONE,
        APK_CACHE_LEFT,
        DNF_CACHE_LEFT,
        PIP_CACHE_LEFT,
        PIN_APT_VERSIONS,
        PIN_APK_VERSIONS,
        PIN_PIP_VERSIONS,
        PIN_NPM_VERSIONS,
        PIN_GEM_VERSIONS,
        CACHE_MOUNT_RECOMMENDED,
        WORKDIR_INSTEAD_OF_CD,
        WORKDIR_INSTEAD_OF_MKDIR,
        SUDO_IN_RUN,
        PIPE_WITHOUT_PIPEFAIL,
        DOWNLOAD_PIPED_TO_SHELL,
        HEREDOC_WITHOUT_ERREXIT,
        BUILD_ARG_AS_CREDENTIAL,
        SHELL_WITHOUT_EXEC,
        COPY_INSTEAD_OF_ADD,
        WILDCARD_MATCHES_NOTHING,
        FLOATING_BASE_IMAGE,
        LAST_USER_ROOT,
        USER_MISSING,
        HEALTHCHECK_MISSING,
        UNUSED_STAGE,
        UNREFERENCED_STAGE,
        UNUSED_ARG,
        DUPLICATE_ENV,
        EARLY_ARG,
        COPY_BEFORE_INSTALL,
    )
}
"""Every rule of our own by its name."""
