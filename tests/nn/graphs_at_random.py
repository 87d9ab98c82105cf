"""Random graphs for property tests: empty rows, isolated nodes, a row that holds everything, no edge at all."""

import numpy as np
import scipy.sparse as sp
from hypothesis import strategies as st


@st.composite
def matrices(draw: st.DrawFn, max_size: int = 12) -> sp.csr_array:
    """A sparse (R, C) matrix with normal values."""
    num_rows, num_columns = draw(st.integers(1, max_size)), draw(st.integers(1, max_size))
    density = draw(st.sampled_from([0.0, 0.1, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    full = rng.normal(size=(num_rows, num_columns)) * (rng.random((num_rows, num_columns)) < density)
    if draw(st.booleans()):
        full[0] = rng.normal(size=num_columns)  # one long row
    return sp.csr_array(full.astype("f4"))
