"""What the data is: legend, grid, source scenes, STAC items and the stores that hold them."""
