"""The networks: sizes as the paper has them, shapes, masks and what a head may see."""

from __future__ import annotations

import pytest
import torch

from napari_cellinterp.models.expression import Expression
from napari_cellinterp.models.heads import Cnn, MaskedLinear, NetworkHead, SymbolicHead
from napari_cellinterp.models.vae import Decoder, Encoder


def n_parameters(*modules: torch.nn.Module) -> int:
    return sum(parameter.numel() for module in modules for parameter in module.parameters())


def test_encoder_and_head_have_the_parameters_of_the_paper():
    encoder, head = Encoder(), NetworkHead()
    by_hand = sum(n_in * n_out * 16 + n_out for n_in, n_out in [(1, 8), (8, 16), (16, 32), (32, 64)])
    by_hand += 64 * 4 * 4 * 256 + 256 + 256 * 32 + 32 + (32 * 16 + 16) + 2 * (16 * 16 + 16) + 16 + 1
    assert n_parameters(encoder.convolutions, encoder.hidden, encoder.mean, head) == by_hand == 314_969


@pytest.mark.parametrize("sparse", [False, True])
def test_a_head_has_1040_weights(sparse):
    layers = NetworkHead(sparse=sparse).linear_layers()
    assert [tuple(layer.weight.shape) for layer in layers] == [(16, 32), (16, 16), (16, 16), (1, 16)]
    assert sum(layer.weight.numel() for layer in layers) == 1040
    assert all(isinstance(layer, MaskedLinear) is sparse for layer in layers)


def test_the_cnn_has_what_its_parts_add_up_to():
    convolutions = sum(n_in * n_out * 16 + 3 * n_out for n_in, n_out in [(1, 8), (8, 16), (16, 32), (32, 64)])
    features = 1024 * 256 + 3 * 256 + 256 * 32 + 32
    head = (32 * 16 + 3 * 16) + 2 * (16 * 16 + 3 * 16) + 17
    assert n_parameters(Cnn()) == convolutions + features + head == 315_817


def test_only_the_cnn_has_batch_norm_and_only_in_training_is_there_dropout():
    kinds = [type(module) for module in Cnn(dropout=0.3).modules()]
    assert kinds.count(torch.nn.BatchNorm2d) == 4
    assert kinds.count(torch.nn.BatchNorm1d) == 1 + 3
    for network in (Encoder(), Decoder(), NetworkHead(dropout=0.3)):
        assert not any("BatchNorm" in type(module).__name__ for module in network.modules())
    head, z = NetworkHead(dropout=0.3), torch.randn(64, 32)
    assert not torch.equal(head(z), head(z))
    assert torch.equal(head.eval()(z), head(z))


@pytest.mark.parametrize("n_channels", [1, 2])
@pytest.mark.parametrize("n_scores", [1, 5])
def test_shapes(n_channels, n_scores):
    x = torch.rand(3, n_channels, 64, 64)
    encoder, decoder = Encoder(n_channels, 10), Decoder(n_channels, 10)
    mean, log_variance = encoder(x)
    assert mean.shape == log_variance.shape == (3, 10)
    assert torch.equal(encoder.encode(x), mean)
    assert encoder.features(x).shape == (3, 256)
    decoded = decoder(mean)
    assert decoded.shape == x.shape
    assert decoded.min() >= 0
    assert decoded.max() <= 1
    assert torch.allclose(torch.logit(decoded.double()), decoder.logits(mean).double(), atol=1e-4)
    assert NetworkHead(10, n_scores)(mean).shape == (3, n_scores)
    assert Cnn(n_channels, n_scores)(x).shape == (3, n_scores)


def test_a_masked_layer_ignores_what_is_switched_off():
    torch.manual_seed(0)
    layer = MaskedLinear(5, 3)
    layer.mask[:] = (torch.rand(3, 5) > 0.5).float()
    x = torch.randn(7, 5)
    expected = x @ (layer.weight * layer.mask).T + layer.bias
    torch.testing.assert_close(layer(x), expected)
    with torch.no_grad():
        layer.weight[layer.mask == 0] = 1e6
    torch.testing.assert_close(layer(x), expected.detach())


def test_the_dense_gradient_is_that_of_a_dense_layer_and_the_weights_get_only_theirs():
    torch.manual_seed(1)
    layer = MaskedLinear(4, 2)
    layer.mask[:] = torch.tensor([[1.0, 0, 1, 0], [0, 0, 1, 1]])
    x = torch.randn(6, 4)
    dense = (layer.weight * layer.mask).detach().requires_grad_()
    (x @ dense.T + layer.bias.detach()).square().sum().backward()
    layer(x).square().sum().backward()
    torch.testing.assert_close(layer.dense_gradient, dense.grad)
    torch.testing.assert_close(layer.weight.grad, dense.grad * layer.mask)


def test_masks_are_saved_with_the_weights():
    head, other = NetworkHead(sparse=True), NetworkHead(sparse=True)
    head.linear_layers()[1].mask[3:] = 0
    other.load_state_dict(head.state_dict())
    assert torch.equal(other.linear_layers()[1].mask, head.linear_layers()[1].mask)


def test_a_symbolic_head_has_a_formula_a_score():
    head = SymbolicHead([Expression.parse("z1 - z0**2"), Expression.parse("log(z0)")])
    scores = head(torch.tensor([[2.0, 5.0], [-1.0, 3.0]]))
    torch.testing.assert_close(scores[:, 0], torch.tensor([1.0, 2.0]))
    assert scores[0, 1].item() == pytest.approx(0.6931, abs=1e-4)
    assert scores[1, 1].isnan()
