"""Things that run and answer."""
