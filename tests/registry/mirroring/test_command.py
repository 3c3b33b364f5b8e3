"""``lading registry mirror`` beside a registry that serves, with Debian's registry behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lading.cli import run_command
from registry.storage import FileStorage
from tests.conftest import require_program
from tests.images.test_client_peers import distribution
from tests.registry.service_kit import call, service
from tests.registry.test_peers import layout, run
from tests.waiting import eventually

__all__ = ["layout"]


def lines(upstream: str, **more: str) -> str:
    """A mirror in a configuration, whose next run is far away after the first."""
    fields = {"name": "m", "upstream": upstream, "prefix": "copy/", **more}
    text = "".join(f"{key} = {json.dumps(value)}\n" for key, value in fields.items())
    return f'[[mirror]]\n{text}repositories = ["team/app"]\ninterval = "1d"\n'


@pytest.mark.peer
def test_a_mirror_runs_by_schedule_and_by_command(
    tmp_path: Path, layout: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    skopeo = require_program("skopeo")
    with distribution(tmp_path / "behind", user="ada") as upstream:
        login = ("--dest-creds", "ada:s3cret", "--dest-tls-verify=false")
        run(skopeo, "copy", *login, f"oci:{layout}:t", f"docker://{upstream}/team/app:1")
        (tmp_path / "password").write_text("s3cret\n")
        config = lines(upstream, username="ada", password_file="password")
        with service(tmp_path, config) as front:
            path = "/v2/copy/team/app/manifests/"
            eventually(lambda: call(front.port, "GET", f"{path}1")[0] == 200)
            eventually(lambda: front.metric('mirror_manifests_total{mirror="m"') == 1)
            assert front.metric('mirror_error{mirror="m"') == 0
            run(skopeo, "copy", *login, f"oci:{layout}:t", f"docker://{upstream}/team/app:2")
            file = str(tmp_path / "registry.toml")
            assert run_command(["registry", "mirror", "run", "-c", file, "m"]) == 0
            assert call(front.port, "GET", f"{path}2")[0] == 200
    capsys.readouterr()
    assert run_command(["registry", "mirror", "status", "-c", file, "--format", "json"]) == 0
    shown = json.loads(capsys.readouterr().out)["m"]
    assert (shown["runs"], shown["manifests"], shown["error"]) == (2, 1, "")
    assert run_command(["registry", "mirror", "run", "-c", file]) == 1, "nobody is there any more"
    capsys.readouterr()
    run_command(["registry", "mirror", "status", "-c", file])
    assert "failed" in capsys.readouterr().out


def test_names_that_are_no_mirror_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "registry.toml"
    FileStorage(tmp_path / "store")
    file.write_text('root = "store"\n' + lines("example.com"))
    assert run_command(["registry", "mirror", "run", "-c", str(file), "other"]) != 0
    assert "no mirror is called 'other'" in capsys.readouterr().err
