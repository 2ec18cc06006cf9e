"""The web pages: a map of ours, and STAC Browser."""
