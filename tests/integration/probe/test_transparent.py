"""Nobody can tell from a healthy program, or from how a dying one ends, that the probe is in it."""

from __future__ import annotations

import os
import subprocess
import zipapp
from collections.abc import Callable
from pathlib import Path

import pytest
from machine import VERSIONS, python
from probed import Program, path_of
from standin import StandIn

from diag.probe import FOLDER
from diag.probe.diag_probe import layout

Same = Callable[..., subprocess.CompletedProcess[str]]

ENDINGS = (
    "leave.py",
    "raise_chain.py",
    "raise_in_thread.py",
    "raise_in_del.py",
    "no_descriptors.py",
    "stderr_closed.py",
    "own_excepthook.py",
    "bad_excepthook.py",
    "hostile_exception.py",
    "locals.py",
    "segfault.py",
    "fork_children.py",
    "children.py",
)


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("options", [(), ("-X", "dev", "-W", "error"), ("-O", "-B", "-u"), ("-b", "-s", "-q")])
def test_interpreter_looks_the_same(version: str, options: tuple[str, ...], same: Same, agent: StandIn) -> None:
    """Path, arguments, flags, warnings, descriptors, threads, hooks and fork are what they are without us."""
    done = same(version, *options, path_of("show_state.py"), "one", "two")

    assert done.returncode == 0
    assert [connection.hello["forked"] for connection in agent.connections] == [False, True]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", ENDINGS)
def test_ends_the_same(version: str, name: str, same: Same, agent: StandIn) -> None:
    """Status, stdout and stderr of a program that fails are what they are without us."""
    same(version, path_of(name))

    assert agent.connections


@pytest.mark.parametrize("version", VERSIONS)
def test_every_way_to_start(version: str, same: Same, agent: StandIn, home: Path) -> None:
    """-c, -m, a folder, a zip, stdin and an interactive session run as they do without us."""
    package = home / "app"
    package.mkdir()
    (package / "__main__.py").write_text("import sys; print(sys.argv, sys.path[1:], __name__); 1 / 0\n")
    zipapp.create_archive(package, home / "app.pyz")

    same(version, "-c", "import sys; print(sys.argv, sys.path); raise SystemExit('bye')", "x")
    same(version, "-m", "app", "x", cwd=home)
    same(version, "-m", "no_such_module")
    same(version, str(package), "x")
    same(version, str(home / "app.pyz"), "x")
    same(version, "-", "x", input="import sys\nprint(sys.argv, sys.path)\n[1][2]\n")
    same(version, "-i", "-c", "1/0", input="print(3)\n1/0\nimport code\ncode.interact(banner='', exitmsg='')\n1/0\n")
    same(version, "no_such_file.py")
    same(version, "-c", "x = = 1")

    assert len(agent.connections) == 9


@pytest.mark.parametrize("version", VERSIONS)
def test_isolated_interpreters_have_no_probe(version: str, same: Same, agent: StandIn) -> None:
    """-I, -E and -S keep the probe out; the program runs as it would."""
    for option in ("-I", "-E", "-S"):
        done = same(version, option, "-c", "import sys; print(sys.argv, 'diag_probe' in sys.modules)")
        assert done.stdout.endswith("False\n")

    assert not agent.connections


SITE_TEXTS = {
    "prints": "import sys\nprint('site of the user', __name__, __file__, sys.path[0])\n",
    "raises": "raise RuntimeError('site broke')\n",
    "lacks": "import no_such_module_anywhere\n",
    "hooks": "import sys\nsys.excepthook = lambda *a: print('mine', a[1])\n",
}


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", SITE_TEXTS)
def test_sitecustomize_of_the_user_runs(version: str, kind: str, same: Same, home: Path) -> None:
    """The user's own sitecustomize runs in our place, with its output and its errors."""
    site = home / "site"
    site.mkdir()
    (site / "sitecustomize.py").write_text(SITE_TEXTS[kind])

    code = "import sys; print(getattr(sys.modules.get('sitecustomize'), '__file__', None)); 1/0"
    same(version, "-c", code, variables={"PYTHONPATH": str(site)})


@pytest.mark.parametrize("version", VERSIONS)
def test_sitecustomize_of_the_user_exits(version: str, agent: StandIn, home: Path) -> None:
    """Where it ends the interpreter, it does: only the traceback that CPython prints then is longer."""
    (home / "sitecustomize.py").write_text("raise SystemExit(9)\n")
    program = Program(version, ["-c", "print(1)"], variables={"PYTHONPATH": str(home)})

    bare, probed = program.bare(), program.probed(agent)

    assert (probed.returncode, probed.stdout) == (bare.returncode, bare.stdout)
    assert probed.stderr.splitlines()[-1] == bare.stderr.splitlines()[-1]


