"""Python environments of their own, for libraries in other versions than Landloom's."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path


def fresh_environment(folder: Path, *packages: str) -> Path:
    """Make an environment and install packages into it.

    Args:
        folder: where; made.
        packages: as requirements, or options of `uv pip install`.

    Returns:
        Its Python.
    """
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--python", sys.executable, str(folder)], check=True)
    python = folder / "bin/python"
    subprocess.run([uv, "pip", "install", "--quiet", "--python", str(python), *packages], check=True)
    return python
