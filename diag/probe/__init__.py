"""The part that is injected: a folder to put on PYTHONPATH, and the layout it shares with the agent."""

from __future__ import annotations

from pathlib import Path

FOLDER = Path(__file__).parent
"""What `diag run` prepends to PYTHONPATH: `sitecustomize.py` and the package `diag_probe`, nothing else to import."""
