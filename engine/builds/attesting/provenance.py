"""SLSA provenance v1 of one image of a build.

https://slsa.dev/spec/v1.0/provenance, with a build type of our own that docs/attestations.md
describes. A pure function of what it is given: equal builds under equal dates are stated in equal
bytes. Whether a step was answered from the cache is not stated, for that says nothing of the image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from engine.attestations.statement import docker_url
from engine.builds.attesting.options import MAX
from engine.builds.attesting.redaction import shown_argument
from images.errors import ImagesError
from images.packages.inventory import steps_of_layers
from images.reference import Reference
from records import Record

if TYPE_CHECKING:
    from builder.inputs import BuildInputs
    from builder.request import BuildRequest, BuildResult, Material, Site
    from engine.builds.attesting.options import Provenance
    from engine.builds.attesting.redaction import Redactor
    from images.platform import Platform
    from images.store import Image

PREDICATE_TYPE: Final = "https://slsa.dev/provenance/v1"
BUILDER: Final = "pkg:pypi/lading"
BUILD_TYPE: Final = "pkg:pypi/lading?buildtype=dockerfile-v1#docs/attestations.md"


class Facts(Record):
    """What is known of one finished build.

    ``started`` and ``finished`` are RFC 3339 text in UTC, empty to leave them out, as is
    ``invocation``, which names this run of the builder.
    """

    request: BuildRequest
    inputs: BuildInputs
    result: BuildResult
    image: Image
    platform: Platform
    host: Platform
    version: str
    started: str = ""
    finished: str = ""
    invocation: str = ""


def predicate(facts: Facts, options: Provenance, redactor: Redactor) -> dict[str, Any]:
    """The predicate, without anything that ``redactor`` hides."""
    full = options.mode == MAX
    site = facts.result.site
    internal: dict[str, Any] = {
        "builderPlatform": str(facts.host if site is None else site.platform)
    }
    if full:
        internal["buildConfig"] = _build_config(facts, redactor)
    metadata = {
        "invocationId": facts.invocation,
        "startedOn": facts.started,
        "finishedOn": facts.finished,
    }
    return {
        "buildDefinition": {
            "buildType": BUILD_TYPE,
            "externalParameters": {
                "configSource": _config_source(facts, redactor),
                "request": redactor.document(_request(facts, full=full)),
            },
            "internalParameters": internal,
            "resolvedDependencies": _dependencies(facts.result.materials, redactor),
        },
        "runDetails": {
            "builder": {
                "id": options.builder_id or _builder(site),
                "version": {"lading": facts.version if site is None else site.version},
            },
            "metadata": {
                **{key: text for key, text in metadata.items() if text},
                "lading_completeness": {
                    "request": full,
                    "resolvedDependencies": all(item.digest for item in facts.result.materials),
                },
                "lading_reproducible": options.reproducible,
            },
        },
    }


def _builder(site: Site | None) -> str:
    """What ran the build: this program, or the one on another machine, by that machine's name."""
    return BUILDER if site is None else f"{BUILDER}?builder={quote(site.name, safe='')}"


def _request(facts: Facts, *, full: bool) -> dict[str, Any]:
    request = facts.request
    arguments: dict[str, str] = {}
    if request.target:
        arguments["target"] = request.target
    if request.network != "default":
        arguments["force-network-mode"] = request.network
    found: dict[str, Any] = {
        "frontend": "dockerfile.v0",
        "platform": str(facts.platform),
        "args": arguments,
    }
    if not full:
        return found
    for name, value in request.build_args.items():
        arguments[f"build-arg:{name}"] = shown_argument(name, value)
    for name, value in request.labels.items():
        arguments[f"label:{name}"] = value
    found["args"] = dict(sorted(arguments.items()))
    found["secrets"] = [{"id": name} for name in sorted({item.id for item in request.secrets})]
    found["ssh"] = [{"id": name} for name in sorted(request.ssh)]
    found["contexts"] = sorted(request.contexts)
    found["allow"] = sorted(request.allow)
    return found


def _config_source(facts: Facts, redactor: Redactor) -> dict[str, Any]:
    """Where the Dockerfile comes from: the main context's repository or archive, if it has one."""
    source: dict[str, Any] = {"path": facts.inputs.name}
    main = [
        item
        for item in facts.result.materials
        if item.kind in ("git", "http") and item.name in ("", "context")
    ]
    if facts.request.origin and main:
        source["uri"] = redactor.text(main[0].uri)
        source["digest"] = _digest(main[0].digest)
    return source


def _dependencies(materials: tuple[Material, ...], redactor: Redactor) -> list[dict[str, Any]]:
    """What has a digest: a directory of this machine has none, and its path concerns nobody."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    for item in materials:
        if not item.digest:
            continue
        uri = _image_url(item) if item.kind == "image" else redactor.text(item.uri)
        entry: dict[str, Any] = {"uri": uri, "digest": _digest(item.digest)}
        if item.name and item.name != "context":
            entry["name"] = item.name
        found[uri, item.digest] = entry
    return [found[key] for key in sorted(found)]


def _digest(text: str) -> dict[str, str]:
    """``sha1:...`` of a commit is called ``gitCommit``, as in-toto's digest sets have it."""
    algorithm, _, value = text.partition(":")
    return {"gitCommit" if algorithm == "sha1" else algorithm: value}


def _image_url(item: Material) -> str:
    try:
        reference = Reference.parse(item.uri)
    except ImagesError:
        return item.uri
    digest = str(reference.digest) if reference.digest is not None else ""
    return docker_url(reference, platform=item.platform, digest=digest)


def _build_config(facts: Facts, redactor: Redactor) -> dict[str, Any]:
    return {
        "dockerfile": {
            "path": facts.inputs.name,
            "content": redactor.text(facts.inputs.dockerfile.decode("utf-8", "replace")),
        },
        "steps": [redactor.text(step.name) for step in facts.result.steps],
        "layers": _layers(facts, redactor),
    }


def _layers(facts: Facts, redactor: Redactor) -> list[dict[str, Any]]:
    """The image's layers, bottom first, with the step that made each."""
    image = facts.image
    layers, diff_ids = image.manifest.layers, image.config.diff_ids
    steps = steps_of_layers(image.config.history, len(layers))
    found = []
    for number, (layer, diff_id) in enumerate(zip(layers, diff_ids, strict=True)):
        item: dict[str, Any] = {
            "mediaType": layer.media_type,
            "digest": {layer.digest.algorithm: layer.digest.hex},
            "diffId": {diff_id.algorithm: diff_id.hex},
            "size": layer.size,
            "inBaseImage": number < facts.result.base_layers,
        }
        if steps[number][1]:
            item["createdBy"] = redactor.text(steps[number][1])
        found.append(item)
    return found
