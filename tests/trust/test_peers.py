"""Other programs verify what lading signed, and lading verifies what they signed.

Debian builds skopeo and podman without sigstore ("Debian-local change: sigstore disabled"): they
find our signatures and say that they will not look at them. The tests marked ``peer`` hold that
much of them. Full checks run with programs that can: name them in LADING_SKOPEO and LADING_COSIGN
(docs/trust.md says how to build them).
"""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import shutil
import socket
import subprocess
import tarfile
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from engine import trusting
from engine.signatures import fetch_bundles, fetch_tag_signatures
from engine.trusting import Format
from images.client import ClientOptions, RegistryClient
from images.descriptor import Descriptor
from images.digest import Digest
from images.manifest import Index, Manifest
from images.mediatype import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP
from images.platform import Platform
from images.reference import Reference
from registry.config import RegistryConfig
from registry.serve import serve_async
from tests.conftest import require_program
from tests.ports import free_port
from trust import cosign
from trust.errors import UnsignedError, WrongKeyError
from trust.keys import Algorithm, KeyForm, PrivateKey
from trust.policy import Policy
from trust.verify import policy_of_key

DISABLED = "sigstore disabled"
UNSIGNED = "no signature exists"
PASSWORD = b"correct horse"


@dataclass
class Answer:
    """What a program said."""

    status: int
    text: str


