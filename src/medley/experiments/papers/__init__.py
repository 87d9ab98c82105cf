"""The papers' recipes: `mmgcn/tiktok`, `ludp/movielens`, and with a variant `mmgcn/tiktok/co-id`.

Each file has a `Published` per data set (TIKTOK, MOVIELENS, ...), VARIANTS (changes to the options of a data set), GRID
(the values that the paper searched) and DOUBTS (what the paper leaves open).
"""

from types import ModuleType
from typing import Any

from medley.errors import InputError
from medley.experiments.papers import dualgnn, egogcn, huign, ludp, mmgcn
from medley.experiments.papers.published import Published
from medley.runs import Recipe

PAPERS: dict[str, ModuleType] = {"mmgcn": mmgcn, "ludp": ludp, "dualgnn": dualgnn, "egogcn": egogcn, "huign": huign}


def find(name: str) -> Recipe:
    """Returns the recipe with a name: MODEL/DATA or MODEL/DATA/VARIANT.

    Raises:
        InputError: no such recipe or variant.
    """
    model, published, variant = _look_up(name)
    options = {**published.options, **(PAPERS[model].VARIANTS[variant] if variant else {})}
    return Recipe.of({"model": model, **options, **published.settings})


def names() -> list[str]:
    """Returns all names without variants."""
    return [f"{model}/{data}" for model, paper in PAPERS.items() for data in published_of(paper)]


def listed() -> list[dict[str, Any]]:
    """Returns name, data set and variants of every recipe."""
    return [
        {"name": f"{model}/{data}", "data": published.data, "variants": list(paper.VARIANTS)}
        for model, paper in PAPERS.items()
        for data, published in published_of(paper).items()
    ]


def describe(name: str) -> dict[str, Any]:
    """Returns the recipe with a name, the published scores, the searched grid and the doubts, JSON-able.

    Raises:
        InputError: as in `find`.
    """
    model, published, _ = _look_up(name)
    return {
        "name": name,
        "data": published.data,
        "recipe": find(name).model_dump(mode="json"),
        "scores": {variant: dict(scores) for variant, scores in published.scores.items()},
        "grid": {key: list(values) for key, values in PAPERS[model].GRID.items()},
        "doubts": list(PAPERS[model].DOUBTS),
    }


def published_of(paper: ModuleType) -> dict[str, Published]:
    """Returns name of a data set -> published settings and scores of a paper."""
    return {name.lower(): value for name, value in vars(paper).items() if isinstance(value, Published)}


def _look_up(name: str) -> tuple[str, Published, str]:
    model, _, rest = name.partition("/")
    data, _, variant = rest.partition("/")
    if model not in PAPERS or data not in published_of(PAPERS[model]):
        remedy = "medley recipes lists the names; a recipe file or a run folder is a recipe too"
        raise InputError("unknown recipe", expected=" or ".join(names()), got=repr(name), remedy=remedy)
    if variant and variant not in PAPERS[model].VARIANTS:
        raise InputError(f"unknown variant of {model}", expected=" or ".join(PAPERS[model].VARIANTS), got=repr(variant))
    return model, published_of(PAPERS[model])[data], variant
