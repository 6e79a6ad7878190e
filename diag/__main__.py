"""`python -m diag` and the console script: `diag run` starts its child before anything heavy is imported."""

from __future__ import annotations

import sys


def main() -> int:
    """Run the command line; returns the exit code."""
    _retire_probe()
    if sys.argv[1:2] == ["run"]:
        from diag.cli.run import start_quickly

        status = start_quickly(sys.argv[2:])
        if status is not None:
            return status
    from diag.cli.main import run_command_line

    return run_command_line(sys.argv[1:])


def _retire_probe() -> None:
    """Where another `diag` watches the instance that this one is started in, its probe is in this process, too."""
    if start := sys.modules.get("diag_probe.start"):
        start.retire()


if __name__ == "__main__":
    sys.exit(main())
