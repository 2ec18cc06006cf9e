"""Change products of categorical maps: areas, transitions, persistence, with true areas and as STAC items."""
