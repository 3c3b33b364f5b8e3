"""Rules about package managers and versions: what they must not say, and what they must."""

from __future__ import annotations

import pytest

from builder.lint.selection import Selection
from tests.builder.lint.kit import found, messages, own

APT = (
    "apt-get update && apt-get install -y --no-install-recommends a && rm -rf /var/lib/apt/lists/*"
)


def rules(run: str, *names: str, image: str = "a:1") -> list[str]:
    """The rules that a single RUN breaks."""
    return [rule for rule, _ in own(f"FROM {image}\nRUN {run}\n", *names)]


@pytest.mark.parametrize(
    "run",
    [
        APT,
        APT.replace("-y", "-qq"),
        APT.replace("-y", "-qy"),
        APT.replace("-y", "--assume-yes"),
        APT.replace("install -y", "-y install"),
        APT.replace("a &&", "$packages &&"),
        APT.replace("rm -rf /var/lib/apt/lists/*", "apt-get dist-clean"),
        APT.replace("rm -rf /var/lib/apt/lists/*", "rm -rf /var/lib/{apt,dpkg}"),
        "--mount=type=cache,target=/var/lib/apt " + APT.partition(" && rm")[0],
        "--mount=type=tmpfs,target=/var/lib/apt/lists " + APT.partition(" && rm")[0],
        "apt-get update; apt-get remove -y a",
        "apt-get install -s a",
        "echo apt install a; : 'apt-get install b'",
        "apk add --no-cache a",
        "apk add --no-network --virtual .run $deps",
        "--mount=type=cache,target=/var/cache/apk apk add a",
        "apk add a && rm -rf /var/cache/apk/*",
        "dnf install -y a && dnf clean all",
        "yum -y install a && rm -rf /var/cache/yum",
        "pip install --no-cache-dir -r requirements.txt",
        "PIP_NO_CACHE_DIR=1 pip install a==1",
        "--mount=type=cache,target=/root/.cache/pip pip install a==1",
        "python -m pip install --no-cache-dir --upgrade pip",
        "pip install --no-cache-dir . ./b c.whl https://x/y.tgz git+https://x/y 'd>=1' e[f]==2 $g",
        "pip install --no-cache-dir -c constraints.txt a",
        "npm install -g a@1 @b/c@2 ./d https://e f.tgz",
        "npm install && npm ci",
        "yarn install && yarn add a@1",
        "gem install a:1 && gem install b -v 2 && gem install c.gem",
        "some-tool apt install x",
    ],
)
def test_nothing_is_said(run: str) -> None:
    assert rules(run) == []


@pytest.mark.parametrize(
    ("run", "names"),
    [
        ("apt-get install -y --no-install-recommends a", []),
        ("apt-get install a", ["AptAssumeYes", "AptNoInstallRecommends"]),
        ("sudo -E apt-get install -y a", ["AptNoInstallRecommends", "SudoInRun"]),
        ("DEBIAN_FRONTEND=x apt-get install -y a", ["AptNoInstallRecommends"]),
        ("env A=b /usr/bin/apt-get install -y a", ["AptNoInstallRecommends"]),
        ("if x; then apt-get install -y a; fi", ["AptNoInstallRecommends"]),
        ("apt update", ["AptGetInsteadOfApt"]),
        ("apk add a", ["ApkCacheLeft"]),
        ("microdnf install a", ["DnfCacheLeft"]),
        ("pip3 install a==1", ["PipCacheLeft"]),
        ("python3.11 -m pip install a==1", ["PipCacheLeft"]),
        ("pip install --no-cache-dir a b", ["PinPipVersions", "PinPipVersions"]),
        ("uv pip install a", ["PinPipVersions"]),
        ("npm i -g a @b/c", ["PinNpmVersions", "PinNpmVersions"]),
        ("yarn global add a", ["PinNpmVersions"]),
        ("gem install a", ["PinGemVersions"]),
    ],
)
def test_what_is_said(run: str, names: list[str]) -> None:
    assert sorted(rules(run)) == names


