"""Best of five by the critic, beside any of the five: which is nearer to the truth."""

from __future__ import annotations

import numpy as np

from benchmarks.quality_rows import video2world
from benchmarks.quality_rows.asked import Asked
from benchmarks.quality_rows.metrics import confidence, mean, psnr
from benchmarks.quality_rows.rows import Goal, Row, Scores, rows_of
from benchmarks.quality_rows.weights import untrained
from cosmos_cli.critics import mean as mean_of
from cosmos_plugins.predict2.critic.choice import choose_critic, load_critic

PART, NUM_CLIPS = "best-of", 50
NUM_SEEDS = 5

GAIN, LOW, HIGH = "PSNR of the critic's choice above that of any", "its 95 % interval: from", "its 95 % interval: to"
MOST = "PSNR of the nearest above that of any"
GOALS = {GAIN: Goal(0, None, "dB"), LOW: Goal(0, None, "dB"), HIGH: Goal(unit="dB"), MOST: Goal(unit="dB")}


def measure(asked: Asked) -> list[Row]:
    pipeline = video2world.load(asked)
    settings = video2world.SETTINGS
    critic = load_critic(choose_critic(None, settings.checkpoint_dir, is_tiny=settings.is_tiny), settings)
    clips = video2world.clips_of_movers(asked.num_clips)

    def made(count: int) -> list[np.ndarray]:
        return [
            np.stack([video2world.continued(pipeline, asked, clip, seed=seed) for seed in range(NUM_SEEDS)])
            for clip in clips[:count]
        ]

    def scores(groups: list[np.ndarray]) -> Scores:
        near = np.array(
            [
                [psnr(frames[1:], clip.frames_FHWC[1:]) for frames in group]
                for group, clip in zip(groups, clips, strict=False)
            ]
        )
        judged = np.array(
            [
                [mean_of(critic.judge(frames, settings.fps, num_trials=1, seed=0)) or 0.0 for frames in group]
                for group in groups
            ]
        )
        return gain(near, judged)

    trained = made(len(clips))
    with untrained(pipeline.models.dit):
        random = made(asked.num_untrained)
    asked.kept(PART, truth=[clip.frames_FHWC for clip in clips], trained=trained)
    return rows_of(PART, GOALS, scores(trained), scores(random), {}, num_clips=len(clips))


def gain(near_KN: np.ndarray, judged_KN: np.ndarray) -> Scores:
    """What choosing by the judgement gains over choosing by chance, for K clips of N generations.

    Args:
        near_KN: PSNR to the truth. judged_KN: of which the highest is chosen, the first of equals.
    """
    of_choice_K = np.take_along_axis(near_KN, judged_KN.argmax(1)[:, None], 1)[:, 0]
    gained_K = of_choice_K - near_KN.mean(1)
    low, high = confidence(gained_K)
    return {GAIN: mean(gained_K), LOW: low, HIGH: high, MOST: mean(near_KN.max(1) - near_KN.mean(1))}
