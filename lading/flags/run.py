"""The flags of ``lading run``."""

from __future__ import annotations

from lading.flags import (
    INSECURE,
    LIMITS,
    LIST,
    NO_CONTENT_TRUST,
    ON_OFF,
    POLICY,
    SWITCH,
    TEXT,
    VERIFY_KEY,
    Flag,
    Line,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

RUN: Final = Line(
    (
        Flag("interactive", "-i --interactive", SWITCH, "Keep stdin open"),
        Flag("tty", "-t --tty", SWITCH, "Allocate a terminal"),
        Flag("detach", "-d --detach", SWITCH, "Run in the background (refused: not supported yet)"),
        Flag("init", "--init", SWITCH, "Run an init in the container (refused: not supported yet)"),
        Flag("rm", "--rm", SWITCH, "Remove the container when it ends"),
        Flag("publish_all", "-P --publish-all", SWITCH, "Publish every exposed port on a free one"),
        Flag("read_only", "--read-only", SWITCH, "Mount the root filesystem read-only"),
        Flag("privileged", "--privileged", SWITCH, "All privileges that lading itself has"),
        Flag(
            "entrypoint", "--entrypoint", TEXT, "Command in place of the image's ENTRYPOINT", "CMD"
        ),
        Flag("workdir", "-w --workdir", TEXT, "Working directory", "DIR"),
        Flag("user", "-u --user", TEXT, "User to run as", "USER[:GROUP]"),
        Flag("stop_signal", "--stop-signal", TEXT, "Signal that asks it to end", "SIGNAL"),
        Flag("name", "--name", TEXT, "Name of the container", "NAME"),
        Flag("hostname", "-h --hostname", TEXT, "Host name", "NAME"),
        Flag("domainname", "--domainname", TEXT, "Domain name", "NAME"),
        Flag("cidfile", "--cidfile", TEXT, "Write the container's id to this file", "FILE"),
        Flag("platform", "--platform", TEXT, "Platform of the image", "OS/ARCH"),
        Flag("pid", "--pid", TEXT, "PID namespace: host", "MODE"),
        Flag("ipc", "--ipc", TEXT, "IPC namespace: host or private", "MODE"),
        Flag("uts", "--uts", TEXT, "UTS namespace: host", "MODE"),
        *LIMITS,
        Flag(
            "memory_reservation",
            "--memory-reservation",
            TEXT,
            "Memory to shrink to under pressure",
            "BYTES",
        ),
        Flag("pids_limit", "--pids-limit", TEXT, "Number of processes, -1 for no limit", "N"),
        Flag("shm_size", "--shm-size", TEXT, "Size of /dev/shm", "BYTES"),
        Flag("oom_score_adj", "--oom-score-adj", TEXT, "Preference of the OOM killer", "N"),
        Flag(
            "cgroup_parent", "--cgroup-parent", TEXT, "Control group above the container's", "PATH"
        ),
        Flag("env", "-e --env", LIST, "Environment variable", "K[=V]"),
        Flag("env_file", "--env-file", LIST, "File of environment variables", "FILE"),
        Flag("group_add", "--group-add", LIST, "Supplementary group", "GROUP"),
        Flag("label", "-l --label", LIST, "Label of the container", "K=V"),
        Flag("label_file", "--label-file", LIST, "File of labels", "FILE"),
        Flag("publish", "-p --publish", LIST, "Publish a port", "[IP:][PORT:]PORT"),
        Flag("expose", "--expose", LIST, "Expose a port", "PORT"),
        Flag("add_host", "--add-host", LIST, "Entry of /etc/hosts", "NAME:IP"),
        Flag("volume", "-v --volume", LIST, "Bind a directory, or a named volume", "SRC:DST[:ro]"),
        Flag("mount", "--mount", LIST, "type=bind|volume|tmpfs,source=..,target=..", "SPEC"),
        Flag("tmpfs", "--tmpfs", LIST, "Memory file system", "DIR"),
        Flag("device", "--device", LIST, "Device of the host", "HOST[:DEST]"),
        Flag("cap_add", "--cap-add", LIST, "Add a capability", "CAP"),
        Flag("cap_drop", "--cap-drop", LIST, "Drop a capability", "CAP"),
        Flag(
            "security_opt",
            "--security-opt",
            LIST,
            "no-new-privileges, seccomp=FILE|unconfined",
            "OPT",
        ),
        Flag("sysctl", "--sysctl", LIST, "Kernel parameter of the container's namespaces", "K=V"),
        Flag("ulimit", "--ulimit", LIST, "Resource limit", "NAME=SOFT:HARD"),
        Flag("network", "--network --net", TEXT, "bridge, none, host", default="bridge"),
        Flag("pull", "--pull", TEXT, "missing, always or never", default="missing"),
        Flag("sig_proxy", "--sig-proxy --no-sig-proxy", ON_OFF, "Pass signals on"),
        INSECURE,
        POLICY,
        VERIFY_KEY,
        NO_CONTENT_TRUST,
    ),
    ("image", "command..."),
    interspersed=False,
)
