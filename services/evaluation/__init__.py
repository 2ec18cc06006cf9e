"""How far networks and maps agree with a stated reference, and how it is told."""
