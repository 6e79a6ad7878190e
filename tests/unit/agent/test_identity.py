"""Who an instance is that joined by itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from diag.agent import identity
from diag.config import load

POD = "12345678-1234-1234-1234-123456789abc"


@pytest.fixture
def process() -> Iterator[subprocess.Popen[str]]:
    """A Python that says something of itself in its environment."""
    variables = {
        "DIAG_NAME": "shop\x1b[31m" + "x" * 500,
        "OTEL_RESOURCE_ATTRIBUTES": "service.name=a%20b, k8s.namespace.name=prod,host.name=other,broken",
        "DIAG_LABELS": "zone",  # not of the form k=v
        "HOSTNAME": "shop-1",
        "KUBERNETES_SERVICE_HOST": "10.0.0.1",
    }
    script = "print('ready', flush=True); input()"
    command = [sys.executable, "-c", script]
    with subprocess.Popen(command, env=variables, stdin=-1, stdout=-1, text=True) as child:
        assert child.stdout is not None
        child.stdout.readline()
        yield child
        child.kill()


def test_its_environment_says_who_it_is(process: subprocess.Popen[str], home: Path) -> None:
    """Name, service and labels, printable and short; a mistake in them costs the labels alone."""
    target = identity.joined(load(environ=os.environ), process.pid)

    assert target.name.startswith("shop?[31m")
    assert len(target.name) == identity.LONGEST
    assert target.service == "a b"
    assert target.labels == {"k8s.namespace.name": "prod", "k8s.pod.name": "shop-1"}
    assert target.run_dir is not None
    assert target.instance_id.endswith(target.run_dir.name)
    assert (target.pid, target.agent_pid) == (process.pid, os.getpid())


@pytest.mark.parametrize(
    "group",
    [
        f"0::/kubepods/burstable/pod{POD}/abc\n",
        f"0::/kubepods.slice/kubepods-burstable-pod{POD.replace('-', '_')}.slice/cri-containerd-abc.scope\n",
    ],
)
def test_the_pod_is_known_by_its_control_group(group: str) -> None:
    """As both drivers of the kubelet write it."""
    assert identity._kubernetes({}, group) == {"k8s.pod.uid": POD}


def test_who_has_ended_is_called_by_its_black_box(home: Path) -> None:
    """There is nothing in /proc any more, and the header still has the command line."""
    ended = subprocess.Popen(["true"])
    ended.wait()
    target = identity.joined(load(environ=os.environ), ended.pid)

    assert (target.name, target.start_ticks) == ("", 0)
    assert identity.named_by(target, {"argv": ["python", "-u", "/srv/app.py"]}).name == "app.py"
    assert identity.named_by(target, {"argv": [b"x", 7]}).service == "python"
