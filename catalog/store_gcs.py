"""A store in a Google Cloud Storage bucket."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path

import requests
from google.api_core.exceptions import Forbidden, GoogleAPIError, PreconditionFailed, Unauthorized
from google.api_core.exceptions import NotFound as Missing
from google.auth.exceptions import GoogleAuthError
from google.cloud.exceptions import GoogleCloudError
from google.cloud.storage import Blob, Bucket, Client
from google.cloud.storage.exceptions import DataCorruption
from google.cloud.storage.retry import DEFAULT_RETRY

from catalog.errors import StoreError
from catalog.store import PIECE, NotFound, ObjectInfo, Store, check_key, media_type

_CREDENTIALS = (
    "Run as a service account that may, or `gcloud auth application-default login`, "
    "or set GS_NO_SIGN_REQUEST=YES to read a public bucket."
)
_AHEAD = 16 * PIECE
"""Bytes of one request of `GcsStore.stream`."""
_READ_TRIES = 8


@functools.lru_cache(maxsize=8)
def _client(process: int) -> Client:
    """One client per process, shared by its threads: connections must not cross a fork."""
    if os.environ.get("GS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "ON", "1"):
        return Client.create_anonymous_client()  # As GDAL does, for public buckets.
    return Client()


@dataclass(frozen=True)
class GcsStore(Store):
    """Objects below `prefix` of a bucket. `STORAGE_EMULATOR_HOST` names a server other than Google's."""

    bucket: str
    prefix: str = ""

    def read(self, key: str) -> bytes:
        """See `Store`."""
        with self._explained("read", key):
            return self._blob(key).download_as_bytes()

    def info(self, key: str) -> ObjectInfo:
        """See `Store`. The tag is the generation."""
        with self._explained("read", key):
            blob = self._blob(key)
            blob.reload()
        return ObjectInfo(blob.size, str(blob.generation), blob.updated.astimezone(UTC))

    def stream(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See `Store`."""
        with self._explained("read", key):
            blob = self._blob(key)
            # It knows its generation from here on, so that what comes is of one object though it be replaced.
            blob.reload()
            left = (blob.size if stop is None else min(stop, blob.size)) - start
            with blob.open("rb", chunk_size=_AHEAD) as file:
                file.seek(start)
                while left > 0 and (piece := file.read(min(PIECE, left))):
                    left -= len(piece)
                    yield piece

    def write(self, key: str, content: bytes) -> None:
        """See `Store`."""
        with self._explained("write", key):
            self._blob(key).upload_from_string(content, media_type(key), retry=DEFAULT_RETRY)

    def upload(self, key: str, path: Path) -> None:
        """See `Store`. Larger ones in pieces that are tried again one by one; the object appears with the last."""
        with self._explained("write", key):
            self._blob(key).upload_from_filename(str(path), media_type(key), retry=DEFAULT_RETRY)

    def exists(self, key: str) -> bool:
        """See `Store`."""
        return self.version(key) is not None

    def list(self, prefix: str = "") -> list[str]:
        """See `Store`."""
        cut = len(self.prefix) + 1 if self.prefix else 0
        whole = f"{self.prefix}/{prefix}" if self.prefix else prefix
        with self._explained("list", prefix):
            found = self._gcs.list_blobs(self.bucket, prefix=whole, fields="items(name),nextPageToken")
            return sorted(blob.name[cut:] for blob in found)

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""
        for key in keys:
            with self._explained("delete", key), contextlib.suppress(Missing):
                self._blob(key).delete(retry=DEFAULT_RETRY)

    def href(self, key: str) -> str:
        """See `Store`."""
        return f"gs://{self.bucket}/{self._key(key)}"

    def version(self, key: str) -> str | None:
        """See `Store`. The generation."""
        try:
            return self.info(key).tag
        except NotFound:
            return None

    def read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        """See `Store`."""
        for _ in range(_READ_TRIES):
            version = self.version(key)
            if version is None:
                return None, None
            with self._explained("read", key), contextlib.suppress(Missing):
                return self._blob(key, int(version)).download_as_bytes(), version
            # Replaced between the two requests: that generation is gone.
        raise StoreError(f"{self.href(key)} was replaced {_READ_TRIES} times while it was read. Run again.")

    def write_if(self, key: str, content: bytes | Path, version: str | None) -> bool:
        """See `Store`. By the generation that must be there; 0 stands for none."""
        with self._explained("write", key):
            blob, generation = self._blob(key), int(version or 0)
            try:
                if isinstance(content, Path):
                    blob.upload_from_filename(str(content), media_type(key), if_generation_match=generation)
                else:
                    blob.upload_from_string(content, media_type(key), if_generation_match=generation)
            except PreconditionFailed:
                return False
            return True

    @property
    def _gcs(self) -> Client:
        return _client(os.getpid())

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    def _blob(self, key: str, generation: int | None = None) -> Blob:
        with self._explained("reach", key):
            return Bucket(self._gcs, self.bucket).blob(self._key(key), generation=generation)

    @contextlib.contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[None]:
        what = f"gs://{self.bucket}/{self.prefix}/{key}" if self.prefix else f"gs://{self.bucket}/{key}"
        try:
            yield
        except Missing as error:
            if verb == "read":
                raise NotFound(f"There is no {what}. Check the address of the output.") from error
            raise StoreError(f"Cannot {verb} {what}. Create the bucket {self.bucket!r} or name another.") from error
        except (Forbidden, Unauthorized, GoogleAuthError) as error:
            raise StoreError(f"Cannot {verb} {what}: {_brief(error)}. {_CREDENTIALS}") from error
        except (GoogleAPIError, GoogleCloudError, DataCorruption, requests.RequestException, OSError) as error:
            raise StoreError(
                f"Cannot {verb} {what}: {_brief(error)}. Check the address, the network and the credentials, "
                "then run again: it resumes from what is staged."
            ) from error


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300].rstrip(".")
