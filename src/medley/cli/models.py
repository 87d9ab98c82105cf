"""medley models, medley recipes"""

from typing import Annotated

import typer

from medley.cli.options import Json
from medley.report.terminal import show_columns, show_json, show_line, show_table


def models(
    name: Annotated[str | None, typer.Argument(help="one model, with the types of its options")] = None,
    json: Json = False,
) -> None:
    """List the models with their papers, options and defaults."""
    from medley import api

    described = api.models(name)
    if json:
        show_json({"models": described})
        return
    for model in described:
        options = model["options"]
        show_line(f"{model['name']}  {model['summary']}", style="bold")
        show_line(f"    {model['paper']}", style="dim")
        show_line(f"    Choose it {model['choice']}")
        if name:
            rows = [(key, option["type"], str(option["default"])) for key, option in options.items()]
            show_table("Options, for --set", ("option", "type", "default"), rows)
            if model["settings"]:
                own = ", ".join(f"{key}={value}" for key, value in model["settings"].items())
                show_line(f"    settings of the training: {own}")
        else:
            listed = ", ".join(f"{key}={option['default']}" for key, option in options.items())
            show_line(f"    options: {listed or 'none'}\n")


def recipes(
    name: Annotated[str | None, typer.Argument(help="one recipe, with published scores and doubts")] = None,
    json: Json = False,
) -> None:
    """List the published recipes, for `medley train --recipe NAME DATASET`."""
    from medley.experiments import papers

    if name is None:
        listed = papers.listed()
        if json:
            show_json({"recipes": listed})
            return
        rows = [(one["name"], one["data"], ", ".join(one["variants"])) for one in listed]
        show_table("Published recipes", ("name", "published on", "variants, as NAME/VARIANT"), rows)
        return
    about = papers.describe(name)
    if json:
        show_json(about)
        return
    show_columns(about["name"], {"recipe": {**about["recipe"]["options"], **about["recipe"]["settings"]}})
    show_columns(f"Published scores on {about['data']}", about["scores"])
    show_line("\nSearched by the paper: " + "; ".join(f"{key} in {values}" for key, values in about["grid"].items()))
    show_line("\nDoubts:")
    for doubt in about["doubts"]:
        show_line(f"- {doubt}")
