"""The HTML templates of this folder."""

from pathlib import Path

from medley.errors import MissingExtraError

try:
    import jinja2
except ImportError:
    raise MissingExtraError("The report", "plots") from None


def template(name: str) -> jinja2.Template:
    """Returns a template; values are escaped, and an unknown name in the template is an error."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name)
