"""A store in an S3 bucket, Amazon's or another server's."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlparse

import boto3
from boto3.exceptions import Boto3Error
from boto3.s3.transfer import TransferConfig
from botocore import UNSIGNED
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError, PartialCredentialsError

from catalog.errors import StoreError
from catalog.store import PIECE, NotFound, ObjectInfo, Store, check_key, media_type

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

_MISSING = {"NoSuchKey", "404"}
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_REFUSED = {"AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "AllAccessDisabled", "403"}
_CREDENTIALS = (
    "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (or AWS_PROFILE) of one who may, "
    "or AWS_NO_SIGN_REQUEST=YES to read a public bucket."
)
_PART = 16 * 2**20
_ATTEMPTS, _PATIENT = 8, 16
"""Of each request. The waits between them double up to 20 s and are drawn anew each time: half a minute, or two
minutes, of which next to none is shorter than one.
"""


@functools.lru_cache(maxsize=8)
def _client(endpoint: str | None, patient: bool, process: int) -> S3Client:
    """One client per process, shared by its threads: connections must not cross a fork."""
    given: dict[str, Any] = {"s3": {"addressing_style": "path"}} if endpoint else {}
    if os.environ.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "ON", "1"):
        given["signature_version"] = UNSIGNED  # As GDAL does, for public buckets.
    attempts = int(os.environ.get("AWS_MAX_ATTEMPTS") or (_PATIENT if patient else _ATTEMPTS))
    config = Config(
        retries={"mode": "standard", "total_max_attempts": attempts},
        connect_timeout=10,
        read_timeout=60,
        max_pool_connections=32,
        # Many servers other than Amazon's do not know its newer checksums.
        request_checksum_calculation="when_required",
        response_checksum_validation="when_required",
        **given,
    )
    region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION") or ("us-east-1" if endpoint else None)
    return boto3.session.Session().client("s3", endpoint_url=endpoint, region_name=region, config=config)


@dataclass(frozen=True)
class S3Store(Store):
    """Objects below `prefix` of a bucket."""

    bucket: str
    prefix: str = ""
    endpoint: str | None = None
    patient: bool = False

    def read(self, key: str) -> bytes:
        """See `Store`."""
        with self._explained("read", key):
            return self._s3.get_object(Bucket=self.bucket, Key=self._key(key))["Body"].read()

    def info(self, key: str) -> ObjectInfo:
        """See `Store`."""
        with self._explained("read", key):
            found = self._s3.head_object(Bucket=self.bucket, Key=self._key(key))
        return ObjectInfo(found["ContentLength"], found["ETag"].strip('"'), found["LastModified"].astimezone(UTC))

    def stream(self, key: str, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """See `Store`."""
        part: dict[str, Any] = (
            {} if stop is None and not start else {"Range": f"bytes={start}-{'' if stop is None else stop - 1}"}
        )
        with self._explained("read", key):
            answer = self._s3.get_object(Bucket=self.bucket, Key=self._key(key), **part)
            yield from answer["Body"].iter_chunks(PIECE)

    def write(self, key: str, content: bytes) -> None:
        """See `Store`."""
        with self._explained("write", key):
            self._s3.put_object(Bucket=self.bucket, Key=self._key(key), Body=content, ContentType=media_type(key))

    def upload(self, key: str, path: Path) -> None:
        """See `Store`. In parts of 16 MiB, four at a time; the object appears with the last."""
        with self._explained("write", key):
            self._s3.upload_file(
                str(path),
                self.bucket,
                self._key(key),
                ExtraArgs={"ContentType": media_type(key)},
                Config=TransferConfig(multipart_threshold=_PART, multipart_chunksize=_PART, max_concurrency=4),
            )

    def exists(self, key: str) -> bool:
        """See `Store`."""
        return self.version(key) is not None

    def list(self, prefix: str = "") -> list[str]:
        """See `Store`."""
        cut = len(self.prefix) + 1 if self.prefix else 0
        with self._explained("list", prefix):
            pages = self._s3.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"{self.prefix}/{prefix}" if self.prefix else prefix
            )
            return sorted(entry["Key"][cut:] for page in pages for entry in page.get("Contents", ()))

    def delete(self, keys: Iterable[str]) -> None:
        """See `Store`. A thousand at a time."""
        named = list(keys)
        for batch in (named[start : start + 1000] for start in range(0, len(named), 1000)):
            with self._explained("delete", batch[0]):
                answer = self._s3.delete_objects(
                    Bucket=self.bucket, Delete={"Objects": [{"Key": self._key(key)} for key in batch], "Quiet": True}
                )
            for failure in answer.get("Errors", ()):
                raise StoreError(
                    f"Cannot delete s3://{self.bucket}/{failure.get('Key')}: {failure.get('Message')}. {_CREDENTIALS}"
                )

    def href(self, key: str) -> str:
        """See `Store`."""
        return f"s3://{self.bucket}/{self._key(key)}"

    def version(self, key: str) -> str | None:
        """See `Store`. The ETag."""
        try:
            with self._explained("read", key):
                return self._s3.head_object(Bucket=self.bucket, Key=self._key(key))["ETag"]
        except NotFound:
            return None

    def read_versioned(self, key: str) -> tuple[bytes | None, str | None]:
        """See `Store`."""
        try:
            with self._explained("read", key):
                answer = self._s3.get_object(Bucket=self.bucket, Key=self._key(key))
                return answer["Body"].read(), answer["ETag"]
        except NotFound:
            return None, None

    def write_if(self, key: str, content: bytes | Path, version: str | None) -> bool:
        """See `Store`. By If-Match and If-None-Match, which Amazon, SeaweedFS, MinIO and Ceph honour."""
        condition: dict[str, Any] = {"IfNoneMatch": "*"} if version is None else {"IfMatch": version}
        with self._explained("write", key), contextlib.ExitStack() as stack:
            body = stack.enter_context(content.open("rb")) if isinstance(content, Path) else content
            try:
                self._s3.put_object(
                    Bucket=self.bucket, Key=self._key(key), Body=body, ContentType=media_type(key), **condition
                )
            except ClientError as error:
                # If-Match on an object that is gone is answered with 404.
                if _code(error) in _CHANGED | _MISSING:
                    return False
                raise
            return True

    @property
    def _s3(self) -> S3Client:
        return _client(self.endpoint, self.patient, os.getpid())

    def _key(self, key: str) -> str:
        return f"{self.prefix}/{check_key(key)}" if self.prefix else check_key(key)

    @contextlib.contextmanager
    def _explained(self, verb: str, key: str) -> Iterator[None]:
        what = f"s3://{self.bucket}/{self.prefix}/{key}" if self.prefix else f"s3://{self.bucket}/{key}"
        where = f" at {self.endpoint}" if self.endpoint else ""
        try:
            yield
        except ClientError as error:
            code = _code(error)
            if code in _MISSING and verb == "read":
                raise NotFound(f"There is no {what}{where}. Check the address of the output.") from error
            if code == "NoSuchBucket":
                remedy = f"Create the bucket {self.bucket!r} or name another."
            elif code in _REFUSED:
                remedy = _CREDENTIALS
            else:
                remedy = "Check the bucket and its server; the run resumes from what is staged."
            raise StoreError(f"Cannot {verb} {what}{where}: {code}. {remedy}") from error
        except (NoCredentialsError, PartialCredentialsError) as error:
            raise StoreError(f"Cannot {verb} {what}{where}: no credentials. {_CREDENTIALS}") from error
        except (BotoCoreError, Boto3Error, OSError) as error:
            raise StoreError(
                f"Cannot {verb} {what}{where}: {error}. Check the address, the network and the credentials, "
                "then run again: it resumes from what is staged."
            ) from error


def gdal_settings(endpoint: str | None) -> dict[str, str]:
    """How GDAL reads `s3://` from a server that is not Amazon's; GDAL's own variables come first."""
    address = urlparse(endpoint or "")
    if not address.netloc or "AWS_S3_ENDPOINT" in os.environ:
        return {}
    https = "YES" if address.scheme == "https" else "NO"
    return {"AWS_S3_ENDPOINT": address.netloc, "AWS_HTTPS": https, "AWS_VIRTUAL_HOSTING": "FALSE"}


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
