"""A model card as text, from what the bundle says of itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_cellinterp.models.expression import Expression

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari_cellinterp.models.bundle_info import BundleInfo, HeadInfo


def model_card(info: BundleInfo) -> str:
    """Return the model card of a bundle, Markdown."""
    return "\n".join(_lines(info)) + "\n"


def _lines(info: BundleInfo) -> Iterator[str]:
    yield f"# {info.name}"
    yield ""
    yield info.description
    yield ""
    yield f"- Classes: {', '.join(info.classes)}"
    pixels = f"{info.patch_px}x{info.patch_px} pixels of {info.reference_pixel_size_um:g} um"
    yield f"- Input: {info.n_channels} channel(s), {pixels}; nuclei of about {info.reference_diameter_px:g} px"
    yield f"- Licence: {info.licence}"
    yield ""
    yield "## Heads"
    yield ""
    for name, head in info.heads.items():
        yield from _head_lines(name, head, info)
    yield ""
    yield "## Trained on"
    yield ""
    for source in info.data:
        yield f"- {source.name} ({source.licence}): {source.n_crops} crops, {source.use}"
    yield ""
    yield "## Measured"
    yield ""
    yield "| data | head | measure | value | n | command |"
    yield "|---|---|---|---|---|---|"
    for f in info.figures:
        yield f"| {f.data} | {f.head} | {f.measure} | {f.value:.4g} | {f.n} | `{f.command}` |"
    for title, text in info.training.items():
        yield from ("", f"## {title.replace('_', ' ').capitalize()}", "", text)


def _head_lines(name: str, head: HeadInfo, info: BundleInfo) -> Iterator[str]:
    accuracies = [run.accuracy for run in head.runs]
    line = f"- **{name}**"
    if accuracies:
        mean = sum(accuracies) / len(accuracies)
        line += f": {len(accuracies)} runs, accuracy {mean:.1%} (mean), {max(accuracies):.1%} (best)"
    weights = [run.n_weights for run in head.runs if run.n_weights is not None]
    sizes = [run.expression_size for run in head.runs if run.expression_size is not None]
    line += f", {min(weights)} to {max(weights)} weights" if weights else ""
    line += f", expression size {min(sizes)} to {max(sizes)}" if sizes else ""
    yield line
    for i, text in enumerate(head.expressions):
        score = "score" if len(head.expressions) == 1 else f"score of {info.classes[i]}"
        names = {latent.index: latent.name for latent in info.latents}
        read = ", ".join(
            f"z{latent} is {names[latent]}" for latent in Expression.parse(text).latents if latent in names
        )
        yield f"  - {score} = `{text}`; {read}" if read else f"  - {score} = `{text}`"
