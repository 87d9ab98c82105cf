"""DualGNN as its paper ran it (Sec. V, Tables II-IV, Fig. 9). `medley train --recipe dualgnn/tiktok DATASET`, or
`medley.train(papers.find("dualgnn/tiktok"), data)`.

Items that lack modalities (Fig. 9): the option `drop_modalities=0.5` of any model that reads features.
"""

from medley.experiments.papers.published import Published

MOVIELENS = Published(
    data="55,485 users, 5,986 items, 1,239,508 interactions; visual 2,048-d, acoustic 128-d, textual 100-d",
    options={
        "dim": 64,
        "num_layers": 2,
        "construction": "sum",
        "aggregation": "softmax",
        "num_user_layers": 1,
        "k": 40,
    },
    settings={
        "lr": 1e-3,
        "batch_size": 1024,
        "metric": "recall@10",
    },  # lr: of the grid, not published
    scores={
        "dualgnn": {"recall@10": 0.2822, "ndcg@10": 0.3131, "recall@5": 0.1911, "ndcg@5": 0.2745},
        "dual-u": {"recall@10": 0.2766, "ndcg@10": 0.3068},
        "dual-a": {"recall@10": 0.2660, "ndcg@10": 0.2890},
        "dual-a-u": {"recall@10": 0.2467, "ndcg@10": 0.2692},
        "lightgcn": {"recall@10": 0.2658, "ndcg@10": 0.2941, "recall@5": 0.1792, "ndcg@5": 0.2553},
    },
)

TIKTOK = Published(
    data="32,309 users, 66,456 items, 726,065 interactions; visual, acoustic and textual 128-d each",
    options={**MOVIELENS.options, "dim": 128, "k": 50, "projection": "none"},
    settings=MOVIELENS.settings,
    scores={
        "dualgnn": {"recall@10": 0.1318, "ndcg@10": 0.1151, "recall@5": 0.0842, "ndcg@5": 0.0901},
        "dual-u": {"recall@10": 0.1242, "ndcg@10": 0.1101},
        "dual-a": {"recall@10": 0.1136, "ndcg@10": 0.0995},
        "dual-a-u": {"recall@10": 0.1026, "ndcg@10": 0.0897},
        "lightgcn": {"recall@10": 0.1208, "ndcg@10": 0.1081, "recall@5": 0.0763, "ndcg@5": 0.0840},
    },
)

VARIANTS = {  # Table IV, Fig. 4 and Fig. 5; over the options of a data set
    "dual-u": {"num_user_layers": 0},
    "dual-a": {"construction": "mean"},
    "dual-a-u": {"construction": "mean", "num_user_layers": 0},
    "dual-m": {"construction": "max"},
    "dual-cm": {"construction": "concat"},
    "dualgnn-mean": {"aggregation": "mean"},
    **{f"dual/{m[0]}": {"modalities": [m]} for m in ("visual", "acoustic", "textual")},  # Fig. 3
}

GRID = {  # searched in the paper, chosen on validation
    "lr": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
    "reg": (1e-1, 1e-2, 1e-3, 1e-4, 1e-5),
}

DOUBTS = (
    "The chosen lr and reg are not published, only the grid; the metric that chose them is not named.",
    "Interactions were split 8:1:1 per user at random; the splits are not published.",
    "How MovieLens features came to 64 dimensions is not said (authors' code: a learned perceptron, 256 wide). "
    "On TikTok all raw features have 128, so none is projected here; with other features choose projection='linear'.",
    "The authors' code gives every u_m(0) and i_m(0) length one (unit_input=True); the paper does not.",
    "The authors' code masks seen items with 1e-5, hides test items while validating, and divides NDCG by the ideal of "
    "the items that were hit, which raises it: published NDCG cannot be compared with Medley's.",
    "Fig. 9: the metric whose decrease is given is not named. The authors' code drops edges in lists it never reads.",
    "The loss of the paper is a sum and that of the authors' code a mean in log2, so reg has another scale here.",
)
