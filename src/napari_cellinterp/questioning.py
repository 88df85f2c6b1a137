"""Whole jobs of questioning a model: generators of events that return their result."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from napari_cellinterp.config import PATCH_PX, AuditConfig, HeadName, ScaleConfig
from napari_cellinterp.errors import PatchesError, QuestionError
from napari_cellinterp.events import FileWritten, Progressed, Warned, mapped
from napari_cellinterp.explain.audit import audit
from napari_cellinterp.explain.audit_measures import AuditCrops
from napari_cellinterp.explain.audit_report import write_html, write_json
from napari_cellinterp.explain.central import nuclei_of_crops
from napari_cellinterp.explain.explain_report import FORMULAS_NAME, GRAPH_NAME, REPORT_NAME, SECTIONS, Subject, report
from napari_cellinterp.models.bundle import ModelBundle, load_bundle
from napari_cellinterp.models.latent_names import CENTRAL, NEIGHBOURHOOD, kinds_of
from napari_cellinterp.movies.crops import read_crops
from napari_cellinterp.movies.patches import Patches, crop_frame, normalise, patches_from_images
from napari_cellinterp.movies.scale import choose_scale
from napari_cellinterp.movies.shapes import STATES
from napari_cellinterp.movies.synthetic import simulate_scene
from napari_cellinterp.movies.tracks import measure_labels
from napari_cellinterp.results.files import written_beside
from napari_cellinterp.training.datasets import CENTRE_ERROR_PX, MIN_VISIBLE_PX, SCENE_SIDE_PX

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from napari_cellinterp.events import Event, Job
    from napari_cellinterp.explain.audit import Audit

    T = TypeVar("T")

SCHEMES: tuple[HeadName, ...] = ("cnn", "dense", "sparse", "symbolic")
"""Heads in the order of the paper's schemes."""

MAX_A_SCENE = 10
"""Crops of a class from one scene, so that there are many scenes."""

TRUTHS = ("y", "state")
"""Arrays of an npz file that may name the classes."""


@dataclass(frozen=True, eq=False)
class NamedCrops:
    """Crops before it is known which classes a model has; see `AuditCrops`, with names for states."""

    name: str
    patches: Patches
    state: NDArray[np.str_] | None
    central: NDArray[np.bool_]
    others: NDArray[np.bool_]

    def for_classes(self, classes: Sequence[str]) -> AuditCrops:
        """Return the crops of some classes, their states counted in that order.

        Raises
        ------
        QuestionError
            If there are none.
        """
        if self.state is None:
            return AuditCrops(self.name, self.patches, None, self.central, self.others)
        number = {name: i for i, name in enumerate(classes)}
        state = np.array([number.get(str(name), -1) for name in self.state], np.int64)
        rows = np.flatnonzero(state >= 0)
        if not len(rows):
            labels = ", ".join(sorted(set(self.state.tolist()))) or "none"
            raise QuestionError(
                f"No crop is labelled as one of the model's classes, {', '.join(classes)}; the labels are: {labels}.",
                "Name the classes as the model does, or leave the labels out.",
            )
        n_left_out = len(state) - len(rows)
        name = f"{self.name}; {n_left_out} crops of other classes left out" if n_left_out else self.name
        return AuditCrops(name, self.patches[rows], state[rows], self.central[rows], self.others[rows])


