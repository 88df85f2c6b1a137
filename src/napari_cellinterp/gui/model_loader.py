"""Load the model that a viewer's classification was made with, once, in a thread."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_cellinterp.events import Progressed
from napari_cellinterp.gui.worker import Jobs

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari_cellinterp.events import Job
    from napari_cellinterp.explain.traversal import LatentRange
    from napari_cellinterp.gui.session import Session
    from napari_cellinterp.models.bundle import ModelBundle

READABLE = ("sparse", "symbolic")
"""Heads that read only some latents."""


@dataclass(frozen=True, eq=False)
class Questioned:
    """A model, with what its widgets show of its latents.

    Attributes
    ----------
    bundle : ModelBundle
        The model.
    ranges : list of LatentRange
        Of each latent's slider.
    titles : dict of int to str
        What each latent is called.
    readers : dict of int to list of str
        Which of the heads that read only some latents read it.
    order : list of int
        Active latents: those that a readable head reads first, then by mean KL.
    inactive : list of int
        The others.
    """

    bundle: ModelBundle
    ranges: list[LatentRange]
    titles: dict[int, str]
    readers: dict[int, list[str]]
    order: list[int]
    inactive: list[int]


def question(bundle: ModelBundle) -> Questioned:
    """Collect what widgets show of a model's latents."""
    from napari_cellinterp.explain.traversal import latent_ranges
    from napari_cellinterp.models.heads import read_latents
    from napari_cellinterp.models.latent_names import active_latents, latent_titles

    read = {head: read_latents(bundle.heads[head]) for head in READABLE if head in bundle.heads}
    readers = {i: [head for head, latents in read.items() if i in latents] for i in range(bundle.info.n_latents)}
    by_kl = [latent.index for latent in bundle.info.latents]
    shown = [i for i in by_kl if readers[i] or i in active_latents(bundle)]
    order = sorted(shown, key=lambda i: -len(readers[i]))  # stable: by mean KL within each
    inactive = [i for i in by_kl if i not in shown]
    return Questioned(bundle, latent_ranges(bundle), latent_titles(bundle), readers, order, inactive)


class ModelLoader:
    """Keeps the model of a session's classification.

    Parameters
    ----------
    session : Session
        Whose classification.
    """

    def __init__(self, session: Session) -> None:
        self._session, self._jobs = session, Jobs()
        self._loaded: Questioned | None = None

    @property
    def loaded(self) -> Questioned | None:
        """The model, where it is that of the session's classification."""
        result = self._session.classification
        if result is None or self._loaded is None or self._loaded.bundle.hash != result.bundle_hash:
            return None
        return self._loaded

    def load(self, on_loaded: Callable[[Questioned], None], on_error: Callable[[Exception], None]) -> None:
        """Load the model of the session's classification, where it isn't loaded yet."""
        if self.loaded is not None:
            on_loaded(self.loaded)
            return
        model = self._session.config.model

        def keep(questioned: Questioned) -> None:
            self._loaded = questioned
            on_loaded(questioned)

        self._jobs.start(lambda: _load_job(model), lambda _: None, keep, on_error, lambda: None)

    def drop(self) -> None:
        """Don't listen to a loading model any more."""
        self._jobs.drop()


def _load_job(model: str) -> Job[Questioned]:
    from napari_cellinterp.models.bundle import load_bundle

    bundle = load_bundle(model)
    yield Progressed(1, 2)
    return question(bundle)
