"""The flags of ``lading build``."""

from __future__ import annotations

from lading.flags import (
    INSECURE,
    LIMITS,
    LIST,
    NO_CONTENT_TRUST,
    ON_OFF,
    OPTIONAL,
    PATH,
    POLICY,
    SWITCH,
    TEXT,
    VERIFY_KEY,
    Flag,
    Line,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

BUILD: Final = Line(
    (
        Flag("tags", "-t --tag", LIST, "Name for the image", "NAME"),
        Flag("file", "-f --file", TEXT, "Dockerfile  [default: CONTEXT/Dockerfile]", "PATH"),
        Flag("build_args", "--build-arg", LIST, "Build argument", "K[=V]"),
        Flag("labels", "--label", LIST, "Label of the image", "K=V"),
        Flag("annotations", "--annotation", LIST, "On the manifest", "K=V"),
        Flag("target", "--target", TEXT, "Stage to build", "STAGE"),
        Flag("platforms", "--platform", LIST, "Platforms to build for", "OS/ARCH[,...]"),
        Flag("no_cache", "--no-cache", SWITCH, "Run every step anew"),
        Flag("no_cache_filter", "--no-cache-filter", LIST, "Run these stages anew", "STAGE,..."),
        Flag(
            "arg_scope",
            "--build-arg-scope",
            TEXT,
            "RUN depends on every ARG declared above it, or on those it mentions",
            default="declared",
            choices=("declared", "used"),
        ),
        Flag(
            "rewrite_timestamp",
            "--rewrite-timestamp --no-rewrite-timestamp",
            ON_OFF,
            "With SOURCE_DATE_EPOCH, no file of a new layer is younger than it",
        ),
        Flag("pull", "--pull", SWITCH, "Pull the base images even when they are here"),
        Flag(
            "cache_from",
            "--cache-from",
            LIST,
            "Cache to look steps up in: an image's, a registry's, a directory's",
            "NAME|type=...",
        ),
        Flag(
            "cache_to",
            "--cache-to",
            LIST,
            "Cache to fill: type=registry,ref=NAME, type=local,dest=DIR or type=inline",
            "NAME|type=...",
        ),
        Flag(
            "lock",
            "--lock",
            PATH,
            "Hold images and files of ADD to the digests in this file; add those that are missing",
            "FILE",
        ),
        Flag("locked", "--locked", SWITCH, "With --lock, refuse what is not in the file"),
        Flag(
            "network", "--network", TEXT, "Network of RUN: default, none or host", default="default"
        ),
        Flag("allow", "--allow", LIST, "Let RUN use network.host or security.insecure", "NAME"),
        Flag("hosts", "--add-host", LIST, "Entry of /etc/hosts", "NAME:IP"),
        Flag(
            "secrets",
            "--secret",
            LIST,
            "Secret; with cache=digest, RUN depends on what it says",
            "id=N[,src=F|,env=V][,cache=digest]",
        ),
        Flag("agents", "--ssh", LIST, "SSH agent to forward", "ID[=SOCKET]"),
        Flag("shm_size", "--shm-size", TEXT, "Size of /dev/shm in RUN", "BYTES"),
        Flag("ulimits", "--ulimit", LIST, "Limit in RUN", "NAME=SOFT:HARD"),
        Flag("cgroup_parent", "--cgroup-parent", TEXT, "Control group above RUN's", "PATH", ""),
        *LIMITS,
        Flag("iidfile", "--iidfile", PATH, "Write the image id to this file", "PATH"),
        Flag("progress", "--progress", TEXT, "auto, tty, plain, quiet or rawjson", default="auto"),
        Flag("quiet", "-q --quiet", SWITCH, "Only print the image id"),
        Flag(
            "plan",
            "--plan",
            TEXT,
            "Print the plan, build nothing",
            choices=("text", "json", "dot"),
        ),
        Flag(
            "explain",
            "--explain",
            OPTIONAL,
            "Say why each step was cached or not; with --plan, what would be done",
            "[=text|json]",
            choices=("text", "json"),
        ),
        Flag(
            "on_error",
            "--on-error",
            TEXT,
            "When RUN fails, end the build, or open a shell in the step first",
            default="fail",
            choices=("fail", "shell"),
        ),
        Flag("check", "--check", SWITCH, "Check the Dockerfile, build nothing; as --call=check"),
        Flag(
            "call",
            "--call",
            TEXT,
            "What to do with the Dockerfile",
            default="build",
            choices=("build", "check", "check,format=text", "check,format=json"),
        ),
        INSECURE,
        POLICY,
        VERIFY_KEY,
        NO_CONTENT_TRUST,
    ),
    ("context",),
    default=".",
)
