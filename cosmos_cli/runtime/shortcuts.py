"""What a GPU may do for speed at the cost of the last bits."""

from __future__ import annotations

import warnings
from dataclasses import dataclass


@dataclass(frozen=True)
class Shortcuts:
    """Ways to be fast that change the last bits of a result. The defaults are PyTorch's own.

    tf32_products: multiply matrices of float32 in TF32, which keeps 10 of 23 bits of their fractions.
    tf32_convolutions: the same in convolutions.
    trials: cuDNN tries its kernels at every new shape and keeps the fastest, which may be another one in every run.
    changing: cuDNN may use kernels that add up in another order in every run.
    """

    tf32_products: bool = False
    tf32_convolutions: bool = True
    trials: bool = False
    changing: bool = True

    def __str__(self) -> str:
        """For people, after "with" or "without"."""
        shared = {"matrix products": self.tf32_products, "convolutions": self.tf32_convolutions}
        where = " and ".join(name for name, is_on in shared.items() if is_on)
        parts = [f"TF32 in {where}"] if where else []
        parts += ["cuDNN's choice of kernels by trial"] if self.trials else []
        return ", ".join(parts) or "none"

    def apply(self) -> None:
        """Have PyTorch compute so in this process."""
        from torch.backends import cuda, cudnn

        wanted = self.tf32_products, self.tf32_convolutions, self.trials, not self.changing
        if (cuda.matmul.allow_tf32, cudnn.allow_tf32, cudnn.benchmark, cudnn.deterministic) == wanted:
            return
        with warnings.catch_warnings():
            # PyTorch 2.9 and on may recommend other names for TF32, after which torch.compile cannot read these
            warnings.filterwarnings("ignore", message=".*TF32")
            cuda.matmul.allow_tf32, cudnn.allow_tf32 = wanted[:2]
        cudnn.benchmark, cudnn.deterministic = wanted[2:]


NO_SHORTCUTS = Shortcuts(tf32_convolutions=False, changing=False)
"""The same bits in every run on the same GPU, as far as its kernels go."""

COST = "what computes in float32, such as the text encoder, is slower: TF32 has some 8 times its peak on A100 and H100"
"""Of having none, in words."""
