"""Layouts: what users write, what is chosen, and what both say about it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from cosmos_cli.errors import InputError
from cosmos_cli.runtime.workers.layout import Layout, choose_layout, one_at_a_time, parse_layout


@pytest.mark.parametrize(
    ("text", "layout"),
    [("cp=4,cfg=2", Layout(cfg=2, cp=4)), ("dp=8", Layout(dp=8)), (" cp = 2 , dp = 4 ", Layout(dp=4, cp=2))],
)
def test_a_layout_is_read_in_any_order_and_written_back(text: str, layout: Layout) -> None:
    assert parse_layout(text, world_size=8, num_heads=16) == layout
    assert parse_layout(str(layout), world_size=8, num_heads=16) == layout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tp=8", "there is no axis 'tp'"),
        ("", "there is no axis ''"),
        ("8", "there is no axis '8'"),
        ("cp=2,cp=4", "names cp twice"),
        ("cp", "cp needs a number of processes, 1 or more, not ''"),
        ("cp=0", "not '0'"),
        ("cp=-4", "not '-4'"),
        ("cp=²", "not '²'"),
        ("cp=2.0", "not '2.0'"),
        ("cfg=4,cp=2", "guidance has two halves"),
        ("cp=8", "cp=8 does not divide the 20 attention heads of this model. Use one of 1, 2, 4, 5, 10, 20."),
        (
            "cp=2,cfg=2",
            "cp=2,cfg=2 is for 2 x 2 = 4 GPUs, but there are 8. Make the product 8, or pass --num-gpus 4.",
        ),
    ],
)
def test_what_is_no_layout_for_this_run_is_refused_with_the_way_out(text: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_layout(text, world_size=8, num_heads=20)
    assert message in str(refusal.value)
    assert str(refusal.value).startswith("--parallel: ")


@pytest.mark.parametrize(
    ("world_size", "num_items", "guided", "layout"),
    [
        (1, 1, True, Layout()),
        (8, 1, True, Layout(cfg=2, cp=4)),
        (8, 1, False, Layout(cp=8)),
        (8, 8, True, Layout(dp=8)),
        (8, 100, True, Layout(dp=8)),
        (8, 3, True, Layout(dp=2, cfg=2, cp=2)),
        (6, 3, True, Layout(dp=3, cfg=2)),
        (6, 1, True, Layout(cfg=2, cp=3)),  # half of it divides the heads
        (3, 5, False, Layout(dp=3)),
        (5, 2, True, Layout(cp=5)),
    ],
)
def test_videos_come_first_then_guidance_then_tokens(
    world_size: int, num_items: int, guided: bool, layout: Layout
) -> None:
    assert choose_layout(world_size, num_heads=120, num_items=num_items, guided=guided) == layout


def test_a_choice_is_always_a_layout_that_may_be_asked_for() -> None:
    for num_heads in (16, 20, 32, 40):
        for world_size in range(1, 17):
            for num_items in (1, 2, 5, 16):
                try:
                    layout = choose_layout(world_size, num_heads=num_heads, num_items=num_items, guided=True)
                except InputError:
                    continue
                assert parse_layout(str(layout), world_size=world_size, num_heads=num_heads) == layout
                assert layout.dp <= num_items


def test_as_many_gpus_as_cannot_share_the_heads_are_told_how_many_can() -> None:
    with pytest.raises(InputError, match=r"7 GPUs cannot share 1 video.*Pass --num-gpus 4\.") as refusal:
        choose_layout(7, num_heads=16, num_items=1, guided=False)
    assert str(refusal.value).startswith("--num-gpus: ")


def test_people_are_told_who_does_what_in_one_line() -> None:
    assert Layout().describe() == "1 device"
    assert Layout(dp=8).describe() == "8 devices, dp=8: 8 videos at a time"
    assert Layout(dp=2, cfg=2, cp=4).describe() == (
        "16 devices, dp=2,cfg=2,cp=4: 2 videos at a time, prompt and negative prompt side by side, "
        "each video's tokens on 4"
    )


def test_planning_imports_no_torch() -> None:
    code = "import sys, cosmos_cli.runtime.workers.layout; print('torch' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "False"


def test_a_group_that_makes_one_video_at_a_time_does_not_divide_videos() -> None:
    with one_at_a_time():
        assert choose_layout(4, num_heads=8, num_items=20, guided=True) == Layout(cfg=2, cp=2)
        with pytest.raises(InputError, match=r"4 GPUs cannot share 1 video"):
            choose_layout(4, num_heads=2, num_items=20, guided=False)
        assert parse_layout("cp=4", world_size=4, num_heads=8) == Layout(cp=4)
        with pytest.raises(InputError, match=r"dp=2 makes 2 videos at a time.*--num-workers"):
            parse_layout("dp=2,cp=2", world_size=4, num_heads=8)
    assert choose_layout(4, num_heads=8, num_items=20, guided=True) == Layout(dp=4)
