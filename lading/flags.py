"""The flags of ``lading``, ``lading run`` and ``lading build``, said once as plain data.

``lading.parse`` reads well-formed lines by these tables, without an argument parser's import.
click's commands are made from them too (``lading.commands.declared``), and have the word on
everything else: help, and mistakes.
"""

from __future__ import annotations

from records import Record

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Final

SWITCH: Final = "switch"
"""True when given."""
ON_OFF: Final = "on-off"
"""True by default; a second name, ``--no-...``, turns it off."""
TEXT: Final = "text"
"""Takes a value; the last one counts."""
OPTIONAL: Final = "optional"
"""Takes a value after an equals sign alone; by itself it stands for its first choice."""
LIST: Final = "list"
"""Takes a value each time; a tuple of them, in order."""
PATH: Final = "path"
"""A text that names a file."""
PATHS: Final = "paths"
"""A list of such."""


class Flag(Record):
    """One flag. ``field`` is what programs call its value, ``names`` what people type."""

    field: str
    names: str
    kind: str
    help: str
    metavar: str | None = None
    default: str | None = None
    choices: tuple[str, ...] = ()


class Line(Record):
    """What may follow a command: its flags, then its positionals.

    The last positional may be ``NAME...``, any number of words. ``default`` stands for a last
    positional that is missing. ``interspersed`` says whether flags may follow positionals.
    """

    flags: tuple[Flag, ...]
    positionals: tuple[str, ...]
    default: str | None = None
    interspersed: bool = True


LIMITS: Final = (
    Flag("memory", "-m --memory", TEXT, "Memory limit", "BYTES"),
    Flag(
        "memory_swap", "--memory-swap", TEXT, "Memory and swap together, -1 for no limit", "BYTES"
    ),
    Flag("cpus", "--cpus", TEXT, "Number of CPUs", "N"),
    Flag("cpu_shares", "-c --cpu-shares", TEXT, "Relative weight", "N"),
    Flag("cpu_period", "--cpu-period", TEXT, "CFS period in microseconds", "US"),
    Flag("cpu_quota", "--cpu-quota", TEXT, "CFS quota in microseconds", "US"),
    Flag("cpuset_cpus", "--cpuset-cpus", TEXT, "CPUs to run on", "LIST"),
    Flag("cpuset_mems", "--cpuset-mems", TEXT, "Memory nodes to use", "LIST"),
    Flag("dns", "--dns", LIST, "DNS server", "IP"),
    Flag("dns_search", "--dns-search", LIST, "DNS search domain", "DOMAIN"),
    Flag("dns_option", "--dns-option", LIST, "Option of resolv.conf", "OPTION"),
)
"""What ``run`` and the RUN steps of ``build`` may use."""

INSECURE: Final = Flag(
    "insecure_registry",
    "--insecure-registry",
    LIST,
    "A registry that may speak plain HTTP or show any certificate",
    "HOST[:PORT]",
)
POLICY: Final = Flag("policy", "--policy", PATH, "Policy file in place of the usual ones", "PATH")
VERIFY_KEY: Final = Flag(
    "verify_key", "--verify-key", PATHS, "Accept only images signed by this public key", "FILE"
)
NO_CONTENT_TRUST: Final = Flag(
    "disable_content_trust",
    "--disable-content-trust",
    OPTIONAL,
    "Take tags for what the registry says  [default: unless DOCKER_CONTENT_TRUST is set]",
    choices=("true", "false"),
)

GLOBAL: Final = Line(
    (
        Flag("root", "--root", TEXT, "State directory [env: LADING_ROOT]", "DIR"),
        Flag("config", "--config", TEXT, "Client config directory [env: DOCKER_CONFIG]", "DIR"),
        Flag("debug", "-D --debug", SWITCH, "Show tracebacks and debug messages"),
    ),
    ("words...",),
    interspersed=False,
)

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

