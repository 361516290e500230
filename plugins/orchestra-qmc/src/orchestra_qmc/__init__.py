"""Orchestra batches by Latin hypercube and Sobol sequence."""

from __future__ import annotations

from orchestra_qmc.expanders import (
    LatinHypercubeOptions,
    SobolOptions,
    SpreadExpander,
    open_latin_hypercube,
    open_sobol,
)

__all__ = [
    "LatinHypercubeOptions",
    "SobolOptions",
    "SpreadExpander",
    "open_latin_hypercube",
    "open_sobol",
]