@pytest.mark.parametrize(
    ("run", "names"),
    [
        ("apt-get install a=1 b/stable ./c.deb /d.deb $e f- g", ["g"]),
        ("apt-get install -t bookworm-backports -o A=b a", ["a"]),
        ("apk add -t .deps a=1 b~2 c 'd>3' .e", ["c"]),
    ],
)
def test_words_that_are_names_of_packages(run: str, names: list[str]) -> None:
    selection = Selection(frozenset({"PinAptVersions", "PinApkVersions"}))
    said = messages(f"FROM a:1\nRUN {run}\n", selection=selection)
    assert [text.split("'")[1] for text in said] == names


def test_stages_that_are_not_in_the_image_may_be_large() -> None:
    text = "FROM a:1 AS b\nRUN apk add c\nFROM a:1\nCOPY --from=b /d /d\n"
    assert own(text) == []
    assert own("FROM a:1 AS b\nRUN apk add c\nFROM b\nCMD []\n") == [("ApkCacheLeft", 2)]


def test_lists_that_get_stale() -> None:
    text = "FROM a:1{}\nRUN apt-get update\n{}RUN apt-get install -y --no-install-recommends b\n"
    assert own(text.format("", "")) == [("AptUpdateAlone", 2)]
    assert own(text.format(" AS x", "FROM x\n")) == [("AptUpdateAlone", 2)]
    assert own(text.format("", "FROM c:1\n")) == [("UnusedStage", 1)]
    cached = text.replace("RUN ", "RUN --mount=type=cache,target=/var/lib/apt/lists ")
    assert own(cached.format("", "")) == []


def test_settings_elsewhere_in_the_file_are_respected() -> None:
    install = "RUN apt-get install b\n"
    said = (
        'RUN echo \'APT::Get::Assume-Yes "1"; APT::Install-Recommends "0";\' > /etc/apt/apt.conf\n'
    )
    assert own(f"FROM a:1\n{said}{install}") == []
    assert own("FROM a:1\nENV PIP_NO_CACHE_DIR=1\nRUN pip install b==1\n") == []
    assert own("FROM a:1\nCOPY pip.conf /etc/pip.conf\nRUN pip install b==1\n") == []


def test_other_shells_are_not_read() -> None:
    assert own('FROM a:1\nSHELL ["pwsh", "-c"]\nRUN apk add b\n') == []
    assert own("# escape=`\nFROM a:1\nRUN apk add b\n") == []
    assert own("FROM a:1\nRUN <<EOF python3\napk add b\nEOF\n") == []
    assert own("FROM a:1\nRUN <<EOF\n#!/usr/bin/env python3\napk add b\nEOF\n") == []
    assert own("FROM a:1\nRUN <<EOF\n#!/usr/bin/env bash\napk add b\nEOF\n") == [
        ("ApkCacheLeft", 2)
    ]
    assert own("FROM a:1\nRUN bash <<EOF\napk add b\nEOF\n") == [("ApkCacheLeft", 2)]
    assert own("FROM a:1\nRUN cat <<EOF > /x\napk add b\nEOF\n") == []


def test_text_that_is_not_understood_is_left_alone() -> None:
    assert own("FROM a:1\nRUN apk add b && 'unclosed\n") == []


def test_a_cache_mount_is_proposed_once_for_a_tool() -> None:
    text = "FROM a:1\nRUN go mod download && go mod verify && npm ci\n"
    selection = Selection(frozenset({"CacheMountRecommended"}))
    assert messages(text, selection=selection) == [
        f"'{command}' downloads everything again in each new build: "
        f"add --mount=type=cache,target={target}"
        for command, target in (("go mod", "/go/pkg/mod"), ("npm ci", "/root/.npm"))
    ]
    mounted = text.replace(
        "RUN", "RUN --mount=type=cache,target=/go/pkg --mount=type=cache,target=/root"
    )
    assert found(mounted, selection=selection) == []
