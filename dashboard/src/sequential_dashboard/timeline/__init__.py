"""The timeline of a run: what it shows (`spans`, `gaps`), and the canvas that draws it."""
