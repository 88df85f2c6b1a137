"""An audit as JSON, and as one HTML file that needs no other."""

from __future__ import annotations

import json
from html import escape
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cellinterp.explain import audit_figures as figures
from napari_cellinterp.explain.figure_parts import SCHEMES
from napari_cellinterp.explain.report_parts import cell, image, page, percent, table
from napari_cellinterp.results.files import written_beside

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import ArrayLike, NDArray

    from napari_cellinterp.explain.audit import Audit, Constraint
    from napari_cellinterp.explain.audit_measures import LatentAttack, Moves, OddCrops
    from napari_cellinterp.explain.counterfactual import AttackCurve

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

PAPER = {
    "cnn": (
        "Flips at much smaller changes of the image than schemes 2 to 4 (Fig. 14); the changes are scattered over the "
        "crop, and the beta-TCVAE's reconstruction doesn't show them (Fig. 16)."
    ),
    "dense": (
        "Attacks on the image carve the central nucleus. The neighbourhood moves it: attacks of epsilon 1 on all but "
        "the central latents lower the accuracy from 99.1 to 69 % (Fig. 19)."
    ),
    "sparse": "Attacks on the image carve the central nucleus; it reads only central latents: nothing else moves it.",
    "symbolic": "Attacks on the image carve the central nucleus; its formula holds only central latents.",
}
"""What Soelistyo & Lowe found of each scheme (section 6.5)."""


def write_json(audits: Sequence[Audit], path: Path) -> None:
    """Write all measured figures.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    with written_beside(path) as beside:
        beside.write_text(json.dumps(record(audits), indent=1) + "\n", encoding="utf-8")


def write_html(audits: Sequence[Audit], path: Path) -> None:
    """Write the report: verdicts, figures, what the paper found, and how all was measured.

    Raises
    ------
    OutputError
        If the file can't be written.
    """
    with written_beside(path) as beside:
        beside.write_text(html(audits), encoding="utf-8")


def record(audits: Sequence[Audit]) -> dict[str, Any]:
    """Return what ``audit.json`` holds; a number that isn't one is null."""
    return {
        "version": version("napari-cellinterp"),
        "config": audits[0].config.model_dump(mode="json"),
        "audits": [_audit(audit) for audit in audits],
    }


def _audit(audit: Audit) -> dict[str, Any]:
    image = audit.image
    return {
        "model": audit.model,
        "model_hash": audit.model_hash,
        "head": audit.head,
        "reads": audit.reads,
        "crops": audit.crops,
        "n_crops": audit.n_crops,
        "n_undefined": audit.n_undefined,
        "accuracy": audit.accuracy,
        "typical_margin": audit.typical_margin,
        "constraints": [
            {"name": one.name, "holds": one.holds, "limit": one.limit, "flipped_shares": one.flipped_shares}
            for one in audit.constraints
        ],
        "turned": [_moves(moved) for moved in audit.turned],
        "neighbours_erased": {
            "with_neighbours": _moves(audit.erased.with_neighbours),
            "without_neighbours": _moves(audit.erased.without),
            "latents_moved_rms": _numbers(audit.erased.latents_moved),
        },
        "attacks": {
            "image": {
                "smallest_flips": _flips(image.flips),
                "curve": _curve(image.curve),
                "landing": {name: _quantiles(values) for name, values in vars(image.landing).items()},
            },
            "all_latents": _latent_attack(audit.all_latents),
            "all_but_central": _latent_attack(audit.beside_central),
            "neighbourhood": _latent_attack(audit.neighbourhood),
        },
        "odd_crops": [_odd(odd, audit.classes) for odd in audit.odd],
    }


def _moves(moved: Moves) -> dict[str, Any]:
    return {
        "n": len(moved),
        "n_undefined": int(np.isnan(moved.move).sum()),
        "flipped_share": _number(float(moved.flipped.mean())) if len(moved) else None,
        "mean_move": _number(float(np.nanmean(moved.move))) if np.isfinite(moved.move).any() else None,
        "size_of_move": _quantiles(np.abs(moved.move)),
    }


