"""The catalog as a STAC API, with its files: `landloom serve`."""
