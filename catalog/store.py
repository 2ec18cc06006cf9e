"""Where maps are written: a local folder or an S3 bucket, behind one small interface of keys and bytes."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

from catalog.errors import BadInput, LandloomError, StoreError

_TRIES = 50
"""Tries of a conditional write before giving up: other runs write at the same time, but each only for a moment."""


class NotFound(LandloomError):
    """There is nothing under this key."""


class Store(Protocol):
    """Keys are relative, with `/`. Every write is atomic: a reader sees the old bytes or the new ones."""

    def href(self, key: str) -> str:
        """The address under which other programs find a key."""
        ...

    def read(self, key: str) -> bytes:
        """The bytes under a key; raises NotFound."""
        ...

    def write(self, key: str, content: bytes) -> None:
        """Write at once, replacing what was there."""
        ...

    def upload(self, key: str, path: Path) -> None:
        """Write a file of any size."""
        ...

    def exists(self, key: str) -> bool:
        """Whether there is anything under a key."""
        ...

    def list(self, prefix: str) -> list[str]:
        """All keys that begin so, sorted."""
        ...

    def delete(self, keys: Iterable[str]) -> None:
        """Remove keys; those already gone are no error."""
        ...

    def read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        """The bytes and their version, or twice None."""
        ...

    def write_if(self, key: str, content: bytes, version: str | None) -> bool:
        """Write only if the version is still the one read (None: nothing there); tells whether it was written."""
        ...


def open_store(url: str, *, s3_endpoint: str | None = None) -> Store:
    """The store at a folder's path or at `s3://bucket/prefix`.

    Args:
        url: where.
        s3_endpoint: an S3 server other than Amazon's, as `http://127.0.0.1:8333`.

    Raises:
        BadInput: an address of another kind.
    """
    if url.startswith("s3://"):
        bucket, _, prefix = url.removeprefix("s3://").partition("/")
        if not bucket:
            raise BadInput(f"{url!r} names no bucket. Give s3://bucket/prefix.")
        return S3Store(bucket, prefix.strip("/"), s3_endpoint)
    if "://" in url:
        raise BadInput(f"{url!r} is no place to write to. Give a folder or s3://bucket/prefix.")
    if not url:
        raise BadInput("The output is an empty name. Give a folder or s3://bucket/prefix.")
    return FolderStore(Path(url))


def update(store: Store, key: str, change: Callable[[bytes | None], bytes]) -> None:
    """Read, change and write back, again from the start if another writer came between: so both count.

    Raises:
        StoreError: others kept coming between.
    """
    for _ in range(_TRIES):
        content, version = store.read_versioned(key)
        changed = change(content)
        if changed == content or store.write_if(key, changed, version):
            return
    raise StoreError(f"{store.href(key)} was changed by others {_TRIES} times in a row. Run again.")


class FolderStore:
    """A local folder."""

    def __init__(self, root: Path):
        self.root = root.absolute()

    def href(self, key: str) -> str:
        """The file's path."""
        return str(self.root / key)

    def read(self, key: str) -> bytes:
        """See `Store`."""
        try:
            return (self.root / key).read_bytes()
        except (FileNotFoundError, NotADirectoryError) as error:
            raise NotFound(f"There is no {self.root / key}.") from error

    def write(self, key: str, content: bytes) -> None:
        """See `Store`."""
        with self._new_file(key) as partial:
            partial.write_bytes(content)

    def upload(self, key: str, path: Path) -> None:
        """See `Store`."""
        with self._new_file(key) as partial, path.open("rb") as source, partial.open("wb") as target:
            while chunk := source.read(1 << 22):
                target.write(chunk)

    def exists(self, key: str) -> bool:
        """See `Store`."""
        return (self.root / key).is_file()

    def list(self, prefix: str) -> list[str]:
        """See `Store`."""
        folder = self.root / (prefix if prefix.endswith("/") else os.path.dirname(prefix))
        found = (path.relative_to(self.root).as_posix() for path in folder.rglob("*") if path.is_file())
        return sorted(key for key in found if key.startswith(prefix) and not _is_hidden(key))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""
        for key in keys:
            path = self.root / key
            path.unlink(missing_ok=True)
            for parent in path.parents:
                if parent == self.root:
                    break
                try:
                    parent.rmdir()
                except OSError:
                    break  # Not empty.

    def read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        """See `Store`."""
        try:
            content = self.read(key)
        except NotFound:
            return None, None
        return content, hashlib.sha256(content).hexdigest()

    def write_if(self, key: str, content: bytes, version: str | None) -> bool:
        """See `Store`."""
        with self._locked():
            if self.read_versioned(key)[1] != version:
                return False
            self.write(key, content)
            return True

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Conditional writes take turns: a folder has no other means to compare and swap."""
        with _told(str(self.root)):
            self.root.mkdir(parents=True, exist_ok=True)
            lock = (self.root / ".lock").open("w")
        with lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @contextmanager
    def _new_file(self, key: str) -> Iterator[Path]:
        """A file beside the final one, moved there when it is whole."""
        final = self.root / key
        with _told(str(final)):
            # A folder that another run removed as empty between these two lines is made again.
            for last in (False, True):
                final.parent.mkdir(parents=True, exist_ok=True)
                try:
                    handle, name = tempfile.mkstemp(prefix=".partial-", dir=final.parent)
                    break
                except FileNotFoundError:
                    if last:
                        raise
            os.close(handle)
            partial = Path(name)
            try:
                yield partial
                partial.chmod(0o644)
                os.replace(partial, final)
            finally:
                partial.unlink(missing_ok=True)


def _is_hidden(key: str) -> bool:
    return any(part.startswith(".") for part in key.split("/"))


@contextmanager
def _told(where: str) -> Iterator[None]:
    """Turn the operating system's errors into ours, with what to do."""
    try:
        yield
    except OSError as error:
        remedy = {
            errno.ENOSPC: "Free some space and run again: finished blocks are kept.",
            errno.EDQUOT: "Free some space and run again: finished blocks are kept.",
            errno.EACCES: "Give the user the right to write there, or another --out.",
            errno.EROFS: "It is read-only: give another --out.",
            errno.ENOTDIR: "A part of the path is a file: give another --out.",
        }.get(error.errno or 0, "Mend it and run again: finished blocks are kept.")
        raise StoreError(f"Cannot write {where}: {error.strerror}. {remedy}") from error


