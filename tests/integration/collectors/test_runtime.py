"""What a process is made of, told from outside."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import VERSIONS, need, python

from diag.collectors.runtime import runtime_of
from diag.errors import NoSuchInstance


@pytest.mark.parametrize("version", VERSIONS)
def test_python_with_its_patch_level(version: str, spawn: Callable) -> None:
    """Each CPython is told with the version that it says itself."""
    interpreter = python(version)
    said = subprocess.check_output([interpreter, "-c", "import platform; print(platform.python_version())"], text=True)
    child = spawn("sleeping_threads.py", python=interpreter)

    assert runtime_of(child.pid) == f"python {said.strip()}"


def test_python_in_a_virtual_environment(spawn: Callable) -> None:
    """The interpreter behind a virtual environment's link is the one that counts."""
    child = spawn("sleeping_threads.py")

    assert runtime_of(child.pid) == "python {}.{}.{}".format(*sys.version_info[:3])


def test_native_program() -> None:
    """A C program is native."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as child:
        assert runtime_of(child.pid) == "native"


def test_go_program(tmp_path: Path) -> None:
    """A program with the section that Go's linker writes is Go, whatever its name."""
    source = tmp_path / "main.c"
    source.write_text(
        "#include <unistd.h>\n"
        '__attribute__((section(".go.buildinfo"), used)) static const char info[] = "\\xff Go buildinf:";\n'
        "int main(void) { char c; return (int)read(0, &c, 1); }\n"
    )
    subprocess.run([need("gcc"), "-o", tmp_path / "python-shop", source], check=True)
    with subprocess.Popen([tmp_path / "python-shop"], stdin=subprocess.PIPE) as child:
        assert runtime_of(child.pid) == "go"


def test_node_program() -> None:
    """Node is told by its executable."""
    script = "console.log('ready'); process.stdin.resume()"
    with subprocess.Popen([need("node"), "-e", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert runtime_of(child.pid) == "node"


def test_gone_process() -> None:
    """A pid without a process is NoSuchInstance."""
    with subprocess.Popen(["true"]) as child:
        child.wait()

    with pytest.raises(NoSuchInstance):
        runtime_of(child.pid)
