"""`run`: an image becomes a container that lives as long as this call, or as its first process.

The order matters for a kill at any point: the claim on the container's directory comes before
anything is made in it and ends with this process; the runtime kills the container when its client
is gone; so whoever comes next finds either nothing or a directory that nobody claims, and takes it
away.

Everything on this path imports lightly: a container's start should not wait for Python.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

from engine.containers import specification
from engine.containers.directory import STUBS, ContainerClaim, ContainerDirectories, ContainerRecord
from engine.containers.errors import (
    ContainerConflictError,
    ContainerError,
    ContainerRefusedError,
    ContainerStartError,
)
from engine.containers.names import random_identifier, random_name
from engine.containers.terminal import size_of
from engine.run_options import RunOptions, Streams
from images.errors import BlobUnknownError, ImagesError, ImageUnknownError
from runtime.errors import RuntimeFault
from runtime.request import ContainerRequest, Rootfs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypeAlias

    from images.platform import Platform
    from images.reference import Reference
    from images.store import Image, ImageStore
    from runtime.client import Container

Puller: TypeAlias = "Callable[[Reference, Platform | None], object]"
"""Brings an image into the store, under the policy, and tells the user as it likes."""

_NAME_ATTEMPTS = 6


def run(
    options: RunOptions,
    store: ImageStore,
    runtime_dir: str,
    streams: Streams | None = None,
    *,
    pull: Puller | None = None,
    environ: Mapping[str, str] | None = None,
) -> int:
    """Run a container in the foreground; returns its exit status (128 + n for signal n).

    ``pull`` is called for an image that is missing (or always, as the flag says); without it a
    missing image is an error. ``environ`` gives the values of ``-e NAME``, by default our own
    environment.

    Raises:
        ContainerError: it did not start; ``exit_status`` is 125, 126 (not executable) or 127 (not
        found). OptionError: a flag is malformed (125).
    """
    streams = streams or Streams()
    specification.check(options)
    if options.tty and options.interactive and not os.isatty(streams.stdin):
        error = ContainerError(
            "the input device is not a TTY", fix="leave -t out, or -i if nothing is typed"
        )
        error.exit_status = 1
        raise error
    with _refusals():
        directories = ContainerDirectories(store.directory)
        directories.reclaim()
        image = find_image(options, store, pull)
        identifier = random_identifier()
        values = os.environ if environ is None else environ
        plan = specification.make_plan(options, image.config.config, identifier, values)
        claim = _claim(directories, options, image, plan, identifier)
    status = ContainerError.exit_status
    try:
        if options.cidfile is not None:
            _write_cid_file(options.cidfile, identifier)
        status = _run_claimed(options, plan, claim, image, store, runtime_dir, streams)
    except ContainerError as error:
        status = error.exit_status
        raise
    finally:
        claim.finish(status)
    return status


def find_image(options: RunOptions, store: ImageStore, pull: Puller | None) -> Image:
    """The image the user means, pulled where the policy of --pull says so.

    Raises:
        ContainerError: it is not here and may not be pulled, or is for another platform.
    """
    from images.platform import Platform
    from images.reference import Reference

    platform = Platform.parse(options.platform) if options.platform else None
    descriptor = None
    if options.pull != "always":
        try:
            descriptor = store.lookup(options.image).descriptor
        except ImageUnknownError:
            if options.pull == "never" or pull is None:
                familiar = Reference.parse(options.image).familiar
                raise ContainerError(
                    f"No such image: {familiar}", fix=f"lading pull {familiar}"
                ) from None
    if descriptor is None:
        reference = Reference.parse(options.image)
        if pull is not None:
            pull(reference, platform)
        descriptor = store.lookup(str(reference)).descriptor
    try:
        image = store.image(descriptor, platform)
    except BlobUnknownError:
        # An index of which only other platforms were pulled.
        if options.pull == "never" or pull is None:
            raise
        reference = Reference.parse(options.image)
        pull(reference, platform)
        image = store.image(store.lookup(str(reference)).descriptor, platform)
    if platform is not None and not image.config.platform.matches(platform):
        raise ContainerError(
            f"image with reference {options.image} was found but does not match the specified "
            f"platform: wanted {platform}, actual: {image.config.platform}"
        )
    return image


def _run_claimed(
    options: RunOptions,
    plan: specification.Plan,
    claim: ContainerClaim,
    image: Image,
    store: ImageStore,
    runtime_dir: str,
    streams: Streams,
) -> int:
    with _refusals(), _hinted(image), store.lease(f"container {claim.record.id}") as lease:
        lease.add(image.descriptor.digest)
        lowers = store.lower_names(image)
        mounts = _prepare_mounts(plan, claim, store, lowers) if plan.mounts else ()
        console = size_of(streams.stdout) if options.tty else None
        spec = specification.make_spec(options, plan, mounts, console=console)
        rootfs = Rootfs(
            lower=tuple(lowers),
            upper=claim.upper,
            work=claim.work,
            volatile=options.rm,
            stubs=f"{store.directory}/{STUBS}",
        )
        request = specification.make_request(options, plan, spec, claim.record.id, rootfs)
        if options.tty:
            return _run_on_terminal(options, request, runtime_dir, streams)
        return _run_on_pipes(options, request, runtime_dir, streams)


def _prepare_mounts(
    plan: specification.Plan, claim: ContainerClaim, store: ImageStore, lowers: Sequence[str]
) -> Sequence[specification.RuntimeMount]:
    from engine.containers.mounts import prepare_mounts
    from engine.volumes import Volumes

    prepared = prepare_mounts(plan.mounts, Volumes(store.root), lowers)
    if prepared.anonymous:
        claim.update(volumes=prepared.anonymous)
    return prepared.mounts


def _run_on_pipes(
    options: RunOptions, request: ContainerRequest, runtime_dir: str, streams: Streams
) -> int:
    from contextlib import ExitStack

    from engine.containers.signals import forwarded, held_back
    from engine.processes import Pipes, follow, writer_to

    source = streams.stdin if options.interactive else None
    outputs = writer_to(streams.stdout), writer_to(streams.stderr)
    with Pipes(*outputs, source=source) as pipes, ExitStack() as running:
        with held_back():
            container = _start(request, pipes.inside, runtime_dir, terminal=False)
            running.enter_context(container)
            pipes.handed_over()
            if options.sig_proxy:
                running.enter_context(forwarded(container))
        return follow(container, pipes)


def _run_on_terminal(
    options: RunOptions, request: ContainerRequest, runtime_dir: str, streams: Streams
) -> int:
    """The runtime copies between the container's terminal and ours; here only mode, size,
    signals.
    """
    from engine.containers.signals import Interrupted, terminal_signals
    from engine.containers.terminal import raw

    stdin = (
        os.dup(streams.stdin)
        if options.interactive
        else os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    )
    try:
        stdio = (stdin, streams.stdout, streams.stderr)
        with (
            raw(streams.stdin if options.interactive else -1),
            _start(request, stdio, runtime_dir, terminal=True) as container,
        ):
            try:
                with terminal_signals(container, streams.stdout):
                    return container.wait()
            except Interrupted as interruption:
                container.kill(9)
                container.wait()
                return 128 + interruption.number
    finally:
        os.close(stdin)


def _start(
    request: ContainerRequest,
    stdio: tuple[int, int, int],
    runtime_dir: str,
    *,
    terminal: bool,
) -> Container:
    from runtime.client import run as start

    stdin, stdout, stderr = stdio
    return start(
        request,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        terminal=terminal,
        runtime_dir=runtime_dir,
    )


def _claim(
    directories: ContainerDirectories,
    options: RunOptions,
    image: Image,
    plan: specification.Plan,
    identifier: str,
) -> ContainerClaim:
    for attempt in range(_NAME_ATTEMPTS):
        name = options.name.removeprefix("/") if options.name else random_name(attempt)
        record = ContainerRecord(
            id=identifier,
            name=name,
            image=options.image,
            image_id=str(image.id),
            created=time.time(),
            args=plan.args,
            auto_remove=options.rm,
            status="running",
            labels=tuple(plan.labels.items()),
        )
        try:
            return directories.claim(record)
        except ContainerConflictError:
            if options.name:
                raise
    raise ContainerConflictError("no free name found", fix="give one with --name")


def _write_cid_file(path: str, identifier: str) -> None:
    """Write the id to a new file; it stays, as Docker's does."""
    try:
        with open(path, "x", encoding="ascii") as file:
            file.write(identifier)
    except FileExistsError as error:
        raise ContainerError(
            "container ID file found, make sure the other container isn't running "
            f"or delete {path}",
            where="--cidfile",
        ) from error
    except OSError as error:
        raise ContainerError(
            f"failed to create the container ID file: {error.strerror}", where=path
        ) from error


@contextmanager
def _refusals() -> Iterator[None]:
    """Give every failure before the program runs the exit status of one."""
    try:
        yield
    except RuntimeFault as fault:
        raise ContainerStartError.of(fault) from fault
    except ImagesError as error:
        if hasattr(error, "exit_status"):
            raise
        raise ContainerRefusedError(error) from error
    except OSError as error:
        place = error.filename if isinstance(error.filename, str) else None
        raise ContainerError(error.strerror or str(error), where=place) from error


@contextmanager
def _hinted(image: Image) -> Iterator[None]:
    """Say of a program that the kernel does not take that it is another machine's."""
    try:
        yield
    except RuntimeFault as fault:
        from images.platform import Platform

        platform = image.config.platform
        if fault.what.endswith("exec format error") and not platform.matches(Platform.host()):
            about = f"the image is for {platform}"
            fault.fix = f"{about}: `lading builder binfmt` shows what can run here"
        raise
