"""Where results lie: a local folder, or a bucket of S3 or Google Cloud Storage, behind one small interface.

Object stores have no rename and no append, so nothing here needs either: an object appears whole or not at all. What
several runs share (a collection, an index) is changed by `Store.update`, a conditional write that is tried again.
"""

from __future__ import annotations

import mimetypes
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from catalog.errors import BadInput, StoreError

BUCKETS = ("s3", "gs")
"""Schemes of the addresses of buckets."""
PIECE = 1 << 20
"""Bytes of a piece of `Store.stream`."""
_UPDATE_TRIES = 60
_TYPES = {
    ".tif": "image/tiff; application=geotiff; profile=cloud-optimized",
    ".parquet": "application/vnd.apache.parquet",
    ".json": "application/json",
}


class NotFound(StoreError):
    """There is no object of that name."""


@dataclass(frozen=True)
class ObjectInfo:
    """What is known of an object without reading it."""

    size: int
    tag: str
    """Another one whenever it is written anew: a cheap `version` that is good enough to see that something changed."""
    modified: datetime


class Store(ABC):
    """Named objects, as `lulc-annual/48QUE/2020/48QUE-2020.json`. Instances are picklable.

    Every method raises `StoreError` where the store refuses (disk full, no permission, bucket missing, unreachable).
    """

    @abstractmethod
    def read(self, key: str) -> bytes:
        """The content of an object.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def info(self, key: str) -> ObjectInfo:
        """Size and age of an object.

        Raises:
            NotFound: there is none.
        """

    @abstractmethod
    def stream(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """The bytes of an object from `start` up to `stop` (None: the end), a megabyte at a time.

        Raises:
            NotFound: there is none; raised at the first piece.
        """

    @abstractmethod
    def write(self, key: str, content: bytes) -> None:
        """Write an object at once; a reader sees the old one or the new one, whole."""

    @abstractmethod
    def upload(self, key: str, path: Path) -> None:
        """Write a file of any size as an object, in bounded memory, as atomically as `write`."""

    @abstractmethod
    def exists(self, key: str) -> bool:
        """Whether there is an object of that name."""

    @abstractmethod
    def list(self, prefix: str = "") -> list[str]:
        """All names that begin with `prefix`, sorted."""

    @abstractmethod
    def delete(self, keys: Iterable[str]) -> None:
        """Remove objects; names without one are no error."""

    @abstractmethod
    def href(self, key: str) -> str:
        """The object's address for readers such as GDAL: an absolute path, `s3://bucket/key`, or `gs://bucket/key`."""

    @abstractmethod
    def version(self, key: str) -> str | None:
        """What changes whenever the content does; None if there is no object. For `write_if`."""

    @abstractmethod
    def read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        """Content and version together, `(None, None)` if there is no object."""

    @abstractmethod
    def write_if(self, key: str, content: bytes | Path, version: str | None) -> bool:
        """Write only if the object still has `version` (None: if there is still none).

        Args:
            key: name of the object.
            content: bytes, or a file of at most 5 GB, which is streamed.
            version: as read before.

        Returns:
            True if written. False if the object has changed meanwhile; after a lost connection also if the change
            is this very write, so what follows on False must be harmless when repeated.
        """

    def download(self, key: str, path: Path) -> None:
        """Write an object to a local file.

        Raises:
            NotFound: there is none.
        """
        with path.open("wb") as file:
            file.writelines(self.stream(key))

    def update(self, key: str, change: Callable[[bytes | None], bytes]) -> bytes:
        """Read an object, change it, write it back; again if another writer came between.

        Args:
            key: name of the object.
            change: gets the content (None: no object yet), returns the new one. It may be called several times, also
                on its own result, and must then return that unchanged.

        Returns:
            The content that now stands. Nothing is written where `change` changes nothing.
        """
        for attempt in range(_UPDATE_TRIES):
            content, version = self.read_versioned(key)
            changed = change(content)
            if changed == content or self.write_if(key, changed, version):
                return changed
            time.sleep(random.uniform(0, min(2.0, 0.02 * 2**attempt)))
        raise StoreError(
            f"{self.href(key)} was changed by others {_UPDATE_TRIES} times while we tried to change it. "
            "Let fewer runs end at once, then run `landloom index`."
        )


def open_store(url: str, *, s3_endpoint: str | None = None, patient: bool = False) -> Store:
    """The store at a local path, at `s3://bucket/prefix` or `gs://bucket/prefix`. Nothing is created or contacted yet.

    Args:
        url: where the results lie.
        s3_endpoint: address of an S3 server that is not Amazon's; its buckets are then addressed by path. Credentials
            come from the environment or the AWS configuration, as for every AWS tool.
        patient: a bucket that does not answer is asked again for two minutes, not half a minute: for workers, whose
            failure costs more than their waiting.

    Raises:
        BadInput: another scheme, or no bucket.
    """
    scheme, separator, rest = url.partition("://")
    if scheme in BUCKETS and separator:
        bucket, _, prefix = rest.partition("/")
        if not bucket:
            raise BadInput(f"Store {url!r} names no bucket. Give {scheme}://BUCKET/PREFIX.")
        if scheme == "gs":
            from catalog.store_gcs import GcsStore

            return GcsStore(bucket, prefix.strip("/"))
        from catalog.store_s3 import S3Store

        return S3Store(bucket, prefix.strip("/"), s3_endpoint, patient)
    if (separator and scheme != "file") or not url.strip():
        raise BadInput(f"Store {url!r} is neither a folder nor s3://BUCKET/PREFIX or gs://BUCKET/PREFIX. Give one.")
    from catalog.store_disk import DiskStore

    return DiskStore(Path(rest if separator else url).expanduser().absolute())


def check_key(key: str) -> str:
    """The key itself, if it stays inside the store.

    Raises:
        BadInput: an absolute name, an empty one, or one with `..`.
    """
    if not key or key.startswith("/") or ".." in PurePosixPath(key).parts:
        raise BadInput(f"Object name {key!r} leads out of the store. Give a relative name without '..'.")
    return key


def media_type(key: str) -> str:
    """What kind of file an object is, by its name."""
    suffix = PurePosixPath(key).suffix
    return _TYPES.get(suffix) or mimetypes.guess_type(key)[0] or "application/octet-stream"
