"""The flags of ``lading bake``."""

from __future__ import annotations

from lading.flags import (
    INSECURE,
    LIST,
    NO_CONTENT_TRUST,
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

_TRUTH: Final = ("true", "false")

BAKE: Final = Line(
    (
        Flag("files", "-f --file", LIST, "Definition; the usual names if there is none", "PATH|-"),
        Flag("sets", "--set", LIST, "Change a target", "TARGET.KEY[+]=VALUE"),
        Flag("variables", "--var", LIST, "Give a variable its value", "NAME=VALUE"),
        Flag(
            "allow", "--allow", LIST, "Let targets do what is not theirs by default", "NAME[=PATH]"
        ),
        Flag("print_only", "--print", SWITCH, "Print the targets as JSON, build nothing"),
        Flag("listed", "--list", TEXT, "List targets or variables", "[type=]TYPE[,format=json]"),
        Flag("check", "--check", SWITCH, "Check the Dockerfiles, build nothing; as --call=check"),
        Flag(
            "call",
            "--call",
            TEXT,
            "What to do with the Dockerfiles: build, check, or list their outline or targets",
            "METHOD[,format=json]",
        ),
        Flag("push", "--push", SWITCH, "To their names' registries; as --set=*.push=true"),
        Flag("load", "--load", SWITCH, "Into the local store, whatever else; as --set=*.load=true"),
        Flag("no_cache", "--no-cache", OPTIONAL, "Run every step anew", choices=_TRUTH),
        Flag("pull", "--pull", OPTIONAL, "Pull the base images", choices=_TRUTH),
        Flag(
            "provenance", "--provenance", TEXT, "As --set=*.attest=type=provenance,...", "OPTIONS"
        ),
        Flag("sbom", "--sbom", TEXT, "As --set=*.attest=type=sbom,...", "OPTIONS"),
        Flag("builder", "--builder", TEXT, "Build at the machines of this builder", "NAME"),
        Flag("metadata_file", "--metadata-file", PATH, "Write digests and names as JSON", "PATH"),
        Flag(
            "progress",
            "--progress",
            TEXT,
            "auto, tty, plain, quiet, rawjson or none",
            default="auto",
        ),
        INSECURE,
        POLICY,
        VERIFY_KEY,
        NO_CONTENT_TRUST,
    ),
    ("names...",),
)
