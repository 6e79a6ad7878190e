"""The documentation is complete, and its links lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from urllib.parse import unquote

import click
import pytest
from diag_server.access import ANYBODY, roles_of
from diag_server.app import create_app
from diag_server.config import ViewerConfig
from faults import table
from faults.catalogue import faults

from diag.cli.main import COMMANDS
from diag.cli.main import diag as diag_command
from diag.config import Settings

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
VARIABLE = re.compile(r"""["'](DIAG_[A-Z_]+|OTEL_[A-Z_]+|XDG_[A-Z_]+|NO_COLOR)["']""")
FENCE = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
# Where a command's options stand.
PAGE_OF = {
    "tcpdump": "packets.md",
    "run": "catching-crashes.md",
    "agent": "agent.md",
    "report": "live-reports.md",
    "stacks": "stacks.md",
    "profile": "profiling.md",
    "memory": "memory.md",
    "exec": "exec.md",
    "shell": "exec.md",
    "ps": "live-reports.md",
    "doctor": "live-reports.md",
    "ls": "captures.md",
    "show": "captures.md",
    "get": "captures.md",
    "pin": "captures.md",
    "unpin": "captures.md",
    "prune": "captures.md",
    "diff": "captures.md",
    "flush": "captures.md",
    "serve": "viewer.md",
}


def page(name: str) -> str:
    """The text of a page in docs/."""
    return (ROOT / "docs" / name).read_text()


def all_pages() -> str:
    """The text of README and docs/."""
    return "".join(path.read_text() for path in PAGES)


def command(name: str) -> click.Command:
    """A command as click knows it."""
    found = diag_command.get_command(click.Context(diag_command), name)
    assert found is not None
    return found


def options() -> Iterator[tuple[str, str]]:
    """(command, option) of every option there is, in each of its spellings."""
    for name in COMMANDS:
        for parameter in command(name).params:
            if isinstance(parameter, click.Option):
                yield from ((name, spelling) for spelling in (*parameter.opts, *parameter.secondary_opts))


def test_the_tables_of_deaths_are_the_catalogues() -> None:
    """docs/faults.md shows what `make faults` wants; `make faults ARGS=--page` prints its tables."""
    assert table.page(faults()) in page("faults.md")


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_is_documented(name: str) -> None:
    """Each command stands on its page, and is explained with an example by its own help."""
    assert f"diag {name}" in page(PAGE_OF[name])
    assert "Examples:" in (command(name).help or "")


@pytest.mark.parametrize(("name", "option"), list(options()))
def test_every_option_is_documented(name: str, option: str) -> None:
    """Each option, long and short, stands on its command's page."""
    assert re.search(rf"(?<![\w-]){re.escape(option)}(?![\w-])", page(PAGE_OF[name]))


def settings_table() -> dict[str, list[str]]:
    """The cells of the table of settings by key."""
    table = page("settings.md").split("## Other variables")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines() if line[:3] == "| `"]
    return {row[0].strip("`"): row for row in rows}


def test_the_table_of_settings_is_the_settings() -> None:
    """Each field of Settings has its row, with its variable; and no row is about anything else."""
    table = settings_table()
    assert list(table) == [field.name for field in fields(Settings)]
    assert {name: row[1] for name, row in table.items()} == {name: f"`DIAG_{name.upper()}`" for name in table}


def test_the_defaults_in_the_table_are_the_defaults() -> None:
    """Numbers, switches and plain texts that have a default have this one."""
    table = settings_table()
    for field in fields(Settings):
        default = field.default
        if isinstance(default, bool | int) or (isinstance(default, str) and default):
            assert table[field.name][3] == f"`{str(default).lower()}`", field.name


def test_every_option_in_the_table_exists() -> None:
    """The options that the table names are options of a command."""
    named = {row[2].strip("`") for row in settings_table().values()} - {""}
    assert named <= {option for _, option in options()}


def test_every_variable_is_documented() -> None:
    """Each environment variable that the code reads by name stands among the settings."""
    sources = [*(ROOT / "diag").rglob("*.py"), *(ROOT / "server").rglob("*.py")]
    read = {name for path in sources for name in VARIABLE.findall(path.read_text())}
    assert {"DIAG_CONFIG", "DIAG_TOKENS_FILE", "XDG_STATE_HOME"} <= read
    assert {name for name in read if f"`{name}`" not in page("settings.md")} == set()


def routes(home: Path) -> Iterator[tuple[str, str, frozenset[str]]]:
    """(method, path with `…` for what varies, roles) of each route of the viewer."""
    app = create_app(ViewerConfig(store_url=(home / "store").as_uri(), index_url=str(home / "index.sqlite")))
    for rule in app.url_map.iter_rules():
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
            yield method, re.sub(r"<[^>]+>", "…", rule.rule), roles_of(app, rule.endpoint, method)


def test_every_route_is_documented(home: Path) -> None:
    """The table of routes on the security page has each route with its method and its role, and no other."""
    rows = [line.strip("|").split("|") for line in page("security.md").splitlines() if re.match(r"\| `[A-Z]+ /", line)]
    documented = set()
    for paths, needs in rows:
        role = re.split(r"[ (]", needs.strip())[0]
        method = ""
        for word in re.findall(r"`([^`]+)`", paths):
            method = word.split()[0] if " " in word else method
            documented.add((method, word.split()[-1], ANYBODY if role == "nobody's" else role))
    assert documented == {(method, path, role) for method, path, roles in routes(home) for role in roles}


def links() -> Iterator[tuple[Path, str]]:
    """(page, target) of each link that is not to another site."""
    for path in PAGES:
        for target in LINK.findall(FENCE.sub("", path.read_text())):
            if "://" not in target:
                yield path, target


@pytest.mark.parametrize(("source", "target"), list(links()), ids=lambda value: getattr(value, "name", value))
def test_every_link_leads_somewhere(source: Path, target: str) -> None:
    """The file is there, and where a heading is named, that heading too."""
    name, _, anchor = unquote(target).partition("#")
    path = (source.parent / name).resolve() if name else source
    assert path.exists()
    if anchor:
        anchors = {
            re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in HEADING.findall(path.read_text())
        }
        assert anchor in anchors


def test_every_page_is_linked_from_the_readme() -> None:
    """Whoever reads README.md finds every page."""
    readme = (ROOT / "README.md").read_text()
    assert {path.name for path in PAGES if path.parent.name == "docs" and f"](docs/{path.name})" not in readme} == set()
