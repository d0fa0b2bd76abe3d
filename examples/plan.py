"""Plan in a learned world: try scripts of actions in many copies of a moment at once, then act on the best.

    python examples/plan.py                       # Pong-v0, acting in the learned world and in the real game
    python examples/plan.py starts=4 horizon=12   # a quick look

Three ways to look for a script (`Planner.methods`): random shooting, the cross-entropy method (de Boer et al. 2005),
and pruning while frames are drawn, the worse half of the copies going on from the better half (the tree of frames of
Video-T1, arXiv:2503.18942). All draw the same number of frames. The planner sees pictures and actions alone, so it
does not matter whose they are: those of another rollout, with other noise, or the real game's.
"""

import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import gymnasium as gym
import numpy as np

import foreframe
from world_model import WorldState
from world_model.intervals import figure, mean
from world_model.scenarios import Scenario, collect_scenarios


@dataclass
class Plan:
    """How far, how wide, how often. `name=value` on the command line."""

    world: str = "Pong-v0"
    actions: str = "0,2,3"
    """ids that scripts are made of, or nothing for all; the others of Pong push FIRE, which does nothing in play"""
    horizon: int = 20
    """steps looked ahead"""
    hold: int = 2
    """steps for which a script keeps an action"""
    act: int = 4
    """steps acted on before looking again"""
    candidates: int = 16
    """copies of the moment, each with a script of its own"""
    rounds: int = 2
    """times all of them are drawn per decision"""
    noises: int = 1
    """noises under which each script is tried; its return is their mean"""
    elite: float = 0.25
    """share of the scripts that the cross-entropy method learns from"""
    discount: float = 0.97
    starts: int = 12
    """situations played from: those in which the real game takes a point from a player at rest"""
    steps: int = 40
    """played from each"""
    seed: int = 0


