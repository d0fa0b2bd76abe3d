"""Which action lies between pictures: a small network learns it from the real game, then reads a world's pictures.

An action that a world obeys can be read off its pictures as often as off the real game's. The network sees the means of
every row and of every column of four pictures, two before the action shows and two after it (things have inertia), and
looks for the same change anywhere along them: seconds on a CPU, for any game. It need not be perfect, for the figure is
how often it is right on a world's pictures relative to real ones of the same situations. Actions that do the same (in
Pong FIRE is NOOP) cannot be told apart by anybody and count as one: see `action_kinds`.
"""

from dataclasses import dataclass
from typing import Any

import gymnasium
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from tqdm import tqdm, trange

from recorders import behaviour_for

from .action_kinds import ActionKinds
from .intervals import figure, share
from .scenarios import replay

BEFORE, AFTER = 2, 2
"""pictures that an action is read off: frames before it, and frames from the one that it led to on"""
FRAMES = BEFORE + AFTER

Profiles = tuple[np.ndarray, np.ndarray]
"""means of rows float32 [..., 3, H] and of columns [..., 3, W] of pictures, in [0, 1]"""


class InverseDynamics(nn.Module):
    """Reads the kind of an action off the profiles of four pictures."""

    def __init__(self, kinds: int, width: int = 32):
        super().__init__()
        self.look = nn.ModuleList(nn.Sequential(
            nn.Conv1d(3 * FRAMES, width, 7, padding=3), nn.ReLU(),
            nn.Conv1d(width, width, 5, padding=2), nn.ReLU()) for _ in ("rows", "columns"))  # fmt: skip
        self.decide = nn.Sequential(nn.Linear(4 * width, 64), nn.ReLU(), nn.Linear(64, kinds))

    def forward(self, profiles: tuple[Tensor, Tensor]) -> Tensor:
        """Profiles [N, 4, 3, H] and [N, 4, 3, W] of four pictures in a row -> logits [N, kinds]."""
        found = []
        for look, x in zip(self.look, profiles, strict=True):
            last = x[:, -1:] - x[:, -1:].mean(-1, keepdim=True)
            seen = look(10 * torch.cat([last, 4 * x.diff(dim=1)], 1).flatten(1, 2))
            found += [seen.amax(2), seen.mean(2)]
        return torch.as_tensor(self.decide(torch.cat(found, 1)))


@dataclass
class Play:
    """T steps of the real game."""

    profiles: Profiles
    """[T, 3, H] and [T, 3, W]"""
    actions: np.ndarray
    """[T, ...], each led to its frame; of no meaning for a game's first frame"""
    begins: np.ndarray
    """bool [T], a game's first frames"""


def profiles_of(frames: np.ndarray) -> Profiles:
    """Profiles of pictures uint8 [..., H, W, 3]."""
    rows, columns = (np.moveaxis(frames.mean(axis, dtype=np.float32) / 255, -1, -2) for axis in (-2, -3))
    return rows, columns


def play(game: gymnasium.Env[Any, Any], env_id: str, meanings: list[str], steps: int, seed: int,
         progress: bool = True) -> Play:
    """Real play by the recorder's behaviours, episodes seeded from `seed` on."""
    player = behaviour_for(env_id, meanings, game.observation_space.shape or (), game.action_space)
    rng, nothing = np.random.default_rng(seed), np.zeros_like(game.action_space.sample())
    seen: list[Profiles] = []
    actions, begins = [], []
    over, frame = True, np.zeros(0)
    for _ in trange(steps, desc="real play", unit="step", disable=not progress):
        if over:
            action, (frame, _), over = nothing, game.reset(seed=seed), False
            begins.append(True)
            seed += 1
            player.reset(rng)
        else:
            action = player.act(frame, rng)
            begins.append(False)
            frame, _, terminated, truncated, _ = game.step(action)
            over = terminated or truncated
        seen.append(profiles_of(frame))
        actions.append(action)
    rows, columns = (np.stack(part) for part in zip(*seen, strict=True))
    return Play((rows, columns), np.array(actions), np.array(begins))


