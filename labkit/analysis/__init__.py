"""Pure: frames in, frames out. What follows from what the arms said; nothing here asks anything."""
