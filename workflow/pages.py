"""Pages of one look, light and dark: their templates extend `templates/base.html.j2`."""

from pathlib import Path

import jinja2

TEMPLATES = Path(__file__).with_name("templates")


def load_template(file: Path) -> jinja2.Template:
    """The template of a page, which may extend those of `TEMPLATES` and use what lies beside it.

    What it is given is data and is escaped; a name that it is not given is an error.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([file.parent, TEMPLATES]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(file.name)
