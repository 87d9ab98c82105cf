"""medley train"""

from pathlib import Path
from typing import Annotated, Any

import typer

from medley.cli.options import Assignments, Json, Out, agreed, parse_assignments
from medley.errors import InputError
from medley.report.terminal import show_json, show_line, show_pairs


def train(
    out: Out,
    arguments: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[MODEL] DATASET",
            help="a model (see `medley models`) or an import path such as mypkg.mymodel:Mine, and a data set folder; "
            "with --refit at most the folder",
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="in place of MODEL: a published recipe (see `medley recipes`), a recipe file or a run folder"
        ),
    ] = None,
    refit: Annotated[
        Path | None,
        typer.Option(help="a run: train once more for production, on train and validation, as long as it found best"),
    ] = None,
    include_test: Annotated[bool, typer.Option("--include-test", help="with --refit: learn from test too")] = False,
    assignments: Assignments = None,
    seed: Annotated[int | None, typer.Option(help="seed of everything that is drawn at random [default: 0]")] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda, ... [default: auto]")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="continue the run in --out")] = False,
    track: Annotated[
        list[str] | None,
        typer.Option(metavar="TRACKER", help="also write to tensorboard or mlflow (local files); may be repeated"),
    ] = None,
    json: Json = False,
) -> None:
    """Train a model. --set takes its options (dim, num_layers, ...) and settings (lr, batch_size, num_epochs, ...)."""
    from medley import api

    if refit is not None:
        folder = _only_folder(arguments or [], refused={"--recipe": recipe, "--seed": seed, "--set": assignments})
        data = api.load(folder) if folder else api.Run(refit).dataset()
        wanted = {"include_test": include_test, "device": device, "resume": resume, "track": track or ()}
        run = api.refit(api.Run(refit), data, out=out, **wanted)
    elif include_test:
        raise InputError("--include-test", expected="--refit RUN beside it", got="no run to refit")
    else:
        model, folder = _model_and_folder(arguments or [], recipe)
        given = agreed("device", device, agreed("seed", seed, parse_assignments(assignments)))
        chosen = _recipe(recipe).changed(given) if recipe else api.Recipe.of({**given, "model": model})
        data = api.load(folder)
        run = api.train(chosen, data, out=out, resume=resume, track=track or ())
    model, history = run.record.recipe.model, run.history
    document: dict[str, Any] = {
        "model": model,
        "run": str(out),
        "ending": history.ending,
        "num_epochs": len(history.epochs),
        "best_epoch": history.best_epoch,
        "metric": history.metric,
        "best": history.best,
        "seconds": history.seconds,
    }
    if json:
        show_json(document)
        return
    show_pairs(f"{model} on {data.manifest.name}", document)
    show_line(f"Next: medley {'recommend' if refit else 'evaluate'} {out}")


def _only_folder(arguments: list[str], refused: dict[str, Any]) -> str | None:
    """Returns the folder of the data set beside --refit, which takes everything else from the run."""
    given = [flag for flag, value in refused.items() if value not in (None, [])]
    if len(arguments) > 1 or given:
        got = " ".join([*arguments, *given])
        raise InputError("arguments of medley train --refit RUN", expected="DATASET at most, and --out", got=got)
    return arguments[0] if arguments else None


def _model_and_folder(arguments: list[str], recipe: str | None) -> tuple[str, str]:
    wanted = 1 if recipe else 2
    if len(arguments) != wanted:
        expected = "DATASET alone beside --recipe" if recipe else "MODEL DATASET, or --recipe RECIPE DATASET"
        raise InputError("arguments of medley train", expected=expected, got=" ".join(arguments))
    return (arguments[0] if wanted == 2 else ""), arguments[-1]


def _recipe(name: str) -> Any:
    """Finds a recipe by the name of a published recipe, by file or by run folder."""
    from medley import api
    from medley.experiments import papers

    path = Path(name)
    if (path / "run.json").exists():
        return api.Run(path).record.recipe
    if path.is_file():
        return api.Recipe.load(path)
    return papers.find(name)
