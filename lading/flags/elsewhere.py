"""Flags of other builders that ``lading build`` has not under their name, and what to type here.

Read only where a command line has a flag that nobody here knows. Names are those of docker buildx
0.36, buildah 1.44 (podman build) and kaniko 1.24; ``docs/build-flags.md`` is made of this table.
"""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

IGNORED: Final = "ignored"
"""Taken and without effect; the text says why that is right."""
MEANS: Final = "means"
"""Read as the flags in the text, with the value in place of ``{}``."""
REFUSED: Final = "refused"
"""An error; the text says what to do instead."""


class Foreign(Record):
    """Flags of one meaning, as they are typed; ``value`` says whether they take one."""

    names: str
    kind: str
    text: str
    value: bool = False


def _ignored(names: str, text: str, *, value: bool = False) -> Foreign:
    return Foreign(names, IGNORED, text, value)


def _means(names: str, text: str) -> Foreign:
    return Foreign(names, MEANS, text, "{}" in text)


def _refused(names: str, text: str, *, value: bool = True) -> Foreign:
    return Foreign(names, REFUSED, text, value)


_NOT_GIVEN: Final = "steps have namespaces of their own; see --network, --add-host and --allow"
_INSECURE: Final = "name the registry: --insecure-registry HOST"
_PACKED: Final = "it belongs to an output: -o type=image,compression=zstd,compression-level=9"
_NEITHER: Final = (
    "what the base has stays; begin with another base, or set it anew in the Dockerfile"
)
_SBOM: Final = "write --sbom; nothing is executed and no scanner is fetched"
_CERTIFICATES: Final = "they are below certs.d/HOST, as docker has them (docs/registries.md)"
_AGAIN: Final = "pulls and pushes are tried again by themselves"
_APART: Final = "the builder works outside its own root"
_REGISTRIES: Final = "write it into registries.conf (docs/registries.md)"
_FORCED: Final = (
    "it belongs to an output: -o type=image,force-compression=true (or compression=...)"
)
_SHIPPED: Final = "the history, labels and annotations of an image are those of its Dockerfile"

