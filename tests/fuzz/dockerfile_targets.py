"""The parsers behind ``lading build``: Dockerfiles, expansion, mounts, plans, ignore files."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from random import Random

from builder.copying.mode import parse_mode
from builder.errors import BuildError
from builder.ignore import IgnorePatterns
from dockerfile_grammar.codec import decode, encode
from dockerfile_grammar.durations import parse_duration
from dockerfile_grammar.errors import GrammarError
from dockerfile_grammar.expand import expand_heredoc, expand_words, expansion
from dockerfile_grammar.mounts import KEYS, TYPES, resolve
from dockerfile_grammar.nodes import Mount
from dockerfile_grammar.parser import parse
from dockerfile_grammar.syntax import SHAPES, read_mount
from images.errors import ImagesError
from tests.builder.plans import StubResolver, plan_text
from tests.fuzz.harness import Target

FIXTURES = Path(__file__).parents[2] / "fixtures"
ENVIRONMENT = {"A": "a/b.tar.gz", "B": "", "LONG": "xy" * 500, "PATH": "/bin", "STAR": "*?\\"}
PATHS = ("a", "a/b", "src/main.c", ".x/y", "a" * 40, "/".join("ab" * 20))

DOCKERFILE_TOKENS = tuple(
    text.encode()
    for text in (
        *SHAPES,
        *"\n\t#\\`\"'=${}[],;:/.*?!@|&<>\r\0\x0b\x1c\x85\ufeff",
        " ",
        "\\\n",
        "# escape=`\n",
        "# syntax=docker/dockerfile:1\n",
        "# check=skip=all;error=true\n",
        "<<EOF\n",
        "<<-'E'\n",
        "\nEOF\n",
        '["a", "b"]',
        "--mount=type=cache,target=/c",
        "--from=",
        "--link",
        "--parents",
        "--exclude=",
        "--chown=$A",
        "--chmod=u=rwX",
        "--platform=$TARGETPLATFORM",
        "${A:-",
        "${A//",
        "$A",
        "AS ",
        "é",
        "\U0001f4a9",
        "\u2028",
    )
)
MOUNT_TOKENS = (
    *(f"{key}=".encode() for key in KEYS),
    *(f"type={kind},".encode() for kind in TYPES),
    *(b",", b'"', b'""', b"64m", b"${A}", b"0755"),
)


@cache
def dockerfiles() -> list[bytes]:
    """Dockerfiles of every kind, broken ones too."""
    found = [*FIXTURES.glob("dockerfiles/*/Dockerfile"), *FIXTURES.rglob("*Dockerfile*")]
    files = sorted({path for path in found if path.is_file()})
    return [data for path in files if len(data := path.read_bytes()) < 16384]


WORDS = (
    *("a", "/x", ".", "..", "$A", "${A:-b}", "${A/a/b}"),
    *('"q w"', "'s'", "a\\ b", "é", "", "*", "-"),
)


def _word(random: Random) -> str:
    return random.choice(WORDS)


def _words(random: Random) -> str:
    return " ".join(_word(random) for _ in range(random.randint(0, 4)))


def _pairs(random: Random) -> str:
    pairs = (f"{random.choice('ABCDE')}={_word(random)}" for _ in range(random.randint(1, 3)))
    return " ".join(pairs)


def _command(random: Random) -> str:
    kind = random.randrange(4)
    if kind == 0:
        return (
            "[" + ", ".join(f'"{random.choice("abc")}"' for _ in range(random.randint(0, 3))) + "]"
        )
    if kind == 1:
        name = random.choice(("EOF", "A", "'Q'", "-T"))
        body = "\n".join(_words(random) for _ in range(random.randint(0, 3)))
        return f"{random.choice(('', 'cat '))}<<{name}\n{body}\n{name.strip(chr(39) + '-')}"
    return _words(random)


def _flags(random: Random) -> str:
    flags = (
        "--mount=type=bind,target=/m",
        "--mount=type=cache,target=c,id=$A",
        "--mount=type=secret,id=s,env=S",
        "--network=none",
        "--security=sandbox",
        "--from=0",
        "--from=s1",
        "--chown=1:2",
        "--chmod=0755",
        "--link",
        "--parents",
        "--exclude=*",
        "--checksum=sha256:0",
        "--interval=5s",
        "--retries=3",
        "--platform=linux/arm64",
    )
    return " ".join(random.choice(flags) for _ in range(random.choice((0, 0, 0, 1, 2))))


def generate_dockerfile(random: Random) -> bytes:
    """Lines of real instructions with odd arguments."""
    lines = [random.choice(("", "# escape=`", "# check=skip=StageNameCasing", "ARG A=1"))]
    for stage in range(random.choice((1, 1, 2, 4))):
        lines.append(f"FROM {random.choice(('scratch', 'base', 's0', '$A', 'b:1'))} AS s{stage}")
        for _ in range(random.randint(0, 8)):
            name = random.choice((*SHAPES, "ARG", "ENV", "COPY", "RUN"))
            if random.random() < 0.1:
                lines.append(f"ONBUILD {name} {_words(random)}")
            elif name in ("ARG", "ENV", "LABEL"):
                lines.append(f"{name} {_pairs(random)}")
            elif name in ("RUN", "CMD", "ENTRYPOINT", "COPY", "ADD", "HEALTHCHECK", "SHELL"):
                lines.append(f"{name} {_flags(random)} {_command(random)} {_words(random)}")
            else:
                lines.append(f"{name} {_words(random)}")
    return "\n".join(lines).encode()


def _grammar(data: bytes) -> None:
    tree = parse(data)
    assert decode(encode(tree)) == tree


def generate_word(random: Random) -> bytes:
    """A word full of substitutions, some of them nested."""
    return _substitution(random, 0).encode()


LEAVES = ("a", "*", "?", "$A", "$LONG", "'x'", '"$B"', "\\", "/", "", " ", "$STAR")


def _substitution(random: Random, depth: int) -> str:
    if depth > 6 or random.random() < 0.2:
        return random.choice(
            ("a", "*", "?", "$A", "$LONG", "'x'", '"$B"', "\\", "/", "", " ", "$STAR")
        )
    name = random.choice(("A", "B", "LONG", "NOPE", "STAR", "1", "@"))
    operator = random.choice((":-", "-", ":+", "+", ":?", "#", "##", "%", "%%", "/", "//"))
    inner = _substitution(random, depth + 1)
    tail = "/" + _substitution(random, depth + 1) if operator in ("/", "//") else ""
    return f"{_substitution(random, depth + 3)}${{{name}{operator}{inner}{tail}}}"


def _expansion(data: bytes) -> None:
    word = data.decode(errors="surrogateescape")
    for escape in "\\`":
        found = expansion(word, ENVIRONMENT, escape=escape)
        assert set(found.matched) <= ENVIRONMENT.keys()
    expand_words(word, ENVIRONMENT)
    expand_heredoc(word, ENVIRONMENT)


def _mount(data: bytes) -> None:
    resolve(Mount(read_mount(data.decode(errors="surrogateescape"))), lambda text: text)


def _plan(data: bytes) -> None:
    text = data.decode(errors="replace").replace("\0", "")
    plan = plan_text(text, StubResolver(), build_args={"A": "base", "C": "c"})
    assert plan.closure(plan.result)


def generate_ignore(random: Random) -> bytes:
    """Lines of patterns."""
    parts = ("a", "*", "**", "?", "[a-z]", "[^a]", "\\*", "..", ".", "", "{a|b}", "a*b*c*d")
    lines = []
    for _ in range(random.randint(1, 12)):
        path = "/".join(random.choice(parts) for _ in range(random.randint(1, 6)))
        lines.append(random.choice(("", "", "!", "/", "# ", " ")) + path)
    return "\n".join(lines).encode()


def _ignore(data: bytes) -> None:
    patterns = IgnorePatterns.parse(data)
    for path in PATHS:
        assert (patterns.explain(path) is not None) == patterns.matches(path)
        patterns.may_prune(path)
        patterns.may_match_below(path)


def _mode(data: bytes) -> None:
    change = parse_mode(data.decode(errors="surrogateescape"))
    assert 0 <= change(0o755, True) <= 0o7777


def _duration(data: bytes) -> None:
    parse_duration(data.decode(errors="surrogateescape"))


TARGETS = (
    Target(
        "grammar", _grammar, (GrammarError,), dockerfiles, generate_dockerfile, DOCKERFILE_TOKENS
    ),
    Target(
        "expansion",
        _expansion,
        (GrammarError,),
        lambda: [b"${A:-x}", b"$A$B", b"${LONG//xy/\\*}", b"\"${A#*/}\"'$A'", b"${A:?no}"],
        generate_word,
        (b"${", b"}", b"$A", b":-", b"//", b"##", b"%%", b"\\", b"'", b'"', b"${LONG/?", b"*"),
    ),
    Target(
        "mount",
        _mount,
        (GrammarError,),
        lambda: [
            b"type=cache,target=/c,id=x,sharing=locked,mode=0755,uid=1,gid=2,from=a,source=/s",
            b"type=secret,id=a,target=/b,required,env=C",
            b'"type=tmpfs",target=/t,size=64m',
            b"target=/x,rw=true,from=base",
            b"type=ssh,id=default,required=false",
        ],
        tokens=MOUNT_TOKENS,
    ),
    Target(
        "plan",
        _plan,
        (GrammarError, ImagesError),
        dockerfiles,
        generate_dockerfile,
        DOCKERFILE_TOKENS,
    ),
    Target(
        "ignore",
        _ignore,
        (BuildError,),
        lambda: [b"*.log\n!keep.log\n# no\n/a/**/b\n[a-c]x\n", b"**\n!a/b\n!a/b/**/c\n"],
        generate_ignore,
        (b"**/", b"*", b"!", b"[", b"]", b"[^", b"\\", b"\n", b"?", b"{", b"|", b"..", b"/"),
    ),
    Target(
        "chmod",
        _mode,
        (BuildError,),
        lambda: [b"0755", b"u=rwX,go=rX", b"a+x", b"u-s,g+s,o+t", b"g=u"],
        tokens=(b"u", b"g", b"o", b"a", b"=", b"+", b"-", b"rwxXst", b",", b"7"),
        size=200,
    ),
    Target(
        "duration",
        _duration,
        (GrammarError,),
        lambda: [b"1h30m5s", b"1.5ms", b"100us", b"-3ns"],
        tokens=(b"h", b"m", b"s", b".", b"9" * 30, b"-", "µs".encode()),
        size=200,
    ),
)
