"""Validation of STAC without a network, against the schemas that lie in `schemas/` and those that pystac brings."""

from __future__ import annotations

import functools
import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

from pystac import STACObjectType
from pystac.errors import STACValidationError
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from catalog.errors import BadInput

STAC_VERSION = "1.1.0"
_TYPES = {
    "Feature": STACObjectType.ITEM,
    "Collection": STACObjectType.COLLECTION,
    "Catalog": STACObjectType.CATALOG,
}


def validate(content: dict[str, Any]) -> None:
    """Check the JSON of an item, a collection or a catalog against the core's and its extensions' schemas.

    Raises:
        BadInput: it is not valid, or names an extension of which no schema is at hand.
    """
    what = f"{content.get('type', 'object')} {content.get('id')!r}"
    kind = _TYPES.get(str(content.get("type")))
    if kind is None or content.get("stac_version") != STAC_VERSION:
        raise BadInput(
            f"{what} is not STAC {STAC_VERSION}: stac_version is {content.get('stac_version')!r}. "
            "Give an item, a collection or a catalog of that version."
        )
    extensions = content.get("stac_extensions", [])
    validator = _validator()
    if unknown := sorted(set(extensions) - set(validator.schema_cache)):
        raise BadInput(f"{what} uses {', '.join(unknown)}, whose schema is not in catalog/schemas. Add it there.")
    try:
        validator.validate(content, kind, STAC_VERSION, extensions)
    except STACValidationError as error:
        raise BadInput(f"{what} is not valid: {error}") from error


@functools.lru_cache(maxsize=1)
def _validator() -> JsonSchemaSTACValidator:
    validator = JsonSchemaSTACValidator()
    for file in _json_files(resources.files("catalog") / "schemas"):
        schema = json.loads(file.read_text())
        validator.schema_cache[schema["$id"].rstrip("#")] = schema
    return validator


def _json_files(folder: Traversable) -> list[Traversable]:
    found: list[Traversable] = []
    for entry in folder.iterdir():
        found += _json_files(entry) if entry.is_dir() else [entry] if entry.name.endswith(".json") else []
    return found
