"""Files far away: addresses that can be read now, and what it means when a read fails."""

from __future__ import annotations

import os
import threading
from urllib.parse import urlparse

import requests

from catalog.errors import SceneUnreadable, StoreError
from catalog.radar import RadarScene
from catalog.scenes import Scene
from catalog.store import BUCKETS, open_store
from catalog.store_s3 import gdal_settings

_SIGNING = threading.Lock()
"""Bands are opened at once; only the first asks for a signature."""


def signed(scene: Scene | RadarScene, href: str) -> str:
    """An address that can be read now.

    Raises:
        requests.RequestException: who signs it does not answer.
    """
    if scene.signer != "planetary-computer":
        return href
    from planetary_computer import sas, utils

    address = urlparse(href)
    with _SIGNING:
        if address.netloc.endswith(sas.BLOB_STORAGE_DOMAIN):
            # Fills the library's cache: on its own it would try for seven minutes, whatever `retry_seconds` says.
            sas.get_token(*utils.parse_blob_url(address), retry_total=0)
        return sas.sign(href)


def _forget_signature(address: str) -> None:
    """The library keeps a signature until its stated end; one that was refused is asked for anew."""
    from planetary_computer import sas

    with _SIGNING:
        # Only this one: another band may have asked for its successor already.
        for key in [key for key, kept in sas.TOKEN_CACHE.items() if address.endswith(kept.token)]:
            del sas.TOKEN_CACHE[key]


def s3_settings() -> dict[str, str]:
    """What boto3 reads from `AWS_ENDPOINT_URL`, in GDAL's words."""
    return gdal_settings(os.environ.get("AWS_ENDPOINT_URL"))


def seconds_to_wait(scene: Scene | RadarScene, href: str, error: Exception) -> float | None:
    """After a failed read, the seconds that its server wants to be left alone; None if it is well.

    GDAL hides the status of a failed request behind its own messages, so the server is asked directly.

    Raises:
        SceneUnreadable: another attempt would fail, too.
    """
    scheme, _, rest = href.partition("://")
    if scheme in BUCKETS:
        bucket, _, key = rest.partition("/")
        try:
            there = open_store(f"{scheme}://{bucket}", s3_endpoint=os.environ.get("AWS_ENDPOINT_URL")).exists(key)
        except StoreError:
            return 0.0
        if there:
            return None
        raise scene_unreadable(href, "not in the bucket") from error
    if not href.startswith(("http://", "https://")):
        raise scene_unreadable(href, brief(error)) from error
    try:
        address = signed(scene, href)
        with requests.get(address, headers={"Range": "bytes=0-0"}, timeout=(10, 60), stream=True) as answer:
            status, later = answer.status_code, answer.headers.get("Retry-After", "")
    except requests.RequestException:
        return 0.0
    if status in (200, 206):
        return None
    refused = status in (401, 403) and address != href
    if refused:
        _forget_signature(address)
    if refused or status in (408, 425, 429) or status >= 500:
        return float(later) if later.isdigit() else 0.0
    raise scene_unreadable(href, f"HTTP {status}") from error


def scene_unreadable(href: str, reason: str) -> SceneUnreadable:
    """The error that names a file of a scene and what is wrong with it."""
    return SceneUnreadable(f"{href.rsplit('/', 1)[-1]}: {reason}")


def brief(error: Exception) -> str:
    """The innermost message: GDAL's own reason, not rasterio's pointer to it."""
    while error.__cause__ is not None:
        error = error.__cause__  # type: ignore[assignment]
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