ELSEWHERE: Final = (
    # docker build and docker buildx build
    _ignored("--rm --force-rm", "containers of steps are always removed"),
    _ignored("--compress", "a local context is read where it is"),
    _ignored(
        "--isolation", "steps run in lading's own sandbox, rootless where you are", value=True
    ),
    _means("--resource", "--{}"),
    _refused(
        "--security-opt",
        "a step that needs more: RUN --security=insecure, --allow security.insecure",
    ),
    _refused("-D --debug", "write it before the command: lading --debug build", value=False),
    _refused("--invoke --on", "write --on-error=shell"),
    _refused("--detach", "builds run in the foreground; add & in the shell", value=False),
    _refused("--root --server-config", "there is no controller; state is below lading --root DIR"),
    # buildah build, podman build
    _ignored("--layers", "steps are always cached one by one; --squash ships one layer"),
    _ignored("--jobs", "what does not depend on one another is done at the same time", value=True),
    _ignored("--skip-unused-stages", "stages that the target does not need are never built"),
    _ignored("--retry --retry-delay", _AGAIN, value=True),
    _ignored(
        "--no-pivot --storage-driver --storage-opt --runroot",
        "there is no such choice here",
        value=True,
    ),
    _ignored("--identity-label --created-annotation", "neither is ever written"),
    _ignored("--compat-volumes", "what is written into a VOLUME stays, as in BuildKit"),
    _means("--timestamp", "--build-arg=SOURCE_DATE_EPOCH={}"),
    _means("--source-date-epoch", "--build-arg=SOURCE_DATE_EPOCH={}"),
    _means("--arch", "--platform=linux/{}"),
    _means("--pull-always", "--pull"),
    _refused("--pull-never", "build from a lock: --lock FILE --locked", value=False),
    _refused("--os --variant", "write the whole platform: --platform linux/arm/v7"),
    _refused("--os-version --os-feature", "they come from the base image"),
    _refused("--all-platforms", "name them: --platform linux/amd64,linux/arm64", value=False),
    _refused("--manifest", "write -t NAME; several platforms make a list by themselves"),
    _refused("--authfile", "name its directory: lading --config DIR (or DOCKER_CONFIG)"),
    _refused("--creds", "log in first: lading login REGISTRY"),
    _refused("--cert-dir", _CERTIFICATES),
    _refused("--tls-verify", _INSECURE, value=False),
    _refused("--cache-ttl", "old steps go with: lading builder prune --filter until=24h"),
    _refused(
        "--cap-add --cap-drop",
        "RUN --security=insecure has all of them, with --allow security.insecure",
    ),
    _refused(
        "--device --cdi-config-dir", "write RUN --device=NAME, with --allow device; see /etc/cdi"
    ),
    _refused("--group-add", "write it in the Dockerfile: USER NAME:GROUP"),
    _refused("--cgroupns --ipc --pid --uts --userns", _NOT_GIVEN),
    _refused("--userns-uid-map --userns-gid-map", _NOT_GIVEN),
    _refused("--userns-uid-map-user --userns-gid-map-group", _NOT_GIVEN),
    _refused(
        "--no-hosts --no-hostname",
        "steps have files of their own, and none is left in the image",
        value=False,
    ),
    _refused("--http-proxy", "pass proxies by name: --build-arg HTTP_PROXY", value=False),
    _refused("--runtime --runtime-flag --hooks-dir", "steps run in lading's own runtime"),
    _refused(
        "--volume -v",
        "bring the directory in by name: --build-context NAME=DIR, RUN --mount=from=NAME",
    ),
    _refused("--mount", "write it in the Dockerfile: RUN --mount"),
    _refused("--stdin", "steps have no standard input; COPY a file, or pass --secret", value=False),
    _refused("--env", "write ENV in the Dockerfile, with an ARG for the value"),
    _refused("--from", "stand in for the base: --build-context BASE=docker-image://OTHER"),
    _refused("--ignorefile", "name it DOCKERFILE.dockerignore, beside the Dockerfile"),
    _refused("--cpp-flag", "nothing preprocesses a Dockerfile; ARG and stages by name go far"),
    _refused("--format", "media types belong to an output: -o type=image,oci-mediatypes=false"),
    _refused("--compression-format", _PACKED),
    _refused("--force-compression --disable-compression", _FORCED, value=False),
    _refused("--unsetenv --unsetlabel --unsetannotation", _NEITHER),
    _refused("--inherit-labels --inherit-annotations", _NEITHER, value=False),
    _refused("--omit-history", _SHIPPED, value=False),
    _refused("--layer-label", _SHIPPED),
    _refused("--save-stages --stage-labels", "give each stage a target: lading bake", value=False),
    _refused(
        "--logfile --rusage-logfile",
        "write --progress plain 2>FILE, or see lading history builds logs",
    ),
    _refused("--logsplit", "lading history builds logs REF STEP shows one step", value=False),
    _refused("--log-rusage", "write --summary, or --report FILE.html", value=False),
    _refused("--loglevel", "write --progress plain, or lading --debug build"),
    _refused("--iidfile-raw", "write --iidfile, and cut sha256: off"),
    _refused("--sign-by", "sign what was pushed: lading trust sign"),
    _refused("--signature-policy --source-policy-file", "write --policy FILE (docs/trust.md)"),
    _refused("--decryption-key", "encrypted layers are not read"),
    _refused("--cw", "images for confidential machines are not made"),
    _refused("--blob-cache", "the store keeps blobs by itself"),
    _refused(
        "--sbom-output --sbom-purl-output --sbom-image-output --sbom-image-purl-output",
        "write lading sbom IMAGE, or -o DIR with --sbom",
    ),
    _refused("--sbom-scanner-image --sbom-scanner-command --sbom-merge-strategy", _SBOM),
    # kaniko
    _means("--dockerfile", "--file={}"),
    _means("--custom-platform --customPlatform", "--platform={}"),
    _means("--single-snapshot", "--squash"),
    _means("--reproducible", "--build-arg=SOURCE_DATE_EPOCH=0"),
    _means("--no-push", "--output=type=cacheonly"),
    _means("--tar-path --tarPath", "--output=type=docker,dest={}"),
    _means("--oci-layout-path", "--output=type=oci,dest={},tar=false"),
    _means("--skip-tls-verify-registry", "--insecure-registry={}"),
    _ignored(
        "--cache --cache-run-layers --cache-copy-layers --compressed-caching",
        "every step is cached",
    ),
    _ignored("--use-new-run --cleanup --force --ignore-var-run --whitelist-var-run", _APART),
    _ignored("--snapshot-mode --snapshotMode --ignore-path --kaniko-dir", _APART, value=True),
    _ignored("--push-retry --image-fs-extract-retry --image-download-retry", _AGAIN, value=True),
    _ignored(
        "--skip-push-permission-check --force-build-metadata",
        "nothing is named before all of it has been sent",
    ),
    _refused("--context", "name it without a flag: lading build DIR, or URL, or - for a tar"),
    _refused("--context-sub-path", "write it into the URL: REPO.git#REF:DIR"),
    _refused("--git", "write it into the URL: REPO.git?ref=REF&submodules=false"),
    _refused("--bucket", "fetch the archive first: aws s3 cp s3://... - | lading build -"),
    _refused("-d --destination", "write --push -t NAME"),
    _refused(
        "--cache-repo",
        "write --cache-to type=registry,ref=REPO,mode=max and the same as --cache-from",
    ),
    _refused("--cache-dir", "write --cache-from type=local,src=DIR"),
    _refused("--no-push-cache", "leave --cache-to out", value=False),
    _refused("--compression --compression-level", _PACKED),
    _refused(
        "--digest-file --image-name-with-digest-file --image-name-tag-with-digest-file",
        "write --metadata-file FILE; it has containerimage.digest and image.name",
    ),
    _refused(
        "--insecure --insecure-pull --skip-tls-verify --skip-tls-verify-pull",
        _INSECURE,
        value=False,
    ),
    _refused("--registry-mirror --registry-map", _REGISTRIES),
    _refused("--skip-default-registry-fallback", _REGISTRIES, value=False),
    _refused("--registry-certificate --registry-client-cert", _CERTIFICATES),
    _refused(
        "--push-ignore-immutable-tag-errors",
        "a tag that cannot be moved is an error; use another one",
        value=False,
    ),
    _refused("--verbosity --log-format", "write --progress plain, or rawjson for programs"),
    _refused("--log-timestamp", "plain progress has seconds, rawjson whole dates", value=False),
    # docker buildx bake
    _means("--list-targets", "--list=targets"),
    _means("--list-variables", "--list=variables"),
)

