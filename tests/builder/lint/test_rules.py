"""The edges of each rule; the plain cases are the pages' examples and the recorded answers."""

from __future__ import annotations

import pytest

from builder.errors import PlanError
from tests.builder.lint.kit import found, messages
from tests.builder.plans import STUB


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("FROM a as b", "'as' and 'FROM' keywords' casing do not match"),
        ("FROM a As b", "'As' and 'FROM' keywords' casing do not match"),
        ("from a AS b", "'AS' and 'from' keywords' casing do not match"),
        ("from a as b", None),
        # A FROM in both cases is a matter for another rule.
        ("From a as b", None),
    ],
)
def test_from_and_as(line: str, words: str | None) -> None:
    found_here = [text for text in messages(f"{line}\n") if "keywords" in text]
    assert found_here == ([words] if words else [])


def test_instruction_casing_follows_the_majority() -> None:
    text = "ARG x=1\nfrom a\nrun b\nRUN c\nWorkdir /w\n"
    assert messages(text) == [
        "Command 'RUN' should match the case of the command majority (lowercase)",
        "Command 'Workdir' should match the case of the command majority (lowercase)",
    ]


def test_a_draw_is_upper_case() -> None:
    assert found("FROM a\nrun b\n") == [("ConsistentInstructionCasing", 2)]


def test_json_arguments() -> None:
    assert found('FROM a\nSHELL ["/bin/bash", "-c"]\nCMD x\nENTRYPOINT y\n') == []
    inherited = 'FROM a AS one\nSHELL ["/bin/bash", "-c"]\nFROM one\nCMD x\n'
    assert found(inherited) == []
    base = {"a:latest": {**STUB, "config": {"Shell": ["/bin/bash", "-c"]}}}
    assert found("FROM a\nCMD x\n", bases=base) == []
    assert messages("from a\ncmd x\n") == [
        "JSON arguments recommended for cmd to prevent unintended behavior related to OS signals"
    ]


def test_undeclared_arguments_of_from() -> None:
    with pytest.raises(PlanError, match="empty platform value"):
        found("FROM --platform=$BUILDPLATFROM a\n")
    assert messages("ARG VERSION=1\nFROM a:${VERSON}x\n") == [
        "FROM argument 'VERSON' is not declared (did you mean VERSION?)",
    ]
    assert messages("ARG VERSION\nFROM a:1$VERSION\n") == []
    # Nothing can give a value to what is not declared, whatever the operator.
    assert found("FROM a:${V:-1}\n") == [("UndefinedArgInFrom", 1)]
    assert found("FROM a:${V:-1}\n", build_args={"V": "2"}) == [("UndefinedArgInFrom", 1)]


def test_default_arguments_of_from() -> None:
    assert found("ARG B\nFROM $B\n", build_args={"B": "a"}) == [("InvalidDefaultArgInFrom", 2)]
    assert found("ARG B=a\nFROM $B\n", build_args={"B": "c"}) == []
    platform = "FROM a:$TARGETARCH\n"
    assert found(platform) == []


@pytest.mark.parametrize(
    ("line", "rules"),
    [
        ("FROM --platform=$TARGETPLATFORM a", ["RedundantTargetPlatform"]),
        ("FROM --platform=${TARGETPLATFORM} a", ["RedundantTargetPlatform"]),
        ("FROM --platform=$BUILDPLATFORM a", []),
        ("FROM --platform=$TARGETOS/$TARGETARCH a", []),
        ("FROM --platform=linux/amd64 a", ["FromPlatformFlagConstDisallowed"]),
        ("FROM --platform=linux/amd64 a AS linux-tools", []),
        ("FROM --platform=linux/amd64 a AS on-amd64", []),
        ("FROM --platform=linux/amd64 a AS on-x86_64", ["FromPlatformFlagConstDisallowed"]),
    ],
)
def test_platforms(line: str, rules: list[str]) -> None:
    assert [rule for rule, _ in found(f"{line}\n")] == rules


