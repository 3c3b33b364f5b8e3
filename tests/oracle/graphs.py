"""Two views of one build graph, the reference's operations and our plan, in one comparable form.

A node is a tuple: its kind, what it stands on, and what it does. Only what decides the result is
kept: not titles, numbers or the order in which nodes are listed.
"""

from __future__ import annotations

import re
from typing import Any

from builder.plan import paths
from builder.plan.model import Plan
from builder.plan.ops import (
    BindSpec,
    CacheSpec,
    Copy,
    InlineFile,
    Run,
    SecretSpec,
    SourceImage,
    SourceScratch,
    SshSpec,
    StepId,
    TmpfsSpec,
    Workdir,
)
from builder.plan.sources import file_name, is_git, is_url

CONTEXT = ("context",)
SSH_VARIABLE = "SSH_AUTH_SOCK"


def of_reference(ops: list[dict[str, Any]]) -> Any:
    """The node of the result, which the last operation points at."""
    return _Reference(ops).result()


def of_plan(plan: Plan, *, link_with_chmod: bool = True) -> Any:
    """The node of the plan's result; ``link_with_chmod`` False forgets --link beside --chmod."""
    return _Ours(plan, link_with_chmod=link_with_chmod).step(plan.result)


class _Reference:
    def __init__(self, ops: list[dict[str, Any]]) -> None:
        self._ops = ops

    def result(self) -> Any:
        inputs = self._inputs(self._ops[-1])
        return inputs[0] if inputs else None

    def _inputs(self, op: dict[str, Any]) -> list[Any]:
        return [self._node(self._ops[int(item.split(":")[0])]) for item in op["in"]]

    def _node(self, op: dict[str, Any]) -> Any:
        if "source" in op:
            return _source(op)
        inputs = self._inputs(op)
        if "merge" in op:
            return merged(*inputs)
        if "exec" in op:
            return _reference_run(op["exec"], inputs)
        nodes = list(inputs)
        for action in op["file"]:
            nodes.append(self._action(action, nodes))
        return nodes[-1]

    def _action(self, action: dict[str, Any], nodes: list[Any]) -> Any:
        below = _at(nodes, action["input"])
        if "mkdir" in action:
            made = action["mkdir"]
            return ("workdir", below, made["path"], made["owner"], made["mode"])
        if "mkfile" in action:
            made = action["mkfile"]
            return ("inline", made["path"], made["data"], made["mode"])
        copy = action["copy"]
        chmod = copy["mode_str"] or (None if copy["mode"] < 0 else f"{copy['mode']:o}")
        return copied(
            below,
            source=_at(nodes, action["secondary"]),
            path=copy["src"],
            destination=copy["dest"],
            owner=copy["owner"],
            chmod=chmod,
            exclude=tuple(copy["exclude"] or ()),
            unpack=copy["unpack"],
        )


def _at(nodes: list[Any], index: int) -> Any:
    return None if index < 0 else nodes[index]


def _source(op: dict[str, Any]) -> Any:
    kind, _, rest = op["source"]["id"].partition("://")
    attributes = op["source"]["attrs"] or {}
    if kind == "docker-image":
        return ("image", rest, op["platform"])
    if kind == "local":
        return CONTEXT
    if kind == "git":
        return ("git", attributes["git.fullurl"], attributes.get("git.keepgitdir") == "true")
    return ("url", op["source"]["id"], attributes.get("http.checksum"))


def _reference_run(op: dict[str, Any], inputs: list[Any]) -> Any:
    mounts = {}
    root = None
    for mount in op["mounts"]:
        below = _at(inputs, mount["input"])
        if mount["dest"] == "/":
            root = below
        else:
            mounts[mount["dest"]] = _reference_mount(mount, below)
    secrets = [re.fullmatch(r"(\w+)=(.*?)( optional=true)?", text) for text in _secretenv(op)]
    return ran(
        root,
        args=tuple(op["args"]),
        cwd=op["cwd"],
        user=op.get("user", ""),
        env=op["env"],
        proxy=op.get("proxy") or {},
        mounts=mounts,
        secrets={match[1]: (match[2], not match[3]) for match in secrets if match},
    )


def _secretenv(op: dict[str, Any]) -> list[str]:
    return op.get("secretenv") or []


def _reference_mount(mount: dict[str, Any], below: Any) -> Any:
    match mount["type"]:
        case "CACHE":
            cache = mount["cache"]
            # A cache with an owner or a mode starts from a directory made for it.
            owner, mode = (None, "755")
            if below is not None and below[:3] == ("workdir", None, "/cache"):
                below, owner, mode = None, below[3], below[4]
            source = below and (below, mount.get("selector", "/"))
            read_only = mount.get("ro", False)
            return ("cache", cache["id"], cache["sharing"], read_only, owner, mode, source)
        case "TMPFS":
            return ("tmpfs", mount.get("tmpfs_size", 0))
        case "SECRET":
            item = mount["secret"]
            owner = (item["uid"], item["gid"], item["mode"])
            return ("secret", item["id"], owner, not item["optional"])
        case "SSH":
            item = mount["ssh"]
            owner = (item["uid"], item["gid"], item["mode"])
            return ("ssh", item["id"] or "default", owner, not item["optional"])
    return ("bind", below, mount.get("selector", "/"), mount.get("ro", False))


