"""Constants that are kept on a device."""

from __future__ import annotations

import torch

from cosmos_cli.runtime.constants import Constants


def test_the_latest_few_are_kept_and_the_others_made_again() -> None:
    constants, made = Constants[int](maxsize=2), []

    def ask(key: int) -> int:
        return constants(key, lambda: made.append(key) or key)  # type: ignore[func-returns-value]

    assert [ask(key) for key in (1, 2, 1, 3, 1, 2)] == [1, 2, 1, 3, 1, 2]
    assert made == [1, 2, 3, 2]  # 2 had not been asked for longest when 3 came
    constants.clear()
    ask(1)
    assert made == [1, 2, 3, 2, 1]


def test_what_inference_asked_for_first_takes_part_in_training() -> None:
    constants = Constants[torch.Tensor]()
    with torch.inference_mode():
        constants("two", lambda: torch.full((), 2.0))
    x = torch.ones(3, requires_grad=True)
    (x * constants("two", lambda: torch.zeros(()))).sum().backward()
    assert x.grad is not None and x.grad.tolist() == [2.0] * 3
