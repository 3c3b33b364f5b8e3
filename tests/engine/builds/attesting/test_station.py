"""What a build states of itself: complete, repeatable, and silent about secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.request import BuildRequest, Material
from builder.secrets import Secret
from engine.attestations.finding import find_stored, read_stored
from engine.attestations.statement import Statement
from engine.builds import stations
from engine.builds.attesting.options import Attesting, Provenance
from engine.builds.attesting.redaction import Redactor, is_secret_name
from engine.builds.order import BuildOrder, BuildOutcome
from engine.builds.pipeline import carry_out
from images.digest import Digest
from images.manifest import Index, Manifest
from images.manifest import parse as parse_manifest
from images.platform import Platform
from images.reference import Reference
from tests.builder.fakes import RecordingProgress
from tests.engine.builds.delivery.conftest import Bench

MAX = Attesting(Provenance("max"), sbom=True)
PROVENANCE = "https://slsa.dev/provenance/v1"
SPDX = "https://spdx.dev/Document"


def statements(bench: Bench, outcome: BuildOutcome) -> dict[str, Statement]:
    found = find_stored(bench.store, outcome.root).attached
    return {item.predicate_type: read_stored(bench.store, item) for item in found}


def provenance(bench: Bench, outcome: BuildOutcome) -> dict[str, Any]:
    return dict(statements(bench, outcome)[PROVENANCE].predicate)


def test_nothing_is_stated_unless_it_is_asked_for(bench: Bench) -> None:
    assert statements(bench, bench(tags=("app:1",))) == {}


def test_referrers_leave_root_and_digest_alone(bench: Bench) -> None:
    plain = bench(tags=("app:1",))
    stated = bench(tags=("app:2",), attesting=MAX)
    assert stated.root == plain.root
    found = statements(bench, stated)
    assert set(found) == {PROVENANCE, SPDX}
    assert {item.subjects for item in found.values()} == {(stated.root.digest,)}
    platform = str(Platform.host()).replace("/", "%2F")
    subject = json.loads(found[PROVENANCE].raw)["subject"][0]
    assert subject["name"] == f"pkg:docker/app@2?platform={platform}"


def test_an_index_lists_the_image_and_what_is_stated(bench: Bench) -> None:
    asked = Attesting(Provenance(), sbom=True, form="index")
    outcome = bench(tags=("app:1",), attesting=asked, annotations=("index:a=b",))
    raw = bench.store.blobs.read(outcome.root.digest)
    index = parse_manifest(raw)
    assert isinstance(index, Index)
    assert index.annotations == {"a": "b"}
    image, about = index.manifests
    assert image.digest == outcome.images[0].descriptor.digest
    assert about.annotations["vnd.docker.reference.digest"] == str(image.digest)
    assert set(statements(bench, outcome)) == {PROVENANCE, SPDX}
    assert bench.store.resolve(Reference.parse("app:1")) == outcome.root


def test_every_platform_has_statements_of_its_own(bench: Bench) -> None:
    platforms = (Platform.parse("linux/amd64"), Platform.parse("linux/arm64"))
    asked = {"platforms": platforms, "dockerfile": "FROM scratch\nCOPY a /\n"}
    outcome = bench(tags=("app:1",), attesting=MAX, **asked)
    found = find_stored(bench.store, outcome.root).attached
    assert sorted((str(item.platform), item.predicate_type) for item in found) == [
        ("linux/amd64", PROVENANCE),
        ("linux/amd64", SPDX),
        ("linux/arm64", PROVENANCE),
        ("linux/arm64", SPDX),
    ]


def test_max_says_how_and_of_what(bench: Bench) -> None:
    outcome = bench(
        tags=("app:1",),
        attesting=MAX,
        request={"build_args": {"COLOR": "blue"}, "labels": {"l": "m"}},
    )
    body = provenance(bench, outcome)
    definition, run = body["buildDefinition"], body["runDetails"]
    assert definition["buildType"].startswith("pkg:pypi/lading?")
    assert definition["externalParameters"]["configSource"] == {"path": "Dockerfile"}
    arguments = definition["externalParameters"]["request"]["args"]
    assert arguments == {"build-arg:COLOR": "blue", "label:l": "m"}
    config = definition["internalParameters"]["buildConfig"]
    assert config["dockerfile"]["content"].startswith("FROM base\nCOPY a")
    image = bench.store.image(outcome.root)
    digests = [str(layer.digest) for layer in image.manifest.layers]
    assert [f"sha256:{layer['digest']['sha256']}" for layer in config["layers"]] == digests
    assert [layer["inBaseImage"] for layer in config["layers"]] == [True, False, False, False]
    assert config["steps"][1:] == [
        "[2/4] COPY a /new/a",
        "[3/4] COPY b /etc/b",
        "[4/4] COPY a /new/c",
    ]
    base = bench.store.resolve(Reference.parse("base"))
    assert base is not None
    [dependency] = definition["resolvedDependencies"]
    assert dependency["digest"] == {"sha256": base.digest.hex}
    assert dependency["uri"].startswith("pkg:docker/base@latest?platform=")
    assert {"invocationId", "startedOn", "finishedOn"} < set(run["metadata"])
    assert run["builder"]["id"] == "pkg:pypi/lading"
    # The directory has no digest, so not all that went in is told.
    assert run["metadata"]["lading_completeness"]["resolvedDependencies"] is False
    assert str(bench.context) not in json.dumps(body)


def test_min_says_less(bench: Bench) -> None:
    asked = Attesting(Provenance(builder_id="https://ci.example"))
    outcome = bench(attesting=asked, tags=("a:1",), request={"build_args": {"COLOR": "blue"}})
    body = provenance(bench, outcome)
    text = json.dumps(body)
    assert "blue" not in text
    assert "COPY" not in text
    assert body["buildDefinition"]["resolvedDependencies"]
    assert body["runDetails"]["builder"]["id"] == "https://ci.example"


@pytest.mark.parametrize(
    ("asked", "arguments"),
    [
        (MAX, {"SOURCE_DATE_EPOCH": "1700000000"}),
        (Attesting(Provenance("max", reproducible=True), sbom=True), {}),
    ],
    ids=["epoch", "reproducible"],
)
def test_the_same_build_is_stated_in_the_same_bytes(
    bench: Bench, asked: Attesting, arguments: dict[str, str]
) -> None:
    found = []
    for no_cache in (False, False):
        request = {"build_args": arguments, "no_cache": no_cache}
        outcome = bench(tags=("app:1",), attesting=asked, request=request)
        found.append({kind: item.raw for kind, item in statements(bench, outcome).items()})
    assert found[0] == found[1]


def test_without_a_date_each_build_has_its_own_number(bench: Bench) -> None:
    numbers = set()
    for _ in range(2):
        outcome = bench(tags=("a:1",), attesting=MAX, request={"build_args": {}})
        numbers.add(provenance(bench, outcome)["runDetails"]["metadata"]["invocationId"])
    assert len(numbers) == 2


SECRETIVE = """# token of the day: plain-default
ARG DB_PASSWORD=plain-default
FROM base
ARG API_TOKEN
ARG FLAVOUR
ENV SERVICE_KEY="in-the-env"
LABEL where=https://me:pass-word@example.org/x flavour=$API_TOKEN
COPY a /new/$API_TOKEN
"""


@pytest.mark.parametrize("form", ["index", "referrers"])
def test_no_secret_is_ever_stated(bench: Bench, form: str) -> None:
    secrets = (
        Secret("file", b"first-line-secret\nKEY=second-secret\n"),
        Secret("bytes", b"\xff\xfe"),
    )
    request = {
        "secrets": secrets,
        "build_args": {
            "API_TOKEN": "from-the-flag",
            "FLAVOUR": "holds first-line-secret too",
            "HTTP_PROXY": "http://user:proxy-pass@proxy.example:3128",
        },
    }
    outcome = bench(
        tags=("app:1",),
        dockerfile=SECRETIVE,
        request=request,
        attesting=Attesting(Provenance("max"), sbom=True, form=form),
    )
    kept = b"".join(
        bench.store.blobs.read(item.blob.digest)
        for item in find_stored(bench.store, outcome.root).attached
    ).decode()
    for value in (
        "from-the-flag",
        "plain-default",
        "in-the-env",
        "first-line-secret",
        "second-secret",
        "proxy-pass",
        "pass-word",
    ):
        assert value not in kept, value
    assert "<redacted>" in kept
    assert '"secrets":[{"id":"bytes"},{"id":"file"}]' in kept
    assert "proxy.example:3128" in kept


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("GITHUB_TOKEN", True),
        ("NPMTOKEN", True),
        ("KEY", True),
        ("MY_API_KEY", True),
        ("dbPassword", True),
        ("AUTHOR", False),
        ("KEYBOARD", False),
        ("PUBLIC_KEY", False),
        ("TOKEN_FILE", False),
        ("VERSION", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    assert is_secret_name(name) is secret


def test_longer_values_are_hidden_before_their_parts() -> None:
    redactor = Redactor(["abcd", "abcdefgh", "x", ""])
    assert redactor.text("x abcdefgh abcde") == "x <redacted> <redacted>e"
    assert redactor.document({"abcd": ["abcd", 1, None]}) == {"<redacted>": ["<redacted>", 1, None]}


def test_an_sbom_names_what_the_build_brought(bench: Bench) -> None:
    (bench.context / "a").write_text('{"name": "left-pad", "version": "1.3.0"}')
    outcome = bench(
        dockerfile="FROM base\nCOPY a /app/node_modules/left-pad/package.json\n",
        attesting=Attesting(sbom=True),
        tags=("app:1",),
    )
    document = statements(bench, outcome)[SPDX].predicate
    assert document["name"] == "app:1"
    assert document["creationInfo"]["created"] == "2023-11-14T22:13:20Z"
    [package] = [item for item in document["packages"] if item["name"] == "left-pad"]
    assert "COPY a /app/node_modules" in package["sourceInfo"]


def test_an_oci_layout_holds_the_statements(bench: Bench) -> None:
    bench("type=oci,dest=" + str(bench.context.parent / "out") + ",tar=false", attesting=MAX)
    layout = bench.context.parent / "out"
    entries = json.loads((layout / "index.json").read_text())["manifests"]
    assert len(entries) == 3
    kinds = set()
    for entry in entries:
        raw = (layout / "blobs/sha256" / entry["digest"].removeprefix("sha256:")).read_bytes()
        document = Manifest.parse(raw)
        if document.subject is not None:
            [layer] = document.layers
            kinds.add(document.annotations["in-toto.io/predicate-type"])
            blob = (layout / "blobs/sha256" / layer.digest.hex).read_bytes()
            assert Digest.of(blob) == layer.digest
    assert kinds == {PROVENANCE, SPDX}


def test_a_repository_is_the_source_and_a_dependency(bench: Bench) -> None:
    commit = "0123456789abcdef" * 2 + "01234567"
    url = "https://me:hush-hush@example.org/app.git#main"
    request = {
        "origin": url,
        "materials": (Material("git", url, f"sha1:{commit}", name="context"),),
        "build_args": {},
    }
    outcome = bench(attesting=MAX, tags=("app:1",), request=request)
    definition = provenance(bench, outcome)["buildDefinition"]
    shown = "https://example.org/app.git#main"
    source = definition["externalParameters"]["configSource"]
    assert source == {"path": "Dockerfile", "uri": shown, "digest": {"gitCommit": commit}}
    dependencies = {item["uri"]: item["digest"] for item in definition["resolvedDependencies"]}
    assert dependencies[shown] == {"gitCommit": commit}
    run = provenance(bench, outcome)["runDetails"]
    assert run["metadata"]["lading_completeness"]["resolvedDependencies"] is True


def test_what_is_stated_is_what_was_read_before(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = bench.context / "Dockerfile"
    path.write_text("FROM base\nCOPY a /\n")
    build = stations._build

    def then_edit(*arguments: Any) -> Any:
        images = build(*arguments)
        path.write_text("FROM somewhere-else\n")
        return images

    monkeypatch.setattr(stations, "_build", then_edit)
    request = BuildRequest(bench.context, tags=(Reference.parse("app:1"),))
    order = BuildOrder(request, attesting=MAX)
    outcome = carry_out(order, bench.yard, RecordingProgress())
    config = provenance(bench, outcome)["buildDefinition"]["internalParameters"]["buildConfig"]
    assert config["dockerfile"]["content"] == "FROM base\nCOPY a /\n"
