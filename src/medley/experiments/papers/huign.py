"""HUIGN as its paper ran it (Sec. 4, Tables 2-4, Fig. 3). `medley train --recipe huign/tiktok DATASET`, or
`medley.train(papers.find("huign/tiktok"), data)`."""

from medley.experiments.papers.published import Published

README_WEIGHT = {"movielens": 1e-4, "tiktok": 1e-1, "kwai": 1e-1}  # authors' code: one weight for lambda_1..3
PER_ENTRY = 2 / 64  # authors' L2 is a mean over 64 entries, Medley's half a squared norm

MOVIELENS = Published(
    data="55,485 users, 5,986 items, 1,239,508 interactions; visual 2,048-d, acoustic 128-d, textual 100-d",
    options={
        "dim": 64,
        "levels": (32, 8, 4),
        "threshold": 5,
        "reg": README_WEIGHT["movielens"] * PER_ENTRY,
        "intent_reg": 1.0,
        "entropy_reg": README_WEIGHT["movielens"],
        "independence_reg": README_WEIGHT["movielens"],
    },
    settings={"lr": 1e-4, "batch_size": 1024, "patience": 20, "metric": "recall@10"},
    scores={
        "huign": {"precision@10": 0.0619, "recall@10": 0.2522, "ndcg@10": 0.2677, "recall@5": 0.1649, "ndcg@5": 0.2258},
        "{32}": {"precision@10": 0.0617, "recall@10": 0.2502, "ndcg@10": 0.2660},
        "{32, 8}": {"precision@10": 0.0617, "recall@10": 0.2509, "ndcg@10": 0.2660},
        "{64, 16, 4}": {"precision@10": 0.0618, "recall@10": 0.2517, "ndcg@10": 0.2675},
        "{64, 32, 8, 4}": {"precision@10": 0.0616, "recall@10": 0.2512, "ndcg@10": 0.2666},
        "visual": {"precision@10": 0.0631, "recall@10": 0.2555, "ndcg@10": 0.2710},
        "acoustic": {"precision@10": 0.0616, "recall@10": 0.2510, "ndcg@10": 0.2671},
        "textual": {"precision@10": 0.0611, "recall@10": 0.2491, "ndcg@10": 0.2621},
        "mmgcn": {"precision@10": 0.0581, "recall@10": 0.2345, "ndcg@10": 0.2517},
        "vbpr": {"precision@10": 0.0512, "recall@10": 0.1990, "ndcg@10": 0.2261},
    },
)

TIKTOK = Published(
    data="36,656 users, 76,085 items, 726,065 interactions; visual, acoustic and textual 128-d each",
    options={
        **MOVIELENS.options,
        "reg": README_WEIGHT["tiktok"] * PER_ENTRY,
        "entropy_reg": README_WEIGHT["tiktok"],
        "independence_reg": README_WEIGHT["tiktok"],
    },
    settings={**MOVIELENS.settings, "lr": 5e-4},
    scores={
        "huign": {"precision@10": 0.0164, "recall@10": 0.0884, "ndcg@10": 0.0769, "recall@5": 0.0479, "ndcg@5": 0.0520},
        "{32}": {"precision@10": 0.0161, "recall@10": 0.0861, "ndcg@10": 0.0766},
        "{32, 8}": {"precision@10": 0.0157, "recall@10": 0.0845, "ndcg@10": 0.0748},
        "{64, 16, 4}": {"precision@10": 0.0153, "recall@10": 0.0830, "ndcg@10": 0.0733},
        "{64, 32, 8, 4}": {"precision@10": 0.0160, "recall@10": 0.0865, "ndcg@10": 0.0763},
        "visual": {"precision@10": 0.0145, "recall@10": 0.0796, "ndcg@10": 0.0706},
        "acoustic": {"precision@10": 0.0144, "recall@10": 0.0788, "ndcg@10": 0.0694},
        "textual": {"precision@10": 0.0142, "recall@10": 0.0770, "ndcg@10": 0.0675},
        "mmgcn": {"precision@10": 0.0144, "recall@10": 0.0808, "ndcg@10": 0.0674},
        "vbpr": {"precision@10": 0.0118, "recall@10": 0.0628, "ndcg@10": 0.0574},
    },
)

KWAI = Published(
    data="7,010 users, 86,483 items, 298,492 interactions; visual 2,048-d alone",
    options=TIKTOK.options,
    settings=TIKTOK.settings,
    scores={
        "huign": {"precision@10": 0.0140, "recall@10": 0.0434, "ndcg@10": 0.0778, "recall@5": 0.0307, "ndcg@5": 0.0641},
        "{32}": {"precision@10": 0.0130, "recall@10": 0.0403, "ndcg@10": 0.0724},
        "{32, 8}": {"precision@10": 0.0138, "recall@10": 0.0414, "ndcg@10": 0.0760},
        "{64, 16, 4}": {"precision@10": 0.0140, "recall@10": 0.0428, "ndcg@10": 0.0787},
        "{64, 32, 8, 4}": {"precision@10": 0.0135, "recall@10": 0.0421, "ndcg@10": 0.0747},
        "mmgcn": {"precision@10": 0.0120, "recall@10": 0.0398, "ndcg@10": 0.0681},
        "vbpr": {"precision@10": 0.0132, "recall@10": 0.0410, "ndcg@10": 0.0702},
    },
)

VARIANTS = {  # Table 3 and Fig. 3; over the options of a data set
    "{32}": {"levels": (32,)},
    "{32, 8}": {"levels": (32, 8)},
    "{64, 16, 4}": {"levels": (64, 16, 4)},
    "{64, 32, 8, 4}": {"levels": (64, 32, 8, 4)},
    "huign-i": {"independence_reg": 0.0},
    "huign-c": {"entropy_reg": 0.0},
    "huign-c-i": {"independence_reg": 0.0, "entropy_reg": 0.0},
    **{f"threshold {threshold}": {"threshold": threshold} for threshold in (3, 4, 5, 6, 7)},
    **{m: {"modalities": [m]} for m in ("visual", "acoustic", "textual")},  # Table 4
}

GRID = {  # searched in the paper, chosen on validation
    "lr": (1e-4, 1e-3, 1e-2, 1e-1, 1.0),
    "reg": (1e-5, 1e-4, 1e-3, 1e-2, 1e-1),
}

DOUBTS = (
    "The chosen lr and weights are not published in the paper; those above are from the README of the authors' code, "
    "which applies one weight to all three terms, without 1/K in eq. 9 and with 1/K^2 in eq. 10.",
    "In that code entropy and independence are one tensor under two names, so each term counts twice: its weight w is "
    "entropy_reg and independence_reg of 2 w, beside the factors of K. Its L2 per squared entry is 2 w / 64 for users, "
    "as here, w / 64 for items and 2 w / 44 for u*.",
    "Whether 8:1:1 is per user or over all interactions is not said; the splits are not published.",
    "The authors' code chooses the best epoch by the recall on test, so published scores are too high to compare with.",
    "The authors' code divides NDCG by the ideal of the items that were hit: published NDCG cannot be compared with "
    "Medley's.",
    "The authors' code masks seen items with a score of 1e-5, not with minus infinity.",
    "The convolution of the authors' code is a mean over neighbours with a weight matrix and LeakyReLU applied twice; "
    "eq. 4 is linear.",
    "Sec. 4.1.1 says at least 5 common users, Sec. 4.3.3 'larger than 5': Medley takes at least.",
    "Nothing is said of items without neighbours, nor of the scale of the features (feature_scale), which both change "
    "results.",
    "The README gives Kwai 86,483 users and 7,010 items, Table 1 the reverse.",
)