BUILD: Final = Line(
    (
        Flag("tags", "-t --tag", LIST, "Name for the image", "NAME"),
        Flag("file", "-f --file", TEXT, "Dockerfile  [default: CONTEXT/Dockerfile]", "PATH"),
        Flag("build_args", "--build-arg", LIST, "Build argument", "K[=V]"),
        Flag("labels", "--label", LIST, "Label of the image", "K=V"),
        Flag("annotations", "--annotation", LIST, "On the manifest", "K=V"),
        Flag("target", "--target", TEXT, "Stage to build", "STAGE"),
        Flag("platform", "--platform", TEXT, "Platform to build for", "OS/ARCH"),
        Flag("no_cache", "--no-cache", SWITCH, "Run every step anew"),
        Flag("no_cache_filter", "--no-cache-filter", LIST, "Run these stages anew", "STAGE,..."),
        Flag(
            "arg_scope",
            "--build-arg-scope",
            TEXT,
            "RUN depends on every ARG declared above it, or on those it mentions",
            default="declared",
            choices=("declared", "used"),
        ),
        Flag(
            "rewrite_timestamp",
            "--rewrite-timestamp --no-rewrite-timestamp",
            ON_OFF,
            "With SOURCE_DATE_EPOCH, no file of a new layer is younger than it",
        ),
        Flag("pull", "--pull", SWITCH, "Pull the base images even when they are here"),
        Flag(
            "lock",
            "--lock",
            PATH,
            "Hold images and files of ADD to the digests in this file; add those that are missing",
            "FILE",
        ),
        Flag("locked", "--locked", SWITCH, "With --lock, refuse what is not in the file"),
        Flag(
            "network", "--network", TEXT, "Network of RUN: default, none or host", default="default"
        ),
        Flag("allow", "--allow", LIST, "Let RUN use network.host or security.insecure", "NAME"),
        Flag("hosts", "--add-host", LIST, "Entry of /etc/hosts", "NAME:IP"),
        Flag(
            "secrets",
            "--secret",
            LIST,
            "Secret; with cache=digest, RUN depends on what it says",
            "id=N[,src=F|,env=V][,cache=digest]",
        ),
        Flag("agents", "--ssh", LIST, "SSH agent to forward", "ID[=SOCKET]"),
        Flag("shm_size", "--shm-size", TEXT, "Size of /dev/shm in RUN", "BYTES"),
        Flag("ulimits", "--ulimit", LIST, "Limit in RUN", "NAME=SOFT:HARD"),
        Flag("cgroup_parent", "--cgroup-parent", TEXT, "Control group above RUN's", "PATH", ""),
        *LIMITS,
        Flag("iidfile", "--iidfile", PATH, "Write the image id to this file", "PATH"),
        Flag("progress", "--progress", TEXT, "auto, tty, plain, quiet or rawjson", default="auto"),
        Flag("quiet", "-q --quiet", SWITCH, "Only print the image id"),
        Flag(
            "plan",
            "--plan",
            TEXT,
            "Print the plan, build nothing",
            choices=("text", "json", "dot"),
        ),
        Flag(
            "explain",
            "--explain",
            OPTIONAL,
            "Say why each step was cached or not; with --plan, what would be done",
            "[=text|json]",
            choices=("text", "json"),
        ),
        Flag(
            "on_error",
            "--on-error",
            TEXT,
            "When RUN fails, end the build, or open a shell in the step first",
            default="fail",
            choices=("fail", "shell"),
        ),
        Flag("check", "--check", SWITCH, "Check the Dockerfile, build nothing; as --call=check"),
        Flag(
            "call",
            "--call",
            TEXT,
            "What to do with the Dockerfile",
            default="build",
            choices=("build", "check", "check,format=text", "check,format=json"),
        ),
        INSECURE,
        POLICY,
        VERIFY_KEY,
        NO_CONTENT_TRUST,
    ),
    ("context",),
    default=".",
)
