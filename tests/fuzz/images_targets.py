"""The parsers of image content: archives, compressed streams, manifests, configs, names."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from functools import cache
from random import Random

import zstandard

from builder.copying.archive import archive_entries
from dockerfile_grammar.errors import GrammarError
from images.config import ImageConfig
from images.digest import Digest
from images.errors import ImagesError
from images.layers.compress import Decompressed
from images.layers.tar_read import Limits, read_tar
from images.manifest import parse as parse_manifest
from images.mediatype import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST
from images.platform import Platform
from images.reference import Reference
from tests.builder.plans import STUB, StubResolver, plan_text
from tests.fuzz.harness import Target

LIMITS = Limits(entries=10_000, total_size=64 << 20, file_size=64 << 20)
DIGEST = "sha256:" + "0" * 64


@cache
def archives() -> list[bytes]:
    """One small archive in each format of the standard library, and a sparse one."""
    found = []
    for kind in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w", format=kind) as archive:
            for member in _members(long=kind != tarfile.USTAR_FORMAT):
                archive.addfile(member, io.BytesIO(bytes(member.size)))
        found.append(out.getvalue())
    return found


def _members(*, long: bool) -> list[tarfile.TarInfo]:
    members = []
    for name, kind, link in (
        ("d", tarfile.DIRTYPE, ""),
        ("d/f", tarfile.REGTYPE, ""),
        ("d/.wh.x", tarfile.REGTYPE, ""),
        ("l", tarfile.SYMTYPE, "/etc/passwd"),
        ("h", tarfile.LNKTYPE, "d/f"),
        ("../e", tarfile.REGTYPE, ""),
        ("p", tarfile.FIFOTYPE, ""),
        ("c", tarfile.CHRTYPE, ""),
        *([("n" * 150, tarfile.REGTYPE, "")] if long else []),
    ):
        member = tarfile.TarInfo(name)
        member.type, member.linkname = kind, link
        member.size = 700 if name == "d/f" else 0
        members.append(member)
    if long:
        members[1].pax_headers = {"SCHILY.xattr.user.a": "b", "mtime": "1.5"}
    return members


NAMES = (b"a", b"a/b", b"../x", b"/abs", b"", b"./", b".wh.a", b".wh..wh..opq")


def generate_archive(random: Random) -> bytes:
    """Headers with a right checksum and any content, so that mutation gets past the first check."""
    blocks = []
    for _ in range(random.randint(1, 6)):
        header = bytearray(512)
        name = random.choice(
            (b"a", b"a/b", b"../x", b"/abs", b"", b"./", b".wh.a", b".wh..wh..opq")
        )
        header[: len(name)] = name
        header[100:108] = random.choice((b"0000644\0", b"7777777\0", random.randbytes(8)))
        header[108:124] = random.choice((b"0000000\0" * 2, b"\x80" + random.randbytes(15)))
        size = random.choice((0, 0, 1, 512, 600))
        header[124:136] = random.choice(
            (
                b"%011o\0" % size,
                b"%011o\0" % size,
                b"\x80" + random.randbytes(11),
                random.randbytes(12),
            )
        )
        header[136:148] = b"00000000000\0"
        header[156:157] = random.choice(
            (b"0", b"0", b"1", b"2", b"5", b"x", b"g", b"L", b"K", b"S", b"3")
        )
        header[157:160] = random.choice((b"a\0\0", b"../", b"/\0\0"))
        header[257:265] = b"ustar\00000"
        if random.random() < 0.2:
            place = random.randrange(345, 512)
            header[place : place + 12] = random.randbytes(12)[: 512 - place]
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        body = b"" if size == 0 else _pax(random)[:size].ljust(size, b"\0")
        blocks.append(bytes(header) + body + bytes(-size % 512))
    return b"".join(blocks) + bytes(1024)


def _pax(random: Random) -> bytes:
    keys = ("path", "linkpath", "size", "mtime", "uid", "GNU.sparse.major", "GNU.sparse.minor")
    keys += ("GNU.sparse.realsize", "GNU.sparse.map", "SCHILY.xattr.trusted.overlay.opaque")
    out = b""
    for _ in range(random.randint(1, 4)):
        value = random.choice(("1", "0", "9" * 20, "../x", "", "1,2,3", "1.5", "\0", "-1", "y"))
        record = f" {random.choice(keys)}={value}\n".encode()
        length = len(record) + len(str(len(record) + 2))
        out += str(length).encode() + record
    return out


def _tar(data: bytes) -> None:
    for clamp in (False, True):
        for entry, body in read_tar(io.BytesIO(data), limits=LIMITS, clamp=clamp):
            parts = entry.path.split("/") if entry.path else []
            assert ".." not in parts
            assert "." not in parts
            for _ in body.pieces():
                pass


def compressed() -> list[bytes]:
    """Archives as layers hold them."""
    plain = archives()[0]
    return [gzip.compress(plain), zstandard.compress(plain), gzip.compress(b"a") * 3]


def _decompress(data: bytes) -> None:
    from images.layers.compress import sniff

    stream = Decompressed(io.BytesIO(data), sniff(data[:4]))
    while stream.read(1 << 20):
        pass


def _added(data: bytes) -> None:
    for entry in archive_entries(_OneFile(data), _NODE):  # type: ignore[arg-type]
        assert ".." not in entry.path.split("/")


class _OneFile:
    """As much of a source tree as ADD of one archive needs."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def open(self, node: object) -> io.BytesIO:
        return io.BytesIO(self._data)


