"""How a command tells how far it is: a bar on a terminal, elsewhere a line a minute, as in the log of a container."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipelines.cli.options import console

_LINE_EVERY = 60.0
"""Seconds."""


def progress_bar() -> Progress:
    """For work that takes a while."""
    return _BarOrLines(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
    )


@contextmanager
def progress_of(what: str, maps: str = "") -> Iterator[Callable[[int, int], None]]:
    """A bar of what is done, which is gone in the end.

    Args:
        what: is counted.
        maps: where they are looked for first, which it says until anything is counted; empty: nowhere.
    """
    with progress_bar() as progress:
        bar = progress.add_task(f"Looking for maps in {maps}" if maps else what, total=None)
        yield lambda done, total: progress.update(bar, description=what, completed=done, total=total)


class _BarOrLines(Progress):
    """Rich draws nothing where no terminal is: hours of training would leave an empty log."""

    _told = 0.0

    def start(self) -> None:
        super().start()
        self._told = time.monotonic()

    def stop(self) -> None:
        self.live.stop()  # Rich would leave an empty line in a log.

    def update(self, task_id: TaskID, **changes: Any) -> None:
        super().update(task_id, **changes)
        self._tell(task_id)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        super().advance(task_id, advance)
        self._tell(task_id)

    def _tell(self, task_id: TaskID) -> None:
        if self.console.is_terminal or time.monotonic() - self._told < _LINE_EVERY:
            return
        self._told = time.monotonic()
        task = next(one for one in self.tasks if one.id == task_id)
        told = f"{task.description}: {task.completed:,.0f}"
        told += f" of {task.total:,.0f}" if task.total is not None else ""
        told += f", {timedelta(seconds=round(task.elapsed or 0))}"
        told += f", {timedelta(seconds=round(task.time_remaining))} left" if task.time_remaining is not None else ""
        self.console.print(told, highlight=False, markup=False, soft_wrap=True)
