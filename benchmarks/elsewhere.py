"""What is compared with in virtual environments of its own."""

from __future__ import annotations

import subprocess
from pathlib import Path


def version_in(python: Path, package: str) -> str:
    """The version of a package in the environment of that Python, nothing if there is none."""
    if not python.exists():
        return ""
    asked = f"from importlib.metadata import version; print(version({package!r}))"
    found = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
    return found.stdout.strip() if found.returncode == 0 else ""
