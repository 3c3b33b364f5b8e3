"""What workers know together: pairs in shared memory, delays and rates counted once."""

from __future__ import annotations

import os
from http.client import HTTPConnection
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from registry.access.shared import SharedPairs
from tests.registry.service_kit import service

KEYS = st.sampled_from([("a",), ("b",), ("a", "b"), ("ab",), ("", "a"), ("a", ""), ("\udcff",)])


@given(st.lists(st.tuples(KEYS, st.none() | st.floats(0, 1e9))))
def test_a_table_with_room_is_a_dictionary(
    changes: list[tuple[tuple[str, ...], float | None]],
) -> None:
    table, model = SharedPairs(4096), dict[tuple[str, ...], tuple[float, float]]()
    for key, number in changes:
        if number is None:
            table.pop(*key)
            model.pop(key, None)
        else:
            table.put(number, number / 2, *key)
            model[key] = (number, number / 2)
        assert table.get(*key) == model.get(key)
    assert len(table) == len(model)


def test_the_eldest_give_way() -> None:
    table = SharedPairs(8)
    for second in range(20):
        table.put(1.0, float(second), f"key{second}")
    assert [second for second in range(20) if table.get(f"key{second}")] == list(range(12, 20))


def test_what_one_process_writes_another_reads() -> None:
    table = SharedPairs(64)
    child = os.fork()
    if child == 0:
        table.put(3.0, 4.0, "ada", "192.0.2.1")
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    assert table.get("ada", "192.0.2.1") == (3.0, 4.0)


def test_a_rate_is_that_of_all_workers_together(tmp_path: Path) -> None:
    settings = "[access.rate]\naddress = 0.01\nburst = 2000\n"
    with service(tmp_path, settings, workers=2) as found:
        connections = [HTTPConnection("127.0.0.1", found.port, timeout=30) for _ in range(12)]
        answers = []
        for number in range(60):
            connection = connections[number % len(connections)]
            connection.request("GET", "/v2/")
            response = connection.getresponse()
            response.read()
            answers.append(response.status)
        for connection in connections:
            connection.close()
    assert answers[:20] == [200] * 20
    assert answers.count(429) >= 38, "each worker counted for itself"
