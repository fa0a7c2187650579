"""What a viewer says of a rendered clip: what moves where in the picture, what passes before what, and the camera."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from cosmos_cli.worlds.bodies import Body
from cosmos_cli.worlds.exact import dot, into
from cosmos_cli.worlds.views import View

# F frames; u and v as in `views`

WAYS = ("left", "right", "up", "down", "towards", "away")
"""In the picture, as its viewer sees them."""

BEFORE, BEHIND, BUMPS = "in front of", "behind", "and bumps into"
MEETINGS = (BEFORE, BEHIND, BUMPS)
"""What one body does with another."""

MOVED = 0.12
"""Least way through the picture that is named, in parts of its shorter side."""
NEARED = 0.85
"""Greatest ratio of distances, last to first, that is called towards the camera; away is its inverse."""


def way(view: View, path_F3: np.ndarray) -> str | None:
    """Where something moves, if the world and the picture agree on it, and on nothing else.

    A camera that turns or moves makes all things move in the picture; those do not count.
    """
    right, down, ahead = into(view.axes(len(path_F3) // 2), path_F3[-1] - path_F3[0])
    u_F, v_F, ahead_F = view.track(path_F3)
    across, along, nearing = u_F[-1] - u_F[0], v_F[-1] - v_F[0], ahead_F[-1] / ahead_F[0]
    if min(ahead_F[0], ahead_F[-1]) <= 0:
        return None
    if abs(right) > 2 * max(abs(down), abs(ahead)) and abs(across) > max(MOVED, 2 * abs(along)) and right * across > 0:
        return "right" if across > 0 else "left"
    if abs(down) > 2 * max(abs(right), abs(ahead)) and abs(along) > max(MOVED, 2 * abs(across)) and down * along > 0:
        return "down" if along > 0 else "up"
    if abs(ahead) > 2 * max(abs(right), abs(down)) and abs(across) < MOVED:
        if ahead < 0 and nearing < NEARED:
            return "towards"
        if ahead > 0 and nearing > 1 / NEARED:
            return "away"
    return None


def overlap(view: View, one: Body, other: Body) -> np.ndarray:
    """How much two bodies cover each other in each frame's picture, (F,): 0 not at all, 1 with equal centres."""
    (u_F, v_F, near_F), (other_u_F, other_v_F, far_F) = view.track(one.path_F3), view.track(other.path_F3)
    beside_F = (one.girth / near_F + other.girth / far_F) / view.shorter
    above_F = (one.half_height / near_F + other.half_height / far_F) / view.shorter
    apart_F = np.maximum(np.abs(u_F - other_u_F) / beside_F, np.abs(v_F - other_v_F) / above_F)
    return np.where((near_F > 0.1) & (far_F > 0.1), (1 - apart_F).clip(0), 0)


def is_shown(view: View, body: Body, bodies: Sequence[Body]) -> bool:
    """Whether it is in the picture half of the time, and at some time not behind another."""
    in_F = view.is_in(body.path_F3)
    if in_F.mean() < 0.5:
        return False
    ahead_F = view.track(body.path_F3)[2]
    open_F = in_F
    for other in bodies:
        if other is not body:
            is_nearer_F = view.track(other.path_F3)[2] < ahead_F
            open_F = open_F & ~(is_nearer_F & (overlap(view, body, other) > 0.4))
    return bool(open_F.any())


def describe(view: View, bodies: Sequence[Body], hits: Sequence[tuple[int, int]], floor: str, move: str) -> str:
    """A caption that is true of what one camera sees.

    Args:
        hits: pairs of bodies, of which one bumps into the other.
        floor: its pattern. move: what the camera does, as a sentence, or nothing.
    """
    shown = [i for i, body in enumerate(bodies) if is_shown(view, body, bodies)]
    ways = {i: way(view, bodies[i].path_F3) for i in shown}
    meetings: dict[int, tuple[str, int]] = {}
    passings: dict[int, int] = {}
    for i in shown:
        partner = next((hit for by, hit in hits if by == i and hit in shown), None)
        if partner is not None:
            meetings[i] = BUMPS, partner
        elif ways[i] in ("left", "right"):
            passed = _passed(view, bodies, i, [j for j in shown if j != i])
            # which of two passes the other is told once
            if passed is not None and passings.get(passed) != i:
                passings[i] = passed
                meetings[i] = _side(view, bodies[i], bodies[passed]), passed
    return tell(bodies, ways, meetings, floor, move)


