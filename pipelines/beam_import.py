"""Apache Beam imported in half the time, for commands and workers, whose start is waited for."""

from __future__ import annotations

import sys

_ONLY_FOR_ITS_OWN = ("pandas", "pymongo", "boto3", "google.cloud.storage")
"""What Beam imports where it finds it, for data frames and file systems of its own: no pipeline here uses these."""


def import_beam() -> None:
    """Import Beam as if these libraries were not installed; who imports them afterwards gets them.

    For the runner of Dataflow, which stages files in a bucket, Beam is to be imported as a whole.
    """
    hidden = [name for name in _ONLY_FOR_ITS_OWN if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]
    try:
        import apache_beam  # noqa: F401
    finally:
        for name in hidden:
            del sys.modules[name]
