"""The house's rules: who may import whom, and what importing costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
CORE = {"diag", "diag.errors", "diag.model", "diag.manifest", "diag.evidence", "diag.redact"}
SHARED = {*CORE, "diag.config", "diag.spool", "diag.ledger", "diag.probe"}
SIBLINGS = ("diag.report", "diag.profiles", "diag.packets", "diag.collectors", "diag.upload")
LOWER = {*SHARED, *SIBLINGS, "diag.capture", "diag.agent"}

# Layer -> what it may import of ours. A layer may always import itself.
MAY_IMPORT = {
    "diag.probe": set(),
    "diag.errors": set(),
    "diag.model": {"diag.errors"},
    "diag.manifest": {"diag.errors", "diag.model"},
    "diag.evidence": {"diag.model"},
    "diag.redact": {"diag.errors", "diag.model"},
    "diag.config": {"diag.errors", "diag.model"},
    "diag.spool": {"diag", "diag.errors", "diag.manifest", "diag.model", "diag.config", "diag.ledger", "diag.probe"},
    "diag.ledger": {"diag.errors", "diag.model"},
    **dict.fromkeys(SIBLINGS, SHARED),
    "diag.capture": {*SHARED, *SIBLINGS},
    "diag.agent": {*SHARED, *SIBLINGS, "diag.capture"},
    "diag.cli": LOWER,
    "diag.__main__": {"diag.cli"},
    "diag": set(),
    "diag_server": {*CORE, "diag.report", "diag.profiles", "diag.upload"},
}
# One file each, and only when they are used.
LATE = {
    "boto3": "diag/upload/s3_client.py",
    "botocore": "diag/upload/s3_client.py",
    "elftools": "diag/report/elf.py",
    "oss2": "diag/upload/oss_client.py",
    "pystack": "diag/collectors/core_python.py",
    "prometheus_client": "server/diag_server/metrics.py",
    "urllib3": "diag/upload/http_client.py",
    "websocket": "diag/collectors/inspector.py",
}


def _sources() -> list[tuple[str, Path]]:
    found = []
    for folder in (ROOT / "diag", ROOT / "server" / "diag_server"):
        for path in sorted(folder.rglob("*.py")):
            name = ".".join(path.relative_to(folder.parent).with_suffix("").parts)
            found.append((name.removesuffix(".__init__"), path))
    return found


def _layer(module: str) -> str:
    return max((name for name in MAY_IMPORT if module == name or module.startswith(name + ".")), key=len, default="")


def _imports(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


@pytest.mark.parametrize(("module", "path"), _sources(), ids=lambda value: value if isinstance(value, str) else "")
def test_imports_follow_the_house(module: str, path: Path) -> None:
    """A layer imports only the layers below it; siblings never each other."""
    layer = _layer(module)
    assert layer, f"{module} belongs to no layer of the house"
    allowed = {layer, *MAY_IMPORT[layer]}
    ours = {_layer(name) for name in _imports(path) if _layer(name) and (name != "diag" or layer != "diag")}
    serving = {"diag_server"} if module == "diag.cli.serve" else set()
    assert ours - allowed - serving - ({"diag"} if "diag" in ours else set()) == set()


@pytest.mark.parametrize(("library", "only"), LATE.items())
def test_a_library_is_imported_in_one_file(library: str, only: str) -> None:
    """A third-party library has one importer, so that replacing it touches one file."""
    users = {
        str(path.relative_to(ROOT))
        for _, path in _sources()
        if any(name.split(".")[0] == library for name in _imports(path))
    }
    assert users <= {only}


def test_importing_diag_imports_nothing_else() -> None:
    """`import diag` costs nothing: no other module comes with it."""
    script = "import sys; before = set(sys.modules); import diag; print(sorted(set(sys.modules) - before))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "['diag']"
