"""Where scenes come from: a STAC API or a static STAC catalog, through one `search`."""

from __future__ import annotations

import json
import os
import posixpath
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import urlparse

import pystac_client
import requests
import shapely
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pystac_client.conformance import ConformanceClasses
from pystac_client.stac_api_io import StacApiIO
from shapely.geometry import mapping as to_geojson
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry
from urllib3.util import Retry

from catalog.errors import BadInput, SceneUnreadable, SourceUnavailable, StoreError, first_fault
from catalog.grid import RESOLUTION
from catalog.manifest import FIRST_YEAR
from catalog.scenes import (
    BANDS,
    AssetNames,
    Exclusion,
    Scene,
    Signer,
    asset_keys,
    has_bands,
    interval_of,
    scene_from_item,
)
from catalog.store import BUCKETS, NotFound, open_store

RETRIES = Retry(
    total=8,
    backoff_factor=0.5,
    backoff_jitter=0.5,
    status_forcelist=[429, 500, 502, 503, 504],
    allowed_methods=None,
    respect_retry_after_header=True,
)
_TIMEOUT = (10, 60)
_PAGE = 250
_ITEM_PARTS = ("id", "type", "collection", "geometry", "properties", "links")
"""What is asked for of each item beside the bands' assets, where an API gives parts: a third of the bytes."""
_READERS = 16
"""Files of a static catalog read at once."""


