"""Drives Gymnasium's CarRacing from the picture: towards the middle of the road some way ahead."""

import numpy as np

AHEAD = (0.62, 0.52, 0.42)
"""how far down the picture it looks for the road, of the height; the car is at 0.73"""


class CarPlayer:
    """Scripted driver for `CarRacing-v3`; it goes faster or slower from turn to turn.

    It steers to where the road is a little way ahead, brakes before bends, and looks for the road where it has left it.
    """

    def __init__(self) -> None:
        self._pace, self._side = 0.5, 1.0

    def reset(self, rng: np.random.Generator) -> None:
        """Choose a pace."""
        self._pace = float(rng.uniform(0.25, 0.75))

    def act(self, observation: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """Steer, gas and brake after seeing `observation`, uint8 [H, W, 3]: float32 [3]."""
        seen = [aside for aside in (road(observation, at) for at in AHEAD) if aside is not None]
        if not seen:
            return np.array([self._side, 0.3, 0.0], np.float32)
        steer = float(np.clip(5.0 * seen[0] + 1.5 * (seen[-1] - seen[0]), -1, 1))
        self._side = 1.0 if steer >= 0 else -1.0
        bend = abs(seen[-1] - seen[0]) + abs(steer) / 4
        gas = self._pace * max(0.0, 1 - 3 * bend)
        return np.array([steer, gas, min(0.4, max(0.0, bend - 0.3))], np.float32)


def road(observation: np.ndarray, at: float) -> float | None:
    """Where the nearest stretch of road is, from -0.5 (left edge) to 0.5; None where there is none.

    Args:
        observation: uint8 [H, W, 3].
        at: how far down the picture, of its height.
    """
    row = observation[int(at * len(observation))].astype(np.int32)
    grey = (np.ptp(row, axis=1) < 25) & (row[:, 1] > 60) & (row[:, 1] < 150)
    columns = np.flatnonzero(grey)
    if len(columns) < 3:
        return None
    stretches = np.split(columns, np.flatnonzero(np.diff(columns) > 2) + 1)
    middles = np.array([(stretch[0] + stretch[-1]) / 2 for stretch in stretches if len(stretch) >= 3])
    if not len(middles):
        return None
    asides = (middles + 0.5) / len(row) - 0.5
    return float(asides[np.abs(asides).argmin()])
