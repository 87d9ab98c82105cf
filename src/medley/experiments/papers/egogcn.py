"""EgoGCN as its paper ran it (Sec. 4.3 and 5, Tables 2-4). `medley train --recipe egogcn/tiktok DATASET`, or
`medley.train(papers.find("egogcn/tiktok"), data)`."""

from medley.experiments.papers.published import Published

MOVIELENS = Published(
    data="55,485 users, 5,986 items, 1,239,508 interactions; visual 2,048-d, acoustic 128-d, textual 100-d",
    options={"fusion": "hard", "epsilon": 0.4, "dim": 64, "num_layers": 4, "num_id_layers": 3, "reg": 1e-4 / 64},
    settings={"lr": 2e-4, "batch_size": 2048, "patience": 20, "metric": "recall@10"},
    scores={
        "egogcn-hard": {"precision@10": 0.0679, "recall@10": 0.2745, "ndcg@10": 0.2945},
        "egogcn-soft": {"precision@10": 0.0676, "recall@10": 0.2734, "ndcg@10": 0.2929},
        "egogcn-gm": {"precision@10": 0.0671, "recall@10": 0.2715, "ndcg@10": 0.2912},
        "egogcn-na": {"precision@10": 0.0672, "recall@10": 0.2726, "ndcg@10": 0.2910},
        "id with soft pruning": {"precision@10": 0.0672, "recall@10": 0.2646, "ndcg@10": 0.2867},
        "without multimodal": {"precision@10": 0.0641, "recall@10": 0.2614, "ndcg@10": 0.2793},
        "lightgcn": {"precision@10": 0.0621, "recall@10": 0.2538, "ndcg@10": 0.2701},
    },
)

TIKTOK = Published(
    data="36,656 users, 76,085 items, 726,065 interactions; visual, acoustic and textual 128-d each",
    options={"fusion": "soft", "epsilon": 0.6, "dim": 64, "num_layers": 2, "num_id_layers": 2, "reg": 1e-3 / 64},
    settings={"lr": 3e-4, "batch_size": 1024, "patience": 20, "metric": "recall@10"},
    scores={
        "egogcn-hard": {"precision@10": 0.0214, "recall@10": 0.1183, "ndcg@10": 0.1028},
        "egogcn-soft": {"precision@10": 0.0219, "recall@10": 0.1199, "ndcg@10": 0.1046},
        "egogcn-gm": {"precision@10": 0.0208, "recall@10": 0.1139, "ndcg@10": 0.0995},
        "egogcn-na": {"precision@10": 0.0203, "recall@10": 0.1111, "ndcg@10": 0.0977},
        "id with soft pruning": {"precision@10": 0.0209, "recall@10": 0.1102, "ndcg@10": 0.0989},
        "without multimodal": {"precision@10": 0.0187, "recall@10": 0.1032, "ndcg@10": 0.0901},
        "lightgcn": {"precision@10": 0.0193, "recall@10": 0.0944, "ndcg@10": 0.0826},
    },
)

VARIANTS = {  # Tables 3 and 4; over the options of a data set
    "egogcn-hard": {"fusion": "hard"},
    "egogcn-soft": {"fusion": "soft"},
    "egogcn-gm": {"fusion": "merge"},
    "egogcn-na": {"fusion": "align"},
    "id with soft pruning": {"soft_pruning": True},
    "without multimodal": {"fusion": "none"},
}

GRID = {  # searched in the paper (Sec. 4.3, Fig. 3 and 4)
    "num_layers": (1, 2, 3, 4),
    "num_id_layers": (1, 2, 3),
    "epsilon": (0.3, 0.4, 0.5, 0.6, 0.7),
}

DOUBTS = (
    "LightGCN in Table 3 has the concatenated features as input vectors: the option use_content of lightgcn. How they "
    "come to 64 dimensions, and whether IDs stay beside them, is not said.",
    "lambda is not in the paper. reg is that of the authors' commands (1e-4 and 1e-3) over dim: there the mean of all "
    "numbers is taken, here the sum of each row. Rows of users weigh twice as much there.",
    "The paper stops on validation recall@10; the authors' code keeps the epoch with the best *test* recall@10.",
    "The authors' code multiplies the learning rate by 0.8 and forgets Adam's moments every 50 epochs; not done here.",
    "The authors' code gives all vectors length one at layer 0 and after every layer, the paper none. unit_layers does "
    "so for those of the modalities; IDs keep their length, for length one costs a fifth of the recall on TikTok.",
    "The authors do not standardise features: feature_scale=none.",
    "Which fusion (hard or soft) 'ID embeddings with soft pruning' was run with is not said; its code is not there.",
    "The authors' code masks seen items with 1e-5 and divides NDCG by the ideal of the items that were hit, which "
    "raises it: published NDCG cannot be compared with Medley's.",
    "Kwai was left out for having one modality; here hard and soft are then the graph-merge form and run.",
)
