"""Entry point of the `landloom` command."""

from __future__ import annotations

import atexit
import gc
import logging


def main() -> None:
    """Run the command line."""
    # Beam warns at import of extras that are not installed; only errors of libraries are shown.
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    # Imports make many objects and no rubbish: looking for some among them takes a tenth of the start, and half a
    # second at the end.
    gc.set_threshold(100_000)
    atexit.register(gc.freeze)
    from pipelines.cli import run

    run()


if __name__ == "__main__":
    main()