def _latent_attack(found: LatentAttack | None) -> dict[str, Any] | None:
    if found is None:
        return None
    return {"latents": found.free, "smallest_flips": _flips(found.flips), "curve": _curve(found.curve)}


def _flips(flips: NDArray[np.float32]) -> dict[str, Any]:
    """Quantiles over all nuclei; null where so many never flip."""
    far = np.where(np.isnan(flips), np.inf, flips)
    quantiles = np.quantile(far, QUANTILES, method="inverted_cdf")
    return {
        "n": len(flips),
        "n_without_flip": int(np.isnan(flips).sum()),
        "quantiles": dict(zip(map(str, QUANTILES), _numbers(quantiles), strict=True)),
    }


def _curve(curve: AttackCurve) -> dict[str, Any]:
    return {name: _numbers(values) for name, values in vars(curve).items()}


def _odd(odd: OddCrops, classes: tuple[str, ...]) -> dict[str, Any]:
    return {
        "name": odd.name,
        "n": len(odd.state),
        "states": _counts(odd, classes),
        "changed_share": _number(odd.changed_share),
        "flagged_share": odd.flagged_share,
    }


def _counts(odd: OddCrops, classes: tuple[str, ...]) -> dict[str, int]:
    counts = {name: int((odd.state == i).sum()) for i, name in enumerate(classes)}
    return counts | {"undefined": int((odd.state < 0).sum())}


def _quantiles(values: ArrayLike) -> dict[str, float | None]:
    array = np.asarray(values)
    known = array[np.isfinite(array)]
    found = np.quantile(known, QUANTILES) if len(known) else np.full(len(QUANTILES), np.nan)
    return dict(zip(map(str, QUANTILES), _numbers(found), strict=True))


def _numbers(values: ArrayLike) -> list[float | None]:
    return [_number(value) for value in np.asarray(values).tolist()]


def _number(value: float) -> float | None:
    """Round to six digits; None for what JSON doesn't know."""
    return float(f"{value:.6g}") if np.isfinite(value) else None


def html(audits: Sequence[Audit]) -> str:
    """Return the report."""
    first = audits[0]
    parts = [
        f"<p>{first.n_crops + first.n_undefined} crops: {escape(first.crops)}. {_undefined(audits)}{_truth(first)}</p>",
        "<h2>The three constraints</h2>",
        _constraints_table(audits),
        "<h2>Beside the paper</h2>",
        _paper_table(audits),
        *_figures(audits),
        "<h2>Crops that aren't as they should be</h2>",
        _odd_table(audits),
        "<h2>How it was measured</h2>",
        _method(first),
    ]
    title = f"Audit of {', '.join(dict.fromkeys(audit.model for audit in audits))}"
    return page(title, parts)


def _undefined(audits: Sequence[Audit]) -> str:
    left_out = [f"{audit.n_undefined} of the {audit.head} head" for audit in audits if audit.n_undefined]
    return f"Left out, because the score is undefined: {', '.join(left_out)}. " if left_out else ""


def _truth(audit: Audit) -> str:
    if audit.accuracy is not None:
        return ""
    return "The true states aren't known: each head's own states are taken for them, so accuracies begin at 100 %."


def _constraints_table(audits: Sequence[Audit]) -> str:
    header = ["Model", "Scheme", "Accuracy", *(escape(one.name) for one in audits[0].constraints)]
    rows = [
        [
            cell(escape(audit.model)),
            cell(SCHEMES[audit.head]),
            cell(percent(audit.accuracy)),
            *(_constraint_cell(one) for one in audit.constraints),
        ]
        for audit in audits
    ]
    limit = percent(audits[0].config.max_flipped_share)
    note = f"<p><small>Shares of the nuclei whose state changes. A constraint holds up to {limit}.</small></p>"
    return table(header, rows) + note


