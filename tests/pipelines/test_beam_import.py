"""Beam is imported without the libraries that it only looks for, and these are there for others afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

_SCRIPT = """
import sys
from pipelines.beam_import import import_beam
import_beam()
assert "apache_beam" in sys.modules and "pandas" not in sys.modules
import pandas, boto3
print(pandas.DataFrame({"a": [1]}).a.sum())
"""


@pytest.mark.slow
def test_pandas_is_imported_only_by_who_wants_it():
    done = subprocess.run([sys.executable, "-c", _SCRIPT], capture_output=True, text=True)
    assert done.stdout == "1\n", done.stderr
