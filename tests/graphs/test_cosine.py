import numpy as np
import pytest

from medley import graphs
from medley.errors import InputError
from medley.types import Interactions


def at_random(seed: int) -> Interactions:
    rng = np.random.default_rng(seed)
    seen = rng.random((12, 9)) < 0.3
    seen[4], seen[:, 7] = False, False
    user, item = np.nonzero(seen)
    return Interactions(user.astype("i4"), item.astype("i4"), 12, 9)


@pytest.mark.parametrize(("shrinkage", "damping"), [(0, 0), (3, 0), (0, 1), (2.5, 0.5)])
@pytest.mark.parametrize("k", [1, 3, 20])
@pytest.mark.parametrize("seed", [0, 1])
def test_the_nearest_items_are_those_of_a_loop_over_all_pairs(seed, k, shrinkage, damping):
    train = at_random(seed)
    x = train.csr().toarray()
    expected = np.zeros((9, 9))
    for i in range(9):
        similarity = {}
        for j in range(9):
            n_ij, n_i, n_j = (
                sum(1 / x[u].sum() ** damping for u in range(12) if x[u, a] and x[u, b])
                for a, b in [(i, j), (i, i), (j, j)]
            )
            if i != j and n_ij:
                similarity[j] = np.float32(n_ij / (np.sqrt(n_i * n_j) + shrinkage))
        for j in sorted(similarity, key=lambda j: (-similarity[j], j))[:k]:
            expected[i, j] = similarity[j]
    assert np.allclose(graphs.item_cosine(train, k, shrinkage=shrinkage, damping=damping).toarray(), expected)


@pytest.mark.parametrize("options", [{"k": 0}, {"k": 1, "shrinkage": -1}, {"k": 1, "damping": -0.5}])
def test_options_out_of_range_are_refused(options):
    with pytest.raises(InputError, match="expected"):
        graphs.item_cosine(at_random(0), **options)
