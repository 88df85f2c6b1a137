"""Sparse training against the paper's algorithm 1, and pruning that changes nothing."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from napari_cellinterp.config import RiglConfig
from napari_cellinterp.events import finish
from napari_cellinterp.models.heads import MaskedLinear, NetworkHead
from napari_cellinterp.training.fit import fit_sparse
from napari_cellinterp.training.rigl import Rigl, drop_and_grow, erdos_renyi_counts, update_share

PAPER = [(16, 32), (16, 16), (16, 16), (1, 16)]


def test_the_paper_s_head_keeps_51_weights():
    assert erdos_renyi_counts(PAPER, 0.951) == [9, 13, 13, 16]


@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=6),
    sparsity=st.floats(0, 0.999),
)
@settings(max_examples=200)
def test_counts_hit_the_sparsity_and_fit_their_layers(sizes, sparsity):
    shapes = list(zip(sizes[1:], sizes[:-1], strict=True))
    counts = erdos_renyi_counts(shapes, sparsity)
    n = sum(a * b for a, b in shapes)
    assert sum(counts) == round((1 - sparsity) * n)
    assert all(0 <= count <= a * b for count, (a, b) in zip(counts, shapes, strict=True))


@given(n_hidden=st.integers(8, 40), sparsity=st.floats(0.1, 0.8))
def test_layer_sparsities_follow_the_rule(n_hidden, sparsity):
    shapes = [(n_hidden, 32), (n_hidden, n_hidden)]
    ratios = [1 - (a + b) / (a * b) for a, b in shapes]
    sizes = [a * b for a, b in shapes]
    scale = sparsity * sum(sizes) / sum(r * n for r, n in zip(ratios, sizes, strict=True))
    assume(scale * max(ratios) < 1)
    for count, ratio, size in zip(erdos_renyi_counts(shapes, sparsity), ratios, sizes, strict=True):
        assert count == pytest.approx(size * (1 - scale * ratio), abs=1.01)


@pytest.mark.parametrize("sparsity", [0.95, 0.96, 0.965, 0.97])
def test_the_range_that_was_tuned(sparsity):
    counts = erdos_renyi_counts(PAPER, sparsity)
    assert sum(counts) == round((1 - sparsity) * 1040)
    assert counts[3] == 16


def test_nothing_is_off_at_sparsity_0():
    assert erdos_renyi_counts(PAPER, 0) == [512, 256, 256, 16]
    assert erdos_renyi_counts([(1, 2), (2, 1)], 0) == [2, 2]


def test_densities_may_be_scaled_instead():
    assert erdos_renyi_counts(PAPER, 0.951, "density") == [19, 13, 12, 7]
    assert erdos_renyi_counts(PAPER, 0, "density") == [512, 256, 256, 16]
    assert sum(erdos_renyi_counts(PAPER, 0.3, "density")) == 728


@pytest.mark.parametrize(
    ("step", "end", "share"),
    [(0, 100, 0.758), (100, 100, 0), (50, 100, 0.379), (25, 100, 0.379 * (1 + math.sqrt(0.5))), (0, 0.4, 0.758)],
)
def test_the_update_share_falls_along_a_cosine(step, end, share):
    assert update_share(step, end, 0.758) == pytest.approx(share, abs=1e-12)


def layer_with(weights, mask, gradient) -> MaskedLinear:
    shape = np.shape(weights)
    layer = MaskedLinear(shape[1], shape[0])
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(weights))
        layer.mask.copy_(torch.tensor(mask))
    layer.dense_gradient = torch.tensor(gradient)
    return layer


def everywhere(layer: MaskedLinear) -> torch.Tensor:
    return torch.ones_like(layer.mask, dtype=torch.bool)


def test_the_smallest_are_dropped_and_the_steepest_grown_at_zero():
    layer = layer_with([[5.0, -1, 9], [0.5, 7, -4]], [[1.0, 1, 0], [1, 0, 1]], [[9.0, 0.1, 2], [0.2, -3, 9]])
    drop_and_grow(layer, n_active=4, n_moved=2, allowed=everywhere(layer))
    assert layer.mask.tolist() == [[1, 0, 1], [0, 1, 1]]
    assert layer.weight.tolist() == [[5, 0, 0], [0, 0, -4]]  # 9 and 7 were off: they start anew


def test_one_just_dropped_may_return_at_zero():
    layer = layer_with([[5.0, -1, 9]], [[1.0, 1, 0]], [[1.0, -8, 2]])
    drop_and_grow(layer, n_active=2, n_moved=1, allowed=everywhere(layer))
    assert layer.mask.tolist() == [[1, 1, 0]]
    assert layer.weight.tolist() == [[5, 0, 0]]


def test_without_moves_only_the_largest_stay():
    layer = layer_with([[5.0, -6, 0.1, 2]], [[1.0, 1, 1, 1]], [[0.0, 0, 9, 0]])
    drop_and_grow(layer, n_active=2, n_moved=0, allowed=everywhere(layer))
    assert layer.mask.tolist() == [[1, 1, 0, 0]]


def test_nothing_grows_where_it_may_not():
    layer = layer_with([[5.0, -1, 9]], [[1.0, 1, 0]], [[1.0, 1, 8]])
    drop_and_grow(layer, n_active=2, n_moved=1, allowed=torch.tensor([[True, True, False]]))
    assert layer.mask.tolist() == [[1, 1, 0]]


def test_an_update_needs_a_gradient():
    with pytest.raises(ValueError, match="backward"):
        drop_and_grow(MaskedLinear(3, 3), 4, 1, torch.ones(3, 3, dtype=torch.bool))


class PlainRigl:
    """Algorithm 1 in plain Python on lists of numbers; the first update prunes by magnitude alone."""

    def __init__(self, config: RiglConfig, n_active: list[int], warm_up: int, end: float) -> None:
        self.config, self.n_active, self.warm_up, self.end = config, n_active, warm_up, end

    def update(self, t, weights, masks, gradients):
        """Weights and masks after step t, a list a layer; None where it is no update."""
        t = t - self.warm_up
        if t < 0 or t % self.config.update_interval_steps != 0 or t >= self.end:
            return None
        result = []
        for n, theta, mask, gradient in zip(self.n_active, weights, masks, gradients, strict=True):
            decay = self.config.update_fraction / 2 * (1 + math.cos(t * math.pi / self.end))
            k = 0 if t == 0 else round(decay * n)
            on = [i for i in range(len(theta)) if mask[i]]
            keep = sorted(on, key=lambda i: -abs(theta[i]))[: n - k]
            others = [i for i in range(len(theta)) if i not in keep]
            grow = sorted(others, key=lambda i: -abs(gradient[i]))[:k]
            new = [theta[i] if i in keep else 0.0 for i in range(len(theta))]
            result.append((new, [float(i in keep or i in grow) for i in range(len(theta))]))
        return result


def test_masks_are_those_of_a_plain_reading_of_the_algorithm():
    torch.manual_seed(3)
    config = RiglConfig(sparsity=0.9, update_interval_steps=4, update_fraction=0.6, n_epochs=6, warm_up_epochs=1)
    head = NetworkHead(sparse=True).train()
    layers = head.linear_layers()
    rigl = Rigl(layers, config, steps_per_epoch=7)
    plain = PlainRigl(config, rigl.n_active, warm_up=7, end=0.75 * 35)
    optimiser = torch.optim.Adam(head.parameters(), 0.02)
    n_updates, moved = 0, 0
    for t in range(6 * 7):
        z = torch.randn(32, 32)
        loss = (head(z)[:, 0] - z[:, 0] * z[:, 1]).square().mean()
        optimiser.zero_grad()
        loss.backward()
        before = [[tensor.flatten().tolist() for tensor in (x.weight, x.mask, x.dense_gradient)] for x in layers]
        expected = plain.update(t, *zip(*before, strict=True))
        assert rigl.update() == (expected is not None)
        if expected is None:
            optimiser.step()
            continue
        n_updates += 1
        for layer, (weights, mask), (_, old, _) in zip(layers, expected, before, strict=True):
            assert layer.weight.flatten().tolist() == weights
            assert layer.mask.flatten().tolist() == mask
            moved += n_updates > 1 and mask != old
    assert n_updates == 7  # steps 0, 4, ..., 24 after the warm-up, before 26.25
    assert moved > 5
    assert [int(layer.mask.sum()) for layer in layers] == rigl.n_active


def pruned_step_by_step(check) -> Rigl:
    """Prune a head that reads six latents step by step, calling ``check(t, layers)`` after each update."""
    torch.manual_seed(3)
    config = RiglConfig(update_interval_steps=5, n_epochs=10, warm_up_epochs=2, prune_epochs=4)
    head = NetworkHead(sparse=True).train()
    layers = head.linear_layers()
    layers[0].mask[:, 6:] = 0
    rigl = Rigl(layers, config, steps_per_epoch=10)
    for t in range(100):
        head(torch.randn(8, 32)).square().mean().backward()
        if rigl.update():
            check(t - 20, layers)
    return rigl


def test_pruning_step_by_step_follows_its_curve_and_grows_nothing():
    n_left, off = [], []

    def check(t, layers):
        n_left.append((t, [int(layer.mask.sum()) for layer in layers]))
        off.append(torch.cat([layer.mask.flatten() == 0 for layer in layers]))

    rigl = pruned_step_by_step(check)
    assert rigl.n_active == [9, 13, 13, 16]
    steps = list(range(0, 40, 5))
    assert [t for t, _ in n_left[: len(steps)]] == steps
    for t, counts in n_left[: len(steps)]:
        share = (1 - t / 40) ** 3
        curve = [
            round(end + (start - end) * share) for start, end in zip((96, 256, 256, 16), (9, 13, 13, 16), strict=True)
        ]
        assert all(n <= most for n, most in zip(counts, curve, strict=True))
        if t < 20:  # nothing is idle yet
            assert counts == curve
    assert all((later | ~earlier).all() for earlier, later in pairwise(off[: len(steps)])), "a pruned one came back"
    assert len(n_left) == 12  # before 20 + 0.75 * 80
    assert all(counts == rigl.n_active for _, counts in n_left[len(steps) :]), "growth fills what idle weights left"
    assert not rigl.layers[0].mask[:, 6:].any()


def test_idle_weights_go_before_small_ones():
    config = RiglConfig(update_interval_steps=1, update_fraction=0, n_epochs=4, warm_up_epochs=0, prune_epochs=1)
    first = layer_with([[0.1, 9.0], [0.2, 0.3]], [[1.0, 1], [1, 1]], [[0.0, 0], [0, 0]])
    last = layer_with([[0.0, 0.5]], [[0.0, 1]], [[0.0, 0]])
    rigl = Rigl([first, last], config, steps_per_epoch=1)
    rigl.n_active = [2, 1]
    assert rigl.update()
    assert rigl.update()
    assert first.mask.tolist() == [[0, 0], [1, 1]], "9 leads nowhere"
    assert last.mask.tolist() == [[0, 1]]


def test_pruning_that_does_not_end_is_refused():
    with pytest.raises(ValidationError, match="pruning for 60 epochs ends after the 60"):
        RiglConfig(prune_epochs=60)


def test_latents_that_say_nothing_stay_off():
    latents, state = small_set(512)
    latents = latents.clone()
    latents[:, :, 10:] *= 0.1
    config = RiglConfig(n_epochs=6, warm_up_epochs=2, batch=32, update_interval_steps=8, sparsity=0.8)
    head = finish(fit_sparse(latents, state, config))
    assert not head.linear_layers()[0].mask[:, 10:].any()
    assert head.linear_layers()[0].mask[:, :10].any()


@pytest.mark.parametrize(("warm_up", "n_epochs"), [(20, 20), (21, 20)])
def test_a_warm_up_that_leaves_no_sparse_phase_is_refused(warm_up, n_epochs):
    with pytest.raises(ValidationError, match=f"warm-up of {warm_up} epochs leaves none of {n_epochs}"):
        RiglConfig(warm_up_epochs=warm_up, n_epochs=n_epochs)


def small_set(n: int = 128):
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(n, 32, generator=generator)
    return z.expand(8, n, 32), (z[:, 3] - 0.7 * z[:, 8] >= 0).long()


def test_an_update_step_takes_no_gradient_step():
    latents, state = small_set()
    config = RiglConfig(n_epochs=3, warm_up_epochs=0, batch=64, update_interval_steps=1, end_fraction=1, sparsity=0.5)
    trained = finish(fit_sparse(latents, state, config))
    torch.manual_seed(config.seed)
    fresh = NetworkHead(sparse=True)
    assert torch.equal(trained.linear_layers()[0].bias, fresh.linear_layers()[0].bias)
    for after, before in zip(trained.linear_layers(), fresh.linear_layers(), strict=True):
        kept = after.weight != 0
        assert torch.equal(after.weight[kept], before.weight[kept])


def test_a_sparse_head_learns_and_reads_the_right_latents():
    latents, state = small_set(512)
    config = RiglConfig(n_epochs=30, warm_up_epochs=10, batch=32, update_interval_steps=20, learning_rate=1e-2)
    head = finish(fit_sparse(latents, state, config))
    assert ((head(latents[0])[:, 0] >= 0) == (state > 0)).float().mean() > 0.9
    masks = [layer.mask for layer in head.linear_layers()]
    assert sum(int(mask.sum()) for mask in masks) <= 51
    assert {3, 8} <= set(torch.nonzero(masks[0].any(dim=0)).flatten().tolist())
    for layer in head.linear_layers():
        assert not layer.weight[layer.mask == 0].any()


@given(seed=st.integers(0, 10**6), density=st.floats(0.01, 0.4))
@settings(max_examples=60, deadline=None)
def test_pruning_changes_no_output_and_leaves_no_idle_weight(seed, density):
    torch.manual_seed(seed)
    head = NetworkHead(n_latents=8, n_scores=2, sparse=True).double().eval()
    layers = head.linear_layers()
    with torch.no_grad():
        for layer in layers:
            layer.mask.copy_(torch.rand_like(layer.mask) < density)
    z = torch.randn(20, 8, dtype=torch.float64)
    before, n_before = head(z), sum(int(layer.mask.sum()) for layer in layers)
    Rigl(layers, RiglConfig(), 1).prune()
    torch.testing.assert_close(head(z), before, atol=1e-6, rtol=0)
    assert sum(int(layer.mask.sum()) for layer in layers) <= n_before
    for layer, following in pairwise(layers):
        has_inputs, has_outputs = layer.mask.any(dim=1), following.mask.any(dim=0)
        assert torch.equal(has_inputs, has_inputs & has_outputs), "a leaf is left"
        assert torch.equal(has_outputs, has_outputs & has_inputs), "a bias weight is left"


def test_pruning_folds_a_chain_of_constants_into_the_last_bias():
    layers = [MaskedLinear(2, 1), MaskedLinear(1, 1), MaskedLinear(1, 1)]
    with torch.no_grad():
        for layer, bias in zip(layers, (0.3, -0.4, 0.5), strict=True):
            layer.weight.fill_(2.0)
            layer.bias.fill_(bias)
        layers[0].mask.zero_()
    Rigl(layers, RiglConfig(), 1, torch.tanh).prune()
    assert not any(layer.mask.any() for layer in layers)
    assert layers[2].bias.item() == pytest.approx(0.5 + 2 * math.tanh(-0.4 + 2 * math.tanh(0.3)))
