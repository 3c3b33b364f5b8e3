"""What a definition may do by itself, and which flags would allow the rest."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.bake.entitlements import Grants, missing, named_on_command_line
from engine.bake.errors import BakeValueError
from engine.bake.overrides import parse_overrides
from tests.engine.bake.support import selection

HERE = 'context = "."\n'


def needed(text: str, here: Path, *allow: str, files: bool = True) -> list[str]:
    targets = selection(f'target "default" {{\n{text}\n}}', "default").targets.values()
    return missing(targets, Grants.parse(allow, str(here)), files=files)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.mark.parametrize(
    "text",
    [
        'context = "sub"',
        'context = "https://h/r.git"',
        'contexts = { a = "docker-image://x", b = "./b", c = "oci-layout://layout:tag" }',
        'output = ["out", "type=tar,dest=-", "type=image"]',
        'cache-to = ["type=local,dest=c", "type=registry,ref=x"]',
        'secret = ["id=a,src=token", "id=b,env=B"]',
        'dockerfile-inline = "FROM x"\ndockerfile = ""',
    ],
)
def test_below_the_working_directory_nothing_is_asked(text: str, here: Path) -> None:
    assert needed(text, here) == []


@pytest.mark.parametrize(
    ("text", "flag"),
    [
        ('context = ".."', "fs.read={up}"),
        ('dockerfile = "../other/Dockerfile"', "fs.read={up}/other/Dockerfile"),
        ('contexts = { a = "/etc" }', "fs.read=/etc"),
        ('contexts = { a = "file:///srv/%61.git#main" }', "fs.read=/srv/a.git"),
        ('context = "file:///srv/a.git"', "fs.read=/srv/a.git"),
        ('contexts = { a = "oci-layout:///srv/layout:tag" }', "fs.read=/srv/layout"),
        ('contexts = { a = "cwd://../x" }', "fs.read={up}/x"),
        ('context = "file:///srv/a%20repo/.git#main"', "fs.read=/srv/a repo/.git"),
        ('secret = ["id=a,src=/etc/passwd"]', "fs.read=/etc/passwd"),
        ('cache-from = ["type=local,src=/c"]', "fs.read=/c"),
        ('cache-to = ["type=local,dest=/c"]', "fs.write=/c"),
        ('output = ["/out"]', "fs.write=/out"),
        ('output = ["type=oci,dest=../x.tar"]', "fs.write={up}/x.tar"),
        ('output = ["type=local,dest=out,mode=delete"]', "buildx.local.delete"),
        ('ssh = ["key=/run/agent"]', "fs.read=/run/agent"),
        ('ssh = ["default"]', "ssh"),
        ('network = "host"', "network.host"),
        ('entitlements = ["security.insecure"]', "security.insecure"),
        ('context = "link"', "fs.read={up}/secret"),
    ],
)
def test_the_rest_names_its_flag_and_the_flag_allows_it(text: str, flag: str, here: Path) -> None:
    (here.parent / "secret").mkdir()
    (here / "link").symlink_to("../secret")
    expected = flag.format(up=here.parent.resolve())
    found = needed(text, here)
    assert found == [expected]
    assert needed(text, here, *found) == []


def test_paths_are_compared_by_their_parts(here: Path) -> None:
    assert needed('context = "/srv/app2"', here, "fs.read=/srv/app") == ["fs.read=/srv/app2"]
    assert needed('context = "/srv/app/x"', here, "fs=/srv/app") == []
    assert needed('context = "/srv/app/x"', here, "fs.read=*") == []
    assert needed('context = "/srv/app/x"', here, "fs.write=/srv") == ["fs.read=/srv/app/x"]
    assert needed('context = "/srv"', here, files=False) == []


def test_what_set_names_is_allowed_by_that() -> None:
    sets = ("a.output=type=local,dest=/out", "a.secrets=id=x,src=/s", "a.entitlements=network.host")
    overrides = parse_overrides(sets, ["a"], {})["a"]
    assert named_on_command_line(overrides) == ["fs.write=/out", "fs.read=/s", "network.host"]


def test_an_unknown_entitlement_is_refused() -> None:
    with pytest.raises(BakeValueError, match=r"unknown entitlement fs\.raed=x"):
        Grants.parse(["fs.raed=x"], "/")
