"""Command-line options made from the configs' fields: one home for each default, unit and help text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer
from pydantic import ValidationError

from napari_cellinterp.errors import OptionError

if TYPE_CHECKING:
    from napari_cellinterp.config import Config


def option(config: type[Config], name: str, *flags: str) -> Any:
    """Return a typer option with the help, unit and default of a config's field.

    Parameters
    ----------
    config : type of Config
        Where the field lives.
    name : str
        Name of the field.
    *flags : str
        Spelling of the option; by default the name with dashes.
    """
    field = config.model_fields[name]
    extra = field.json_schema_extra if isinstance(field.json_schema_extra, dict) else {}
    help_text = field.description or ""
    if "unit" in extra:
        help_text = f"{help_text} [{extra['unit']}]"
    return typer.Option(
        *(flags or (f"--{name.replace('_', '-')}",)), help=help_text, show_default=field.default is not None
    )


def build(config: type[Config], **values: Any) -> Any:
    """Make a config of options; those that weren't given keep their defaults.

    Raises
    ------
    OptionError
        If a value is out of bounds, or options don't go together.
    """
    try:
        return config(**{name: value for name, value in values.items() if value is not None})
    except ValidationError as error:
        first = error.errors()[0]
        name = "".join(f" --{str(part).replace('_', '-')}" for part in first["loc"])
        value = f" (got {first['input']!r})" if first["loc"] else ""
        message = first["msg"].removeprefix("Value error, ")
        raise OptionError(f"Option{name}: {message}{value}." if name else f"{message}.", "See --help.") from error
