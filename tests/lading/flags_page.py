"""The flags of other builders as they list them, and ``docs/build-flags.md`` made of that.

``python -m tests.lading.flags_page > docs/build-flags.md``
"""

from __future__ import annotations

from lading.flags import SWITCH, Line
from lading.flags.bake import BAKE
from lading.flags.build import BUILD
from lading.flags.elsewhere import COMMANDS as OTHERS
from lading.flags.elsewhere import ELSEWHERE, IGNORED, MEANS

BUILDX = """\
add-host allow annotation attest build-arg build-context builder cache-from cache-to call
cgroup-parent check compress cpu-period cpu-quota cpu-shares cpuset-cpus cpuset-mems debug detach
file force-rm iidfile invoke isolation label load memory memory-swap metadata-file network no-cache
no-cache-filter on output platform policy print progress provenance pull push quiet resource rm root
sbom secret security-opt server-config shm-size squash ssh tag target ulimit
"""
BUILDX_BAKE = """\
allow builder call check debug file list list-targets list-variables load metadata-file no-cache
policy print progress provenance pull push sbom set var
"""
BUILDAH = """\
add-host all-platforms annotation arch authfile blob-cache build-arg build-arg-file build-context
cache-from cache-to cache-ttl cap-add cap-drop cdi-config-dir cert-dir cgroup-parent cgroupns
compat-volumes compress compression-format compression-level cpp-flag cpu-period cpu-quota
cpu-shares cpuset-cpus cpuset-mems created-annotation creds cw decryption-key device
disable-compression disable-content-trust dns dns-option dns-search env file force-compression
force-rm format from hooks-dir http-proxy identity-label ignorefile iidfile iidfile-raw
inherit-annotations inherit-labels ipc isolation jobs label layer-label layers log-rusage logfile
loglevel logsplit manifest memory memory-swap metadata-file mount network no-cache no-hostname
no-hosts omit-history os os-feature os-version output pid platform pull pull-always pull-never quiet
retry retry-delay rewrite-timestamp rm runtime runtime-flag rusage-logfile save-stages sbom
sbom-image-output sbom-image-purl-output sbom-merge-strategy sbom-output sbom-purl-output
sbom-scanner-command sbom-scanner-image secret security-opt shm-size sign-by signature-policy
skip-unused-stages source-date-epoch source-policy-file squash ssh stage-labels stdin tag target
timestamp tls-verify ulimit unsetannotation unsetenv unsetlabel userns userns-gid-map
userns-gid-map-group userns-uid-map userns-uid-map-user uts variant volume
"""
KANIKO = """\
bucket build-arg cache cache-copy-layers cache-dir cache-repo cache-run-layers cache-ttl cleanup
compressed-caching compression compression-level context context-sub-path custom-platform
customPlatform destination digest-file dockerfile force force-build-metadata git ignore-path
ignore-var-run image-download-retry image-fs-extract-retry image-name-tag-with-digest-file
image-name-with-digest-file insecure insecure-pull insecure-registry kaniko-dir label log-format
log-timestamp no-push no-push-cache oci-layout-path push-ignore-immutable-tag-errors push-retry
registry-certificate registry-client-cert registry-map registry-mirror reproducible single-snapshot
skip-default-registry-fallback skip-push-permission-check skip-tls-verify skip-tls-verify-pull
skip-tls-verify-registry skip-unused-stages snapshot-mode snapshotMode tar-path tarPath target
use-new-run verbosity whitelist-var-run
"""
COMMANDS = {
    "imagetools create": "annotation append builder dry-run file metadata-file platform "
    "prefer-index progress tag",
    "imagetools inspect": "builder format raw",
    "history builds ls": "builder filter format local no-trunc",
    "history builds attachment": "builder platform type",
    "history builds export": "all builder finalize output",
    "history builds import": "builder file",
    "history builds inspect": "builder format",
    "history builds logs": "builder progress",
    "history builds open": "builder",
    "history builds rm": "all builder",
    "history builds trace": "addr builder compare",
    "builder du": "builder filter format timeout verbose",
    "builder prune": "all builder filter force max-used-space min-free-space reserved-space "
    "timeout verbose",
    "builder ls": "format no-trunc timeout",
    "builder inspect": "bootstrap timeout",
    "builder use": "default global",
    "builder rm": "all-inactive force keep-daemon keep-state timeout",
    "builder create": "append bootstrap buildkitd-config buildkitd-flags driver driver-opt leave "
    "name node platform timeout use",
}
"""Flags of docker buildx' commands, by the command here that stands for each."""
TOOLS = {
    "docker buildx build": (BUILD, BUILDX),
    "docker buildx bake": (BAKE, BUILDX_BAKE),
    "buildah build, podman build": (BUILD, BUILDAH),
    "kaniko": (BUILD, KANIKO),
}
"""What is the command here, and what flags there are there."""
DIFFER = {
    "policy": "takes a trust policy of lading ([trust](trust.md)); buildx' is written in rego",
    "squash": "ships one layer; docker buildx takes it and does nothing",
    "pull": "with buildah's `=always`, `=newer`, `=missing`, too",
    "sbom": "takes no scanner: nothing of the image is executed",
    "build-arg-file": "is read here too",
    "allow": "the same; `fs.read=PATH` is for bake, `buildx.local.delete` is not asked for here",
    "disable-content-trust": "means what it meant for docker, see [trust](trust.md)",
    "network": "`default`, `none` or `host`",
}
HEAD = """\
# Flags of other builders

Made of the table that `lading build` reads (`lading/flags/elsewhere.py`): each flag of docker
buildx 0.36, buildah 1.44 (podman build) and kaniko 1.24 is here under its name, is read as what
stands beside it, is taken without effect, or is refused with the sentence below.
Switches take a value as well: `--push=true`, `--no-cache=false`.
"""


