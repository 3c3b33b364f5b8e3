"""What `run` was asked to do: Docker's flags as plain values, not yet looked at.

The records are of the kind that costs a cold start nothing. Texts are as the user wrote them;
``engine.containers.specification`` reads them and says what is wrong.
"""

from __future__ import annotations

from records import Record

PULL_POLICIES = ("missing", "always", "never")


class RunOptions(Record):
    """One `run`. Names are Docker's flags with underscores; tuples are flags that may be repeated.

    ``None`` and empty tuples mean that the flag was not given. ``entrypoint`` may be empty, which
    clears the image's.
    """

    image: str
    command: tuple[str, ...] = ()
    # process
    interactive: bool = False
    tty: bool = False
    detach: bool = False
    init: bool = False
    rm: bool = False
    sig_proxy: bool = True
    entrypoint: str | None = None
    env: tuple[str, ...] = ()
    env_file: tuple[str, ...] = ()
    workdir: str | None = None
    user: str | None = None
    group_add: tuple[str, ...] = ()
    stop_signal: str | None = None
    # identity
    name: str | None = None
    hostname: str | None = None
    domainname: str | None = None
    label: tuple[str, ...] = ()
    label_file: tuple[str, ...] = ()
    cidfile: str | None = None
    # image
    pull: str = "missing"
    platform: str | None = None
    # network
    network: str = "bridge"
    publish: tuple[str, ...] = ()
    publish_all: bool = False
    expose: tuple[str, ...] = ()
    add_host: tuple[str, ...] = ()
    dns: tuple[str, ...] = ()
    dns_search: tuple[str, ...] = ()
    dns_option: tuple[str, ...] = ()
    # files
    volume: tuple[str, ...] = ()
    mount: tuple[str, ...] = ()
    tmpfs: tuple[str, ...] = ()
    read_only: bool = False
    device: tuple[str, ...] = ()
    # isolation
    privileged: bool = False
    cap_add: tuple[str, ...] = ()
    cap_drop: tuple[str, ...] = ()
    security_opt: tuple[str, ...] = ()
    sysctl: tuple[str, ...] = ()
    pid: str | None = None
    ipc: str | None = None
    uts: str | None = None
    # limits
    ulimit: tuple[str, ...] = ()
    memory: str | None = None
    memory_swap: str | None = None
    memory_reservation: str | None = None
    cpus: str | None = None
    cpu_shares: str | None = None
    cpu_period: str | None = None
    cpu_quota: str | None = None
    cpuset_cpus: str | None = None
    cpuset_mems: str | None = None
    pids_limit: str | None = None
    shm_size: str | None = None
    oom_score_adj: str | None = None
    cgroup_parent: str | None = None


class Streams(Record):
    """The descriptors `run` reads from and writes to."""

    stdin: int = 0
    stdout: int = 1
    stderr: int = 2
