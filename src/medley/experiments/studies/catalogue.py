"""Each model over a small grid: the entries that studies share, so that their runs are shared too. The grids are those
of docs/results/tiktok.md, where they were chosen; they name no data set.
"""

from typing import Any

from medley.experiments.entries import Entry

TRAINING = {"dim": 64, "batch_size": 2048, "num_epochs": 100, "patience": 10, "metric": "recall@20"}
FIXED = {"metric": "recall@20"}  # of models that are complete when they are built
LR = (1e-3, 5e-3)


def _grid(model: str, label: str, **grid: tuple[Any, ...]) -> Entry:
    return Entry(model, label, TRAINING, grid)


SIMPLE = (
    Entry("popularity", "Popularity", FIXED, {}),
    Entry("itemknn", "ItemKNN", FIXED, {"k": (20, 100), "shrinkage": (10.0, 100.0, 1000.0)}),
    Entry("itemknn", "ItemKNN, content", FIXED | {"similarity": "content"}, {"k": (10, 50)}),
    Entry("ease", "EASE^R", FIXED, {"reg": (10.0, 30.0, 100.0, 250.0)}),
)
BASELINES = (
    _grid("mf", "MF (BPR)", lr=LR, reg=(1e-2, 1e-1)),
    _grid("vbpr", "VBPR", lr=(1e-3,), reg=(1e-2, 1e-1)),
    _grid("duif", "DUIF", lr=(1e-3,), reg=(1e-3, 1e-2)),
    _grid("cb2cf", "CB2CF", lr=(3e-3,), reg=(1e-2, 1e-1), patience=(30,)),  # its targets must be learned first
    _grid("acf", "ACF", lr=(3e-3,), reg=(1e-2, 1e-1)),
    _grid("graphsage", "GraphSAGE", lr=(3e-3,), reg=(1e-4, 1e-2), normalise=(False, True), patience=(30,)),  # is slow
    _grid("gat", "GAT", lr=(3e-3,), reg=(1e-5, 1e-3, 1e-2)),
    _grid("ngcf", "NGCF", lr=(1e-3,), reg=(1e-3, 1e-2)),
    _grid("lightgcn", "LightGCN", lr=LR, reg=(1e-4, 1e-3)),
    _grid("lrgccf", "LR-GCCF", lr=(1e-3,), reg=(1e-3, 1e-2)),
    _grid("stargcn", "STAR-GCN", lr=(1e-3, 1e-2), dropout=(0.0, 0.5)),
    _grid("disengcn", "DisenGCN", lr=(3e-3,), dropout=(0.0, 0.3)),
    _grid("macridvae", "MacridVAE", lr=(5e-3,)),
    _grid("grcn", "GRCN", lr=(3e-3,), fusion=("concat", "id")),
    _grid("lattice", "LATTICE", lr=LR, reg=(1e-2,)),
)
BEYOND = (
    _grid("freedom", "FREEDOM", lr=(1e-3,), dropout=(0.2, 0.5, 0.8)),
    _grid("bm3", "BM3", lr=(1e-3,), reg=(1e-2,), patience=(30,)),  # ranks by popularity at first
    _grid("mgcn", "MGCN", lr=(1e-3,), reg=(1e-4, 1e-2)),
    _grid("dropoutnet", "DropoutNet", lr=(5e-3,), dropout=(0.5, 0.8)),
    _grid("clcrec", "CLCRec", lr=(5e-3,), temperature=(0.2, 1.0)),
)
SYSTEMS = (
    _grid("mmgcn", "MMGCN", lr=(1e-3,), reg=(1e-3, 1e-2)),
    _grid("ludp", "LUDP", lr=(3e-4, 1e-3), normalisation=("sqrt", "symmetric"), reg=(1e-4,)),
    _grid("dualgnn", "DualGNN", lr=(1e-3, 2e-3), reg=(1e-3, 1e-2)),
    _grid("egogcn", "EgoGCN", lr=(1e-3,), reg=(1e-2,), self_loops=(False, True)),
    _grid("huign", "HUIGN", lr=(1e-3, 5e-3), reg=(1e-2, 1e-1)),
)
OWN = (Entry("mosaic", "Mosaic", {"num_epochs": 100, "metric": "recall@20"}, {"lr": (2e-3, 5e-3)}),)
SEQUENCES = (  # of data sets with times alone
    _grid("sasrec", "SASRec", lr=LR, dropout=(0.3, 0.5)),
    _grid("gru4rec", "GRU4Rec", lr=(5e-3, 1e-2), dropout=(0.2, 0.5)),
)
ENTRIES = (*SIMPLE, *BASELINES, *BEYOND, *SYSTEMS, *OWN)
BY_LABEL = {entry.label: entry for entry in (*ENTRIES, *SEQUENCES)}
GROUPS = {
    "all": tuple(entry.label for entry in ENTRIES),
    "sequences": tuple(entry.label for entry in SEQUENCES),
    "simple": tuple(entry.label for entry in SIMPLE),
    "baselines": tuple(entry.label for entry in BASELINES),
    "beyond": tuple(entry.label for entry in BEYOND),
    "systems": tuple(entry.label for entry in SYSTEMS),
    "own": tuple(entry.label for entry in OWN),
}
IN_PYTHON = ("tiktok",)  # studies of this folder that are not TOML
