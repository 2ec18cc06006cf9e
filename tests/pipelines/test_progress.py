"""Long work tells how far it is, on a terminal and in a log."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from pipelines.cli import progress


@pytest.mark.parametrize(
    ("every", "expected"),
    [(0.0, r"Writing chips: 1 of 3, 0:00:00\nWriting chips: 2 of 3, 0:00:00, 0:00:0\d left\n"), (60.0, "")],
)
def test_where_there_is_no_terminal_a_line_is_written_now_and_then(
    monkeypatch: pytest.MonkeyPatch, every: float, expected: str
) -> None:
    log = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=log))
    monkeypatch.setattr(progress, "_LINE_EVERY", every)
    with progress.progress_of("Writing chips") as on_progress:
        on_progress(1, 3)
        on_progress(2, 3)
    assert re.fullmatch(expected, log.getvalue()), log.getvalue()


def test_on_a_terminal_there_is_a_bar_and_no_line(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = io.StringIO()
    monkeypatch.setattr(progress, "console", Console(file=screen, force_terminal=True, width=100))
    monkeypatch.setattr(progress, "_LINE_EVERY", 0.0)
    with progress.progress_bar() as bar:
        assert list(bar.track([1, 2], description="Finding scenes")) == [1, 2]
    assert "━" in screen.getvalue() and "Finding scenes:" not in screen.getvalue()