class Planner:
    """Looks for the script with the largest discounted return in copies of a world.

    Args:
        plan: how; `plan.world` is a shipped world's name or a folder.
        kwargs: go to the world.
    """

    def __init__(self, plan: Plan, **kwargs: Any) -> None:
        self.plan, self.rng = plan, np.random.default_rng(plan.seed)
        self.one = gym.make(foreframe.ANY_WORLD, world=plan.world, **kwargs).unwrapped
        self.many = gym.make_vec(foreframe.ANY_WORLD, num_envs=plan.candidates * plan.noises, world=plan.world,
                                 autoreset_mode="Disabled", **kwargs).unwrapped
        count = int(self.one.action_space.n)
        self.ids = np.array([int(word) for word in plan.actions.split(",")] if plan.actions else range(count))
        self.parts = -(-plan.horizon // plan.hold)
        if not set(self.ids.tolist()) <= set(range(count)) or plan.act % plan.hold or not 0 < plan.act <= plan.horizon:
            raise ValueError(f"actions must be ids from 0 to {count - 1}, act a multiple of hold and at most horizon; "
                             f"got {plan.actions!r}, act={plan.act}, hold={plan.hold}, horizon={plan.horizon}")
        self.methods: dict[str, Callable[[], tuple[np.ndarray, float]]] = {
            "shooting": self.shooting, "cross-entropy": self.cross_entropy, "pruning": self.pruning}
        self.promised = 0.0
        """discounted return of the last decision's whole script, as imagined"""
        self._rest: np.ndarray | None = None

    def forget(self) -> None:
        """The next decision is about something else: what is left of the last script is not tried again."""
        self._rest = None

    def decide(self, frames: np.ndarray, actions: np.ndarray, method: str) -> np.ndarray:
        """The actions to take now, int [act], after `frames` [k, H, W, 3] with `actions` [k - 1] between them.

        What is left of the decision before is among the scripts that are tried, see `forget`.
        """
        moments = []
        for _ in range(self.plan.noises):
            self.one.reset(seed=int(self.rng.integers(2**31)), options={"frames": frames, "actions": actions})
            moments += [self.one.snapshot()] * self.plan.candidates
        self.moment = WorldState.join(moments)
        script, self.promised = self.methods[method]()
        done = self.plan.act // self.plan.hold
        self._rest = np.concatenate([script[done:], self.rng.choice(self.ids, done)])
        return np.repeat(script[:done], self.plan.hold)

    def imagine(self, scripts: np.ndarray) -> np.ndarray:
        """Discounted returns [candidates] of scripts [candidates, parts], an action per part."""
        self.many.restore(self.moment)
        return sum(self._draw(part, scripts[:, part]) for part in range(self.parts))

    def shooting(self) -> tuple[np.ndarray, float]:
        """The best of random scripts."""
        scripts = [self._random(turn == 0) for turn in range(self.plan.rounds)]
        returns = np.concatenate([self.imagine(some) for some in scripts])
        first = self._best_first(returns)[0]
        return np.concatenate(scripts)[first], float(returns[first])

    def cross_entropy(self) -> tuple[np.ndarray, float]:
        """The best script seen, each round's drawn from what the best of the round before did."""
        chances = np.full((self.parts, len(self.ids)), 1 / len(self.ids))
        best, most = None, -np.inf
        for turn in range(self.plan.rounds):
            scripts = np.stack([self.rng.choice(self.ids, self.plan.candidates, p=p) for p in chances], 1)
            scripts = self._with_rest(scripts) if turn == 0 else scripts
            returns = self.imagine(scripts)
            order = self._best_first(returns)
            if returns[order[0]] > most:
                best, most = scripts[order[0]], float(returns[order[0]])
            elite = scripts[order[: max(1, round(self.plan.elite * len(order)))]]
            counts = (elite[:, :, None] == self.ids).mean(0)
            chances = 0.8 * counts + 0.2 * chances
        return best, most

    def pruning(self) -> tuple[np.ndarray, float]:
        """The best script at the end, the worse half of the copies going on from the better half after every part."""
        best, most, n = None, -np.inf, self.plan.candidates
        for turn in range(self.plan.rounds):
            scripts, returns = self._random(turn == 0), np.zeros(n)
            self.many.restore(self.moment)
            for part in range(self.parts):
                returns = returns + self._draw(part, scripts[:, part])
                order = self._best_first(returns)
                better, worse = order[: n // 2], order[n - n // 2 :]
                if part + 1 < self.parts and returns[better[-1]] > returns[worse[-1]]:
                    source = np.arange(n)
                    source[worse] = better
                    copies = [noise * n + int(row) for noise in range(self.plan.noises) for row in source]
                    self.many.restore(self.many.snapshot().take(copies))
                    scripts[worse, : part + 1], returns[worse] = scripts[better, : part + 1], returns[better]
            first = self._best_first(returns)[0]
            if returns[first] > most:
                best, most = scripts[first], float(returns[first])
        return best, most

    def close(self) -> None:
        """Close the worlds."""
        self.one.close()
        self.many.close()

    def _draw(self, part: int, actions: np.ndarray) -> np.ndarray:
        """Hold an action in each copy for a part; discounted rewards [candidates], what comes after an end left out."""
        plan, gained = self.plan, np.zeros(self.plan.candidates)
        for step in range(part * plan.hold, min((part + 1) * plan.hold, plan.horizon)):
            rewards = self.many.step(np.tile(actions, plan.noises))[1]
            gained += plan.discount**step * rewards.reshape(plan.noises, -1).mean(0)
        return gained

    def _random(self, first: bool) -> np.ndarray:
        scripts = self.rng.choice(self.ids, (self.plan.candidates, self.parts))
        return self._with_rest(scripts) if first else scripts

    def _with_rest(self, scripts: np.ndarray) -> np.ndarray:
        if self._rest is not None:
            scripts[0] = self._rest
        return scripts

    def _best_first(self, returns: np.ndarray) -> np.ndarray:
        """Places in falling order of return, equal ones in random order."""
        return np.lexsort((self.rng.random(len(returns)), -returns))


class Dream:
    """The learned world as something to act in, from a start's clip, with noise of its own."""

    def __init__(self, plan: Plan) -> None:
        self.env, self.seed = gym.make(foreframe.ANY_WORLD, world=plan.world), plan.seed + 10_000

    def begin(self, start: Scenario) -> None:
        """Go to a start."""
        self.env.reset(seed=self.seed, options={"frames": start.frames, "actions": start.past_actions})

    def step(self, action: int) -> tuple[np.ndarray, float, bool]:
        """Observation, reward and whether the game is over."""
        seen, reward, terminated, truncated, _ = self.env.step(action)
        return seen, float(reward), terminated or truncated


class Real(Dream):
    """The real game, from a start's saved state."""

    def __init__(self, plan: Plan) -> None:
        self.env = foreframe.make_teacher(plan.world)
        self.env.reset(seed=plan.seed)

    def begin(self, start: Scenario) -> None:
        """Go to a start."""
        self.env.unwrapped.restore_state(start.snapshot)


def play(place: Dream, start: Scenario, steps: int, choose: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> float:
    """The return of some steps from a start; `choose` names the next actions from the last frames and actions."""
    place.begin(start)
    kept, frames, actions, total = len(start.frames), list(start.frames), list(start.past_actions), 0.0
    queue: list[int] = []
    for _ in range(steps):
        queue = queue or choose(np.stack(frames[-kept:]), np.array(actions[len(actions) - kept + 1 :])).tolist()
        actions.append(queue.pop(0))
        seen, reward, over = place.step(actions[-1])
        frames.append(seen)
        total += reward
        if over:
            break
    return total


def lost_at_rest(plan: Plan) -> list[Scenario]:
    """Starts from which the real game takes a point from a player who does nothing, within the steps to be played."""
    game, found = foreframe.make_teacher(plan.world), []
    meanings, seed = game.unwrapped.get_action_meanings(), 3_000_000 + plan.seed
    while len(found) < plan.starts:
        for start in collect_scenarios(game, game.spec.id, meanings, count=plan.starts, context=20, horizon=1,
                                       seed=seed, progress=False):
            game.unwrapped.restore_state(start.snapshot)
            if sum(float(game.step(0)[1]) for _ in range(plan.steps)) < 0:
                found.append(start)
        seed += 1000
    game.close()
    return found[: plan.starts]


def main(words: list[str]) -> None:
    """Play every start at rest, at random and by plan, in the learned world and in the real game."""
    plan = Plan()
    kinds = {field.name: type(getattr(plan, field.name)) for field in fields(plan)}
    for word in words:
        name, _, value = word.partition("=")
        if name not in kinds:
            sys.exit(f"plan: no setting is called {name!r}; there are {list(kinds)}")
        setattr(plan, name, kinds[name](value))
    starts, planner, rng = lost_at_rest(plan), Planner(plan), np.random.default_rng(plan.seed)
    players: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "at rest": lambda frames, actions: np.zeros(plan.act, np.int64),
        "at random": lambda frames, actions: np.repeat(rng.choice(planner.ids, plan.act // plan.hold), plan.hold)}
    for method in planner.methods:
        players[method] = lambda frames, actions, method=method: planner.decide(frames, actions, method)
    print(f"mean return of {plan.steps} steps from {len(starts)} starts (95% of resamples)\n")
    print(f"{'':>14} {'learned world':>24} {'real game':>24} {'s a decision':>13}")
    for name, choose in players.items():
        begun, found = time.perf_counter(), []
        for place in (Dream(plan), Real(plan)):
            returns = []
            for start in starts:
                planner.forget()
                returns.append(play(place, start, plan.steps, choose))
            got = figure(mean, np.array(returns))
            found.append(f"{got['value']:+.2f} ({got['low']:+.2f} to {got['high']:+.2f})")
        each = (time.perf_counter() - begun) / (2 * len(starts) * plan.steps / plan.act)
        print(f"{name:>14} {found[0]:>24} {found[1]:>24} {each:13.2f}", flush=True)
    planner.close()


if __name__ == "__main__":
    main(sys.argv[1:])
