"""The STAC item of a place and year of a corrected series, laid out like that of a map."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import shapely

from catalog.assets import COG, AssetFile, class_list, file_values, renders
from catalog.collections import TEMPORAL
from catalog.items import EXTENSIONS, FINGERPRINT, bbox_of, rounded, zone_of
from catalog.legend import Legend, LegendClass
from catalog.links import JSON
from catalog.store import Store
from services.change.blocks import OpenPlace
from services.change.corrected_change import changed_interval
from services.change.correction import Correction, Settings
from services.change.items import source_href
from services.change.map_legend import MapLegend
from services.change.series import Series

if TYPE_CHECKING:
    from services.change.corrected_tally import Tally

_TITLES = {
    "data": ("Land cover", "Most likely class of each pixel, given the maps of all years of the series"),
    "confidence": (
        "Confidence",
        "Posterior probability of the class, in per cent, its repeating errors counted; 0 = none",
    ),
    "thumbnail": ("Thumbnail", "The mapped part in the legend's colours"),
    "change": ("Change since the year before", "Hectares from class to class: in the maps, corrected, and removed"),
}
_INTERVAL = "of change alone, in landloom:change_interval and the asset change, or the reason why there is none"
_TYPES = {"data": COG, "confidence": COG, "thumbnail": "image/png", "change": "text/csv"}


@dataclass(frozen=True)
class YearMade:
    """What was made of one year."""

    number: int
    """Of the year in the series, from 0."""
    tally: Tally
    files: tuple[AssetFile, ...]
    fingerprint: str


def collection_of(series: Series) -> str:
    """The collection that a corrected series is published in: each resolution has its own, as maps have."""
    return TEMPORAL + series.suffix


def item_key(series: Series, place: str, year: int) -> str:
    """Where the item's JSON lies, relative to the output."""
    return f"{collection_of(series)}/{place}/{year}/{place}-{year}.json"


def catalog_legend(legend: MapLegend) -> Legend:
    """The legend of a series in the form in which maps are published."""
    classes = [
        LegendClass(code=one.value, name=one.name, title=one.title, color=one.color, model_classes=(one.name,))
        for one in legend.classes
    ]
    return Legend(id="series", version="1", description="The classes of the maps of a series", classes=tuple(classes))


