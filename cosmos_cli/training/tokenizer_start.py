"""Weights for a tokenizer to begin its training with: it already passes pictures on, coarsely, and in colour.

From random weights a tokenizer learns grey pictures in minutes and colours in hours: what little differs between a red
wall and a green one fades among many layers of chance. So the branches of residual blocks begin at zero, and what
remains is a chain of linear layers with closed forms: going in, the principal components of what a layer reads; going
out, the least squares of what the encoder saw at that place.

Two activations stand in that chain, before the last convolution of either half, each behind a norm. A feature passes
them unchanged as a pair of opposite signs, for silu(x) - silu(-x) = x, and a large constant beside the features keeps
the norm from scaling every frame differently.

Source: Balduzzi et al. 2017, arXiv:1702.08591, section 4 (pairs of opposite signs).
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cosmos_cli.models import cosmos_tokenizer_layers as cosmos
from cosmos_cli.models import wan_vae as wan
from cosmos_cli.models.cosmos_tokenizer import CosmosTokenizer
from cosmos_cli.models.wan_vae import WanVAE

# B batch, C channels, T frames, H and W height and width, N frames of all clips; K features that are made, P numbers
# that one of them is made of, S samples

_CONSTANT = 20.0
"""What norms are to see. Features are some units large at most."""

_NUM_LATENTS = 16

_RIDGE, _MOST_SAMPLES = 1e-4, 60_000
"""Of least squares: added to the energy of what is read, relative to its mean; and how many are enough."""


@torch.no_grad()
def start(tokenizer: WanVAE | CosmosTokenizer, video_BCFHW: Tensor) -> None:
    """Set the weights of `tokenizer` by clips, RGB in [-1, 1]; those that branches begin with stay as they are."""
    for module in tokenizer.modules():
        if isinstance(module, wan.ResidualBlock):
            _zero(_last_conv(module.residual))
            if isinstance(module.shortcut, nn.Conv3d):
                _pass_on(module.shortcut)
        elif isinstance(module, wan.AttentionBlock):
            _zero(module.proj)
        elif isinstance(module, cosmos.ResidualBlock):
            _zero(_parts(module.conv2)[1])
            if isinstance(module.nin_shortcut, cosmos.PointConv):
                _pass_on(module.nin_shortcut.conv3d)
        elif isinstance(module, cosmos.SpatialAttention | cosmos.TemporalAttention):
            _zero(module.proj_out.conv3d)
    if isinstance(tokenizer, WanVAE):
        _start_wan(tokenizer, video_BCFHW)
    else:
        _start_cosmos(tokenizer, video_BCFHW)


def _start_cosmos(tokenizer: CosmosTokenizer, video_BCFHW: Tensor) -> None:
    encoder, decoder = tokenizer.encoder, tokenizer.decoder
    for factorised in (encoder.conv_in, encoder.conv_out, decoder.conv_in, decoder.conv_out):
        for conv in _parts(factorised):
            _pass_on(conv)
    _pass_on(tokenizer.quant_conv.conv3d)
    _pass_on(tokenizer.post_quant_conv.conv3d)

    bands_BCTHW = cosmos.haar_patches(video_BCFHW[:, :, 1:], encoder.patch_size)
    conv_in, _ = _parts(encoder.conv_in)
    matrix_KP, _bias(conv_in)[:] = _principal(_samples(bands_BCTHW), len(conv_in.weight))
    conv_in.weight[:, :, 0, 1, 1] = matrix_KP
    for layer in encoder.modules():
        if isinstance(layer, cosmos.Downsample):
            _start_downsample(tokenizer, layer, video_BCFHW)
    _make_pairs(_last_widening(encoder.down))
    _choose_latents(tokenizer, encoder.norm_out, _parts(encoder.conv_out)[0], video_BCFHW)

    for layer in decoder.modules():
        if isinstance(layer, cosmos.Upsample):
            for part in (layer.conv1, layer.conv2):
                if part is not None:
                    _zero(part.conv3d)  # what is repeated stands beside
            _pass_on(layer.conv3.conv3d)
    _make_pairs(_last_widening(decoder.up[::-1]))
    conv_out, _ = _parts(decoder.conv_out)
    positive, negative = _reads(tokenizer, decoder.conv_out, video_BCFHW).chunk(2, dim=1)
    around_NPHW = _around(_frames((positive - negative)[:, :-1]))
    matrix_KP, bias_K = _least_squares(_samples(around_NPHW), _samples(_frames(bands_BCTHW)))
    weight, half = matrix_KP.unflatten(1, (-1, 3, 3)), positive.shape[1]
    _zero(conv_out)
    conv_out.weight[:, : half - 1, 0], conv_out.weight[:, half:-1, 0], _bias(conv_out)[:] = weight, -weight, bias_K


def _last_widening(levels: Iterable[nn.Module]) -> nn.Conv3d:
    """The last layer to run at which the main path changes its width: nothing mixes its features after."""
    blocks = [layer for level in levels for layer in level.modules() if isinstance(layer, cosmos.ResidualBlock)]
    return [each.nin_shortcut.conv3d for each in blocks if isinstance(each.nin_shortcut, cosmos.PointConv)][-1]


def _start_downsample(tokenizer: CosmosTokenizer, layer: cosmos.Downsample, video_BCFHW: Tensor) -> None:
    """The principal components of squares, then of pairs in time; the averages that stand beside are taken off."""
    _pass_on(layer.conv3.conv3d)
    for part in (layer.conv1, layer.conv2):
        if part is not None:
            _zero(part.conv3d)
    if layer.conv1 is not None:
        read_BCTHW = _reads(tokenizer, layer, video_BCFHW)
        _set_components(layer.conv1.conv3d, F.pixel_unshuffle(_frames(read_BCTHW), 2), (0, slice(2), slice(2)))
    if layer.conv2 is not None:
        # the window begins with the frame before
        pairs_BCTHW2 = _reads(tokenizer, layer.conv2, video_BCFHW)[:, :, 1:].unfold(2, 2, 2)
        _set_components(layer.conv2.conv3d, pairs_BCTHW2.movedim(5, 2).flatten(1, 2), (slice(1, 3), 0, 0))


def _set_components(conv: nn.Conv3d, read_BP: Tensor, taps: tuple[int | slice, ...]) -> None:
    weight = conv.weight.movedim((0, 1), (-2, -1))[taps].movedim((-2, -1), (0, 1))
    matrix_KP, _bias(conv)[:] = _principal(_samples(read_BP), len(weight))
    weight.copy_(matrix_KP.view(weight.shape))
    places = range(len(weight))
    weight[places, places] -= 1 / weight[0, 0].numel()


def _start_wan(tokenizer: WanVAE, video_BCFHW: Tensor) -> None:
    """As the module says; features of a frame keep their places over time, for the first frame meets no layer of time.

    What pairs of frames differ by follows behind them.
    """
    encoder, decoder = tokenizer.encoder, tokenizer.decoder
    downs = [layer for layer in encoder.downsamples if isinstance(layer, wan.Downsample)]
    ups = [layer for layer in decoder.upsamples if isinstance(layer, wan.Upsample)]
    _pass_on(encoder.conv1)
    num_known, known = 3, []
    for down in downs:
        is_last = down is downs[-1]
        squares = _resampling(down)
        width = len(squares.weight) // 2 if is_last else len(squares.weight)
        num_made = min(4 * num_known, width if down.time_conv is None else 2 * width // 3)
        read_BCTHW = _reads(tokenizer, down, video_BCFHW)[:, :num_known]
        squares_NPHW = F.pixel_unshuffle(_frames(read_BCTHW), 2)
        matrix_KP, bias_K = _principal(_samples(squares_NPHW), num_made)
        _zero(squares)
        squares.weight[:num_made, :num_known, :2, :2] = matrix_KP.view(num_made, num_known, 2, 2)
        _bias(squares)[:num_made] = bias_K
        if is_last:
            _make_pairs(squares)
        if down.time_conv is not None:
            _start_time(down.time_conv, num_made, width, is_last)
        made_NKHW = torch.einsum("kp,nphw->nkhw", matrix_KP, squares_NPHW) + bias_K.view(-1, 1, 1)
        known.append((read_BCTHW, made_NKHW.unflatten(0, (len(video_BCFHW), -1)).transpose(1, 2)))
        num_known = num_made if down.time_conv is None else width

    best, sizes = _choose_latents(tokenizer, encoder.head, _last_conv(encoder.head), video_BCFHW)
    mean, std = torch.tensor(wan.LATENT_MEAN), torch.tensor(wan.LATENT_STD)
    places = range(len(best))
    for conv, factor, bias in ((tokenizer.conv1, std, mean), (tokenizer.conv2, 1 / std, -mean / std)):
        _zero(conv)
        conv.weight[places, places, 0, 0, 0], _bias(conv)[: len(best)] = factor, bias
    _zero(decoder.conv1)
    decoder.conv1.weight[best, places, -1, 1, 1] = sizes

    for up, (fine_BCTHW, coarse_BCTHW) in zip(ups, reversed(known), strict=True):
        enlarged = _resampling(up)
        _zero(enlarged)
        if up.time_conv is not None:
            _start_pairs_of_frames(tokenizer, up.time_conv, coarse_BCTHW, video_BCFHW)
        frames_NCHW = torch.stack(_all_reads(tokenizer, enlarged, video_BCFHW)[1:], dim=1).flatten(0, 1)
        matrix_KP, bias_K = _least_squares(_samples(_around(frames_NCHW)), _samples(_frames(fine_BCTHW)))
        num_made = len(bias_K)
        enlarged.weight[:num_made] = matrix_KP.unflatten(1, (-1, 3, 3))
        _bias(enlarged)[:num_made] = bias_K
    _make_pairs(_resampling(ups[-1]))
    size = _size(_reads(tokenizer, decoder.head, video_BCFHW))
    _read_pairs(_last_conv(decoder.head), torch.arange(3), size.expand(3))


def _start_time(conv: nn.Conv3d, num_made: int, width: int, is_paired: bool) -> None:
    """Averages of pairs of frames, and behind them what the first of these features differ by."""
    _zero(conv)
    places = range(num_made)
    conv.weight[places, places, 1:, 0, 0] = 1 / 2
    behind = range(num_made, width - 1 if is_paired else width)
    first = range(len(behind))
    conv.weight[behind, first, 1, 0, 0], conv.weight[behind, first, 2, 0, 0] = -1 / 2, 1 / 2
    if is_paired:
        conv.weight[width - 1, width - 1, 1:, 0, 0] = 1 / 2
        conv.weight[width:, width:] = conv.weight[:width, :width]


def _start_pairs_of_frames(tokenizer: WanVAE, conv: nn.Conv3d, wanted_BKTHW: Tensor, video_BCFHW: Tensor) -> None:
    """The features of two frames out of what is known of three moments."""
    window_BCTHW = _reads(tokenizer, conv, video_BCFHW)
    moments_BPTHW = window_BCTHW.unfold(2, 3, 1).permute(0, 1, 5, 2, 3, 4).flatten(1, 2)
    pairs_BKTHW = wanted_BKTHW.unflatten(2, (-1, 2)).transpose(2, 3)  # B C 2 T H W
    num_made, channels = wanted_BKTHW.shape[1], window_BCTHW.shape[1]
    _zero(conv)
    for frame in range(2):
        matrix_KP, bias_K = _least_squares(_samples(moments_BPTHW), _samples(pairs_BKTHW[:, :, frame]))
        rows = slice(frame * channels, frame * channels + num_made)
        conv.weight[rows, :, :, 0, 0], _bias(conv)[rows] = matrix_KP.unflatten(1, (channels, 3)), bias_K


def _choose_latents(
    tokenizer: nn.Module, norm: nn.Module, conv: nn.Conv3d, video_BCFHW: Tensor
) -> tuple[Tensor, Tensor]:
    """Let `conv` make latents of size 1 of the largest features; which, and their sizes."""
    x_BCTHW = _reads(tokenizer, norm, video_BCFHW)
    half = x_BCTHW.shape[1] // 2
    sizes_K = x_BCTHW[:, : half - 1].std((0, 2, 3, 4))
    best = sizes_K.argsort(descending=True)[:_NUM_LATENTS]
    _read_pairs(conv, best, _size(x_BCTHW) / sizes_K[best])
    return best, sizes_K[best]


def _parts(conv: cosmos.FactorisedConv) -> tuple[nn.Conv3d, nn.Conv3d]:
    over_space, over_time = conv
    assert isinstance(over_space, cosmos.SpatialConv) and isinstance(over_time, cosmos.TemporalConv)
    return over_space.conv3d, over_time.conv3d


def _last_conv(layers: nn.Module) -> nn.Conv3d:
    conv = list(layers.children())[-1]
    assert isinstance(conv, nn.Conv3d)
    return conv


def _resampling(layer: wan.Downsample | wan.Upsample) -> nn.Conv2d:
    conv = layer.resample["1"]
    assert isinstance(conv, nn.Conv2d)
    return conv


def _bias(conv: nn.Conv2d | nn.Conv3d) -> Tensor:
    assert conv.bias is not None
    return conv.bias


def _zero(conv: nn.Conv2d | nn.Conv3d) -> None:
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(_bias(conv))


def _pass_on(conv: nn.Conv3d) -> None:
    """Each channel from its own place alone, as far as there are as many; new ones are zero."""
    _zero(conv)
    places = range(min(conv.weight.shape[:2]))
    # of three frames the last is the frame itself
    conv.weight[places, places, -1, conv.kernel_size[1] // 2, conv.kernel_size[2] // 2] = 1


def _make_pairs(conv: nn.Conv2d | nn.Conv3d) -> None:
    """Let the second half of the channels be the first with the other sign, and the last of either half a constant."""
    weight, bias, half = conv.weight, _bias(conv), len(conv.weight) // 2
    weight[half - 1], bias[half - 1] = 0, _CONSTANT
    weight[half:], bias[half:] = -weight[:half], -bias[:half]


def _read_pairs(conv: nn.Conv3d, features: Tensor, factors: Tensor) -> None:
    """Let the first channels be those features, times `factors`, of pairs that passed an activation."""
    _zero(conv)
    half = conv.weight.shape[1] // 2
    made = range(len(features))
    conv.weight[made, features, -1, 1, 1], conv.weight[made, half + features, -1, 1, 1] = factors, -factors


def _all_reads(tokenizer: nn.Module, layer: nn.Module, video_BCFHW: Tensor) -> list[Tensor]:
    """What `layer` is given as `tokenizer` codes and decodes clips, call by call."""
    calls: list[Tensor] = []
    handle = layer.register_forward_pre_hook(lambda _, given: calls.append(given[0].clone()))
    try:
        tokenizer(video_BCFHW)
    finally:
        handle.remove()
    return calls


def _reads(tokenizer: nn.Module, layer: nn.Module, video_BCFHW: Tensor) -> Tensor:
    """The same of all frames but the first, which passes alone."""
    return _all_reads(tokenizer, layer, video_BCFHW)[-1]


def _size(x: Tensor) -> Tensor:
    return x.square().mean().sqrt()


def _frames(x_BCTHW: Tensor) -> Tensor:
    return x_BCTHW.transpose(1, 2).flatten(0, 1)


def _around(frames_NCHW: Tensor) -> Tensor:
    """What a 3 x 3 kernel reads at each place: N C*9 H W."""
    return F.unfold(frames_NCHW, 3, padding=1).unflatten(2, frames_NCHW.shape[2:])


def _samples(x_BP: Tensor) -> Tensor:
    """Rows of what lies along the channels, evenly over all places: S P."""
    rows_SP = x_BP.movedim(1, -1).flatten(0, -2)
    return rows_SP[:: -(-len(rows_SP) // _MOST_SAMPLES)]


def _principal(samples_SP: Tensor, num: int) -> tuple[Tensor, Tensor]:
    """Matrix K P and bias K that make the principal components, the largest first."""
    mean_P = samples_SP.mean(0)
    centred_SP = (samples_SP - mean_P).double()
    _, vectors_PP = torch.linalg.eigh(centred_SP.T @ centred_SP)
    matrix_KP = vectors_PP.flip(1)[:, :num].T.float()
    return matrix_KP, -matrix_KP @ mean_P


def _least_squares(samples_SP: Tensor, wanted_SK: Tensor) -> tuple[Tensor, Tensor]:
    """Matrix K P and bias K that make the wanted of what is known of it. Features that are always 0 get weight 0."""
    read_SP, wanted = samples_SP.double(), wanted_SK.double()
    mean_P, mean_K = read_SP.mean(0), wanted.mean(0)
    read_SP, wanted = read_SP - mean_P, wanted - mean_K
    energy_PP = read_SP.T @ read_SP
    energy_PP += _RIDGE * energy_PP.diagonal().mean() * torch.eye(len(energy_PP), dtype=torch.float64)
    matrix_KP = torch.linalg.solve(energy_PP, read_SP.T @ wanted).T
    return matrix_KP.float(), (mean_K - matrix_KP @ mean_P).float()