def audit_job(
    models: Sequence[str | Path | ModelBundle],
    heads: Sequence[HeadName] = (),
    config: AuditConfig | None = None,
    *,
    crops: Path | None = None,
    scale: ScaleConfig | None = None,
) -> Job[list[Audit]]:
    """Audit heads of models on one set of crops.

    Parameters
    ----------
    models : sequence of str, Path or ModelBundle
        Names or folders of bundles, or loaded ones.
    heads : sequence of str
        Which heads; by default all that each model has.
    config : AuditConfig, optional
        Limits and settings.
    crops : Path, optional
        An npz file with ``x``, and ``y`` or ``state`` where the classes are known by name; or a folder of images. By
        default crops are simulated, from scenes that no model was trained on.
    scale : ScaleConfig, optional
        Scale of the given crops; that of the model by default.

    Returns
    -------
    list of Audit
        One for each model and head.

    Raises
    ------
    CellInterpError
        If anything given can't be used; the message says what and why.
    """
    config, bundles = config or AuditConfig(), [m if isinstance(m, ModelBundle) else load_bundle(m) for m in models]
    asked = [(bundle, head) for bundle in bundles for head in SCHEMES if head in (heads or bundle.heads)]
    for bundle, head in asked:
        bundle.head(head)
    named = yield from (_simulated(bundles, config) if crops is None else _read(crops, bundles[0], scale))
    latents = {id(bundle): _latents(bundle) for bundle in bundles}
    found: list[Audit] = []
    for i, (bundle, head) in enumerate(asked):
        job = audit(bundle, head, named.for_classes(bundle.info.classes), *latents[id(bundle)], config)
        found.append((yield from _part(job, i, len(asked))))
    return found


def _latents(bundle: ModelBundle) -> tuple[list[int], list[int]]:
    """Return the central and the neighbourhood's latents; those that move the nucleus in the crop are neither."""
    kinds = kinds_of(bundle)
    return [i for i in kinds if kinds[i] in CENTRAL], [i for i in kinds if kinds[i] == NEIGHBOURHOOD]


def _part(job: Job[T], i: int, n: int) -> Job[T]:
    """Pass a job on as the i-th part of n that are counted together."""

    def count(event: Event) -> Event:
        return Progressed(i * event.total + event.done, n * event.total) if isinstance(event, Progressed) else event

    return mapped(job, count)


def explain_job(model: str | Path | ModelBundle, folder: Path) -> Job[Path]:
    """Read a model: its formula, network, boundaries and sizes, as a report with its figures and files.

    Parameters
    ----------
    model : str, Path or ModelBundle
        Name or folder of a bundle, or a loaded one.
    folder : Path
        Where ``explain.html``, ``figures/``, ``topology.graphml`` and ``formulas.txt`` go. What another report left
        there stays, with a warning.

    Returns
    -------
    Path
        The report. Nothing is written before all of it is made.

    Raises
    ------
    BundleError
        If the model can't be loaded.
    OutputError
        If the folder can't be written to.
    """
    subject = Subject(model if isinstance(model, ModelBundle) else load_bundle(model))
    sections = []
    for make in SECTIONS:
        sections.append(make(subject))
        yield Progressed(len(sections), len(SECTIONS))
    files = report(subject, sections)
    others = _other_files(folder, files)
    if others:
        more = f" and {len(others) - 3} more" if len(others) > 3 else ""
        message = f"{folder} keeps files of another report: {', '.join(others[:3])}{more}."
        yield Warned("other_files", message, len(others))
    for name, content in files.items():
        with written_beside(folder / name) as beside:
            beside.write_bytes(content)
        yield FileWritten(folder / name)
    return folder / REPORT_NAME


def _other_files(folder: Path, files: Mapping[str, bytes]) -> list[str]:
    """Return the files that a report of another model left in the folder, and that aren't among ``files``."""
    patterns = ("figures/*.svg", GRAPH_NAME, FORMULAS_NAME)
    there = (path.relative_to(folder).as_posix() for pattern in patterns for path in folder.glob(pattern))
    return sorted(name for name in there if name not in files)


def write_audit_job(audits: Sequence[Audit], folder: Path) -> Job[None]:
    """Write ``audit.json`` and ``audit.html`` into a folder.

    Raises
    ------
    OutputError
        If it can't be written to.
    """
    for write, name in ((write_json, "audit.json"), (write_html, "audit.html")):
        write(audits, folder / name)
        yield FileWritten(folder / name)