@pytest.mark.parametrize("version", VERSIONS)
def test_usercustomize_runs(version: str, same: Same, home: Path) -> None:
    """usercustomize runs after us as it does after any sitecustomize."""
    folder = home / "user" / "lib" / f"python{version}" / "site-packages"
    folder.mkdir(parents=True)
    (folder / "usercustomize.py").write_text("print('user', 'sitecustomize' in __import__('sys').modules)\n")

    done = same(version, "-c", "import sys; print(sys.path)", variables={"PYTHONUSERBASE": str(home / "user")})

    assert done.stdout.startswith("user ")  # True where the distribution has a sitecustomize of its own


@pytest.mark.parametrize("version", ["3.8", "3.11", "3.13"])
def test_absent_agent_leaves_nothing(version: str, home: Path) -> None:
    """Without a socket, or with nobody behind it, no part of the probe stays in the interpreter."""
    code = "import sys, faulthandler; print(faulthandler.is_enabled(), sys.excepthook, len(sys.meta_path))"
    command = [python(version), "-c", code]
    bare = subprocess.check_output(command, text=True)
    for socket in ("", str(home / "nobody.sock"), str(home / ("x" * 200))):
        variables = {**os.environ, "PYTHONPATH": str(FOLDER), "DIAG_PROBE_SOCKET": socket}
        assert subprocess.check_output(command, text=True, env=variables) == bare


@pytest.mark.parametrize("version", VERSIONS)
def test_few_descriptors(version: str, same: Same, agent: StandIn) -> None:
    """A program with a small limit of open files gets the numbers it would get."""
    code = (
        "import os, resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (12, 12))\n"
        "os.execv(__import__('sys').executable, ['python', '-c', 'import os; print([os.dup(1) for _ in range(7)])'])\n"
    )
    same(version, "-c", code)

    assert len(agent.connections) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_framework_that_cannot_be_imported(version: str, same: Same, home: Path) -> None:
    """The traceback of a failed import of a framework that we watch is the same to the letter."""
    for package in ("flask", "uvicorn"):
        (home / package).mkdir()
        (home / package / "__init__.py").write_text("")
    (home / "flask" / "app.py").write_text("import no_such_module\n")
    (home / "uvicorn" / "config.py").write_text("def load():\n    1 / 0\n\nload()\n")
    variables = {"PYTHONPATH": str(home)}

    same(version, "-c", "import flask.app", variables=variables)
    same(version, "-c", "import uvicorn.config", variables=variables)


@pytest.mark.parametrize("version", VERSIONS)
def test_framework_that_is_another(version: str, same: Same, home: Path, agent: StandIn) -> None:
    """A module that only bears a framework's name is left alone, and our miss is counted."""
    (home / "flask").mkdir()
    (home / "flask" / "__init__.py").write_text("")
    (home / "flask" / "app.py").write_text("print(__spec__.loader, __loader__.exec_module)\n")
    code = "import importlib, flask.app as m; importlib.reload(m); print(vars(m.__loader__))"

    same(version, "-c", code, variables={"PYTHONPATH": str(home)})

    assert agent.box().counter(layout.DROPPED_AT) == 2


@pytest.mark.parametrize("version", VERSIONS)
def test_uninstall(version: str, agent: StandIn) -> None:
    """Taken out again, the probe leaves hooks, finders, faulthandler, os and descriptors as they were."""
    code = (
        "import faulthandler, os, sys, threading\n"
        "look = lambda: (sys.excepthook, sys.__excepthook__, sys.unraisablehook, threading.excepthook,\n"
        "    sys.meta_path[:], faulthandler.enable, faulthandler.is_enabled(), os.closerange,\n"
        "    sorted(os.listdir('/proc/self/fd')))\n"
        "before = look()\n"
        f"sys.path.insert(0, {str(FOLDER)!r}); from diag_probe import start\n"
        f"os.environ['DIAG_PROBE_SOCKET'] = {str(agent.path)!r}\n"
        "probe = start.install(); import wsgiref.handlers, uvicorn.config; during = look()\n"
        "probe.uninstall()\n"
        "print(look() == before, during != before, 'loaded' in vars(uvicorn.config.Config))\n"
    )
    done = subprocess.run([python(version), "-c", code], capture_output=True, text=True, check=False, env=_fake(agent))

    assert (done.stdout, done.stderr) == ("True True False\n", "")


def _fake(agent: StandIn) -> dict[str, str]:
    """An environment with a module that looks like uvicorn's, and with no probe."""
    folder = agent.path.parent / "fake" / "uvicorn"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "config.py").write_text("class Config:\n    pass\n")
    return {**os.environ, "PYTHONPATH": str(folder.parent)}