def known(line: Line) -> set[str]:
    """The long names of a command, without dashes."""
    names = (name for flag in line.flags for name in flag.names.split())
    return {name.removeprefix("--") for name in names if name.startswith("--")}


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    told = {name.lstrip("-"): flag for flag in ELSEWHERE for name in flag.names.split()}
    for tool, (line, text) in TOOLS.items():
        own, flags = known(line), text.split()
        same = [name for name in flags if name in own]
        parts.append(f"## {tool}\n\nThe same here: {', '.join(f'`--{name}`' for name in same)}.\n")
        rows = [f"| `--{name}` | {DIFFER[name]} |" for name in flags if name in DIFFER]
        rows += [
            f"| `--{name}` | {_answer(told[name].kind, told[name].text)} |"
            for name in flags
            if name not in own and name not in DIFFER
        ]
        parts.append("\n".join(["| flag | here |", "|---|---|", *rows]) + "\n")
    parts.append("## docker buildx imagetools, history, du, prune, create, ...\n")
    rows = [
        f"| `{command}` | {_listed(set(text.split()) - {it.lstrip('-') for it in there})} | "
        + "; ".join(f"`{name}`: {fix}" for name, fix in there.items())
        + " |"
        for command, text in COMMANDS.items()
        for there in [OTHERS.get(command, {})]
    ]
    parts.append("\n".join(["| here | the same | instead |", "|---|---|---|", *rows]) + "\n")
    return "\n".join(parts)


def _listed(names: set[str]) -> str:
    return ", ".join(f"`--{name}`" for name in sorted(names)) or "–"


def _answer(kind: str, text: str) -> str:
    if kind == MEANS:
        return f"`{text.replace('{}', 'VALUE')}`"
    return f"no effect: {text}" if kind == IGNORED else text


def switches(line: Line) -> list[str]:
    """A name of each switch."""
    return [flag.names.split()[-1] for flag in line.flags if flag.kind == SWITCH]


if __name__ == "__main__":
    print(page(), end="")