def learn(played: Play, kinds: ActionKinds, updates: int, seed: int = 0, batch: int = 64,
          progress: bool = True) -> InverseDynamics:
    """Train on real play.

    Args:
        played: at least four steps without a game's end.
        kinds: of actions.
        updates: batches seen.
        seed: decides weights and batches.
        batch: actions per update.
        progress: whether a bar is shown.
    """
    rng, told = np.random.default_rng(seed), kinds.of(played.actions)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = InverseDynamics(kinds.count)
    at = np.arange(BEFORE, len(told) - AFTER + 1)
    usable = at[np.all([~played.begins[at - BEFORE + i] for i in range(1, FRAMES)], axis=0)]
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=updates)
    for _ in trange(updates, desc="inverse dynamics", unit="batch", disable=not progress):
        chosen = rng.choice(usable, batch)
        loss = cross_entropy(model(_clips(played.profiles, chosen)), torch.from_numpy(told[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@torch.inference_mode()
def recovered(model: InverseDynamics, before: np.ndarray, frames: np.ndarray, kinds: np.ndarray) -> np.ndarray:
    """Whether actions are read off what they led to.

    Args:
        model: what reads them.
        before: uint8 [B, k, H, W, 3] real frames, k >= 2.
        frames: uint8 [B, T, H, W, 3] that follow.
        kinds: int [B, T], the kind of action that led to each.

    Returns:
        bool [B, T - 1]: the last one shows in a frame that is not there.
    """
    whole = np.concatenate([before[:, -BEFORE:], frames], 1)
    rows, columns = profiles_of(whole)
    read = [model((torch.from_numpy(rows[:, t : t + FRAMES]), torch.from_numpy(columns[:, t : t + FRAMES]))).argmax(-1)
            for t in range(frames.shape[1] - AFTER + 1)]  # fmt: skip
    return np.asarray(torch.stack(read, 1).numpy() == kinds[:, : len(read)])


def action_kinds(game: gymnasium.Env[Any, Any], snapshots: list[Any], count: int, steps: int = 3,
                 alike: float = 0.75) -> np.ndarray:
    """Which actions do the same in the real game: held from saved states, they lead to the same pictures nearly always.

    Args:
        game: the real game.
        snapshots: saved states; without any, every action is a kind of its own.
        count: of actions.
        steps: how long each is held.
        alike: share of the states in which two actions of a kind lead to the same pictures, at least.

    Returns:
        int64 [count], kinds numbered from 0.
    """
    kinds = np.arange(count)
    if not snapshots:
        return kinds
    films = [[replay(game, state, np.full(steps, action)) for action in range(count)]
             for state in tqdm(snapshots, desc="actions", unit="start", leave=False, disable=None)]
    for action in range(count):
        for other in range(action):
            if np.mean([(film[action] == film[other]).all() for film in films]) >= alike:
                kinds[action] = kinds[other]
                break
    return np.unique(kinds, return_inverse=True)[1]


def control_figures(real: np.ndarray, drawn: np.ndarray, otherwise: np.ndarray, going: np.ndarray,
                    common: float) -> dict[str, Any]:
    """Accuracies from what was recovered, bool [B, T] each, where `going`; intervals over starts.

    Args:
        real: off the real game's pictures.
        drawn: off the world's.
        otherwise: off the world's pictures under another start's actions: what is recovered by luck.
        going: bool [B, T], whether the game went on.
        common: share of the most common kind of action: what always saying that one recovers.
    """
    total, right, ours, lucky = ((x & going).sum(1).astype(np.float64) for x in (going, real, drawn, otherwise))
    return {"real": figure(share, right, total), "world": figure(share, ours, total),
            "shuffled_actions": figure(share, lucky, total), "most_common": common,
            "ratio": figure(share, ours, right), "action_gap": figure(share, ours - lucky, total)}


def _clips(profiles: Profiles, at: np.ndarray) -> tuple[Tensor, Tensor]:
    """Profiles [N, 4, 3, H] and [N, 4, 3, W] around rows `at`."""
    rows, columns = (torch.from_numpy(np.stack([x[at - BEFORE + i] for i in range(FRAMES)], 1)) for x in profiles)
    return rows, columns
