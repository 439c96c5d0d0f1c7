"""Pure: a frame in, a matplotlib Figure out. One function a figure."""
