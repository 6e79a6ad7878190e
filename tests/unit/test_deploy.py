"""What deploy/ holds is right by the linters of those who read it, and says what the code says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from machine import need

from diag.agent import hooks, meeting
from diag.probe.diag_probe import layout

DEPLOY = Path(__file__).parents[2] / "deploy"
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))


def said(*command: str) -> str:
    """What a linter has to say, with its status where that is not 0."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return (done.stdout + done.stderr).strip() + (f" (status {done.returncode})" if done.returncode else "")


def beside_us(tool: str) -> str:
    """A tool that is installed beside this Python."""
    return str(Path(sys.executable).with_name(tool))


def unit(folder: Path, text: str) -> str:
    """What systemd says of the unit; with a command that is there."""
    path = folder / "diag-agent.service"
    path.write_text(text.replace("/usr/local/bin/diag", beside_us("diag")))
    return said(need("systemd-analyze"), "verify", "--man=no", str(path))


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """systemd-analyze has nothing to say; of a key that it does not know it would."""
    text = (DEPLOY / "diag-agent.service").read_text()

    assert unit(tmp_path, text) == ""
    assert "LimitNOFIL" in unit(tmp_path, text.replace("LimitNOFILE", "LimitNOFIL"))


def test_hadolint_takes_the_dockerfile(tmp_path: Path) -> None:
    """hadolint has nothing to say; and what the file copies is there."""
    text = (DEPLOY / "Dockerfile").read_text()
    worse = tmp_path / "Dockerfile"
    worse.write_text(text.replace("WORKDIR /src", "WORKDIR src"))

    assert said(beside_us("hadolint"), str(DEPLOY / "Dockerfile")) == ""
    assert "DL3000" in said(beside_us("hadolint"), str(worse))
    copied = [name for line in re.findall(r"^COPY (?!--)(.+) \S+$", text, re.MULTILINE) for name in line.split()]
    assert {"diag", "pyproject.toml"} <= set(copied)
    assert [name for name in copied if not (DEPLOY.parent / name).exists()] == []


@pytest.mark.parametrize("path", MANIFESTS, ids=lambda path: path.name)
@pytest.mark.parametrize("version", ["1.29", "1.32"])
def test_kubernetes_takes_the_manifests(path: Path, version: str, tmp_path: Path) -> None:
    """Each is valid against the schema of Kubernetes, without a property that it does not know."""
    worse = tmp_path / path.name
    worse.write_text(path.read_text().replace("volumeMounts:", "volumeMount:"))
    check = (beside_us("kubernetes-validate"), "--strict", "--quiet", "-k", version)

    assert said(*check, str(path)) == ""
    assert "volumeMount" in said(*check, str(worse))


def test_they_name_what_the_agent_makes() -> None:
    """Paths and variables in the manifests are those of the code."""
    text = "".join(path.read_text() for path in MANIFESTS)
    assert layout.ENV_SOCKET in text
    assert f"/diag/{meeting.SOCKET_NAME}}}" in text
    assert f"value: /diag/{meeting.PROBE_COPY}" in text
    assert f"/run/diag/{meeting.FOLDER}/{hooks.NAME}" in text