class _Ours:
    def __init__(self, plan: Plan, *, link_with_chmod: bool) -> None:
        self._plan = plan
        self._link_with_chmod = link_with_chmod

    def step(self, index: StepId | None) -> Any:
        if index is None:
            return None
        step = self._plan.steps[index]
        match step.op:
            case SourceScratch():
                return None
            case SourceImage():
                reference = step.op.reference
                tag = f":{reference.tag}" if reference.tag else ""
                digest = f"@{reference.digest}" if reference.digest else ""
                return ("image", f"{reference.name}{tag}{digest}", str(step.op.platform))
            case Workdir():
                owner = _owner(step.op.user) if step.op.user else None
                return ("workdir", self.step(step.parent), paths.clean(step.op.path), owner, "755")
            case Copy():
                below = self.step(step.parent)
                if step.op.link and (self._link_with_chmod or step.op.chmod is None):
                    return merged(below, self._copy(step.op, None))
                return self._copy(step.op, below)
            case Run():
                return self._run(step.op, self.step(step.parent))

    def _copy(self, op: Copy, node: Any) -> Any:
        joined = paths.join(op.workdir, op.destination)
        folder = op.destination.endswith(("/", "/.")) or op.destination == "."
        destination = f"{joined}/" if folder and joined != "/" else joined
        owner = None if op.chown is None else _owner(op.chown)
        chmod = op.chmod
        if chmod is not None and chmod.isdigit():
            chmod = f"{int(chmod, 8):o}"
        items = [(*self._origin(op, name), name) for name in op.sources]
        items += [(_inline(doc, chmod), f"/{doc.name}", "") for doc in op.heredocs]
        for source, path, name in items:
            remote = is_url(name) or is_git(name)
            local = op.archives and op.from_ is None and bool(name) and not remote
            unpack = op.unpack if op.unpack is not None and name else local
            node = copied(
                node,
                source=source,
                path=path,
                destination=destination,
                owner=owner,
                chmod=chmod if name else None,
                exclude=op.exclude,
                unpack=unpack,
            )
        return node

    def _origin(self, op: Copy, name: str) -> tuple[Any, str]:
        if op.from_ is not None:
            return self.step(op.from_), paths.clean(name)
        if op.archives and is_url(name):
            return ("url", name, op.checksum), f"/{file_name(name)}"
        if op.archives and is_git(name):
            return ("git", re.split("[#?]", name)[0], op.keep_git_dir), "/"
        return CONTEXT, paths.clean(name)

    def _run(self, op: Run, below: Any) -> Any:
        mounts = {}
        secrets = {}
        env = list(op.env)
        for mount in op.mounts:
            if isinstance(mount, SecretSpec) and mount.env is not None:
                secrets[mount.env] = (mount.id, mount.required)
            if isinstance(mount, SshSpec) and mount.sets_variable:
                env.append(f"{SSH_VARIABLE}={mount.target}")
            if mount.target is not None:
                mounts[mount.target] = self._mount(mount)
        if op.scripts:
            (script,) = op.scripts
            mounts["/dev/pipes/"] = ("bind", _inline(script, "755"), "/", True)
        proxy = {pair.partition("=")[0].lower(): pair.partition("=")[2] for pair in op.proxy_env}
        return ran(
            below,
            args=op.args,
            cwd=op.cwd,
            user=op.user,
            env=env,
            proxy=proxy,
            mounts=mounts,
            secrets=secrets,
        )

    def _mount(self, mount: BindSpec | CacheSpec | TmpfsSpec | SecretSpec | SshSpec) -> Any:
        match mount:
            case BindSpec():
                below = CONTEXT if mount.from_ is None else self.step(mount.from_)
                return ("bind", below, mount.source, mount.read_only)
            case CacheSpec():
                owned = (mount.uid, mount.gid, mount.mode) != (0, 0, 0o755)
                owner = f"id:{mount.uid}|id:{mount.gid}" if owned else None
                source = mount.from_ is not None and (self.step(mount.from_), mount.source or "/")
                start = (owner, f"{mount.mode:o}", source or None)
                name = (f"/{mount.id}", mount.sharing.upper(), mount.read_only)
                return ("cache", *name, *start)
            case TmpfsSpec():
                return ("tmpfs", mount.size)
            case SecretSpec():
                owner_of_secret = (mount.uid, mount.gid, f"{mount.mode:o}")
                return ("secret", mount.id, owner_of_secret, mount.required)
        return ("ssh", mount.id, (mount.uid, mount.gid, f"{mount.mode:o}"), mount.required)


def merged(*layers: Any) -> Any:
    """Layers above each other, however the merges were nested; nothing below is left out."""
    flat: list[Any] = []
    for layer in layers:
        if layer is not None:
            flat += layer[1:] if layer[0] == "merge" else [layer]
    return ("merge", *flat) if len(flat) > 1 else (flat[0] if flat else None)


def copied(below: Any, **what: Any) -> Any:
    """One source put into a tree."""
    return ("copy", below, *sorted(what.items()))


def ran(below: Any, *, env: list[str], **what: Any) -> Any:
    """A command on a tree."""
    return ("run", below, tuple(sorted(env)), *sorted(what.items()))


def difference(expected: Any, actual: Any, where: str = "result") -> str | None:
    """The first place where two nodes differ, in words; None where they do not."""
    if expected == actual:
        return None
    if isinstance(expected, tuple) and isinstance(actual, tuple) and len(expected) == len(actual):
        for index, (left, right) in enumerate(zip(expected, actual, strict=True)):
            found = difference(left, right, f"{where}.{expected[0]}[{index}]")
            if found is not None:
                return found
    return f"{where}: expected {expected!r}, got {actual!r}"


def _inline(doc: InlineFile, mode: str | None) -> Any:
    return ("inline", f"/{doc.name}", doc.content.decode(), mode or "644")


def _owner(text: str) -> str:
    user, colon, group = text.partition(":")
    return f"{_principal(user or '0')}|{_principal(group) if colon and group else ''}"


def _principal(name: str) -> str:
    if name == "root":
        return "id:0"
    return f"id:{name}" if name.isdigit() else f"name:{name}"
