"""The schemas in the repository are those at hand beside it."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parents[2] / "catalog" / "schemas"
SHARED = Path(__file__).parents[2].parent / "shared" / "schemas"


@pytest.mark.skipif(not SHARED.is_dir(), reason="there is no ../shared/schemas")
def test_schemas_are_unchanged_copies() -> None:
    ours = {path.relative_to(HERE): path.read_bytes() for path in HERE.glob("*/*.json")}
    assert len(ours) >= 7
    assert ours == {path: (SHARED / path).read_bytes() for path in ours}
