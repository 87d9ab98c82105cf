"""LUDP as its paper ran it (Sec. 5, Tables 3-5). `medley train --recipe ludp/tiktok DATASET`, or
`medley.train(papers.find("ludp/tiktok"), data)`."""

from medley.experiments.papers.published import Published

TIKTOK = Published(
    data="18,855 users, 34,756 items, 1,493,532 interactions; visual 128-d, acoustic 256-d, textual 128-d",
    options={"dim": 64, "num_layers": 2, "num_item_layers": 1, "fusion": "attention"},
    settings={"lr": 1e-3, "metric": "recall@10", "patience": 10},  # lr: of the grid, not published
    scores={
        "ludp": {"precision@10": 0.0383, "recall@10": 0.0613, "ndcg@10": 0.0554},
        "visual": {"precision@10": 0.0377, "recall@10": 0.0602, "ndcg@10": 0.0549},
        "acoustic": {"precision@10": 0.0368, "recall@10": 0.0591, "ndcg@10": 0.0542},
        "textual": {"precision@10": 0.0362, "recall@10": 0.0584, "ndcg@10": 0.0531},
        "two item layers": {"precision@10": 0.0376, "recall@10": 0.0602, "ndcg@10": 0.0547},
        "three item layers": {"precision@10": 0.0366, "recall@10": 0.0588, "ndcg@10": 0.0532},
        "lightgcn": {"precision@10": 0.0357, "recall@10": 0.0561, "ndcg@10": 0.0501},
        "lattice": {"precision@10": 0.0361, "recall@10": 0.0582, "ndcg@10": 0.0512},
    },
)

MOVIELENS = Published(
    data="23,018 users, 10,698 items, 896,006 interactions; visual 2,048-d, acoustic 256-d, textual 768-d",
    options={**TIKTOK.options, "num_item_layers": 2},
    settings=TIKTOK.settings,
    scores={
        "ludp": {"precision@10": 0.1344, "recall@10": 0.2193, "ndcg@10": 0.2030},
        "visual": {"precision@10": 0.1298, "recall@10": 0.2097, "ndcg@10": 0.1932},
        "acoustic": {"precision@10": 0.1189, "recall@10": 0.1901, "ndcg@10": 0.1744},
        "textual": {"precision@10": 0.1285, "recall@10": 0.1988, "ndcg@10": 0.1842},
        "one item layer": {"precision@10": 0.1288, "recall@10": 0.2015, "ndcg@10": 0.1892},
        "three item layers": {"precision@10": 0.1298, "recall@10": 0.2088, "ndcg@10": 0.1927},
        "lightgcn": {"precision@10": 0.1207, "recall@10": 0.1978, "ndcg@10": 0.1793},
        "lattice": {"precision@10": 0.1266, "recall@10": 0.2054, "ndcg@10": 0.1872},
    },
)

VARIANTS = {  # over the options of a data set; the figures have no numbers
    "item graph only": {"use_user_graph": False},  # Fig. 3
    "user graph only": {"use_item_graph": False},  # the other half; not in the paper
    # without both: the model lightgcn with combine="sum", num_layers=2
    "sum": {"fusion": "sum"},  # Fig. 5
    "concat": {"fusion": "concat"},  # Fig. 5
    "one item layer": {"num_item_layers": 1},  # Table 5
    "two item layers": {"num_item_layers": 2},
    "three item layers": {"num_item_layers": 3},
    "k = 5": {"k": 5},  # Fig. 6
    "k = 10": {"k": 10},
    "k = 20": {"k": 20},
    "k = 50": {"k": 50},
    **{m: {"modalities": [m]} for m in ("visual", "acoustic", "textual")},  # Table 4
}

GRID = {  # searched in the paper, chosen on validation
    "lr": (1e-4, 5e-4, 1e-3, 5e-3, 1e-2),
    "batch_size": (128, 256, 512, 1024),
    "reg": (0.0, 1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
    "k": (5, 10, 20, 50),
}

DOUBTS = (
    "The chosen lr, batch size, reg and k are not published, only the grids: lr is 1e-3 here, the others are Medley's "
    "defaults.",
    "Table 5 varies the item graph with the interaction graph at two layers; at one item layer it repeats the result "
    "of Table 3 on TikTok, at two that on MovieLens, so Table 3 used those.",
    "Interactions were split 8:1:1 at random (it is not said whether per user); the splits are not published.",
    "How both data sets were filtered is not said; the features of MovieLens were extracted by the authors and are not "
    "published. No code was published.",
    "Eq. 4 weighs edges by cosine, eq. 5 does not use these weights and divides by sqrt(k), so that a layer is up to "
    "sqrt(k) longer than its neighbours; see edge_weight and normalisation.",
    "reg is the factor of ||Theta||^2 beside a sum over triplets in the paper and beside a mean here.",
    "All parameters were drawn from a Gaussian of unknown width; here they are Xavier uniform.",
)
