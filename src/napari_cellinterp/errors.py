"""What can go wrong: each error says what was wrong, with the value, and what to do next."""


class CellInterpError(Exception):
    """Base of every error that a person can act on.

    Parameters
    ----------
    problem : str
        What was wrong, with the value that was.
    advice : str
        What to do next.
    """

    def __init__(self, problem: str, advice: str = "") -> None:
        super().__init__(f"{problem} {advice}".strip())
        self.problem = problem
        self.advice = advice


class MovieError(CellInterpError):
    """The movie can't be opened or read as (T, C, Y, X)."""


class TracksError(CellInterpError):
    """Labels, points or tracks can't be read or don't fit the movie."""


class NucleiError(CellInterpError):
    """No usable nuclei were found or given."""


class PatchesError(CellInterpError):
    """Crops can't be read or have an unusable shape."""


class BundleError(CellInterpError):
    """A model bundle is missing, damaged or of another version."""


class ExpressionError(CellInterpError):
    """A formula can't be parsed or evaluated."""


class OptionError(CellInterpError):
    """An option has a value that doesn't fit the others or the data."""


class TrainingError(CellInterpError):
    """Something that a training needs is missing, or failed."""


class QuestionError(CellInterpError):
    """A question to the model doesn't fit the model, the head or the nucleus."""


class OutputError(CellInterpError):
    """A result can't be written."""
