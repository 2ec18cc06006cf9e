"""Entry point of the `landloom` command."""

from __future__ import annotations

import logging


def main() -> None:
    """Run the command line."""
    # Beam warns at import of extras that are not installed; only errors of libraries are shown.
    logging.basicConfig(level=logging.ERROR, format="%(levelname)s %(name)s: %(message)s")
    from pipelines.cli import run

    run()


if __name__ == "__main__":
    main()
