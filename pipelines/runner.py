"""How a Beam pipeline is run, whichever it is: the runner, and the user's own errors given back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from catalog.errors import LandloomError, StoreError
from pipelines.beam_options import option

DEFAULT_RUNNER = "apache_beam.runners.portability.fn_api_runner.FnApiRunner"
"""In one process, or in several with `--direct_running_mode=multi_processing`. Beam's own default first tries to
download a runner."""


def name_run() -> str:
    """A name that sorts by time, `20260102T030405123456`."""
    return datetime.now(UTC).strftime("%Y%m%dT%H%M%S%f")


def run_pipeline(transform: beam.PTransform[Any, Any], beam_options: Sequence[str] = ()) -> None:
    """Run a pipeline that is one transform from root, and wait for its end.

    Raises:
        LandloomError: a worker raised it.
    """
    flags = list(beam_options)
    if option(flags, "--runner") is None:
        flags.append(f"--runner={DEFAULT_RUNNER}")
    try:
        with beam.Pipeline(options=PipelineOptions(flags)) as pipeline:
            pipeline | transform
    except Exception as error:
        raise _root_cause(error) from error


@contextmanager
def watched(count: Callable[[], int], total: int, on_progress: Callable[[int, int], None]) -> Iterator[None]:
    """Call back every second with what is finished, as counted in the store, whatever the runner, and the total."""
    with meanwhile(lambda: on_progress(count(), total)):
        yield


@contextmanager
def meanwhile(look: Callable[[], None]) -> Iterator[None]:
    """Call something every second, less often if it takes long: a look may list thousands of objects far away."""
    stop = threading.Event()

    def watch() -> None:
        pause = 1.0
        while not stop.wait(pause):
            started = time.monotonic()
            # An output that does not answer for a while is the workers' matter: they try again.
            with suppress(StoreError):
                look()
            pause = max(1.0, 10 * (time.monotonic() - started))

    thread = threading.Thread(target=watch, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _root_cause(error: Exception) -> Exception:
    """Beam wraps what a worker raised in text, or adds to it; give the user our own error back where it is one."""
    if isinstance(error, LandloomError):
        return type(error)(_without_step(str(error)))
    for line in reversed(str(error).splitlines()):
        for kind in _kinds(LandloomError):
            marker = f"{kind.__module__}.{kind.__name__}: "
            if marker in line:
                return kind(_without_step(line.split(marker, 1)[1]))
    return error


def _without_step(told: str) -> str:
    """Where in the pipeline it happened says nothing to the user."""
    return told.split(" [while running")[0]


def _kinds(error: type[LandloomError]) -> Iterator[type[LandloomError]]:
    for kind in error.__subclasses__():
        yield from (kind, *_kinds(kind))
