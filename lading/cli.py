"""The command tree: names, one-line helps, and where each command lives until it is called.

Exit status: 0 success, 1 a command failed, 125 the command line itself is wrong or `run` could not
start (Docker's numbers), 130 interrupted.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from typing import Any

import click

from lading import __version__
from lading.app import App
from lading.commands.declared import flagged
from lading.errors import INTERRUPTED_STATUS, USAGE_STATUS, status_of
from lading.flags import GLOBAL

COMMANDS: Mapping[str, tuple[str, str]] = {
    "attestation": (
        "attestation:attestation",
        "Show statements attached to images: provenance, SBOMs and others",
    ),
    "bake": ("bake:bake", "Build the targets of a bake file or a compose file"),
    "build": ("build:build", "Build an image from a Dockerfile"),
    "builder": ("builder:builder", "Manage the build cache and the machines that build"),
    "history": ("history:history_or_builds", "Show the history of an image, or earlier builds"),
    "image": ("image:image", "Manage images"),
    "images": ("images:images", "List images"),
    "imagetools": ("imagetools:imagetools", "Put lists together from what registries have"),
    "import": ("archives:import_", "Make an image of a root filesystem tarball"),
    "inspect": ("inspect:inspect", "Return low-level information on images"),
    "lint": ("lint:lint", "Look for mistakes in Dockerfiles, and mend them"),
    "load": ("archives:load", "Load images from a tar archive or stdin"),
    "login": ("login:login", "Log in to a registry"),
    "logout": ("login:logout", "Log out from a registry"),
    "manifest": ("manifest:manifest", "Put lists of images together, and push them"),
    "pull": ("transfer:pull", "Download an image from a registry"),
    "push": ("transfer:push", "Upload an image to a registry"),
    "registry": ("registry:registry", "Serve and look after a registry"),
    "rmi": ("images:rmi", "Remove one or more images"),
    "run": ("run:run", "Create and run a new container from an image"),
    "sbom": ("sbom:sbom", "List the packages of an image"),
    "save": ("archives:save", "Save one or more images to a tar archive"),
    "system": ("system:system", "Check, measure and clean the local store"),
    "tag": ("images:tag", "Create a tag TARGET_IMAGE that refers to SOURCE_IMAGE"),
    "trust": ("trust:trust", "Manage keys, signatures and policies"),
    "version": ("version:version", "Show version information"),
}


class LazyGroup(click.Group):
    """A group whose commands are named in a table and imported only when one is called.

    ``table`` maps a command to ``(module:attribute, one-line help)``, below ``lading.commands``.
    """

    def __init__(self, *args: Any, table: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.table = table

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The names, sorted."""
        return sorted(self.table)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the command, or None where the table has none."""
        entry = self.table.get(cmd_name)
        if entry is None:
            return None
        module, _, attribute = entry[0].partition(":")
        command = getattr(importlib.import_module(f"lading.commands.{module}"), attribute)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command; an unknown one gets the nearest name as a suggestion."""
        name = args[0]
        if name not in self.table and not name.startswith("-"):
            from dockerfile_grammar.suggest import nearest

            near = nearest(name, self.table)
            hint = f" (did you mean {near}?)" if near else ""
            raise click.UsageError(f"unknown command: {ctx.command_path} {name}{hint}", ctx)
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands from the table, so that help imports nothing."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, self.table[name][1]) for name in self.list_commands(ctx)])


@click.group(
    cls=LazyGroup,
    table=COMMANDS,
    context_settings={"help_option_names": ["--help", "-h"], "max_content_width": 100},
)
@flagged(GLOBAL)
@click.version_option(__version__, "-v", "--version", message="lading version %(version)s")
@click.pass_context
def cli(ctx: click.Context, root: str | None, config: str | None, *, debug: bool) -> None:
    """Build, sign, serve and run container images."""
    ctx.obj = App.create(root=root, config=config, debug=debug)


def run_command(arguments: list[str]) -> int:
    """Run one command line; every error becomes a message on stderr and an exit status."""
    debug = "--debug" in arguments[:4] or "-D" in arguments[:4]
    return status_of(lambda: _run_by_click(arguments), debug=debug)


def _run_by_click(arguments: list[str]) -> int | None:
    try:
        status = cli.main(arguments, prog_name="lading", standalone_mode=False)
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        return _usage_error(error)
    except click.Abort:
        return INTERRUPTED_STATUS
    return status if isinstance(status, int) else None


def _usage_error(error: click.ClickException) -> int:
    context = getattr(error, "ctx", None)
    print(f"lading: {error.format_message()}", file=sys.stderr)
    if isinstance(error, click.NoSuchOption) and context is not None:
        from lading.flags.elsewhere import COMMANDS as elsewhere

        known = elsewhere.get(context.command_path.partition(" ")[2], {})
        if error.option_name in known:
            print(f"  {known[error.option_name]}", file=sys.stderr)
            return USAGE_STATUS
    if context is not None:
        print(f"\nRun '{context.command_path} --help' for more information", file=sys.stderr)
    return USAGE_STATUS
