"""Serving: recommends, exports, and tells what a model has learned."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medley.api.arguments import data_of, model_and_data
from medley.data.dataset import Dataset
from medley.data.manifest import SPLITS
from medley.errors import InputError
from medley.files import refuse_existing
from medley.media.thumbnails import thumbnails
from medley.models import Recommender
from medley.runs import Run
from medley.serving import explain as explaining
from medley.serving import recommend as recommending
from medley.serving.batch import BatchBar, BatchProgress, write_lists
from medley.serving.bundle import Bundle
from medley.serving.explain import Finding
from medley.serving.export import Cold
from medley.serving.export import export as export_with
from medley.serving.lists import Lists
from medley.serving.recommend import Recommendation
from medley.serving.service import Service


def open_service(run: Run | Recommender | Bundle, data: Dataset | None = None) -> Service:
    """Returns a service that answers questions in this process; `recommend` and `similar` take it in place of a run.

    The service of a run or a model is made at once: it takes no new users and no new items, as that of a bundle does.

    Args:
        run: a run, a trained model, or a bundle.
        data: the data set of a run or a model; by default the data set of the run.

    Raises:
        InputError: a model without data, data beside a bundle, or scores that are not numbers.
    """
    return _service(run, data)


def recommend(
    run: Run | Recommender | Bundle | Service,
    data: Dataset | None = None,
    *,
    user: Any,
    k: int = 10,
    explain: bool = False,
    include_seen: bool = False,
    where: Mapping[str, Any] | None = None,
    exclude: Sequence[Any] = (),
) -> Any:
    """Returns the k best items for a user, best first; for several users a list of such lists.

    Args:
        run: a run, a trained model, a bundle, or a service.
        data: the data set of a run or a model; by default the data set of the run.
        user: a raw id (42 and "42" are one id), or several of them in a list, array or series.
        k: number of items; fewer are returned for a user who has seen nearly all items.
        explain: fill `parts` and `shares`, if the score of the model is a sum of parts.
        include_seen: recommend items again that the user has seen.
        where: column of the item table -> the value that recommended items must have there.
        exclude: raw id, or ids, of items that are not recommended.

    Returns:
        list[Recommendation] for one user, list[list[Recommendation]] for several.

    Raises:
        InputError: unknown user, item or column, k below 1, or a model without data.
    """
    service = _service(run, data)
    single = isinstance(user, str | int | np.integer)
    if not single and not isinstance(user, Iterable):
        raise InputError("user", expected="a raw id or several raw ids", got=repr(user))
    filters = _filters(include_seen, where, exclude)
    found = recommending.ask(service, [user] if single else list(user), k=k, explain=explain, **filters)
    return found[0] if single else found


def recommend_all(
    run: Run | Recommender | Bundle | Service,
    data: Dataset | None = None,
    *,
    out: str | Path,
    users: Iterable[Any] | None = None,
    k: int = 100,
    explain: bool = False,
    include_seen: bool = False,
    where: Mapping[str, Any] | None = None,
    exclude: Sequence[Any] = (),
    progress: bool | BatchProgress = True,
) -> int:
    """Writes the k best items of everybody, or of many users, as one table; memory does not grow with the users.

    Args:
        run: a run, a trained model, a bundle, or a service.
        data: the data set of a run or a model; by default the data set of the run.
        out: a .csv, .parquet or .jsonl file, which is replaced in one step; columns user_id, place (from 1), item_id,
            title, score, and the share of every part as share_<part>.
        users: raw ids; None: everybody.
        k: number of items for each user.
        explain: also write the shares, if the score of the model is a sum of parts.
        include_seen: recommend items again that a user has seen.
        where: column of the item table -> the value that recommended items must have there.
        exclude: raw id, or ids, of items that are not recommended.
        progress: True shows a bar on standard error; an object of a subclass of `BatchProgress` shows anything else.

    Returns:
        The number of rows of the table.

    Raises:
        InputError: another kind of file, unknown user, item or column, k below 1, or a model without data.
    """
    if isinstance(users, str | int | np.integer) or (users is not None and not isinstance(users, Iterable)):
        raise InputError("users", expected="several raw ids", got=repr(users))
    lists = Lists(_service(run, data), users, k=k, explain=explain, **_filters(include_seen, where, exclude))
    if not isinstance(progress, BatchProgress):
        progress = BatchBar() if progress else BatchProgress()
    return write_lists(out, lists, progress)


def similar(
    run: Run | Recommender | Bundle | Service,
    data: Dataset | None = None,
    *,
    item: Any,
    by: str = "all",
    k: int = 10,
) -> list[Recommendation]:
    """Returns the k items that are most similar to an item, best first; their score is the similarity.

    Args:
        run: a run, a trained model, a bundle, or a service.
        data: the data set of a run or a model; by default the data set of the run.
        item: raw id; 42 and "42" are one id.
        by: `behaviour` (cosine of the item vectors, or weights between items), a modality (cosine of the features), or
            `all` (the mean of these, each standardised).
        k: number of items.

    Raises:
        InputError: unknown item, an unknown `by`, a modality that the item lacks, k below 1, or a model without data.
    """
    return recommending.similar(_service(run, data), item, by=by, k=k)


def export(
    run: Run | Recommender,
    data: Dataset | None = None,
    *,
    out: str | Path | None = None,
    cold: Cold = "model",
    exposure: float = 1.0,
    media: str | Path | None = None,
    overwrite: bool = False,
) -> Bundle:
    """Exports a trained model as a bundle, which serves without torch and without the data set.

    Args:
        run: a run, whose best weights are exported, or a trained model.
        data: the data set; by default the data set of the run.
        out: the bundle to write: one file if the name ends in .medley or .zip, else a folder; None keeps the bundle in
            memory.
        cold: vectors of the items without train interactions: those of the `model`, or from `features` like new items.
        exposure: how often new items are shown, in relation to an average item of train.
        media: folder or table of media, as for `extract`: small pictures for the page.
        overwrite: replace the bundle in `out`.

    Raises:
        InputError: the model cannot be exported, `out` exists, a wrong option, or a model without data.
    """
    data = data_of(run, data)
    if out is not None:
        refuse_existing(Path(out), overwrite=overwrite)
    pictures = {} if media is None else dict(thumbnails(data, Path(media)))
    options = {"cold": cold, "exposure": exposure, "thumbnails": pictures, "overwrite": overwrite}
    return export_with(run, data, out, **options)


def about_user(run: Run | Recommender, data: Dataset | None = None, *, user: str) -> list[Finding]:
    """Returns what a model has learned about a user: `medley.serving.explain.about_user`."""
    return explaining.about_user(*model_and_data(run, data), user)


def about_item(run: Run | Recommender, data: Dataset | None = None, *, item: str) -> list[Finding]:
    """Returns what a model has learned about an item: `medley.serving.explain.about_item`."""
    return explaining.about_item(*model_and_data(run, data), item)


def _service(run: Run | Recommender | Bundle | Service, data: Dataset | None) -> Service:
    """Returns a service for questions: of a bundle, or of a model, which is exported in memory."""
    if not isinstance(run, Bundle | Service):
        return recommending.service_of(*model_and_data(run, data, stacklevel=4))
    if data is not None:
        raise InputError("data", expected="none beside a bundle or a service", got=type(data).__name__)
    return Service(run, index="exact") if isinstance(run, Bundle) else run


def _filters(include_seen: bool, where: Mapping[str, Any] | None, exclude: Any) -> dict[str, Any]:
    if where is not None and not isinstance(where, Mapping):
        raise InputError("where", expected='columns with values, for example {"genre": "Comedy"}', got=repr(where))
    exclude = [exclude] if isinstance(exclude, str | int | np.integer) else list(exclude)
    return {"seen": () if include_seen else SPLITS, "where": where, "exclude": exclude}