def test_the_platform_of_a_base() -> None:
    assert messages("ARG B=example/arm-only\nFROM $B\n") == [
        'Base image example/arm-only was pulled with platform "linux/arm64", '
        'expected "linux/amd64" for current build'
    ]


@pytest.mark.parametrize(
    "text",
    [
        "WORKDIR $x",
        "USER $x",
        "VOLUME /$x",
        "STOPSIGNAL 1$x",
        "LABEL a=$x",
        "LABEL $x=a",
        "ENV a=$x",
        "COPY $x /",
        "COPY a /$x",
        "COPY --chown=1$x a /",
        "COPY --chmod=7$x a /",
        "ADD a $x /",
        "ADD --checksum=sha256:$x https://a/b /",
        "RUN --mount=type=tmpfs,target=/a$x b",
        "ARG a=$x",
        "COPY <<A /\n$x\nA",
    ],
)
def test_words_that_are_expanded(text: str) -> None:
    assert ("UndefinedVar", 2) in found(f"FROM a\n{text}\n")


@pytest.mark.parametrize(
    "text",
    [
        "RUN echo $x",
        'CMD ["$x"]',
        "HEALTHCHECK CMD echo $x",
        "ONBUILD COPY $x /",
        "COPY --exclude=$x a /",
        "COPY <<'A' /\n$x\nA",
        "RUN <<A\n$x\nA",
        "EXPOSE 80$x",
        "ENV a='$x' b=\\$x",
        "COPY ${x:-a} /${x+b}",
        "ENV a=$HOSTTYPE",
    ],
)
def test_words_that_are_not(text: str) -> None:
    base = {"a:latest": {**STUB, "config": {"Env": ["PATH=/bin", "HOSTTYPE=x"]}}}
    assert found(f"FROM a\n{text}\n", bases=base) == []


def test_what_defines_a_variable() -> None:
    assert found("FROM a\nARG x\nENV y=$x\nUSER $y$x\n") == []
    assert found("FROM a AS b\nARG x\nFROM b\nUSER $x\n") == []
    # A global argument is not seen in a stage, nor are those of stages elsewhere.
    assert found("ARG x=1\nFROM a\nUSER $x\n") == [("UndefinedVar", 3)]
    assert found("FROM a AS b\nARG x\nFROM a\nUSER $x\n") == [("UndefinedVar", 4)]
    # Pairs of one ENV do not see each other, those of one ARG do.
    assert found("FROM a\nENV x=1 y=$x\n") == [("UndefinedVar", 2)]
    assert found("FROM a\nARG x=1 y=$x\n") == []
    assert found("FROM a\nARG y=$x\n", build_args={"y": "1"}) == []


def test_a_guarded_use_does_not_excuse_a_bare_one() -> None:
    assert found("FROM a\nUSER ${x:-b}$x\n") == [("UndefinedVar", 2)]


def test_undefined_names_suggest_near_ones() -> None:
    text = "FROM a\nENV prefix=/usr\nWORKDIR /$prefx\nWORKDIR /$PREFIX\n"
    assert messages(text) == [
        "Usage of undefined variable '$prefx' (did you mean $prefix?)",
        "Usage of undefined variable '$PREFIX'",
    ]


def test_a_word_is_reported_once_for_a_name() -> None:
    assert found("FROM a\nENV a=$x$x b=$x\n") == [("UndefinedVar", 2), ("UndefinedVar", 2)]


def test_relative_workdirs_count_once_for_a_chain_of_stages() -> None:
    text = "FROM a AS b\nWORKDIR c\nWORKDIR d\nFROM b\nWORKDIR e\nFROM a\nWORKDIR f\n"
    assert found(text) == [("WorkdirRelativePath", 2), ("WorkdirRelativePath", 7)]
    assert found("FROM a\nARG d=/x\nWORKDIR $d/y\nWORKDIR z\n") == []