class _NODE:
    path = "archive"


def _packed() -> list[bytes]:
    import bz2
    import lzma

    plain = archives()[0]
    return [plain, bz2.compress(plain), lzma.compress(plain), *compressed()]


def configs() -> list[bytes]:
    """Image configs with every field that a build or a run reads."""
    full = {
        **STUB,
        "author": "a",
        "variant": "v8",
        "config": {
            "User": "0:0",
            "ExposedPorts": {"80/tcp": {}},
            "Env": ["PATH=/bin", "A=b"],
            "Entrypoint": ["/x"],
            "Cmd": ["y"],
            "Volumes": {"/data": {}},
            "WorkingDir": "/w",
            "Labels": {"k": "v"},
            "StopSignal": "TERM",
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 10**9},
            "OnBuild": ["RUN echo $A", "COPY a /"],
            "Shell": ["/bin/bash", "-c"],
        },
    }
    return [json.dumps(full).encode(), json.dumps(STUB).encode()]


def _config(data: bytes) -> None:
    ImageConfig.parse(data)


CHILD = """FROM hostile
RUN echo $A
COPY a $A
WORKDIR w
ENTRYPOINT x
LABEL a=b
VOLUME /v
EXPOSE 1
"""


def _base(data: bytes) -> None:
    config = ImageConfig.parse(data)
    plan_text(CHILD, StubResolver({"hostile": json.loads(config.raw)}))


def manifests() -> list[bytes]:
    """A manifest and an index."""
    descriptor = {
        "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
        "digest": DIGEST,
        "size": 1,
    }
    config = {**descriptor, "mediaType": OCI_CONFIG}
    manifest = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config,
        "layers": [descriptor, descriptor],
        "annotations": {"a": "b"},
        "subject": config,
    }
    index = {
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": [
            {
                **config,
                "mediaType": manifest["mediaType"],
                "platform": {"os": "linux", "architecture": "arm64", "variant": "v8"},
            }
        ],
    }
    return [json.dumps(manifest).encode(), json.dumps(index).encode()]


JSON_TOKENS = (
    *b'{ } [ ] : , " null true 1e999 NaN -1 {"a":1,"a":2} "\\ud800" "\\u0000" 1.5 []'.split(),
    *(b"9" * 400, b"[" * 50, b'"x":', b"\0"),
)


def _manifest(data: bytes) -> None:
    parse_manifest(data)


def _names(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    for parse in (Reference.parse, Digest.parse, Platform.parse):
        try:
            parsed = parse(text)
        except ImagesError:
            continue
        assert parse(str(parsed)) == parsed


TARGETS = (
    Target("tar", _tar, (ImagesError,), archives, generate_archive, size=16384),
    Target("compressed", _decompress, (ImagesError,), compressed, size=16384),
    Target("added-archive", _added, (ImagesError,), _packed, generate_archive, size=16384),
    Target("config", _config, (ImagesError,), configs, tokens=JSON_TOKENS),
    Target(
        "base-config",
        _base,
        (ImagesError, GrammarError),
        configs,
        tokens=JSON_TOKENS,
    ),
    Target("manifest", _manifest, (ImagesError,), manifests, tokens=JSON_TOKENS),
    Target(
        "names",
        _names,
        (),
        lambda: [
            b"docker.io/library/debian:12@" + DIGEST.encode(),
            b"localhost:5000/a/b",
            DIGEST.encode(),
            b"linux(10.0)/arm/v7",
            b"x86_64",
        ],
        tokens=(b"/", b":", b"@", b"sha256:", b"..", b"(", b")", b"A", "é".encode(), b"[::1]"),
        size=400,
    ),
)
