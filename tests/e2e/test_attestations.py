"""Statements and packages as a person meets them, and as other programs read them."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sysconfig
import tarfile
import urllib.request
from pathlib import Path

import pytest

from tests.conftest import require_program
from tests.e2e.conftest import Lading, Registry, write
from tests.e2e.real_world import debian_archive

pytestmark = pytest.mark.root

DOCKERFILE = """FROM busybox
ARG API_TOKEN
RUN --mount=type=secret,id=s cat /run/secrets/s > /dev/null; echo $API_TOKEN > /dev/null
COPY package.json /app/node_modules/left-pad/package.json
"""
FILES = {
    "Dockerfile": DOCKERFILE,
    "package.json": '{"name": "left-pad", "version": "1.3.0", "license": "WTFPL"}',
    "s": "very-secret-value",
}
STATED = ("--provenance=mode=max", "--sbom", "--build-arg", "API_TOKEN=hunter22")


def build(lading: Lading, tmp_path: Path, *flags: str | Path) -> None:
    context = write(tmp_path / "context", FILES)
    lading("build", *STATED, "--secret", f"id=s,src={context}/s", *flags, context)


def test_a_build_states_and_the_commands_show(lading: Lading, tmp_path: Path) -> None:
    build(lading, tmp_path, "-t", "app:1")
    listed = lading("attestation", "list", "app:1").stdout
    assert "https://slsa.dev/provenance/v1" in listed
    assert "https://spdx.dev/Document" in listed
    shown = lading("attestation", "show", "--type", "provenance", "--predicate", "app:1").stdout
    config = json.loads(shown)["buildDefinition"]["internalParameters"]["buildConfig"]
    assert [layer["inBaseImage"] for layer in config["layers"]] == [True, False, False]
    every = lading("attestation", "show", "app:1").stdout
    assert "hunter22" not in every
    assert "very-secret-value" not in every
    done = lading("sbom", "app:1")
    assert "left-pad" in done.stdout
    assert "the SBOM attached to it" in done.stderr
    assert "made from the package databases" in lading("sbom", "--scan", "app:1").stderr
    [package] = lading("image", "packages", "app:1", "--format", "json").stdout.splitlines()
    assert json.loads(package)["CreatedBy"].startswith("COPY package.json")
    steps = lading("image", "packages", "--steps", "app:1").stdout
    assert len(steps.splitlines()) == 4


def test_mistakes_are_explained(lading: Lading, tmp_path: Path) -> None:
    context = write(tmp_path / "context", {"Dockerfile": "FROM busybox\n"})
    wrong = lading("build", "--provenance=mode=huge", context, status=1).stderr
    assert "unknown mode huge" in wrong
    assert "use min or max" in wrong
    none = lading("attestation", "show", "busybox", status=1).stderr
    assert "no statement is attached" in none
    assert "no such image" in lading("sbom", "nothing", status=1).stderr


@pytest.mark.peer
def test_referrers_go_to_a_registry_and_skopeo_sees_a_plain_image(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    skopeo = require_program("skopeo")
    name = f"{registry.address}/team/app:1"
    build(lading, tmp_path, "-t", name, "--push")
    raw = subprocess.run(
        [skopeo, "inspect", "--raw", "--tls-verify=false", f"docker://{name}"],
        check=True,
        capture_output=True,
    ).stdout
    assert "manifests" not in json.loads(raw)
    listed = lading("attestation", "list", "--remote", name, "--format", "{{.Subject}}").stdout
    subject = listed.split()[0]
    url = f"http://{registry.address}/v2/team/app/referrers/{subject}"
    with urllib.request.urlopen(url) as answer:
        found = json.load(answer)["manifests"]
    kinds = {item["annotations"]["in-toto.io/predicate-type"] for item in found}
    assert kinds == {"https://slsa.dev/provenance/v1", "https://spdx.dev/Document"}
    other = Lading(tmp_path / "other")
    assert "left-pad" in other("sbom", "--remote", name).stdout
    assert "provenance" in other("attestation", "list", "--remote", name).stdout
    other("pull", name)
    done = other("sbom", name)
    assert "left-pad" in done.stdout
    assert "made from the package databases" in done.stderr


@pytest.mark.peer
def test_skopeo_copies_an_index_with_its_statements(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    skopeo = require_program("skopeo")
    name = f"{registry.address}/team/app:1"
    build(lading, tmp_path, "-t", name, "--attest-as", "index", "--push")
    layout = tmp_path / "layout"
    subprocess.run(
        [skopeo, "copy", "--all", "--src-tls-verify=false", f"docker://{name}", f"oci:{layout}:1"],
        check=True,
        capture_output=True,
    )

    def blob(digest: str) -> dict:
        return json.loads((layout / "blobs/sha256" / digest.removeprefix("sha256:")).read_bytes())

    [top] = json.loads((layout / "index.json").read_text())["manifests"]
    image, about = blob(top["digest"])["manifests"]
    assert about["platform"] == {"architecture": "unknown", "os": "unknown"}
    assert about["annotations"]["vnd.docker.reference.digest"] == image["digest"]
    statements = [blob(layer["digest"]) for layer in blob(about["digest"])["layers"]]
    assert {item["predicateType"] for item in statements} == {
        "https://slsa.dev/provenance/v1",
        "https://spdx.dev/Document",
    }
    for statement in statements:
        assert f"sha256:{statement['subject'][0]['digest']['sha256']}" == image["digest"]


def test_statements_are_signed_and_verified(
    lading: Lading, registry: Registry, tmp_path: Path
) -> None:
    name = f"{registry.address}/team/app:1"
    build(lading, tmp_path, "-t", name, "--push")
    lading("trust", "key", "generate", "alice", "--output", tmp_path / "keys")
    lading("trust", "key", "generate", "bob")
    (tmp_path / "review.json").write_text('{"reviewer": "jo"}')
    kind = "https://example.org/review/v1"
    lading("attestation", "sign", "--key", "alice", name)
    assert "already signed" in lading("attestation", "sign", "--key", "alice", name).stdout
    from_file = ("--type", kind, "--predicate", tmp_path / "review.json")
    lading("attestation", "sign", "--key", "alice", *from_file, name)
    verified = lading("attestation", "verify", "--key", "alice", name).stdout
    assert verified.count("verified https://") == 3
    shown = lading("attestation", "verify", "--key", "alice", "--type", kind, "--show", name)
    assert json.loads(shown.stdout)["predicate"] == {"reviewer": "jo"}
    refused = lading("attestation", "verify", "--key", "bob", name, status=None)
    assert refused.returncode != 0
    assert "is signed by the key" in refused.stderr
    [public] = (tmp_path / "keys").glob("*.pub")
    assert lading("trust", "verify", "--verify-key", public, name, status=None).returncode != 0


def test_every_package_of_a_real_debian_is_found(lading: Lading, tmp_path: Path) -> None:
    query = require_program("dpkg-query")
    archive = debian_archive()
    lading("import", archive, "debian")
    admin = tmp_path / "admin"
    admin.mkdir()
    with tarfile.open(archive) as tar:
        members = {member.name.lstrip("./"): member for member in tar if member.isreg()}
        status = tar.extractfile(members["var/lib/dpkg/status"])
        assert status is not None
        (admin / "status").write_bytes(status.read())
    told = subprocess.run(
        [query, f"--admindir={admin}", "-W", "-f=${Package} ${Version} ${Architecture}\\n"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    lines = lading("image", "packages", "debian", "--format", "{{.Purl}} {{.Bytes}}").stdout
    found = {}
    for line in lines.splitlines():
        url, size = line.split()
        found[url] = int(size)
    assert len(found) == len(told.splitlines())
    for name, version, architecture in map(str.split, told.splitlines()):
        wanted = version.replace("+", "%2B")
        url = f"pkg:deb/debian/{name.replace('+', '%2B')}@{wanted}?arch={architecture}"
        assert any(known.startswith(url) for known in found), url
    assert sum(found.values()) > 0.9 * sum(member.size for member in members.values())


def test_every_python_distribution_of_this_environment_is_found(
    lading: Lading, tmp_path: Path
) -> None:
    site = Path(sysconfig.get_path("purelib"))
    archive = tmp_path / "site.tar"
    with tarfile.open(archive, "w") as tar:
        for folder in sorted(site.glob("*.dist-info")):
            for name in ("METADATA", "RECORD"):
                if (folder / name).exists():
                    tar.add(folder / name, f"venv/site-packages/{folder.name}/{name}")
    lading("import", archive, "site")
    text = lading("sbom", "site", "--format", "{{.Name}} {{.Version}}").stdout
    wanted = {
        f"{item.metadata['Name']} {item.version}"
        for item in importlib.metadata.distributions(path=[str(site)])
    }
    assert set(text.splitlines()) == wanted