class S3Store:
    """A prefix of an S3 bucket. Credentials come from the environment, as boto3 finds them."""

    def __init__(self, bucket: str, prefix: str, endpoint: str | None):
        self.bucket, self.prefix, self.endpoint = bucket, prefix, endpoint

    def __getstate__(self) -> dict[str, Any]:
        """Clients do not travel; each worker makes its own."""
        return {"bucket": self.bucket, "prefix": self.prefix, "endpoint": self.endpoint}

    @cached_property
    def _client(self) -> Any:
        import boto3
        from botocore.config import Config

        config = Config(
            retries={"mode": "standard", "max_attempts": 8},
            s3={"addressing_style": "path"} if self.endpoint else {},
            # Other servers than Amazon's do not all know the newer checksum trailers.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
        return boto3.client("s3", endpoint_url=self.endpoint, config=config)

    def href(self, key: str) -> str:
        """The object's `s3://` address."""
        return f"s3://{self.bucket}/{self._name(key)}"

    def read(self, key: str) -> bytes:
        """See `Store`."""
        content, _ = self.read_versioned(key)
        if content is None:
            raise NotFound(f"There is no {self.href(key)}.")
        return content

    def write(self, key: str, content: bytes) -> None:
        """See `Store`."""
        with self._told(key):
            self._client.put_object(Bucket=self.bucket, Key=self._name(key), Body=content)

    def upload(self, key: str, path: Path) -> None:
        """See `Store`."""
        with self._told(key):
            self._client.upload_file(str(path), self.bucket, self._name(key))

    def exists(self, key: str) -> bool:
        """See `Store`."""
        with self._told(key):
            try:
                self._client.head_object(Bucket=self.bucket, Key=self._name(key))
            except self._client.exceptions.ClientError as error:
                if _status(error) == 404:
                    return False
                raise
            return True

    def list(self, prefix: str) -> list[str]:
        """See `Store`."""
        with self._told(prefix):
            pages = self._client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self._name(prefix)
            )
            start = len(self._name(""))
            return sorted(entry["Key"][start:] for page in pages for entry in page.get("Contents", []))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`."""
        for key in keys:
            with self._told(key):
                self._client.delete_object(Bucket=self.bucket, Key=self._name(key))

    def read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        """See `Store`."""
        with self._told(key):
            try:
                answer = self._client.get_object(Bucket=self.bucket, Key=self._name(key))
            except self._client.exceptions.ClientError as error:
                if _status(error) == 404 and error.response["Error"]["Code"] != "NoSuchBucket":
                    return None, None
                raise
            return answer["Body"].read(), answer["ETag"]

    def write_if(self, key: str, content: bytes, version: str | None) -> bool:
        """See `Store`."""
        condition = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        with self._told(key):
            try:
                self._client.put_object(Bucket=self.bucket, Key=self._name(key), Body=content, **condition)
            except self._client.exceptions.ClientError as error:
                # 404 and 409: the object went away, or another conditional write is under way.
                if _status(error) in (404, 409, 412) and error.response["Error"]["Code"] != "NoSuchBucket":
                    return False
                raise
            return True

    def _name(self, key: str) -> str:
        return f"{self.prefix}/{key}" if self.prefix else key

    @contextmanager
    def _told(self, key: str) -> Iterator[None]:
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except (BotoCoreError, ClientError) as error:
            remedy = "Check the bucket's name and rights"
            if self.endpoint:
                remedy += f" and the endpoint {self.endpoint}"
            raise StoreError(f"{self.href(key)} was refused: {error}. {remedy}, and run again.") from error


def _status(error: Any) -> int:
    return int(error.response["ResponseMetadata"]["HTTPStatusCode"])
