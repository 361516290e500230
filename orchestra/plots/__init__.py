"""Draws plots of runs: as a page, as a picture."""