def _read(path: Path, bundle: ModelBundle, scale: ScaleConfig | None) -> Job[NamedCrops]:
    images, info = read_crops(path), bundle.info
    if not len(images):
        raise PatchesError(f"There are no crops in {path}.", "Give a file with at least one.")
    zoom = 1.0
    if scale is not None and (scale.nucleus_diameter_px or scale.pixel_size_um):
        references = info.reference_diameter_px, info.reference_pixel_size_um
        zoom = choose_scale(scale, np.empty(0), None, *references).zoom
    patches, state = patches_from_images(images, zoom), _truth(path, len(images))
    if state is None:
        yield Warned("no_truth", f"{path} doesn't say which state is true: each head's own states are taken for it.")
    return NamedCrops(str(path), patches, state, *nuclei_of_crops(patches.x, info.reference_diameter_px))


def _truth(path: Path, n: int) -> NDArray[np.str_] | None:
    """Return the names of the classes in an npz file, (n,); None where it has none."""
    if path.is_dir():
        return None
    with np.load(path, allow_pickle=False) as archive:
        name = next((name for name in TRUTHS if name in archive), None)
        state = None if name is None else np.asarray(archive[name])
    if state is not None and state.shape != (n,):
        raise PatchesError(f"{name} in {path} has shape {state.shape}, but there are {n} crops in x.", "Give one each.")
    return None if state is None else state.astype(str)


def _simulated(bundles: Sequence[ModelBundle], config: AuditConfig) -> Job[NamedCrops]:
    """Simulate as many crops of each class that the models know, with true masks."""
    classes = list(dict.fromkeys(name for bundle in bundles for name in bundle.info.classes))
    unknown = [name for name in classes if name not in STATES]
    if unknown:
        raise QuestionError(
            f"Crops of {', '.join(unknown)} can't be simulated, only of {', '.join(STATES)}.",
            "Give crops of one's own.",
        )
    wanted = dict.fromkeys(classes, -(-config.n_crops // len(classes)))
    n_wanted, seed = sum(wanted.values()), config.seed
    parts: list[NamedCrops] = []
    while any(wanted.values()):
        part = _scene_crops(seed, {name: min(n, MAX_A_SCENE) for name, n in wanted.items()})
        parts, seed = [*parts, part], seed + 1
        for name in classes:
            wanted[name] -= np.count_nonzero(part.state == name)
        yield Progressed(n_wanted - sum(wanted.values()), n_wanted)
    name = f"simulated scenes {config.seed} to {seed - 1}, which no model was trained on; true states and masks"
    states = [part.state for part in parts if part.state is not None]
    return NamedCrops(
        name,
        Patches.concatenate([part.patches for part in parts]),
        np.concatenate(states),
        np.concatenate([part.central for part in parts]),
        np.concatenate([part.others for part in parts]),
    )


def _scene_crops(seed: int, wanted: dict[str, int]) -> NamedCrops:
    """Simulate one scene at the model's scale, and crop some of the nuclei of each class, away from the edge."""
    rng = np.random.default_rng(seed)
    scene = simulate_scene(rng, shape=(SCENE_SIDE_PX, SCENE_SIDE_PX))
    found, half = measure_labels(scene.labels), PATCH_PX // 2
    inside = found[["y", "x"]].ge(half).all(axis=1) & found[["y", "x"]].lt(SCENE_SIDE_PX - half).all(axis=1)
    found = found[inside & (found["area_px"] >= MIN_VISIBLE_PX)]
    state = np.array(STATES)[scene.factors.state[found["label"].to_numpy() - 1]]
    order = rng.permutation(len(found))
    rows = np.concatenate([order[state[order] == name][:n] for name, n in wanted.items()])
    label, y, x = (found[column].to_numpy()[rows] for column in ("label", "y", "x"))
    y, x = (position + rng.normal(0, CENTRE_ERROR_PX, len(rows)) for position in (y, x))
    windows = crop_frame(scene.labels[None], y, x, 1)[:, 0].round().astype(np.int32)
    central = windows == label[:, None, None]
    patches = normalise(crop_frame(scene.image[None], y, x, 1))
    return NamedCrops("", patches, state[rows], central, (windows > 0) & ~central)
