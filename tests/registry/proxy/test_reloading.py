"""SIGHUP changes what is cached and by which password, and ends nothing that is under way."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.registry.proxy.test_processes import BLOB, IMAGE, LAYER, config, upstream
from tests.registry.service_kit import call, service
from tests.registry.test_reload import reload
from tests.waiting import eventually


def test_rules_change_while_a_blob_is_on_its_way(tmp_path: Path) -> None:
    with upstream() as server, service(tmp_path, config(server), workers=1) as front:
        assert call(front.port, "GET", "/v2/hub/app/manifests/v1")[2] == IMAGE
        with ThreadPoolExecutor(1) as pool:
            slow = pool.submit(call, front.port, "GET", BLOB)
            eventually(lambda: server.blobs == 1)
            file = tmp_path / "registry.toml"
            text = file.read_text()
            file.write_text(text.replace('"hub/"', '"other/"'))
            reload(front)
            server.released.set()
            assert slow.result()[2] == LAYER
        assert call(front.port, "GET", "/v2/other/app/manifests/v1")[2] == IMAGE
        assert call(front.port, "GET", "/v2/hub/app/manifests/v1")[2] == IMAGE, "it stays"
        assert call(front.port, "GET", "/v2/hub/app/manifests/v2")[0] == 404
        assert call(front.port, "POST", "/v2/hub/app/blobs/uploads/")[0] == 202, "ordinary now"
        file.write_text(text.replace("upstream = ", 'password_file = "missing"\nupstream = '))
        reload(front, good=False)
        assert call(front.port, "GET", "/v2/other/app/manifests/v1")[2] == IMAGE
        file.write_text(text.partition("[[proxy]]")[0] + text[text.index("[metrics]") :])
        reload(front)
        assert call(front.port, "POST", "/v2/other/app/blobs/uploads/")[0] == 202