def build_year_item(store: Store, maps: OpenPlace, correction: Correction, settings: Settings, made: YearMade) -> bytes:
    """The JSON of an item.

    Args:
        store: the output.
        maps: the place, opened.
        correction: that corrected it.
        settings: of the correction.
        made: the year's files and areas.
    """
    series, place, tally, number = maps.series, maps.place, made.tally, made.number
    year, legend = series.years[number], catalog_legend(series.legend)
    source = place.maps[number]
    geometry = place.geometry if series.area is None else place.geometry.intersection(series.area)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    names = [series.legend.names[one - 1] for one in correction.classes]
    properties = {
        # Not null, and the same for all items of a year: loaders group by it.
        "datetime": f"{year}-01-01T00:00:00Z",
        "start_datetime": f"{year}-01-01T00:00:00Z",
        "end_datetime": f"{year}-12-31T23:59:59Z",
        "created": now,
        "updated": now,
        "title": f"Land cover {place.name} {year}, corrected with the years {series.years[0]} to {series.years[-1]}",
        "gsd": series.compared_at or source.properties.get("gsd", abs(maps.transform.a)),
        "io:tile_id": place.name,
        **({"grid:code": source.properties["grid:code"]} if "grid:code" in source.properties else {}),
        **_projection(maps),
        "processing:level": "L4",
        "processing:datetime": now,
        "processing:lineage": (
            f"Hidden Markov model over {len(series.years)} annual maps (Abercrombie and Friedl 2016), emissions from "
            f"{'an error matrix' if settings.error_matrix else 'published scores'}"
        ),
        "processing:software": {"landloom": version("landloom")},
        FINGERPRINT: made.fingerprint,
        "landloom:legend": source.properties.get("landloom:legend", "of the source maps"),
        "landloom:model": source.properties.get("landloom:model", "of the source maps"),
        "landloom:class_pixels": {
            one.name: int(tally.pixels[number, k]) for k, one in enumerate(series.legend.classes, start=1)
        },
        "landloom:years": list(series.years),
        "landloom:provisional": number == len(series.years) - 1,
        "landloom:filled_ha": round(float(tally.filled[number]), 4),
        "landloom:correction": json.dumps(settings.told()),
        "landloom:transition": json.dumps(
            {"classes": names, "probability": correction.chain.transition.round(6).tolist()}
        ),
        **({} if correction.sharpness is None else {"landloom:sharpness": round(correction.sharpness, 3)}),
        "landloom:source_accuracy": {"accuracy": settings.accuracy, "interval": _INTERVAL},
        "landloom:notes": list(series.notes),
        "renders": renders(legend),
    }
    if number:
        mapped, corrected = (
            float(one[number - 1].sum() - one[number - 1].trace()) for one in (tally.mapped, tally.corrected)
        )
        properties |= {
            "landloom:change_mapped_ha": round(mapped, 4),
            "landloom:change_corrected_ha": round(corrected, 4),
            "landloom:change_interval": json.dumps(changed_interval(maps, settings, tally, number).properties()),
        }
    content = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": EXTENSIONS
        if "grid:code" in properties
        else [one for one in EXTENSIONS if "/grid/" not in one],
        "id": f"{place.name}-{year}",
        "collection": collection_of(series),
        "geometry": rounded(shapely.orient_polygons(geometry)),
        "bbox": bbox_of(geometry),
        "properties": properties,
        "assets": {one.name: _asset(one, made.fingerprint, legend) for one in made.files},
        "links": [
            {"rel": "collection", "href": "../../collection.json", "type": JSON},
            {"rel": "parent", "href": f"../../{zone_of(place.name)}/catalog.json", "type": JSON},
            {"rel": "root", "href": "../../../catalog.json", "type": JSON},
            *(
                {
                    "rel": "derived_from",
                    "href": source_href(store, one.source),
                    "type": "application/geo+json",
                    "title": one.id,
                }
                for one in place.maps
            ),
        ],
    }
    return json.dumps(content, indent=1).encode()


def _asset(file: AssetFile, fingerprint: str, legend: Legend) -> dict[str, Any]:
    title, description = _TITLES[file.name]
    asset: dict[str, Any] = {
        "href": f"./{fingerprint}/{file.file}",
        "type": _TYPES[file.name],
        "title": title,
        "description": description,
        "roles": ["thumbnail"] if file.name == "thumbnail" else ["data"],
        "file:size": file.size,
        "file:checksum": file.checksum,
    }
    if file.name in ("data", "confidence"):
        asset |= {"data_type": "uint8", "nodata": 0}
    if file.name == "data":
        asset |= {"classification:classes": class_list(legend), "file:values": file_values(class_list(legend))}
    if file.name == "confidence":
        asset["unit"] = "%"
    return asset


def _projection(maps: OpenPlace) -> dict[str, Any]:
    """The fields of the projection extension."""
    code, (rows, cols) = maps.crs.to_epsg(), maps.shape
    corners = [maps.transform @ corner for corner in ((0, 0), (cols, rows))]
    (left, top), (right, bottom) = corners
    return {
        # Collections are summarised by it, so it is there where the system has no number, too.
        "proj:code": f"EPSG:{code}" if code else None,
        **({} if code else {"proj:wkt2": maps.crs.to_wkt()}),
        "proj:shape": [rows, cols],
        "proj:transform": list(maps.transform)[:6],
        "proj:bbox": [min(left, right), min(top, bottom), max(left, right), max(top, bottom)],
    }
