"""Published scores for the tables of a study, beside scores that were measured here.

No published score was measured on the data that Medley has: the papers' splits, and most of their features, are not
published. The source of a row names the data set of the paper with its size.
"""

from medley.errors import InputError
from medley.experiments.papers import PAPERS, published_of
from medley.report.study_results import PublishedScores

TITLES = {"mmgcn": "MMGCN", "ludp": "LUDP", "dualgnn": "DualGNN", "egogcn": "EgoGCN", "huign": "HUIGN"}
TABLES = {
    "mmgcn": "Tables 2-4",
    "ludp": "Tables 3-5",
    "dualgnn": "Tables III and IV",
    "egogcn": "Tables 3 and 4",
    "huign": "Tables 2-4",
}
SELECTION = {
    "mmgcn": "settings from grids; neither the split that selected them nor the selection of the epoch is named; each "
    "test item ranked among 1,000 sampled items",
    "ludp": "settings from grids, early stopping on validation Recall@10",
    "dualgnn": "settings on validation by a metric that is not named; the authors' code hides test items while "
    "validating, and its NDCG is higher by definition",
    "egogcn": "early stopping on validation Recall@10 in the paper, the epoch with the best test Recall@10 in the "
    "authors' code; scores of other models are those of other papers",
    "huign": "grid search and early stopping on validation Recall@10 in the paper, the epoch with the best test recall "
    "in the authors' code",
}


def beside(data: str, papers: tuple[str, ...] = tuple(PAPERS)) -> list[PublishedScores]:
    """Returns the published scores on a data set of the papers.

    Args:
        data: the name that a paper's data set has in the recipes: tiktok, movielens, kwai.
        papers: whose scores.

    Raises:
        InputError: an unknown paper, or no paper has scores on such a data set.
    """
    unknown = [name for name in papers if name not in PAPERS]
    if unknown:
        raise InputError("paper", expected=" or ".join(PAPERS), got=repr(unknown[0]))
    rows = []
    for name in papers:
        published = published_of(PAPERS[name]).get(data)
        for label, metrics in published.scores.items() if published else ():
            ours = label if label not in PAPERS[name].VARIANTS else f"{TITLES[name]}: {label}"
            source = f"{TITLES[name]}, {TABLES[name]}, {data} ({published.data})" if published else ""
            rows.append(PublishedScores(ours, dict(metrics), source, SELECTION[name]))
    if not rows:
        known = dict.fromkeys(key for name in PAPERS for key in published_of(PAPERS[name]))
        raise InputError("data set of published scores", expected=" or ".join(known), got=repr(data))
    return rows
