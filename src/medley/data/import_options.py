"""The options of an import, from files or from memory."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, NonNegativeInt

from medley.data import split as splitting
from medley.data.sources.reading import Columns, ReadOptions
from medley.data.sources.text import TextForm
from medley.errors import InputError
from medley.modality_names import check_modality_name

FILE_OPTIONS = frozenset(  # of ImportOptions, without a meaning for data in memory
    {"interactions", "items", "users", "features", "separator", "header", "encoding", "quote", "decimal"}
    | {"date_format", "on_error"}
)


def _check_split(split: str) -> str:
    if split not in splitting.SPLITTERS:
        raise InputError("split", expected=" or ".join(splitting.SPLITTERS), got=repr(split))
    return split


def _check_ratios(ratios: tuple[float, ...]) -> tuple[float, ...]:
    splitting.normal_ratios(ratios)
    return ratios


class ImportOptions(BaseModel):
    """Options of an import from files or from memory."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str | None = None  # of the data set; by default that of the source
    # which file is what
    interactions: str | None = None  # file names, relative to the source; by default the usual names
    items: str | None = None
    users: str | None = None
    features: dict[Annotated[str, AfterValidator(check_modality_name)], str] = {}  # modality -> file name
    # which column is what
    user_column: str | None = None  # by default the usual names, see COLUMN_NAMES in sources/tables.py
    item_column: str | None = None
    timestamp_column: str | None = None
    rating_column: str | None = None  # any number that says how much: a rating, a weight, hours
    event_column: str | None = None
    title_column: str | None = None  # of the items
    users_id_column: str | None = None  # of the users and of the items, where their ids are called otherwise
    items_id_column: str | None = None
    # how a text table is written
    separator: Annotated[str, Field(min_length=1)] | None = None  # by default comma in .csv, tab in .tsv
    header: bool | tuple[str, ...] = True  # the names of the columns of a file without a header
    encoding: str = "utf-8"
    quote: Annotated[str, Field(max_length=1)] | None = '"'  # None or "": quotes are letters
    decimal: Literal[".", ","] = "."
    date_format: str | None = None  # as in strptime; by default ISO 8601
    on_error: Literal["refuse", "skip"] = "refuse"  # skip leaves out rows that cannot be read, and counts them
    # what is kept
    rating_threshold: float | None = None  # keep interactions with this rating or better
    positive: tuple[str, ...] = ()  # keep interactions with these events
    negative: tuple[str, ...] = ()  # events that are dislikes
    unknown_items: Literal["refuse", "drop", "keep"] = "refuse"  # items that the tables or features do not define
    unknown_users: Literal["refuse", "drop", "keep"] = "refuse"
    kcore: NonNegativeInt = 0  # keep users and items with at least so many interactions; 0 keeps all
    # how the rest is divided
    split: Annotated[str, AfterValidator(_check_split)] | None = None  # by default `given` if there is one, or `random`
    ratios: Annotated[tuple[float, ...], AfterValidator(_check_ratios)] | None = None  # 8:1:1 by default
    seed: NonNegativeInt = 0  # of the split

    @property
    def columns(self) -> Columns:
        """Names of the columns to read."""
        return Columns(
            user=self.user_column,
            item=self.item_column,
            timestamp=self.timestamp_column,
            rating=self.rating_column,
            event=self.event_column,
            title=self.title_column,
            users_id=self.users_id_column,
            items_id=self.items_id_column,
        )

    @property
    def reading(self) -> ReadOptions:
        """What a reader may need to know."""
        form = TextForm(
            separator=self.separator,
            header=self.header,
            encoding=self.encoding,
            quote=self.quote or None,
            decimal=self.decimal,
            date_format=self.date_format,
            on_error=self.on_error,
        )
        return ReadOptions(self.columns, form, self.interactions, self.items, self.users, self.features)
