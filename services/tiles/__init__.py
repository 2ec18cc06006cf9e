"""Map tiles of items and of a year's mosaic."""
