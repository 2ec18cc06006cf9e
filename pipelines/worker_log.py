"""Beam's worker processes write their log to the launcher's standard error; this keeps it apart from the user's."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def apart(run: str) -> Iterator[Path]:
    """Let processes started in here write to a file instead; what this one writes still reaches the user.

    Args:
        run: name of the run, part of the file's name.

    Yields:
        The file; it is removed at the end, unless an error passes and it tells anything.
    """
    path = Path(tempfile.gettempdir()) / f"landloom-workers-{run}.log"
    before = sys.stderr
    with path.open("wb") as log, os.fdopen(os.dup(2), "w") as terminal:
        # Streams that are no file, as under a test, are left alone.
        sys.stderr = terminal if before is sys.__stderr__ else before
        os.dup2(log.fileno(), 2)
        try:
            yield path
        except BaseException:
            if path.stat().st_size:
                print(f"The workers' log: {path}", file=sys.stderr)
            else:
                path.unlink()
            raise
        finally:
            sys.stderr.flush()
            os.dup2(terminal.fileno(), 2)
            sys.stderr = before
    path.unlink()