async def run(*command: object, **environ: object) -> Answer:
    """Run a program beside the event loop that serves its registry."""
    arguments = [str(item) for item in command]
    variables = {**os.environ, **{name: str(value) for name, value in environ.items()}}

    def wait() -> Answer:
        done = subprocess.run(
            arguments, env=variables, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        return Answer(done.returncode, done.stdout.decode())

    return await asyncio.to_thread(wait)


@pytest.fixture
async def lading_registry(tmp_path: Path) -> AsyncIterator[str]:
    ready: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    stop = asyncio.Event()
    config = RegistryConfig(root=tmp_path / "registry", port=0)
    task = asyncio.create_task(
        serve_async(config, ready=lambda bound: ready.set_result(bound.authority), stop=stop)
    )
    await asyncio.wait([task, ready], return_when=asyncio.FIRST_COMPLETED)
    yield ready.result()
    stop.set()
    await task


@pytest.fixture
def distribution_registry(tmp_path: Path) -> Iterator[str]:
    program = require_program("docker-registry")
    address = f"127.0.0.1:{free_port()}"
    config = tmp_path / "config.yml"
    config.write_text(
        "version: 0.1\n"
        "log: {level: error}\n"
        f"storage: {{filesystem: {{rootdirectory: {tmp_path}/d}}}}\n"
        f"http: {{addr: {address}}}\n"
    )
    process = subprocess.Popen(
        [program, "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(address)
        yield address
    finally:
        process.kill()
        process.wait()


def _wait_for(address: str) -> None:
    host, _, port = address.partition(":")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    pytest.fail(f"nothing listens on {address}")


@pytest.fixture
async def client() -> AsyncIterator[RegistryClient]:
    async with RegistryClient(options=ClientOptions(environ={})) as client:
        yield client


async def push_image(
    client: RegistryClient, reference: Reference, content: bytes = b"hi"
) -> Digest:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        entry = tarfile.TarInfo("hello")
        entry.size = len(content)
        archive.addfile(entry, io.BytesIO(content))
    layer = gzip.compress(buffer.getvalue(), mtime=0)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {},
            "rootfs": {"type": "layers", "diff_ids": [str(Digest.of(buffer.getvalue()))]},
        }
    ).encode()
    for data in (layer, config):
        await client.put_blob(reference, data)
    manifest = Manifest.build(
        Descriptor(OCI_CONFIG, Digest.of(config), len(config)),
        [Descriptor(OCI_LAYER_GZIP, Digest.of(layer), len(layer))],
    )
    await client.put_manifest(reference, manifest.raw, manifest.media_type)
    return manifest.digest


async def push_index(client: RegistryClient, reference: Reference) -> Digest:
    digest = await push_image(client, reference)
    raw, media_type = await client.manifest(reference)
    child = Descriptor(media_type, digest, len(raw), platform=Platform("linux", "amd64"))
    index = Index.build([child])
    await client.put_manifest(reference, index.raw, OCI_INDEX)
    return index.digest


class Containers:
    """skopeo and podman with a policy of ours, in a home of their own."""

    def __init__(self, folder: Path, host: str, key: PrivateKey) -> None:
        self.folder, self.host = folder, host
        (folder / "key.pub").write_bytes(key.public.pem)
        for form in KeyForm:
            (folder / f"{form}.key").write_bytes(key.to_pem(PASSWORD, form))
        (folder / "password").write_bytes(PASSWORD)
        self.home = folder / "home"
        self.registries = self.home / ".config" / "containers" / "registries.d"
        self.registries.mkdir(parents=True)
        settings = f"docker:\n  {host}:\n    use-sigstore-attachments: true\n"
        (self.registries / "ours.yaml").write_text(settings)

    def policy(self, key: str = "key.pub") -> Path:
        path = self.folder / f"policy-{key}.json"
        signed = {"type": "sigstoreSigned", "keyPath": str(self.folder / key)}
        anything = {"type": "insecureAcceptAnything"}
        document = {
            "default": [{"type": "reject"}],
            "transports": {"docker": {self.host: [signed]}, "dir": {"": [anything]}},
        }
        path.write_text(json.dumps(document))
        Policy.parse(path.read_bytes())
        return path

    async def skopeo(self, program: str, *arguments: object) -> Answer:
        return await run(program, "--registries.d", self.registries, *arguments)

    async def fetch(self, program: str, reference: Reference, *, key: str = "key.pub") -> Answer:
        return await self.skopeo(
            program,
            "--policy",
            self.policy(key),
            "copy",
            "--src-tls-verify=false",
            f"docker://{reference}",
            f"dir:{self.folder / 'copied'}",
        )


# -- what Debian's programs can show --------------------------------------------------------------


@pytest.mark.peer
async def test_skopeo_finds_our_signature_where_there_was_none(
    tmp_path: Path, lading_registry: str, client: RegistryClient
) -> None:
    skopeo, key = require_program("skopeo"), PrivateKey.generate()
    containers = Containers(tmp_path, lading_registry, key)
    web = Reference.parse(f"{lading_registry}/demo/web:1")
    await push_image(client, web)
    before = await containers.fetch(skopeo, web)
    assert before.status != 0
    assert UNSIGNED in before.text
    await trusting.sign(client, web, key)
    after = await containers.fetch(skopeo, web)
    assert UNSIGNED not in after.text
    assert after.status == 0 or DISABLED in after.text


@pytest.mark.peer
@pytest.mark.root
async def test_podman_finds_our_signature_where_there_was_none(
    tmp_path: Path, lading_registry: str, client: RegistryClient
) -> None:
    podman, key = require_program("podman"), PrivateKey.generate()
    containers = Containers(tmp_path, lading_registry, key)
    web = Reference.parse(f"{lading_registry}/demo/web:1")
    await push_image(client, web)

    # podman wants a short name for its sockets.
    with tempfile.TemporaryDirectory(dir="/tmp", prefix="lp") as short:

        async def pull() -> Answer:
            storage = ("--root", tmp_path / "p", "--runroot", short, "--storage-driver=vfs")
            options = ("--tls-verify=false", "--signature-policy", containers.policy())
            return await run(podman, *storage, "pull", *options, web, HOME=containers.home)

        assert UNSIGNED in (await pull()).text
        await trusting.sign(client, web, key)
        after = await pull()
    assert UNSIGNED not in after.text
    assert after.status == 0 or DISABLED in after.text


@pytest.mark.peer
async def test_openssl_verifies_what_is_in_the_registry(
    tmp_path: Path, lading_registry: str, client: RegistryClient
) -> None:
    openssl, key = require_program("openssl"), PrivateKey.generate(Algorithm.ECDSA_P384)
    web = Reference.parse(f"{lading_registry}/demo/web:1")
    digest = await push_image(client, web)
    await trusting.sign(client, web, key)
    (found,) = (await fetch_tag_signatures(client, web, digest)).items
    payload, signature, _ = found  # type: ignore[misc]
    (tmp_path / "pub").write_bytes(key.public.pem)
    (tmp_path / "payload").write_bytes(payload)
    (tmp_path / "signature").write_bytes(cosign.decode_signature(signature))
    check = ("dgst", "-sha256", "-verify", tmp_path / "pub", "-signature", tmp_path / "signature")
    assert (await run(openssl, *check, tmp_path / "payload")).status == 0


@pytest.mark.peer
async def test_distribution_holds_our_signatures(
    distribution_registry: str, client: RegistryClient
) -> None:
    """Docker's own registry has no referrers API: the bundle goes under the fallback tag."""
    alice, bob = PrivateKey.generate(), PrivateKey.generate(Algorithm.ED25519)
    web = Reference.parse(f"{distribution_registry}/demo/web:1")
    await push_index(client, web)
    with pytest.raises(UnsignedError):
        await trusting.verify_reference(client, web, policy_of_key(alice.public))
    for wanted in Format:
        await trusting.sign(client, web, alice, formats=[wanted])
        await trusting.verify_reference(client, web, policy_of_key(alice.public))
        with pytest.raises(WrongKeyError):
            await trusting.verify_reference(client, web, policy_of_key(bob.public))
    await trusting.sign(client, web, bob)
    digest = (await client.resolve(web)).digest
    assert len((await fetch_tag_signatures(client, web, digest)).items) == 2
    assert len((await fetch_bundles(client, web, digest)).items) == 2


# -- what programs built with sigstore can show
# ------------------------------------------------------


def capable(variable: str) -> str:
    program = os.environ.get(variable)
    if not program or shutil.which(program) is None:
        pytest.skip(f"${variable} names no program built with sigstore")
    return program


async def test_skopeo_verifies_what_we_signed(
    tmp_path: Path, lading_registry: str, client: RegistryClient
) -> None:
    skopeo, key = capable("LADING_SKOPEO"), PrivateKey.generate()
    containers = Containers(tmp_path, lading_registry, key)
    (tmp_path / "other.pub").write_bytes(PrivateKey.generate().public.pem)
    for tag, push in (("image", push_image), ("index", push_index)):
        web = Reference.parse(f"{lading_registry}/demo/web:{tag}")
        await push(client, web)
        await trusting.sign(client, web, key)
        good = await containers.fetch(skopeo, web)
        assert good.status == 0, good.text
        assert (await containers.fetch(skopeo, web, key="other.pub")).status != 0
        again = web.with_tag("never-signed")
        raw, media_type = await client.manifest(web)
        await client.put_manifest(again, raw, media_type)
        assert (await containers.fetch(skopeo, again)).status != 0


@pytest.mark.parametrize("form", [KeyForm.SIGSTORE, KeyForm.COSIGN])
async def test_we_verify_what_skopeo_signed_with_our_key(
    tmp_path: Path, lading_registry: str, client: RegistryClient, form: KeyForm
) -> None:
    skopeo, key = capable("LADING_SKOPEO"), PrivateKey.generate()
    containers = Containers(tmp_path, lading_registry, key)
    web = Reference.parse(f"{lading_registry}/demo/web:1")
    await push_image(client, web)
    signed = web.with_tag("signed")
    copied = await containers.skopeo(
        skopeo,
        "copy",
        "--insecure-policy",
        "--src-tls-verify=false",
        "--dest-tls-verify=false",
        "--sign-by-sigstore-private-key",
        tmp_path / f"{form}.key",
        "--sign-passphrase-file",
        tmp_path / "password",
        f"docker://{web}",
        f"docker://{signed}",
    )
    assert copied.status == 0, copied.text
    policy = Policy.parse(containers.policy().read_bytes())
    await trusting.verify_reference(client, signed, policy)
    (done,) = await trusting.sign(client, signed, PrivateKey.generate(), formats=[Format.TAG])
    assert done.added == (Format.TAG,)
    assert (await containers.fetch(skopeo, signed)).status == 0
    with pytest.raises(WrongKeyError):
        await trusting.verify_reference(client, signed, policy_of_key(PrivateKey.generate().public))


OFFLINE = ("--insecure-ignore-tlog=true", "--allow-insecure-registry", "--allow-http-registry")


@pytest.mark.parametrize("wanted", Format)
@pytest.mark.parametrize("algorithm", Algorithm)
async def test_cosign_verifies_what_we_signed(
    tmp_path: Path,
    lading_registry: str,
    client: RegistryClient,
    wanted: Format,
    algorithm: Algorithm,
) -> None:
    program, key = capable("LADING_COSIGN"), PrivateKey.generate(algorithm)
    web = Reference.parse(f"{lading_registry}/demo/web:1")
    await push_image(client, web)
    await trusting.sign(client, web, key, formats=[wanted], annotations={"by": "ci"})
    (tmp_path / "good.pub").write_bytes(key.public.pem)
    (tmp_path / "bad.pub").write_bytes(PrivateKey.generate(algorithm).public.pem)
    bundles = f"--new-bundle-format={'true' if wanted is Format.BUNDLE else 'false'}"

    async def verdict(public: str) -> Answer:
        options = (*OFFLINE, bundles, "--key", tmp_path / public)
        return await run(program, "verify", *options, web, HOME=tmp_path)

    good = await verdict("good.pub")
    assert good.status == 0, good.text
    assert (await verdict("bad.pub")).status != 0


@pytest.mark.parametrize("bundles", ["true", "false"])
async def test_we_verify_what_cosign_signed_with_our_key(
    tmp_path: Path, lading_registry: str, client: RegistryClient, bundles: str
) -> None:
    program, key = capable("LADING_COSIGN"), PrivateKey.generate()
    web = Reference.parse(f"{lading_registry}/demo/web:1")
    digest = await push_image(client, web)
    (tmp_path / "key").write_bytes(key.to_pem(PASSWORD))
    made = await run(
        program,
        "sign",
        "--yes",
        "--tlog-upload=false",
        "--use-signing-config=false",
        *OFFLINE[1:],
        f"--new-bundle-format={bundles}",
        "--key",
        tmp_path / "key",
        f"{web.name}@{digest}",
        HOME=tmp_path,
        COSIGN_PASSWORD=PASSWORD.decode(),
    )
    assert made.status == 0, made.text
    await trusting.verify_reference(client, web, policy_of_key(key.public))
    with pytest.raises(WrongKeyError):
        await trusting.verify_reference(client, web, policy_of_key(PrivateKey.generate().public))


async def test_key_files_travel_between_cosign_and_us(tmp_path: Path) -> None:
    program = capable("LADING_COSIGN")
    made = await run(
        program,
        "generate-key-pair",
        "--output-key-prefix",
        tmp_path / "c",
        HOME=tmp_path,
        COSIGN_PASSWORD=PASSWORD.decode(),
    )
    assert made.status == 0, made.text
    key = PrivateKey.from_pem((tmp_path / "c.key").read_bytes(), lambda: PASSWORD)
    assert key.public.pem == (tmp_path / "c.pub").read_bytes()
    (tmp_path / "ours.key").write_bytes(key.to_pem(PASSWORD))
    shown = await run(
        program, "public-key", "--key", tmp_path / "ours.key",
        HOME=tmp_path, COSIGN_PASSWORD=PASSWORD.decode(),
    )  # fmt: skip
    assert key.public.pem.decode() in shown.text