def _constraint_cell(one: Constraint) -> str:
    kind, word = {True: ("holds", "holds"), False: ("broken", "broken"), None: ("unknown", "not measured")}[one.holds]
    shares = (f"{escape(name)}: {percent(share)}" for name, share in one.flipped_shares.items() if share is not None)
    return cell("<br>".join([f"<b>{word}</b>", *shares]), kind)


def _paper_table(audits: Sequence[Audit]) -> str:
    rows = [
        [
            cell(escape(audit.model)),
            cell(SCHEMES[audit.head]),
            cell(escape(PAPER[audit.head])),
            cell(" ".join(_found(audit))),
            cell(" ".join(_why(audit, audits)) or "&ndash;"),
        ]
        for audit in audits
    ]
    return table(["Model", "Scheme", "The paper", "Here", "Why it differs"], rows)


def _found(audit: Audit) -> Iterator[str]:
    """Say in words what was measured of a head."""
    landing, flips = audit.image.landing, _flips(audit.image.flips)["quantiles"]["0.5"]
    yield f"Half of the nuclei flip up to epsilon {flips:.3g}." if flips else "Most nuclei never flip."
    if len(landing.seen):
        energy, area, effect, coherence, seen = (
            float(np.nanmedian(getattr(landing, name)))
            for name in ("energy_share", "area_share", "effect_share", "coherence", "seen")
        )
        yield (
            f"Of the change's energy {percent(energy)} lies on the central nucleus ({percent(area)} of the crop); "
            f"that part alone has {percent(effect)} of its effect; changes of neighbouring pixels correlate by "
            f"{coherence:.2f}; the reconstruction changes {seen:.2f} times as much as the image."
        )
    for name, found in (("all but the central latents", audit.beside_central), ("neighbours", audit.neighbourhood)):
        if found is not None:
            usual = audit.config.usual_epsilon_latent
            before, after = (float(np.interp(at, found.curve.epsilons, found.curve.accuracy)) for at in (0, usual))
            what = "only the neighbourhood's latents" if name == "neighbours" else name
            yield f"Attacks of epsilon {usual:g} on {what}: accuracy {percent(before)} to {percent(after)}."
    attacks = (audit.image, audit.all_latents, audit.beside_central, audit.neighbourhood)
    undefined = max(float(found.curve.undefined.max()) for found in attacks if found is not None)
    if undefined > 0:
        yield f"Under attack, up to {percent(undefined)} of the scores are undefined, which counts as no flip."


def _why(audit: Audit, audits: Sequence[Audit]) -> Iterator[str]:
    """Explain, of what was measured, where it differs from the paper's findings."""
    if audit.head == "cnn":
        yield from _why_not_first(audit, audits)
        return
    around, beside, erased = audit.neighbourhood, audit.beside_central, audit.flipped_by_erasing
    between = set(_read(audit, beside)) - set(_read(audit, around))
    if audit.head == "dense" and between:
        yield (
            f"Besides {_names(_read(audit, around))} of the neighbourhood it reads latents that show neither nucleus "
            f"nor neighbours clearly, or only the nucleus's place: {_names(sorted(between))}."
        )
    elif _read(audit, beside):
        yield f"Of the latents that aren't central it reads {_names(_read(audit, beside))}."
    if erased is not None and erased > audit.config.max_flipped_share:
        moved = float(np.sqrt(np.mean(audit.erased.latents_moved[list(audit.reads)] ** 2)))
        yield (
            f"Erasing the neighbours changes {percent(erased)} of the states, because the encoder doesn't keep them "
            f"apart from the nucleus: the latents that this head reads move by {moved:.2f} SD of the prior."
        )


def _read(audit: Audit, found: LatentAttack | None) -> list[int]:
    """Return the latents that an attack could change and that the head reads."""
    return [] if found is None else [i for i in audit.reads if i in found.free]


def _names(latents: Sequence[int]) -> str:
    return ", ".join(f"z{i}" for i in latents) or "none"


