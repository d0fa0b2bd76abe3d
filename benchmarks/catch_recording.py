"""Recordings of the catching game and who plays it."""

import shutil
from pathlib import Path

import numpy as np

from recorders import HeldRandom, ZarrRecorder

from .catch_game import PADDLE, CatchGame, CatchObjects

GAME = {"id": "Catch", "fps": 15, "action_space": {"n": 3}, "action_meanings": ["NOOP", "LEFT", "RIGHT"],
        "keys": {"left": 1, "right": 2}}


class CatchPlayer:
    """Follows the ball, or for a while presses anything: turns of 10 to 60 steps, a third of them careless."""

    def __init__(self) -> None:
        self.random, self.left, self.careless = HeldRandom(3), 0, False

    def act(self, frame: np.ndarray, rng: np.random.Generator) -> int:
        """An action after seeing `frame`, uint8 [24, 24, 3]."""
        if self.left == 0:
            self.left, self.careless = int(rng.integers(10, 61)), bool(rng.random() < 1 / 3)
            self.random.reset(rng)
        self.left -= 1
        seen = CatchObjects.read(frame[None])
        away = float(seen.ball_x[0] - seen.paddle[0])
        if self.careless or np.isnan(away):
            return self.random.act(frame, rng)
        return 0 if abs(away) < PADDLE / 3 else 1 if away < 0 else 2


def record_catch(path: Path, steps: int, seed: int = 0) -> None:
    """Record so many steps or a few more, unless the folder is there."""
    if path.exists():
        return
    part, rng = path.with_name(path.name + ".part"), np.random.default_rng(seed)
    game, player = CatchGame(), CatchPlayer()
    if part.exists():
        shutil.rmtree(part)  # of a run that was broken off
    with ZarrRecorder(part, game.observation_space, game.action_space, meta={"game": GAME}) as writer:
        while steps > 0:
            episode = int(rng.integers(2**31))
            writer.begin(seed=episode)
            frame, ended = game.reset(seed=episode)[0], False
            for _ in range(600):
                action, before = player.act(frame, rng), frame
                frame, reward, ended, _, _ = game.step(action)
                steps -= 1
                writer.add(before, action, reward, ended, False)
                if ended:
                    break
            writer.end(frame)
    part.rename(path)