def tell(
    bodies: Sequence[Body],
    ways: Mapping[int, str | None],
    meetings: Mapping[int, tuple[str, int]],
    floor: str,
    move: str,
) -> str:
    """The caption of what is known to happen.

    Args:
        ways: of the bodies that are seen, see `way`. meetings: `MEETINGS` of some of them, each with another.
        floor, move: see `describe`.
    """
    sentences: list[str] = []
    told: set[int] = set()
    for i in sorted(ways, key=lambda i: not bodies[i].is_moving):
        if i in told and not bodies[i].is_moving:
            continue
        sentence = f"{_named(bodies, i, told)} {_verb(bodies[i], ways[i])}"
        if i in meetings:
            meeting, other = meetings[i]
            sentence += f" {meeting} {_named(bodies, other, told)}"
        sentences.append(sentence)
    if not sentences:
        sentences = ["an empty room"]
    ends = [f"the floor is {floor}", *([move] if move else [])]
    return " ".join(f"{sentence[0].upper()}{sentence[1:]}." for sentence in (*sentences, *ends))


def camera_move(view: View, kind: str) -> str:
    """What a camera does, by how it was moved: "", "pan", "orbit" or "travel"."""
    if kind == "pan":
        ahead_3 = into(view.axes(0), view.rotations_F33[-1][:, 2])
        return f"the camera pans {'right' if ahead_3[0] > 0 else 'left'}"
    if not kind or view.is_still:
        return ""
    right, _, ahead = into(view.axes(0), view.eyes_F3[-1] - view.eyes_F3[0])
    side = "right" if right > 0 else "left"
    if kind == "orbit":
        return f"the camera orbits to the {side}"
    if abs(ahead) > abs(right):
        return f"the camera moves {'forward' if ahead > 0 else 'backward'}"
    return f"the camera moves to the {side}"


def _verb(body: Body, where: str | None) -> str:
    if len(body.path_F3) == 1:
        return "stands on the floor"
    if not body.is_moving:
        return "stands still"
    on_floor = "rolls" if body.shape == "ball" else "slides"
    match where:
        case "left" | "right":
            return f"{on_floor} {where}"
        case "up":
            return "rises up"
        case "down":
            return "sinks down"
        case "towards":
            return f"{on_floor} towards the camera"
        case "away":
            return f"{on_floor} away from the camera"
        case _:
            return "moves"


def _named(bodies: Sequence[Body], which: int, told: set[int]) -> str:
    noun = bodies[which].noun
    article = "the" if which in told else "an" if noun.startswith("orange") else "a"
    told.add(which)
    return f"{article} {noun}"


def _passed(view: View, bodies: Sequence[Body], which: int, others: Sequence[int]) -> int | None:
    """The body that one covers most, or that covers it."""
    least = 0.35
    found = None
    for other in others:
        most = overlap(view, bodies[which], bodies[other]).max()
        if most > least:
            least, found = most, other
    return found


def _side(view: View, body: Body, passed: Body) -> str:
    frame = int(overlap(view, body, passed).argmax())
    is_nearer = view.track(body.path_F3)[2][frame] < view.track(passed.path_F3)[2][frame]
    return BEFORE if is_nearer else BEHIND


def apart(one: Body, other: Body) -> bool:
    """Whether two bodies never come so near that they might touch."""
    gap_F3 = one.path_F3 - other.path_F3
    level_F3 = gap_F3 * np.array([1.0, 1.0, 0.0])
    are_beside_F = dot(level_F3, level_F3) > (one.girth + other.girth + 0.08) ** 2
    return bool((are_beside_F | (np.abs(gap_F3[:, 2]) > one.half_height + other.half_height)).all())