def _why_not_first(audit: Audit, audits: Sequence[Audit]) -> Iterator[str]:
    medians = {
        one.head: float(np.median(np.nan_to_num(one.image.flips, nan=np.inf)))
        for one in audits
        if one.model_hash == audit.model_hash
    }
    first = min(medians, key=medians.__getitem__)
    if first != "cnn":
        yield f"The {first} head flips earlier here."


def _figures(audits: Sequence[Audit]) -> Iterator[str]:
    several = " Lines are means over the models, bands one standard deviation." if _are_several(audits) else ""
    yield "<h2>Attacks on the image</h2>"
    yield image(
        figures.image_figure(audits),
        "Left: accuracy against the size of the attack. Right: share of the nuclei whose state changes up to an "
        "epsilon." + several,
    )
    yield image(
        figures.landing_figure(audits),
        "Each nucleus attacked at its smallest flip. Boxes: quartiles; whiskers: 5th to 95th percentile. The central "
        "nucleus includes a margin of 5 px. The energy is 1 where the change is the same everywhere.",
    )
    yield "<h2>Attacks on the latents</h2>"
    yield image(
        figures.latent_figure(audits),
        "Accuracy against the size of the attack; dotted: the paper's epsilon of 1. The CNN has no latents." + several,
    )
    yield "<h2>Turns, and neighbours erased</h2>"
    yield image(
        figures.moves_figure(audits),
        "How far scores move; 1 (dotted) is the distance of a typical nucleus from the boundary. Right: where there "
        "were no neighbours, only noise and haze are erased.",
    )
    yield "<h2>Examples</h2>"
    for audit in (found[0] for found in figures.by_head(audits).values()):
        if (figure := figures.examples_figure(audit)) is not None:
            yield image(
                figure,
                f"Scheme {SCHEMES[audit.head]} of {escape(audit.model)}: the nucleus of each state whose "
                "smallest flip on the image is the median one. Orange: the central nucleus.",
            )


def _are_several(audits: Sequence[Audit]) -> bool:
    return len({audit.head for audit in audits}) < len(audits)


def _odd_table(audits: Sequence[Audit]) -> str:
    header = ["Crops", *(f"{escape(audit.model)}, {SCHEMES[audit.head]}" for audit in audits)]
    rows = [
        [
            cell(escape(odds[0].name)),
            *(cell(_odd_words(odd, audit.classes)) for odd, audit in zip(odds, audits, strict=True)),
        ]
        for odds in zip(*(audit.odd for audit in audits), strict=True)
    ]
    note = "<p><small>Flagged: called unlike the training data. The paper's schemes 3 and 4 call a blank image "
    return table(header, rows) + note + "interphase.</small></p>"


def _odd_words(odd: OddCrops, classes: tuple[str, ...]) -> str:
    counts = ", ".join(f"{n} {escape(name)}" for name, n in _counts(odd, classes).items() if n)
    changed = "" if np.isnan(odd.changed_share) else f"{percent(odd.changed_share)} change their state<br>"
    return f"{changed}{counts}<br>{percent(odd.flagged_share)} flagged"


def _method(audit: Audit) -> str:
    config = audit.config
    steps = "one step" if config.attack.n_steps == 1 else f"{config.attack.n_steps} steps"
    return (
        f"<p>Attacks go along the sign of the score's gradient (fast gradient sign method, {steps}), away from the "
        "state; images are clipped to 0 to 1 (the paper doesn't say in which units of the image its epsilon is). The "
        "smallest flip is looked for at 64 epsilons up to "
        f"{config.attack.max_epsilon_image:g} on the image and {config.attack.max_epsilon_latent:g} SD on the latents, "
        "then bisected; a score that becomes undefined is no flip. Moves are those of the margin of the head's own "
        "state, in median margins. Turns are the seven quarter turns and reflections that change a crop. Neighbours "
        "are erased outside the central nucleus and a margin of 3 px, fading over 4 px, and the crop isn't normalised "
        "anew: the nucleus stays as it is. Neighbourhood latents are those whose traversal changes nothing of the "
        "central nucleus; attacks on all but the central ones may also move it in the crop.</p>"
    )
