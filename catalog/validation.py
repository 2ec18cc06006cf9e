"""Validation of STAC without a network, against the schemas that lie in `schemas/` and those that pystac brings."""

from __future__ import annotations

import functools
import json
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import jsonschema.exceptions
from pystac import STACObjectType
from pystac.errors import STACValidationError
from pystac.validation.stac_validator import JsonSchemaSTACValidator

from catalog.errors import BadInput

STAC_VERSION = "1.1.0"
_MAX_REASON = 300
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


def validate_received(content: dict[str, Any], kind: str) -> None:
    """Check the JSON of an item or collection that others made: of any STAC 1, with extensions that need not be known.

    Args:
        content: the JSON.
        kind: `Feature` or `Collection`, which it has to be.

    Raises:
        BadInput: it is not valid.
    """
    if content.get("type") != kind or not str(content.get("stac_version")).startswith("1."):
        raise BadInput(
            f"This is no STAC 1 {'item' if kind == 'Feature' else 'collection'}: type is {content.get('type')!r} and "
            f"stac_version {content.get('stac_version')!r}. Give {kind!r} and {STAC_VERSION!r}."
        )
    validator, current = _validator(), {**content, "stac_version": STAC_VERSION}
    try:
        validator.validate_core(current, _TYPES[kind], STAC_VERSION)
        for extension in set(content.get("stac_extensions", [])) & set(validator.schema_cache):
            validator.validate_extension(current, _TYPES[kind], STAC_VERSION, extension)
    except STACValidationError as error:
        best = jsonschema.exceptions.best_match(error.source) if error.source else error
        where = ".".join(str(part) for part in getattr(best, "absolute_path", ()))
        reason = str(getattr(best, "message", best))[:_MAX_REASON]
        raise BadInput(f"The {kind} is not valid{f' at {where}' if where else ''}: {reason}") from error


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
