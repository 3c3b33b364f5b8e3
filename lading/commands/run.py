"""``lading run``: Docker's flags onto ``engine.run_options.RunOptions``, field by field."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from lading.app import App
from lading.commands.transfer import access_options, make_access, trust_options

if TYPE_CHECKING:
    from images.platform import Platform
    from images.reference import Reference

COULD_NOT_RUN: Final = 125

SWITCHES: Final = {
    "interactive": ("-i", "Keep stdin open"),
    "tty": ("-t", "Allocate a terminal"),
    "detach": ("-d", "Run in the background"),
    "init": ("", "Run an init that forwards signals and reaps processes"),
    "rm": ("", "Remove the container when it ends"),
    "publish_all": ("-P", "Publish every exposed port on a free one"),
    "read_only": ("", "Mount the root filesystem read-only"),
    "privileged": ("", "All privileges that lading itself has"),
}
TEXTS: Final = {
    "entrypoint": ("", "CMD", "Command in place of the image's ENTRYPOINT"),
    "workdir": ("-w", "DIR", "Working directory"),
    "user": ("-u", "USER[:GROUP]", "User to run as"),
    "stop_signal": ("", "SIGNAL", "Signal that asks it to end"),
    "name": ("", "NAME", "Name of the container"),
    "hostname": ("-h", "NAME", "Host name"),
    "domainname": ("", "NAME", "Domain name"),
    "cidfile": ("", "FILE", "Write the container's id to this file"),
    "platform": ("", "OS/ARCH", "Platform of the image"),
    "pid": ("", "MODE", "PID namespace: host"),
    "ipc": ("", "MODE", "IPC namespace: host or private"),
    "uts": ("", "MODE", "UTS namespace: host"),
    "memory": ("-m", "BYTES", "Memory limit"),
    "memory_swap": ("", "BYTES", "Memory and swap together, -1 for no limit"),
    "memory_reservation": ("", "BYTES", "Memory to shrink to under pressure"),
    "cpus": ("", "N", "Number of CPUs"),
    "cpu_shares": ("-c", "N", "Relative weight"),
    "cpu_period": ("", "US", "CFS period in microseconds"),
    "cpu_quota": ("", "US", "CFS quota in microseconds"),
    "cpuset_cpus": ("", "LIST", "CPUs to run on"),
    "cpuset_mems": ("", "LIST", "Memory nodes to use"),
    "pids_limit": ("", "N", "Number of processes, -1 for no limit"),
    "shm_size": ("", "BYTES", "Size of /dev/shm"),
    "oom_score_adj": ("", "N", "Preference of the OOM killer"),
    "cgroup_parent": ("", "PATH", "Control group above the container's"),
}
LISTS: Final = {
    "env": ("-e", "K[=V]", "Environment variable"),
    "env_file": ("", "FILE", "File of environment variables"),
    "group_add": ("", "GROUP", "Supplementary group"),
    "label": ("-l", "K=V", "Label of the container"),
    "label_file": ("", "FILE", "File of labels"),
    "publish": ("-p", "[IP:][PORT:]PORT", "Publish a port"),
    "expose": ("", "PORT", "Expose a port"),
    "add_host": ("", "NAME:IP", "Entry of /etc/hosts"),
    "dns": ("", "IP", "DNS server"),
    "dns_search": ("", "DOMAIN", "DNS search domain"),
    "dns_option": ("", "OPTION", "Option of resolv.conf"),
    "volume": ("-v", "SRC:DST[:ro]", "Bind a directory, or a named volume"),
    "mount": ("", "SPEC", "type=bind|volume|tmpfs,source=..,target=.."),
    "tmpfs": ("", "DIR", "Memory file system"),
    "device": ("", "HOST[:DEST]", "Device of the host"),
    "cap_add": ("", "CAP", "Add a capability"),
    "cap_drop": ("", "CAP", "Drop a capability"),
    "security_opt": ("", "OPT", "no-new-privileges, seccomp=FILE|unconfined"),
    "sysctl": ("", "K=V", "Kernel parameter of the container's namespaces"),
    "ulimit": ("", "NAME=SOFT:HARD", "Resource limit"),
}


def run_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Attach the flags of the tables, in their order."""
    rows: list[Callable[..., Any]] = []
    for field, (short, text) in SWITCHES.items():
        rows.append(click.option(*_names(field, short), is_flag=True, help=text))
    for field, (short, metavar, text) in TEXTS.items():
        rows.append(click.option(*_names(field, short), metavar=metavar, help=text))
    for field, (short, metavar, text) in LISTS.items():
        rows.append(click.option(*_names(field, short), multiple=True, metavar=metavar, help=text))
    for decorate in reversed(rows):
        command = decorate(command)
    return command


def _names(field: str, short: str) -> list[str]:
    long = "--" + field.replace("_", "-")
    return [field, long, short] if short else [field, long]


@click.command(context_settings={"allow_interspersed_args": False, "help_option_names": ["--help"]})
@click.argument("image")
@click.argument("command", nargs=-1, type=click.UNPROCESSED)
@run_flags
@click.option("--network", "--net", default="bridge", show_default=True, help="bridge, none, host")
@click.option("--pull", default="missing", help="missing, always or never", show_default=True)
@click.option("--sig-proxy/--no-sig-proxy", default=True, help="Pass signals on")
@access_options
@trust_options
@click.pass_obj
def run(
    app: App,
    /,
    *,
    insecure_registry: tuple[str, ...],
    policy: Path | None,
    verify_key: tuple[Path, ...],
    **flags: Any,
) -> int:
    """Create and run a new container from an image.

    The exit status is the command's; 125 means that the container could not be made, 126 that its
    command could not be executed, 127 that it was not found.
    """
    from engine.run import run as start
    from engine.run_options import RunOptions
    from lading.errors import render_error

    def pull(reference: Reference, platform: Platform | None) -> None:
        from engine.registries import pull as fetch
        from lading.render.transfer import transfer_view

        access = make_access(app, insecure_registry, policy=policy, verify_key=verify_key)
        view = transfer_view("pull", sys.stderr, quiet=False)
        try:
            fetch(reference, app.store, access, platform=platform, progress=view)
        finally:
            view.close()

    try:
        return start(RunOptions(**flags), app.store, app.runtime_dir, pull=pull)
    except Exception as error:
        if app.debug:
            raise
        # Whatever kept the container from running is 125 for scripts, unless it says otherwise.
        status = render_error(error, sys.stderr)
        return getattr(error, "exit_status", COULD_NOT_RUN) if status == 1 else status