def test_only_the_last_counts() -> None:
    text = 'FROM a AS b\nCMD ["1"]\nCMD ["2"]\ncmd ["3"]\nFROM b\nCMD ["4"]\n'
    multiple = [rule for rule in found(text) if rule[0].startswith("Multiple")]
    assert multiple == [("MultipleInstructionsDisallowed", line) for line in (2, 3)]
    assert "Multiple cmd instructions" in " ".join(messages(text))
    health = "FROM a\nHEALTHCHECK NONE\nHEALTHCHECK CMD x\n"
    assert found(health) == [("MultipleInstructionsDisallowed", 2)]


def test_stages_read_in_turns_keep_their_own_state() -> None:
    text = 'FROM a AS b\nCMD ["1"]\nFROM a\nCMD ["1"]\nCOPY --from=b /x /\nWORKDIR y\n'
    assert found(text, every_stage=False) == [("WorkdirRelativePath", 6)]


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("TOKEN", True),
        ("token_a", True),
        ("API_KEY", True),
        ("apikey", True),
        ("MY_CREDENTIALS_X", True),
        ("KEYS", False),
        ("MONKEY", False),
        ("PUBLIC_KEY", False),
        ("KEY_FILE", False),
        ("PASSWORD_VERSION", False),
        ("AUTHOR", False),
    ],
)
def test_names_of_secrets(name: str, secret: bool) -> None:
    rule = "SecretsUsedInArgOrEnv"
    assert found(f"FROM a\nARG {name}\n") == ([(rule, 2)] if secret else [])
    assert found(f"FROM a\nENV {name}=1\n") == ([(rule, 2)] if secret else [])
    assert found(f"ARG {name}=1\nFROM a\n") == []


def test_ports() -> None:
    text = "FROM a\nENV P=127.0.0.1:80/TCP\nEXPOSE $P 443/udp 1-2 [::1]:5:6\n"
    assert sorted(messages(text)) == [
        "Defined protocol '127.0.0.1:80/TCP' in EXPOSE instruction should be lowercase",
        "EXPOSE instruction should not define an IP address or host-port mapping, "
        "found '127.0.0.1:80/TCP'",
        "EXPOSE instruction should not define an IP address or host-port mapping, "
        "found '[::1]:5:6'",
    ]


@pytest.mark.parametrize(
    ("ignore", "line", "message"),
    [
        ("*.log", "COPY a.log b.txt /", 'Copy file "a.log"'),
        ("*.log", "ADD ./x/../a.log /", 'Add file "a.log"'),
        ("*.log", "COPY /a.log /", 'Copy file "/a.log"'),
        ("a", "COPY a/b/c /", 'Copy file "a/b/c"'),
        ("*", "COPY . /", 'Copy file "."'),
        ("*.log", "COPY . /", None),
        ("*.log\n!a.log", "COPY b.log /", None),
        ("*.log", "COPY --from=c a.log /", None),
        ("*", "ADD https://a/b.log /", None),
        ("*", "COPY <<A /b\nx\nA", None),
        ("", "COPY a.log /", None),
    ],
)
def test_ignored_files(ignore: str, line: str, message: str | None) -> None:
    wanted = f"Attempting to {message} that is excluded by .dockerignore"
    assert messages(f"FROM b\n{line}\n", ignore=ignore) == ([wanted] if message else [])


def test_descriptions() -> None:
    experimental = "# check=experimental=all\n"
    text = "# something\nARG a\n# b is it\nARG b\n# c\nARG d c\n\n# no\nFROM x\n# no\nFROM x AS y\n"
    assert messages(experimental + text) == [
        "Comment for ARG should follow the format: `# a <description>`",
        "Comment for FROM should follow the format: `# y <description>`",
    ]
    assert found(text) == []
    assert found(experimental + "# prose\n\nARG a\nFROM x\n") == []
    assert messages(experimental + "# prose\nARG a b\nFROM x\n") == [
        "Comment for ARG should follow the format: `# <arg_key> <description>`"
    ]


def test_triggers_of_a_base_are_found_at_from() -> None:
    base = {"a:latest": {**STUB, "config": {"OnBuild": ["USER $x", "WORKDIR y"]}}}
    assert found("FROM a\n", bases=base) == [("UndefinedVar", 1), ("WorkdirRelativePath", 1)]
