"""Teaching a small text encoder to know each piece of a text, and what is said around it, without any label.

Some pieces are masked or exchanged, and some words are said in other words. From what the encoder makes of a place
three things are told, each by its likeness to the embeddings of pieces: the piece that is meant there, and those before
and behind it in its sentence, the nearer the likelier.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from transformers import T5EncoderModel

from cosmos_cli.checkpoints.keys import PUBLISHED
from cosmos_cli.checkpoints.loading import load_network
from cosmos_cli.errors import InputError
from cosmos_cli.models.tiny_text import encoder_config
from cosmos_cli.models.tiny_words import END, MASK, pieces
from cosmos_cli.training.data.examples import Examples
from cosmos_cli.training.draws import Draws
from cosmos_cli.training.recipe import Recipe
from cosmos_cli.training.task import Batch, Loss, Where, learning

# B batch, L pieces of a text, N pieces of all texts, C width, V pieces that there are

_NUMBERS = {piece: number for number, piece in enumerate(pieces())}
_CHOSEN, _SHOWN, _EXCHANGED = 0.15, 0.1, 0.1
"""Share of pieces that are to be told though they may not be seen; of these, that are left, and that are exchanged."""


class TextLearner(nn.Module):
    """An encoder with the heads that it learns by.

    Its output has unit size at every place, as its last norm does not learn: networks read it as it is.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        # without the second name that the whole model has for its embeddings
        self.encoder = T5EncoderModel(encoder_config(width)).encoder
        self.before, self.behind = (nn.Linear(width, width, bias=False) for _ in range(2))

    def forward(self, seen_BL: Tensor, meant_BL: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is told of each place, asked for the pieces that are meant anywhere in its text.

        Returns:
            (B, L, L) each, logarithms: that a piece is meant here, comes before, comes behind; and (B, L): the greatest
            of the first, of all pieces that there are.
        """
        is_text_BL = seen_BL != 0
        encoded_BLC = self.encoder(input_ids=seen_BL, attention_mask=is_text_BL.long()).last_hidden_state
        table_VC = self.encoder.embed_tokens.weight
        table_VC = table_VC * table_VC.shape[1] ** -0.5
        meant_BLC = table_VC[meant_BL]
        best_BL = torch.zeros(seen_BL.shape, device=seen_BL.device)
        told = []
        for view_BLC in (encoded_BLC, self.before(encoded_BLC), self.behind(encoded_BLC)):
            # half of a batch is what stands behind the texts: not compared with all pieces
            scores_NV = view_BLC[is_text_BL] @ table_VC.T
            whole_BL = torch.zeros_like(best_BL).masked_scatter(is_text_BL, scores_NV.logsumexp(-1))
            told.append(view_BLC @ meant_BLC.mT - whole_BL[..., None])
            if view_BLC is encoded_BLC:
                best_BL = best_BL.masked_scatter(is_text_BL, scores_NV.detach().amax(-1)) - whole_BL.detach()
        piece_BLL, before_BLL, behind_BLL = told
        return piece_BLL, before_BLL, behind_BLL, best_BL


class TextTask:
    """See the module and `cosmos_cli.training.task.Task`. A text stands for a clip of so many frames of one token."""

    def __init__(self, learner: TextLearner, device: torch.device) -> None:
        self._device = device
        self.networks = nn.ModuleDict({"net": learning(learner)})
        learner.encoder.final_layer_norm.weight.requires_grad_(False)
        self.frozen: Sequence[nn.Module] = ()
        self.constants: Mapping[str, Tensor] = {}
        self.tokenizer: nn.Module | None = None

    def encode(self, examples: Examples) -> Batch:
        """The numbers of pieces; what would be latents has their shape, for draws of chance.

        Raises:
            InputError: these are clips, not texts.
        """
        if "said" not in examples.extras:
            raise InputError(
                "a text encoder learns from texts alone, and this source gives clips.",
                where="data.source",
                fix="Leave data.source as it is in the recipe.",
            )
        extras = {name: tensor.to(self._device) for name, tensor in examples.extras.items()}
        said_BL = extras["said"]
        places = torch.zeros(*said_BL.shape, 2, 2, device=self._device)[:, None]
        return Batch(places, examples.text_BLC.to(self._device), examples.fps, extras=extras)

    def loss(self, batch: Batch, draws: Draws) -> Loss:
        """See `cosmos_cli.training.task.Task`; the noise decides what is masked."""
        longest = int((batch.extras["said"] != 0).sum(1).max())
        said_BL, meant_BL = (batch.extras[name][:, :longest] for name in ("said", "meant"))
        seen_BL, is_chosen_BL = _masked(said_BL, draws.noise_BCTHW[:, 0, :longest].flatten(2))
        piece_BLL, before_BLL, behind_BLL, best_BL = self.networks["net"](seen_BL, meant_BL)
        piece_BL, nearness_BLL = piece_BLL.diagonal(dim1=1, dim2=2), _nearness(meant_BL)
        parts = {
            "piece": -_mean(piece_BL, is_chosen_BL | (said_BL != meant_BL)),
            "before": _told(before_BLL, nearness_BLL.tril(-1)),
            "behind": _told(behind_BLL, nearness_BLL.triu(1)),
        }
        accuracy = _mean((piece_BL >= best_BL - 1e-5).float(), is_chosen_BL)
        shown = {**{name: part.detach() for name, part in parts.items()}, "accuracy": accuracy}
        return Loss(torch.stack(list(parts.values())).sum(), shown, batch.latents_BCTHW)

    def share_tokens(self, group: ProcessGroup | None) -> None:
        """Texts are short: ranks that could share one read all of it each."""

    def sample(self, batch: Batch, seed: int, num_steps: int) -> list[Tensor]:
        """None: there is nothing to look at, and `text_encoder` refuses recipes that ask for it."""
        return []


def _masked(said_BL: Tensor, noise_BL4: Tensor) -> tuple[Tensor, Tensor]:
    """What is seen of texts, and of which pieces more is not known than that they may be wrong."""
    chance_BL4 = torch.special.ndtr(noise_BL4)
    is_chosen_BL = (chance_BL4[..., 0] < _CHOSEN) & (said_BL != 0) & (said_BL != _NUMBERS[END])
    others_BL = (chance_BL4[..., 2] * len(_NUMBERS)).long().clamp(1, len(_NUMBERS) - 1)
    instead_BL = torch.where(chance_BL4[..., 1] < _EXCHANGED, others_BL, _NUMBERS[MASK])
    is_hidden_BL = is_chosen_BL & (chance_BL4[..., 1] < 1 - _SHOWN)
    return torch.where(is_hidden_BL, instead_BL, said_BL), is_chosen_BL


def _nearness(meant_BL: Tensor) -> Tensor:
    """Of places to others of their sentence, (B, L, L); the end of a text is near to all of it."""
    is_stop_BL = meant_BL == _NUMBERS["."]
    sentence_BL = is_stop_BL.cumsum(1) - is_stop_BL.long()
    is_near_BLL = (sentence_BL[:, :, None] == sentence_BL[:, None]) | (meant_BL == _NUMBERS[END])[:, :, None]
    place_L = torch.arange(meant_BL.shape[1], device=meant_BL.device)
    distance_LL = (place_L[:, None] - place_L).abs().clamp(min=1)
    is_text_BL = (meant_BL != 0) & (meant_BL != _NUMBERS[END])
    return is_near_BLL * is_text_BL[:, None] * (meant_BL != 0)[:, :, None] / distance_LL


def _told(pairs_BLL: Tensor, nearness_BLL: Tensor) -> Tensor:
    """Cross entropy of pieces around each place, in shares of their nearness."""
    whole_BL = nearness_BLL.sum(-1)
    told_BL = (pairs_BLL * nearness_BLL).sum(-1) / whole_BL.clamp(min=1e-6)
    return -_mean(told_BL, whole_BL > 0)


def _mean(values_BL: Tensor, is_counted_BL: Tensor) -> Tensor:
    return (values_BL * is_counted_BL).sum() / is_counted_BL.sum().clamp(min=1)


def text_encoder(recipe: Recipe, where: Where) -> TextTask:
    """The task of a recipe; see `cosmos_cli.training.task.BuildTask`. Random where no weights are named to begin with.

    Raises:
        CheckpointError: weights are missing, damaged or of another network.
        InputError: the recipe asks for sample videos.
    """
    if recipe.log.sample_iter:
        raise InputError(
            "a text encoder makes no videos to look at.", where="log.sample_iter", fix="Set log.sample_iter=null."
        )
    torch.manual_seed(recipe.trainer.seed)

    def build() -> TextLearner:
        return TextLearner(recipe.data.text_channels)

    path = recipe.checkpoint.load_path
    return TextTask(
        load_network(build, where.checkpoint_dir / path, naming=PUBLISHED) if path else build(), where.device
    )
