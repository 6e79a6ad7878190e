"""The network namespaces of processes, read from real ones."""

from __future__ import annotations

import os
import subprocess

import pytest
from machine import TIMEOUT_S

from diag.collectors import network
from diag.errors import NoSuchInstance


def test_a_child_has_our_network() -> None:
    """Nobody has to be entered for it."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert network.is_ours(child.pid)


def test_who_has_ended_is_no_instance() -> None:
    """A zombie has no namespaces any more, which is no lack of rights."""
    child = subprocess.Popen(["true"])
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    try:
        with pytest.raises(NoSuchInstance):
            network.is_ours(child.pid)
        with pytest.raises(NoSuchInstance), network.held(child.pid):
            pass
    finally:
        child.wait(TIMEOUT_S)