class StacApi(BaseModel):
    """A STAC API that offers scenes: the whole of what has to be said about an unknown one (`--mapping FILE`)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: str
    collections: tuple[str, ...] = ("sentinel-2-l2a",)
    names: AssetNames = AssetNames()
    signer: Signer | None = None
    first_year: int = Field(default=FIRST_YEAR, description="in which its scenes begin")
    gsd: int = Field(default=RESOLUTION, description="metres a pixel of its scenes, for which a network is chosen")


_PLANETARY_COMPUTER = StacApi(url="https://planetarycomputer.microsoft.com/api/stac/v1", signer="planetary-computer")
_FIRST_LANDSAT = 1984
"""Landsat 5 was launched in March 1984; a catalog that is not known may have as old ones."""
KNOWN_APIS = {
    "planetary-computer": _PLANETARY_COMPUTER,
    "earth-search": StacApi(url="https://earth-search.aws.element84.com/v1"),
    "landsat": _PLANETARY_COMPUTER.model_copy(
        update={"collections": ("landsat-c2-l2",), "first_year": _FIRST_LANDSAT, "gsd": 30}
    ),
    "hls": _PLANETARY_COMPUTER.model_copy(
        update={"collections": ("hls2-l30", "hls2-s30"), "first_year": 2013, "gsd": 30}
    ),
}


def known_api(source: str, described: StacApi | None = None) -> StacApi:
    """What is known of a source before it is asked; of one that is not known, that it may have scenes of any year."""
    return described or KNOWN_APIS.get(source) or StacApi(url=source, first_year=_FIRST_LANDSAT)


@dataclass(frozen=True)
class SearchResult:
    """What a source has for a place and a time."""

    scenes: list[Scene]
    excluded: list[Exclusion] = field(default_factory=list)


class Source(Protocol):
    """Finds scenes."""

    name: str
    signer: Signer | None
    nowhere: Sequence[str]
    """Items without a geometry, which no search finds."""
    radar: Source | None
    """A source of radar scenes that are used beside its own."""

    def items(self, geometry: BaseGeometry, start: datetime, end: datetime) -> list[tuple[dict[str, Any], str]]:
        """STAC items that touch a geometry and a period, whatever they show, each with its address.

        Raises:
            SourceUnavailable: the source does not answer.
        """
        ...

    def search(
        self,
        geometry: BaseGeometry,
        start: datetime,
        end: datetime,
        bands: Sequence[str] = BANDS,
        also: Sequence[str] = (),
    ) -> SearchResult:
        """Scenes with these bands that touch a geometry (longitude, latitude) and were seen wholly within a period.

        Bands of `also` are taken where there are.

        Raises:
            BadInput: the source has items, but none with the bands.
            SourceUnavailable: it does not answer.
        """
        ...


def open_source(source: str, described: StacApi | None = None, base: str = "", radar: Source | None = None) -> Source:
    """A source by name, URL or path.

    Args:
        source: `planetary-computer`, `earth-search`, `landsat`, `hls`, the URL of a STAC API, or a static catalog's or
            collection's JSON on disk, over HTTP or on S3.
        described: the API, or the asset names of a static catalog, from `read_mapping`.
        base: folder that a relative path starts from, by default the current one.
        radar: a source of radar scenes that are used beside its own.

    Raises:
        BadInput: no such thing.
        SourceUnavailable: it does not answer.
    """
    if source in KNOWN_APIS:
        return ApiSource(source, described or KNOWN_APIS[source], radar)
    if not urlparse(source).scheme:
        path = Path(base, source)
        path = path / "catalog.json" if path.is_dir() else path
        if not path.is_file():
            raise BadInput(
                f"There is no source {source!r}. Give {', '.join(KNOWN_APIS)}, the URL of a STAC API, or the path of a "
                "static catalog's JSON."
            )
        return StaticSource(str(path.absolute()), described, source, radar)
    if urlparse(source).scheme in BUCKETS:
        return StaticSource(source, described, source, radar)
    if not source.startswith(("http://", "https://")):
        raise BadInput(f"{source!r} is no source. Give {', '.join(KNOWN_APIS)}, a URL, a path, s3:// or gs://.")
    root = read_json(source)
    if "conformsTo" in root:
        return ApiSource(source, described or StacApi(url=source), radar)
    return StaticSource(source, described, source, radar)


class ApiSource:
    """A STAC API."""

    def __init__(self, name: str, api: StacApi, radar: Source | None = None):
        self.name, self._api, self.signer, self.radar = name, api, api.signer, radar
        self.nowhere: Sequence[str] = ()
        try:
            self._client = pystac_client.Client.open(api.url, stac_io=StacApiIO(max_retries=RETRIES, timeout=_TIMEOUT))
        except Exception as error:
            raise SourceUnavailable(
                f"{api.url} does not answer: {_brief(error)}. Check the URL and try again."
            ) from error
        self._in_part = self._client.conforms_to(ConformanceClasses.FIELDS)

    def items(self, geometry: BaseGeometry, start: datetime, end: datetime) -> list[tuple[dict[str, Any], str]]:
        """See `Source`."""
        return self._found({"intersects": to_geojson(geometry), "datetime": (start, end)})

    def search(
        self,
        geometry: BaseGeometry,
        start: datetime,
        end: datetime,
        bands: Sequence[str] = BANDS,
        also: Sequence[str] = (),
    ) -> SearchResult:
        """See `Source`."""
        query: dict[str, Any] = {"intersects": to_geojson(geometry), "datetime": (start, end)}
        if self._in_part:
            keys = asset_keys(self._api.names, [*bands, *also], self._api.gsd)
            found = self._found(query | {"fields": [*_ITEM_PARTS, *(f"assets.{key}" for key in keys)]})
            # Where assets are called otherwise, their own descriptions tell the bands: all of them are needed.
            self._in_part = all(has_bands(item, self._api.names, bands) for item, _ in found)
        if not self._in_part:
            found = self._found(query)
        return _to_scenes(found, self._api, (start, end), (bands, also), self.name)

    def _found(self, query: dict[str, Any]) -> list[tuple[dict[str, Any], str]]:
        search = self._client.search(collections=list(self._api.collections), limit=_PAGE, **query)
        try:
            items = list(search.items_as_dicts())
        except Exception as error:
            raise SourceUnavailable(
                f"The search at {self._api.url} failed: {_brief(error)}. Try again; what was planned is kept."
            ) from error
        return [(item, _self_href(item, self._api.url)) for item in items]


class StaticSource:
    """A static STAC catalog: read once, then searched in memory."""

    def __init__(self, href: str, described: StacApi | None, name: str, radar: Source | None = None):
        self.name, self._api, self.radar = name, described or StacApi(url=href), radar
        self.signer = self._api.signer
        items = list(walk(href))
        self._items = [(item, where) for item, where in items if item.get("geometry")]
        self.nowhere: Sequence[str] = [item["id"] for item, _ in items if not item.get("geometry")]
        if not items:
            raise BadInput(f"The catalog {name!r} holds no items. Give the JSON of a catalog with scenes.")
        self._tree = shapely.STRtree([shape(item["geometry"]) for item, _ in self._items])

    def items(self, geometry: BaseGeometry, start: datetime, end: datetime) -> list[tuple[dict[str, Any], str]]:
        """See `Source`."""
        found = sorted(self._tree.query(geometry, predicate="intersects"))
        overlapping = []
        for number in found:
            item, href = self._items[number]
            try:
                first, last = interval_of(item["properties"])
            except SceneUnreadable:
                overlapping.append((item, href))  # Reported as an exclusion below.
                continue
            if first <= end and last >= start:
                overlapping.append((item, href))
        return overlapping

    def search(
        self,
        geometry: BaseGeometry,
        start: datetime,
        end: datetime,
        bands: Sequence[str] = BANDS,
        also: Sequence[str] = (),
    ) -> SearchResult:
        """See `Source`."""
        found = self.items(geometry, start, end)
        result = _to_scenes(found, self._api, (start, end), (bands, also), self.name)
        result.excluded.extend(Exclusion(scene=name, reason="without a geometry") for name in self.nowhere)
        return result


def _to_scenes(
    items: Sequence[tuple[dict[str, Any], str]],
    api: StacApi,
    period: tuple[datetime, datetime],
    wanted: tuple[Sequence[str], Sequence[str]],
    name: str,
) -> SearchResult:
    bands, also = wanted
    result, without_bands = SearchResult([]), 0
    for item, href in items:
        try:
            first, last = interval_of(item["properties"])
            if first < period[0] or last > period[1]:
                raise SceneUnreadable(f"seen between {first:%Y-%m-%d} and {last:%Y-%m-%d}, not wholly in the period")
            result.scenes.append(scene_from_item(item, href, api.names, api.signer, bands, also))
        except SceneUnreadable as error:
            without_bands += "without band" in str(error)
            result.excluded.append(Exclusion(scene=item["id"], reason=str(error)))
    if items and without_bands == len(items):
        first_one = result.excluded[0]
        raise BadInput(
            f"Source {name!r} lacks bands of {', '.join(bands)}: {first_one.scene} is {first_one.reason}. "
            "Give a source that has them, or its asset names with --mapping."
        )
    return result


def walk(href: str) -> Iterator[tuple[dict[str, Any], str]]:
    """All items under a static catalog or collection, with their addresses.

    Raises:
        BadInput: what is linked is not there, or no STAC.
        SourceUnavailable: a server does not answer.
    """
    level, seen = [(href, "")], {href}
    # Far away a catalog of thousands of items would take as many round trips, one after the other.
    with ThreadPoolExecutor(_READERS, thread_name_prefix="catalog") as readers:
        while level:
            below = []
            contents = readers.map(read_json, *zip(*level, strict=True))
            for (here, _), content in zip(level, contents, strict=True):
                if content.get("type") == "Feature":
                    yield content, here
                    continue
                if content.get("type") not in ("Catalog", "Collection"):
                    raise BadInput(f"{here!r} is no STAC catalog. Give the JSON of a catalog or collection.")
                for link in content.get("links", []):
                    there = _join(here, link["href"])
                    if link["rel"] in ("child", "item") and there not in seen:
                        seen.add(there)
                        below.append((there, here))
            level = below


def _join(base: str, href: str) -> str:
    if urlparse(href).scheme or href.startswith("/"):
        return href
    scheme, separator, rest = base.rpartition("://")
    return scheme + separator + posixpath.normpath(f"{rest.rpartition('/')[0] or '.'}/{href}")


def read_json(href: str, linked_from: str = "") -> dict[str, Any]:
    """The JSON at a path, a URL, `s3://` or `gs://`; errors as of `walk`."""
    readers: dict[str, Callable[[str], bytes]] = {
        "http": _read_http,
        "https": _read_http,
        "s3": _read_bucket,
        "gs": _read_bucket,
    }
    try:
        return json.loads(readers.get(urlparse(href).scheme, lambda path: Path(path).read_bytes())(href))
    except (FileNotFoundError, NotFound) as error:
        if linked_from:
            raise BadInput(f"{linked_from!r} links to {href!r}, which is not there. Mend the catalog.") from error
        raise BadInput(f"There is no {href!r}. Give a STAC catalog, or the root of a STAC API.") from error
    except ValueError as error:
        raise BadInput(f"{href!r} is not JSON. Give a STAC catalog, or the root of a STAC API.") from error


def _read_http(href: str) -> bytes:
    with requests.Session() as session:
        for scheme in ("http://", "https://"):
            session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=RETRIES))
        try:
            answer = session.get(href, timeout=_TIMEOUT)
        except requests.RequestException as error:
            raise SourceUnavailable(f"{href} does not answer: {_brief(error)}. Check the URL and try again.") from error
    if answer.status_code in (404, 410):
        raise NotFound(f"There is no {href}.")
    if not answer.ok:
        raise SourceUnavailable(f"{href} answers {answer.status_code}. Check the URL and the rights, and try again.")
    return answer.content


def _read_bucket(href: str) -> bytes:
    scheme, _, rest = href.partition("://")
    bucket, _, key = rest.partition("/")
    try:
        return open_store(f"{scheme}://{bucket}", s3_endpoint=os.environ.get("AWS_ENDPOINT_URL")).read(key)
    except NotFound:
        raise
    except StoreError as error:
        raise SourceUnavailable(f"{href} cannot be read. {error}") from error


def _self_href(item: dict[str, Any], fallback: str) -> str:
    return next((link["href"] for link in item.get("links", []) if link["rel"] == "self"), fallback)


def _brief(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


class _MappingFile(StacApi):
    url: str = Field(default="")


def read_mapping(path: str, source: str) -> StacApi:
    """What a JSON file (`--mapping`) says of a source, the rest as is known of it.

    Raises:
        BadInput: no such file, or it says something else.
    """
    try:
        described = _MappingFile.model_validate_json(Path(path).read_text())
    except OSError as error:
        raise BadInput(f"There is no mapping file {path!r}. Give a JSON file, see docs/sources.md.") from error
    except ValidationError as error:
        raise BadInput(f"Mapping {path!r} is not valid at {first_fault(error)}. See docs/sources.md.") from error
    stated = {name: getattr(described, name) for name in described.model_fields_set}
    return known_api(source).model_copy(update=stated)