_LOCAL: Final = "the store of this machine is meant; lading build --builder NAME builds elsewhere"
_AT_ONCE: Final = "nothing is asked for longer than a connection takes"
_NO_DAEMON: Final = "there is no daemon to start or keep; a machine is named by its address"
COMMANDS: Final = {
    "imagetools create": {
        "--builder": _LOCAL,
        "--progress": "what is copied is told on standard error; 2>/dev/null silences it",
    },
    "imagetools inspect": {"--builder": _LOCAL},
    "history builds ls": {
        "--builder": _LOCAL,
        "--local": "write --filter repository=URL, or --filter name=TEXT",
    },
    "history builds attachment": {"--builder": _LOCAL},
    "history builds export": {"--builder": _LOCAL},
    "history builds import": {"--builder": _LOCAL},
    "history builds inspect": {"--builder": _LOCAL},
    "history builds logs": {"--builder": _LOCAL},
    "history builds open": {"--builder": _LOCAL},
    "history builds rm": {"--builder": _LOCAL},
    "history builds trace": {"--builder": _LOCAL},
    "builder du": {"--builder": _LOCAL, "--timeout": _AT_ONCE},
    "builder prune": {"--builder": _LOCAL, "--timeout": _AT_ONCE},
    "builder ls": {"--no-trunc": "nothing is cut off", "--timeout": _AT_ONCE},
    "builder inspect": {"--bootstrap": _NO_DAEMON, "--timeout": _AT_ONCE},
    "builder use": {
        "--default": "it stays until another one is used",
        "--global": "it stays until another one is used",
    },
    "builder rm": {
        "--all-inactive": "name them: lading builder ls -q",
        "--force": "nothing is asked",
        "--keep-daemon": _NO_DAEMON,
        "--keep-state": "the state of a machine is its own, and stays",
        "--timeout": _AT_ONCE,
    },
    "builder create": {
        "--name": "the name stands before the address: builder create NAME ssh://HOST",
        "--node": "nodes have the names of their addresses",
        "--leave": "remove the builder and create it with the other nodes: builder rm NAME",
        "--driver": "write the address: ssh://HOST or tcp://HOST:PORT",
        "--driver-opt": "write --tls-ca, --tls-cert, --tls-key",
        "--buildkitd-config": _NO_DAEMON,
        "--buildkitd-flags": _NO_DAEMON,
        "--bootstrap": _NO_DAEMON,
        "--timeout": _AT_ONCE,
    },
}
"""Flags of docker buildx' other commands by the command here, with what to do instead."""
