"""Who an instance is that joined by itself: by its environment, its command line and its control group."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from diag.agent import registry
from diag.agent.containers import Containers
from diag.agent.naming import program_of, script_of
from diag.agent.registry import Target
from diag.collectors.proc import start_time
from diag.collectors.procfs import ProcFolder
from diag.config import Settings, parse_labels
from diag.errors import BadSetting, NoSuchInstance
from diag.model import new_capture_id, stamp

# Of OTEL_RESOURCE_ATTRIBUTES; more is for tracing.
ATTRIBUTES = ("service.instance.id", "service.version", "deployment.environment")
_POD = re.compile(r"(?<![a-z])pod([0-9a-f]{8}(?:[-_][0-9a-f]{4}){3}[-_][0-9a-f]{12})")
LONGEST, MOST = 128, 32  # of what an instance says of itself


def joined(settings: Settings, pid: int) -> Target:
    """The instance whose first process this is. Nameless, where it has ended already: its black box may know more."""
    ticks = registry.start_ticks(pid) or 0
    variables, group = _environment(pid), _text(pid, "cgroup")
    attributes = _attributes(variables.get("OTEL_RESOURCE_ATTRIBUTES", ""))
    container = Containers().of(pid)
    name = variables.get("DIAG_NAME") or (container.name if container else "") or _program(pid)
    service = variables.get("DIAG_SERVICE") or variables.get("OTEL_SERVICE_NAME") or attributes.get("service.name")
    labels = {**parse_labels(settings.labels), **_own_labels(variables), **_kubernetes(variables, group)}
    labels.update((key, value) for key, value in attributes.items() if key in ATTRIBUTES or key.startswith("k8s."))
    labels.update(container.labels if container else {})
    name, service = _clean(name), _clean(service or settings.service or name)
    labels = {_clean(key): _clean(value) for key, value in list(labels.items())[:MOST]}
    return owned(settings, Target(pid, ticks, name, service, "", labels=labels))


def named_by(target: Target, header: Mapping[str, Any]) -> Target:
    """The instance with the name that its black box knows, where it has none."""
    words = [word for word in header.get("argv") or () if isinstance(word, str)]
    name = _clean(script_of(words) or "python") if words else "python"
    return replace(target, name=name, service=target.service or name)


def owned(settings: Settings, target: Target) -> Target:
    """The instance as this agent's: with an id, a folder, and us as who watches it."""
    instance_id = new_capture_id()
    ours = replace(
        target,
        instance_id=instance_id,
        host=os.uname().nodename,
        start_time=stamp(start_time(target.start_ticks)) if target.start_ticks else "",
        run_dir=settings.run_dir / instance_id[-12:],
    )
    return by_us(ours)


def by_us(target: Target) -> Target:
    """The instance with this process as who watches it."""
    return replace(target, agent_pid=os.getpid(), agent_start_ticks=registry.start_ticks(os.getpid()))


def _clean(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:LONGEST])


def _text(pid: int, name: str) -> str:
    try:
        with ProcFolder(pid) as folder:
            return folder.text(name)
    except (OSError, NoSuchInstance):
        return ""


def _environment(pid: int) -> dict[str, str]:
    entries = (entry.partition("=") for entry in _text(pid, "environ").split("\0"))
    return {name: value for name, equals, value in entries if equals}


def _attributes(text: str) -> dict[str, str]:
    """`key=value,key=value`, percent-encoded (OpenTelemetry, Resource SDK)."""
    pairs = (part.partition("=") for part in text.split(","))
    return {key.strip(): unquote(value.strip()) for key, equals, value in pairs if equals}


def _own_labels(variables: Mapping[str, str]) -> dict[str, str]:
    try:
        return parse_labels(variables.get("DIAG_LABELS", ""))
    except BadSetting:
        return {}  # a mistake in one instance's environment is no reason not to watch it


def _kubernetes(variables: Mapping[str, str], group: str) -> dict[str, str]:
    """As OpenTelemetry names them. In a pod the host's name is the pod's, unless the pod says otherwise."""
    found = _POD.search(group)
    labels = {"k8s.pod.uid": found[1].replace("_", "-")} if found else {}
    if "KUBERNETES_SERVICE_HOST" in variables and variables.get("HOSTNAME"):
        labels["k8s.pod.name"] = variables["HOSTNAME"]
    return labels


def _program(pid: int) -> str:
    name = _text(pid, "comm").strip()
    try:
        return program_of(pid, name)
    except NoSuchInstance:
        return name
