"""How the commands that go place by place let Beam do it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from catalog.store import Store
from pipelines import worker_log
from pipelines.cli.options import progress_bar

if TYPE_CHECKING:
    from services.change.runs import Progress, Run


@contextmanager
def by_workers(store: Store, beam_options: Sequence[str], what: str, verbose: bool) -> Iterator[tuple[Run, Progress]]:
    """A progress bar, and workers whose log is kept apart unless all is to be seen.

    Args:
        store: the output.
        beam_options: of Apache Beam.
        what: is counted, for the bar.
        verbose: let the workers write to the terminal.
    """
    from pipelines.places import by_beam
    from pipelines.runner import name_run

    with nullcontext() if verbose else worker_log.apart(name_run()), progress_bar() as progress:
        bar = progress.add_task(what, total=None)

        def on_progress(done: int, total: int) -> None:
            progress.update(bar, completed=done, total=total)

        yield by_beam(store, beam_options), on_progress
        progress.update(bar, visible=False)
