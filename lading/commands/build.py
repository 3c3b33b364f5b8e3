"""``lading build``."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from images.reference import Reference
from lading.app import App
from lading.commands.transfer import access_options, make_access, trust_options
from lading.render.atomic import write_whole

if TYPE_CHECKING:
    from builder.request import BuildRequest, BuildResult
    from builder.runner import Resources
    from builder.secrets import Secret
    from images.platform import Platform


@click.command()
@click.argument("context", default=".")
@click.option("-t", "--tag", "tags", multiple=True, metavar="NAME", help="Name for the image")
@click.option("-f", "--file", metavar="PATH", help="Dockerfile  [default: CONTEXT/Dockerfile]")
@click.option("--build-arg", "build_args", multiple=True, metavar="K[=V]", help="Build argument")
@click.option("--label", "labels", multiple=True, metavar="K=V", help="Label of the image")
@click.option("--annotation", "annotations", multiple=True, metavar="K=V", help="On the manifest")
@click.option("--target", metavar="STAGE", help="Stage to build")
@click.option("--platform", metavar="OS/ARCH", help="Platform to build for")
@click.option("--no-cache", is_flag=True, help="Run every step anew")
@click.option("--pull", is_flag=True, help="Pull the base images even when they are here")
@click.option("--network", default="default", help="Network of RUN: default, none or host")
@click.option("--add-host", "hosts", multiple=True, metavar="NAME:IP", help="Entry of /etc/hosts")
@click.option("--secret", "secrets", multiple=True, metavar="id=N[,src=F|,env=V]", help="Secret")
@click.option("--ssh", "agents", multiple=True, metavar="ID[=SOCKET]", help="SSH agent to forward")
@click.option("--shm-size", metavar="BYTES", help="Size of /dev/shm in RUN")
@click.option("--ulimit", "ulimits", multiple=True, metavar="NAME=SOFT:HARD", help="Limit in RUN")
@click.option("--cgroup-parent", default="", metavar="PATH", help="Control group above RUN's")
@click.option("--iidfile", type=click.Path(path_type=Path), help="Write the image id to this file")
@click.option("--progress", default="auto", help="auto, tty, plain, quiet or rawjson")
@click.option("-q", "--quiet", is_flag=True, help="Only print the image id")
@click.option("--plan", type=click.Choice(["text", "json"]), help="Print the plan, build nothing")
@access_options
@trust_options
@click.pass_obj
def build(
    app: App,
    /,
    *,
    plan: str | None,
    quiet: bool,
    progress: str,
    iidfile: Path | None,
    insecure_registry: tuple[str, ...],
    policy: Path | None,
    verify_key: tuple[Path, ...],
    **flags: object,
) -> None:
    """Build an image from a Dockerfile.

    CONTEXT is a directory; a single dash takes a Dockerfile from stdin, without a context.
    """
    from builder.progress.render import make_progress
    from engine import building

    request = make_request(**flags)  # type: ignore[arg-type]  # click's values, by their names
    access = make_access(app, insecure_registry, policy=policy, verify_key=verify_key)
    sink = make_progress("quiet" if quiet or plan else progress, sys.stderr)
    yard = building.Yard(app.store, access, app.runtime_dir)
    if plan is not None:
        click.echo(building.show_plan(request, yard, sink, as_json=plan == "json"), nl=False)
        return
    result = building.build(request, yard, sink)
    if iidfile is not None:
        write_whole(iidfile, str(result.image_id).encode())
    _announce(result, quiet=quiet)


def make_request(
    *,
    context: str,
    tags: tuple[str, ...],
    file: str | None,
    build_args: tuple[str, ...],
    labels: tuple[str, ...],
    annotations: tuple[str, ...],
    target: str | None,
    platform: str | None,
    no_cache: bool,
    pull: bool,
    network: str,
    hosts: tuple[str, ...],
    secrets: tuple[str, ...],
    agents: tuple[str, ...],
    shm_size: str | None,
    ulimits: tuple[str, ...],
    cgroup_parent: str,
) -> BuildRequest:
    """Turn the flags into a request.

    Raises:
        click.UsageError, ImagesError: a flag's value is malformed.
    """
    from builder.request import BuildRequest

    return BuildRequest(
        context=None if context == "-" else Path(context),
        dockerfile=_dockerfile(context, file),
        tags=tuple(Reference.parse(tag) for tag in tags),
        build_args=_build_args(build_args),
        labels=_pairs(labels, "--label"),
        annotations=_pairs(annotations, "--annotation"),
        target=target,
        platform=_platform(platform),
        no_cache=no_cache,
        pull=pull,
        network=network,
        extra_hosts=_hosts(hosts),
        secrets=tuple(_secrets(secrets)),
        ssh=_agents(agents),
        resources=_resources(shm_size, ulimits, cgroup_parent),
    )


def _dockerfile(context: str, file: str | None) -> Path | bytes | None:
    if context == "-" or file == "-":
        return sys.stdin.buffer.read()
    return None if file is None else Path(file)


def _pairs(values: tuple[str, ...], flag: str) -> dict[str, str]:
    pairs = {}
    for value in values:
        key, _, text = value.partition("=")
        if not key:
            raise click.BadParameter(f"{value!r} has no key", param_hint=flag)
        pairs[key] = text
    return pairs


def _build_args(values: tuple[str, ...]) -> dict[str, str]:
    """``K=V`` as it is; a bare ``K`` takes the environment's value, if there is one."""
    bare = {value for value in values if "=" not in value}
    given = _pairs(tuple(value for value in values if value not in bare), "--build-arg")
    return {key: os.environ[key] for key in bare if key in os.environ} | given


def _platform(text: str | None) -> Platform | None:
    if text is None:
        return None
    from images.platform import Platform

    return Platform.parse(text)


def _hosts(values: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    if not values:
        return ()
    from engine.options.naming import extra_hosts

    return extra_hosts(values)


def _secrets(values: tuple[str, ...]) -> list[Secret]:
    if not values:
        return []
    from builder.secrets import Secret

    return [Secret.parse(value, os.environ) for value in values]


def _agents(values: tuple[str, ...]) -> dict[str, Path]:
    agents = {}
    for value in values:
        name, _, path = value.partition("=")
        socket = path or os.environ.get("SSH_AUTH_SOCK", "")
        if not socket:
            raise click.BadParameter(
                f"no agent for {name}: SSH_AUTH_SOCK is not set", param_hint="--ssh"
            )
        agents[name or "default"] = Path(socket)
    return agents


def _resources(
    shm_size: str | None, ulimits: tuple[str, ...], cgroup_parent: str
) -> Resources | None:
    if shm_size is None and not ulimits and not cgroup_parent:
        return None
    from builder.runner import Resources, Ulimit
    from engine.options.isolation import parse_cgroup_parent
    from engine.options.numbers import parse_size, parse_ulimits

    return Resources(
        shm_size=parse_size(shm_size, "--shm-size") if shm_size else 0,
        ulimits=tuple(Ulimit(name, *pair) for name, pair in parse_ulimits(ulimits).items()),
        cgroup_parent=parse_cgroup_parent(cgroup_parent) if cgroup_parent else "",
    )


def _announce(result: BuildResult, *, quiet: bool) -> None:
    if quiet:
        click.echo(str(result.image_id))
        return
    for tag in result.tags:
        click.echo(f"named {tag.familiar}", err=True)
    click.echo(f"image {result.image_id}", err=True)
    click.echo(f"manifest {result.descriptor.digest}", err=True)
