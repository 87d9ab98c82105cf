"""A recipe: model, options, settings and seed. All functions that train a model take a recipe."""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medley.errors import InputError, invalid
from medley.files import read_json, sha256_of_json, write_json
from medley.models import Recommender, check_options
from medley.models.inputs import FEATURE_OPTIONS
from medley.models.registry import find, name_of
from medley.runs.settings import SETTINGS, TrainSettings, check_settings


class Recipe(BaseModel):
    """All that `medley.train` needs besides data. Equal recipes on equal data give equal bits on one machine.

    `Recipe.of` makes a recipe and checks all fields; the constructor does not check the options.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str  # a name of the registry, or an import path such as mypkg.mymodel:Mine
    options: dict[str, Any] = Field(default_factory=dict)  # of the model
    settings: TrainSettings = TrainSettings()  # of the training
    seed: int = Field(0, ge=0)  # of parameters, batches, negatives and everything else that is drawn at random

    @classmethod
    def of(cls, flat: Mapping[str, Any]) -> "Recipe":
        """Returns a checked recipe; this is the one place that splits options from settings.

        Settings that are not given are the `default_settings` of the model, and else those of `TrainSettings`.

        Args:
            flat: `model` (a name, an import path or a class), optionally `seed`, and options and settings together:
                `{"model": "lightgcn", "dim": 32, "lr": 1e-3, "seed": 1}`.

        Raises:
            InputError: unknown model, option or setting, or a value of the wrong type or range.
        """
        if not isinstance(flat, Mapping):
            remedy = 'for example {"model": "lightgcn", "dim": 32, "lr": 1e-3}'
            raise InputError("a recipe", expected="names with values", got=repr(flat), remedy=remedy)
        rest = dict(flat)
        model, seed = rest.pop("model", None), rest.pop("seed", 0)
        if not isinstance(model, str) and not (isinstance(model, type) and issubclass(model, Recommender)):
            raise InputError("model of a recipe", expected="a name, an import path or a class", got=repr(model))
        given = {key: rest.pop(key) for key in list(rest) if key in SETTINGS}
        settings = check_settings({**find(model).default_settings, **given})
        options = check_options(model, rest, settings=(*SETTINGS, "seed"))
        chosen = {key: value for key, value in options.items() if key not in FEATURE_OPTIONS or value}
        try:
            return cls(model=name_of(model), options=chosen, settings=settings, seed=seed)
        except ValidationError as error:
            raise invalid(error, "setting") from None

    def changed(self, changes: Mapping[str, Any]) -> "Recipe":
        """Returns a checked copy of the recipe with changed options, settings or seed."""
        return Recipe.of({**self.flat(), **changes})

    def flat(self) -> dict[str, Any]:
        """Returns the argument of `of` that makes this recipe."""
        return {"model": self.model, **self.options, **self.settings.model_dump(), "seed": self.seed}

    @property
    def fingerprint(self) -> str:
        """Hash of all that can change a result; the device is not part of it."""
        document = self.model_dump(mode="json", exclude={"settings": {"device"}})
        for name, default in {"train_on": "train", "average": 0.0}.items():  # settings younger than many fingerprints
            if document["settings"][name] == default:
                del document["settings"][name]
        return sha256_of_json(document)

    def refitted(
        self, num_epochs: int, *, chosen: Mapping[str, float] | None = None, include_test: bool = False
    ) -> "Recipe":
        """Returns the recipe of a last training on train and validation (and test), which runs for a fixed time.

        Args:
            num_epochs: as validation found best.
            chosen: option that was "auto" -> the value that validation chose.
            include_test: learn from the test interactions too.
        """
        splits = "train+valid+test" if include_test else "train+valid"
        return self.changed({**(chosen or {}), "train_on": splits, "num_epochs": num_epochs, "patience": 0})

    def differences(self, other: "Recipe") -> dict[str, tuple[Any, Any]]:
        """Returns name of an option or setting, `model` or `seed` -> two values that differ; the device is ignored."""
        one, two = self.flat(), other.flat()
        names = [name for name in {**one, **two} if name != "device"]
        return {name: (one.get(name), two.get(name)) for name in names if one.get(name) != two.get(name)}

    def save(self, path: str | Path) -> None:
        """Writes the recipe as JSON."""
        write_json(Path(path), self.model_dump(mode="json"))

    @classmethod
    def load(cls, path: str | Path) -> "Recipe":
        """Reads and checks a recipe, from JSON, or from TOML if the file name ends in .toml.

        Raises:
            InputError: the file is absent or not a recipe.
        """
        path = Path(path)
        remedy = "write model, options, settings and seed, as Recipe.save does"
        if path.suffix == ".toml":
            try:
                document = tomllib.loads(path.read_text(encoding="utf-8"))
            except FileNotFoundError:
                raise InputError("the file does not exist", file=path, remedy="check the path") from None
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise InputError("not valid TOML", file=path, got=str(error), remedy=remedy) from None
        else:
            document = read_json(path, remedy=remedy)
        try:
            recipe = cls.model_validate(document)
        except ValidationError as error:
            raise invalid(error, "field", of="a recipe", file=path, known={"fields": [*cls.model_fields]}) from None
        given = recipe.settings.model_dump(exclude_unset=True)  # the model has defaults of its own for the others
        return Recipe.of({"model": recipe.model, **recipe.options, **given, "seed": recipe.seed})
