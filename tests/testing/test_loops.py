"""Steps that papers share, by hand."""

import numpy as np
import pytest

from medley import testing


def test_loops_by_hand():
    edges = testing.edge_weights()
    assert edges == {(0, 0): pytest.approx(2**-0.5), (0, 1): pytest.approx(2**-0.5), (1, 2): 1}
    user, item = testing.lightgcn(np.eye(2), np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 4.0]]), 1)
    assert np.allclose(user, [[(1 + 3 / 2**0.5) / 2, 0], [0, (1 + 4) / 2]])
    assert np.allclose(item, [[(1 + 2**-0.5) / 2, 0], [(2 + 2**-0.5) / 2, 0], [0, (4 + 1) / 2]])
    acoustic = testing.five_nodes().features["acoustic"]
    assert testing.nearest(acoustic, 2, 3) == {}
    found = testing.nearest(acoustic, 0, 3)
    assert list(found) == [0, 1] and found[0] == pytest.approx(1)
    assert testing.bpr(np.zeros((2, 3))) == pytest.approx(np.log(2))
