"""What is installed is what lies here."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_files_that_are_no_code_are_installed_too():
    told = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package in ("catalog", "pipelines", "services"):
        folder = ROOT / package
        there = {path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
        installed = {path for pattern in told[package] for path in folder.glob(pattern)}
        assert {path for path in there if path.suffix != ".py"} <= installed
