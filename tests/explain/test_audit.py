"""The audit of the domain constraints: closed forms, and a planted shortcut that must be caught."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from napari_cellinterp.config import AuditConfig, CounterfactualConfig, HeadConfig
from napari_cellinterp.errors import BundleError, QuestionError
from napari_cellinterp.events import Progressed, finish
from napari_cellinterp.explain import audit_measures
from napari_cellinterp.explain.audit import Audit, audit
from napari_cellinterp.explain.audit_figures import latent_figure
from napari_cellinterp.explain.audit_measures import AuditCrops, Subject, moves, odd_crops, subject_of, turned_moves
from napari_cellinterp.explain.audit_report import record, write_html, write_json
from napari_cellinterp.explain.central import nuclei_of_crops, surroundings, without_neighbours
from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import NetworkHead, SymbolicHead
from napari_cellinterp.movies.patches import Patches, crop_frame, normalise
from napari_cellinterp.movies.shapes import INTERPHASE, METAPHASE
from napari_cellinterp.movies.synthetic import draw_culture, draw_optics, simulate_scene
from napari_cellinterp.movies.tracks import measure_labels
from napari_cellinterp.training.fit import fit_dense

if TYPE_CHECKING:
    from napari_cellinterp.models.bundle import ModelBundle

CENTRAL = (0, 1, 2)
NEIGHBOURHOOD = tuple(range(3, 11))
QUICK = AuditConfig(attack=CounterfactualConfig(max_epsilon_image=0.1))


class PlainEncoder(nn.Module):
    """Latents with known meanings, linear in the pixels.

    z0 to z2 are the light on a disk of 3 px, on one of 11 px, and the axial elongation within 14 px; z3 to z10 the
    light farther than 20 px from the middle, in eighths of the turn. Each in units of its standard deviation.
    """

    def __init__(self) -> None:
        super().__init__()
        y, x = np.indices((64, 64)) - 31.5
        radius, sector = np.hypot(y, x), np.floor(np.arctan2(y, x) / (2 * np.pi) * 8) % 8
        disks = [radius < 3, radius < 11, (radius < 14) * np.cos(2 * np.arctan2(y, x))]
        maps = np.stack([*disks, *((radius > 20) & (sector == i) for i in range(8))]).astype(np.float32)
        self.maps, self.mean, self.sd = torch.from_numpy(maps.reshape(11, -1)), torch.zeros(11), torch.ones(11)

    def fit(self, x: np.ndarray) -> PlainEncoder:
        light = torch.from_numpy(x).flatten(1) @ self.maps.T
        self.mean, self.sd = light.mean(dim=0), light.std(dim=0)
        return self

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        z = (x.flatten(1) @ self.maps.T - self.mean) / self.sd
        return torch.nn.functional.pad(z, (0, 32 - z.shape[1]))


def masked(z: torch.Tensor) -> torch.Tensor:
    return z * (torch.arange(32) < len(CENTRAL))


def only_central(dense: nn.Module) -> NetworkHead:
    """The same head, which reads the central latents and no others."""
    head = NetworkHead(sparse=True)
    head.load_state_dict(dense.state_dict(), strict=False)
    head.linear_layers()[0].mask[:, len(CENTRAL) :] = 0
    return head.eval().requires_grad_(False)


def simulated(seed: int, states: dict[int, float], density: float) -> AuditCrops:
    """All nuclei of a scene that lie away from its edge, with true masks."""
    rng = np.random.default_rng(seed)
    culture = replace(draw_culture(rng), density=density, condensation=2.0, rounding_px=5)
    optics = replace(draw_optics(rng), blur_px=1.0, haze=0.0, background=0.02, photons=3000, read_noise=0.01)
    scene = simulate_scene(rng, shape=(448, 448), culture=culture, optics=optics, states=states)
    found = measure_labels(scene.labels)
    found = found[
        found[["y", "x"]].ge(32).all(axis=1) & found[["y", "x"]].lt(416).all(axis=1) & (found["area_px"] > 40)
    ]
    label, y, x = (found[name].to_numpy() for name in ("label", "y", "x"))
    windows = crop_frame(scene.labels[None], y, x, 1)[:, 0].round().astype(int)
    central = windows == label[:, None, None]
    state = (scene.factors.state[label - 1] == METAPHASE).astype(np.int64)
    return AuditCrops(
        "scene", normalise(crop_frame(scene.image[None], y, x, 1)), state, central, (windows > 0) & ~central
    )


def joined(parts: list[AuditCrops]) -> AuditCrops:
    fields = (np.concatenate([getattr(part, name) for part in parts]) for name in ("state", "central", "others"))
    return AuditCrops("scenes", Patches.concatenate([part.patches for part in parts]), *fields)


@pytest.fixture(scope="module")
def crops() -> AuditCrops:
    """Both states in the same neighbourhoods: nothing outside the nucleus tells them apart."""
    both = {INTERPHASE: 0.5, METAPHASE: 0.5}
    return joined([simulated(seed, both, density) for seed, density in enumerate((0.1, 0.3, 0.45), start=6)])


@pytest.fixture(scope="module")
def planted() -> AuditCrops:
    """Interphase nuclei in crowds, metaphase nuclei alone."""
    crowded = [simulated(seed, {INTERPHASE: 1}, 0.5) for seed in (10, 11)]
    sparse = [simulated(seed, {METAPHASE: 1}, 0.06) for seed in range(12, 20)]
    alone = [part[~part.has_neighbours] for part in sparse]
    return joined([*crowded, *alone])


@pytest.fixture(scope="module")
def bundle(random_bundle, planted) -> ModelBundle:
    """Two heads trained on the planted crops: dense on all latents, sparse on the central ones alone."""
    encoder = PlainEncoder().fit(planted.patches.x)
    latents, state = encoder.encode(torch.from_numpy(planted.patches.x)), torch.from_numpy(planted.state)
    config = HeadConfig(n_epochs=40, batch=16, learning_rate=3e-3)
    every, central = (finish(fit_dense(z.expand(8, -1, -1), state, config)) for z in (latents, masked(latents)))
    heads = {"dense": every.requires_grad_(False), "sparse": only_central(central)}
    return replace(random_bundle(), encoder=encoder, heads=heads)


def audited(bundle, crops, head="dense", config=QUICK):
    return finish(audit(bundle, head, crops, CENTRAL, NEIGHBOURHOOD, config))


@pytest.fixture(scope="module")
def found(bundle, crops) -> dict[str, Audit]:
    return {head: audited(bundle, crops, head) for head in bundle.heads}


def test_a_planted_shortcut_is_caught(found):
    caught = found["dense"]
    accuracy = np.interp([0, 1], caught.neighbourhood.curve.epsilons, caught.neighbourhood.curve.accuracy)
    assert accuracy[1] < accuracy[0] - 0.3  # as the paper's Fig. 19
    assert caught.flipped_by_neighbourhood > 0.3
    assert caught.flipped_by_erasing > 0.3
    assert caught.constraints[0].holds is False
    erased = caught.erased.with_neighbours
    assert (erased.move[erased.flipped] < 0).all()


def test_a_head_that_reads_only_the_nucleus_comes_out_clean(found):
    clean = found["sparse"]
    assert clean.accuracy > 0.8
    np.testing.assert_array_equal(clean.neighbourhood.curve.accuracy, clean.accuracy)
    assert np.isnan(clean.neighbourhood.flips).all()
    assert clean.flipped_by_erasing <= QUICK.max_flipped_share
    assert clean.constraints[0].holds is True


def test_erasing_moves_the_latents_of_the_neighbourhood_and_no_others(found):
    moved = found["sparse"].erased.latents_moved
    assert moved[list(CENTRAL)].max() < 0.3
    assert moved[list(NEIGHBOURHOOD)].min() > 0.3
    assert (moved[11:] == 0).all()


def test_a_score_without_orientation_does_not_turn(bundle, crops):
    size = replace(bundle, heads={"symbolic": SymbolicHead([Expression.parse("z0 - 0.1")])})
    assert all(np.abs(moved.move).max() < 1e-3 for moved in turned_moves(subject_of(size, "symbolic", crops)))
    elongation = f"z2 * {float(bundle.encoder.sd[2])} + {float(bundle.encoder.mean[2])}"
    axial = replace(bundle, heads={"symbolic": SymbolicHead([Expression.parse(elongation)])})
    turned = turned_moves(subject_of(axial, "symbolic", crops))
    # a quarter turn changes the sign of the axial elongation, half a turn and a reflection don't
    assert [moved.flipped.mean() for moved in turned] == pytest.approx([1, 0, 1, 0, 1, 0, 1], abs=0.01)


def linear_subject(random_bundle, text: str, crops: AuditCrops) -> Subject:
    bundle = replace(
        random_bundle(), encoder=PlainEncoder(), heads={"symbolic": SymbolicHead([Expression.parse(text)])}
    )
    return subject_of(bundle, "symbolic", crops)


def flat(levels: list[float]) -> AuditCrops:
    """Crops of one level each, with a square nucleus in the middle."""
    x = np.repeat(np.array(levels, np.float32), 64 * 64).reshape(-1, 1, 64, 64)
    central = np.zeros((len(levels), 64, 64), bool)
    central[:, 24:40, 24:40] = True
    patches = replace(normalise(np.zeros_like(x)), x=x)
    return AuditCrops("flat", patches, None, central, np.zeros_like(central))


def test_moves_are_in_typical_margins_and_undefined_ones_apart(random_bundle):
    n_pixels = float(PlainEncoder().maps[0].sum())
    crops = flat([0.25, 0.5, 0.75])
    subject = linear_subject(random_bundle, f"z0/{n_pixels} - 0.4", crops)  # -0.15, 0.1, 0.35: the median is 0.15
    moved = moves(subject, crops.patches.x - 0.2)
    assert moved.move == pytest.approx(np.array([0.2, -0.2, -0.2]) / 0.15, abs=1e-3)
    assert moved.flipped.tolist() == [False, True, False]
    subject = linear_subject(random_bundle, f"log(z0/{n_pixels} - 0.2) + 10", crops)
    moved = moves(subject, crops.patches.x - 0.2)
    assert np.isnan(moved.move).tolist() == [True, False, False]
    assert not moved.flipped.any()


def test_where_an_attack_lands(random_bundle):
    crops = flat([0.3, 0.4])
    near = surroundings(crops.central)[0] < 0.5
    bundle = replace(random_bundle(), heads={"cnn": OnAMap(torch.from_numpy(near).float(), 0.45)})
    result = audited(bundle, crops, head="cnn", config=AuditConfig(attack=CounterfactualConfig(max_epsilon_image=0.3)))
    np.testing.assert_allclose(result.image.flips, [0.15, 0.05], atol=1e-4)
    landing = result.image.landing
    np.testing.assert_allclose(landing.energy_share, 1)
    np.testing.assert_allclose(landing.area_share, near.mean())
    np.testing.assert_allclose(landing.effect_share, 1, atol=1e-4)
    assert (landing.coherence > 0.8).all()
    assert result.accuracy is None
    assert result.all_latents is result.neighbourhood is None
    assert result.flipped_by_erasing is None  # no crop has neighbours
    assert result.constraints[0].holds is None
    assert result.flipped_by_pixels == 0


class OnAMap(nn.Module):
    """A score that is the mean of some pixels, minus a limit."""

    def __init__(self, where: torch.Tensor, limit: float) -> None:
        super().__init__()
        self.where, self.limit = where, limit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return ((x * self.where).sum(dim=(1, 2, 3)) / self.where.sum() - self.limit)[:, None]


def test_odd_crops_are_shown_and_flagged(found):
    odd = {crops.name.split(" ")[0]: crops for crops in found["sparse"].odd}
    assert list(odd) == ["as", "saturated", "shifted", "doubled", "blank"]
    assert odd["as"].changed_share == 0
    assert odd["blank"].flagged_share == 1
    assert len(odd["blank"].state) == 1
    assert np.isnan(odd["blank"].changed_share)
    assert odd["saturated"].flagged_share > 0.5
    assert odd["doubled"].changed_share > 0.2  # there is nothing in the middle


def test_shifted_crops_keep_background_behind_them(random_bundle):
    crops = flat([1.0])
    subject = linear_subject(random_bundle, "z0", crops)
    right, left = audit_measures._shifted(subject.x, 16), audit_measures._shifted(subject.x, -12)
    assert right[0, 0, 0].tolist() == [0.0] * 16 + [1.0] * 48
    assert left[0, 0, 0].tolist() == [1.0] * 52 + [0.0] * 12
    assert {odd.name: odd.state.tolist() for odd in odd_crops(subject)}["blank (all zeros)"] == [1]


def test_crops_without_a_score_are_left_out_and_counted(random_bundle):
    n_pixels = float(PlainEncoder().maps[0].sum())
    subject = linear_subject(random_bundle, f"log(z0/{n_pixels} - 0.4)", flat([0.2, 0.5, 0.9]))
    assert subject.n_undefined == 1
    assert len(subject.x) == 2
    with pytest.raises(QuestionError, match="undefined for all of 1 crops"):
        linear_subject(random_bundle, "log(z0 - 5000)", flat([0.5]))


def test_a_head_that_is_not_there_and_other_channels(random_bundle, crops):
    fresh = random_bundle()
    del fresh.heads["sparse"]
    with pytest.raises(BundleError, match="no sparse head"):
        audited(fresh, crops, head="sparse")
    with pytest.raises(QuestionError, match="1 channels, but the model 'random' reads 2"):
        audited(random_bundle(n_channels=2), crops)


def test_the_job_tells_how_far_it_is(bundle, crops):
    job = audit(bundle, "dense", crops[np.arange(150)], CENTRAL, NEIGHBOURHOOD, QUICK)
    event = next(job)
    job.close()
    assert event == Progressed(128, 150)


def test_the_report_says_what_was_measured(found, tmp_path):
    both = list(found.values())
    write_json(both, tmp_path / "audit.json")
    write_html(both, tmp_path / "audit.html")
    saved = json.loads((tmp_path / "audit.json").read_text())
    assert saved == json.loads(json.dumps(record(both)))
    dense, sparse = saved["audits"]
    assert dense["constraints"][0]["holds"] is False
    assert sparse["constraints"][0]["holds"] is True
    assert sparse["attacks"]["neighbourhood"]["smallest_flips"]["quantiles"]["0.5"] is None
    flipped = dense["neighbours_erased"]["with_neighbours"]["flipped_share"]
    assert flipped == pytest.approx(both[0].flipped_by_erasing, abs=5e-7)  # six digits are written
    html = (tmp_path / "audit.html").read_text(encoding="utf-8")
    assert "broken" in html and "holds" in html
    assert "src=" not in re.sub(r'src="data:image/png;base64,[^"]*"', "", html)  # needs no other file
    assert "http" not in html
    images = re.findall(r"base64,([^\"]*)", html)
    assert len(images) >= 5
    assert all(b64decode(image).startswith(b"\x89PNG") for image in images)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.html", "audit.json"]


def test_accuracies_of_several_models_are_drawn_as_mean_and_band(found):
    one, other = found["dense"], replace(found["sparse"], head="dense")
    axes = latent_figure([one, other]).axes[2]
    curves = [audit.neighbourhood.curve.accuracy for audit in (one, other)]
    np.testing.assert_allclose(axes.lines[0].get_ydata(), np.mean(curves, axis=0))
    band = axes.collections[0].get_paths()[0].get_extents()
    assert band.y0 == pytest.approx((np.mean(curves, axis=0) - np.std(curves, axis=0)).min())


def test_central_nuclei_are_found_as_simulated(crops):
    crops = crops[np.arange(0, len(crops), 3)]
    central, others = nuclei_of_crops(crops.patches.x)
    overlap = (central & crops.central).sum(axis=(1, 2)) / (central | crops.central).sum(axis=(1, 2))
    assert np.median(overlap) > 0.75
    assert not (central & others).any()
    assert np.corrcoef(others.mean(axis=(1, 2)), crops.others.mean(axis=(1, 2)))[0, 1] > 0.8


def test_no_nucleus_is_found_where_there_is_none():
    x = np.zeros((3, 1, 64, 64), np.float32)
    x[1, 0, :12, :12] = 1  # only a neighbour
    x[2] = np.nan
    central, others = nuclei_of_crops(x)
    assert not central.any()
    assert others[1].any()


def test_erasing_keeps_the_nucleus_and_leaves_background(crops):
    erased = without_neighbours(crops.patches.x, crops.central)
    inside = crops.central[:, None]
    np.testing.assert_array_equal(erased[inside], crops.patches.x[inside])
    assert (erased[surroundings(crops.central)[:, None] == 1] == 0).all()
    assert (erased <= crops.patches.x).all()
