"""The application with all its commands."""

from typing import Annotated

import typer

from medley.cli import (
    audit,
    compare,
    data,
    demo,
    evaluate,
    export,
    extract,
    log,
    models,
    pictures,
    recommend,
    serve,
    similar,
    study,
    train,
    tune,
)
from medley.cli.options import GroupedHelp
from medley.version import versions

app = typer.Typer(
    help="Multi-modal graph recommendation. Every command has --help; --debug shows the traceback of an error.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def _medley(version: Annotated[bool, typer.Option("--version", help="print the versions and exit")] = False) -> None:
    if version:
        typer.echo("\n".join(f"{name} {number}" for name, number in versions().items()))
        raise typer.Exit


app.command("demo")(demo.demo)
app.command("demo-media")(demo.demo_media)
app.command("simulate")(data.simulate)
app.command("import", cls=GroupedHelp)(data.import_)
app.command("inspect")(data.inspect)
app.command("audit")(audit.audit)
app.command("extract", cls=GroupedHelp)(extract.extract)
app.command("models")(models.models)
app.command("recipes")(models.recipes)
app.command("train")(train.train)
app.command("tune")(tune.tune)
app.command("evaluate")(evaluate.evaluate)
app.command("compare")(compare.compare)
app.command("recommend")(recommend.recommend)
app.command("similar")(similar.similar)
app.command("study")(study.study)
app.command("pictures")(pictures.pictures)
app.command("export")(export.export)
app.command("serve")(serve.serve)
app.add_typer(log.app, name="log")
