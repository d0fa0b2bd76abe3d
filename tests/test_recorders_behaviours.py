import numpy as np
import pytest

from recorders import BreakoutPlayer, HeldRandom, Mixture, Noisy, PongPlayer, behaviour_for, game_for, make_game

PONG_ACTIONS = ["NOOP", "FIRE", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
BLANK = np.zeros((104, 80, 3), np.uint8)


class Always:
    def __init__(self, action):
        self.action = action

    def reset(self, rng):
        pass

    def act(self, observation, rng):
        return self.action


def choices(behaviour, steps, seed=0):
    rng = np.random.default_rng(seed)
    behaviour.reset(rng)
    return np.array([behaviour.act(BLANK, rng) for _ in range(steps)])


def score(behaviour, steps, seed=0):
    """Points won and lost in real Pong, and the actions taken."""
    env, rng = make_game(game_for("ALE/Pong-v5")), np.random.default_rng(seed)
    frame, _ = env.reset(seed=seed)
    behaviour.reset(rng)
    rewards, actions = [], []
    for _ in range(steps):
        actions.append(behaviour.act(frame, rng))
        frame, reward, terminated, truncated, _ = env.step(actions[-1])
        rewards.append(reward)
        if terminated or truncated:
            frame, _ = env.reset()
    rewards = np.array(rewards)
    return int((rewards > 0).sum()), int((rewards < 0).sum()), actions


def test_held_random_holds_each_action_for_at_most_its_longest_time_on_average():
    actions = choices(HeldRandom(6, longest=12), 6000)
    assert set(actions) == set(range(6))
    changes = (np.diff(actions) != 0).sum()
    assert changes == pytest.approx(6000 / 6.5 * 5 / 6, rel=0.15)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.6])
def test_epsilon_is_the_share_of_steps_in_bursts(epsilon):
    noisy = Noisy(Always(7), epsilon, actions=6)
    assert (choices(noisy, 20_000) != 7).mean() == pytest.approx(epsilon, abs=0.03)


def test_impossible_noise_is_refused():
    with pytest.raises(ValueError, match="0 <= epsilon < 1"):
        Noisy(Always(0), 1.0, actions=6)


def test_parts_take_turns_by_their_shares_and_are_named():
    mixture = Mixture({"a": (Always(0), 1), "b": (Always(1), 3)}, turn=(5, 10))
    rng = np.random.default_rng(0)
    mixture.reset(rng)
    seen = []
    for _ in range(20_000):
        action = mixture.act(BLANK, rng)
        assert action == mixture.actor
        seen.append(action)
    assert np.mean(seen) == pytest.approx(0.75, abs=0.05)
    lengths = np.diff(np.flatnonzero(np.diff(seen)))
    assert lengths.min() >= 5
    assert mixture.part("b").action == 1
    with pytest.raises(KeyError, match="this mixture has"):
        mixture.part("c")


def test_pong_gets_the_scripted_player_and_other_games_do_not():
    assert "scripted" in behaviour_for("ALE/Pong-v5", PONG_ACTIONS).names
    assert "scripted" not in behaviour_for("ALE/Pong-v5", PONG_ACTIONS, (64, 64, 3)).names
    other = behaviour_for("ALE/Breakout-v5", ["NOOP", "FIRE", "RIGHT", "LEFT"])
    assert set(choices(other, 2000)) == set(range(4))


def test_same_seed_same_choices():
    def mixed():
        return choices(behaviour_for("X-v0", ["a", "b", "c"]), 1000)

    assert (mixed() == mixed()).all()


def test_the_scripted_player_beats_the_game_where_random_play_loses():
    won, lost, actions = score(PongPlayer(), 2000)
    random_won, random_lost, _ = score(HeldRandom(6), 800)
    print(f"real Pong: scripted {won}:{lost} in 2000 steps, random {random_won}:{random_lost} in 800")
    assert won > lost
    assert random_lost - random_won > 10
    assert set(actions) == set(range(6))


def test_the_scripted_player_clears_bricks_where_random_play_does_not():
    def broken(behaviour, steps=1500):
        env, rng = make_game(game_for("ALE/Breakout-v5")), np.random.default_rng(0)
        frame, _ = env.reset(seed=0)
        behaviour.reset(rng)
        total = 0
        for _ in range(steps):
            frame, reward, ended, _, _ = env.step(behaviour.act(frame, rng))
            total += reward
            if ended:
                break
        return total

    scripted, free = broken(BreakoutPlayer()), broken(HeldRandom(4))
    print(f"real Breakout in 1500 steps or one game: scripted {scripted:.0f}, random {free:.0f}")
    assert scripted > 60 > 6 * free
    mixture = behaviour_for("ALE/Breakout-v5", ["NOOP", "FIRE", "RIGHT", "LEFT"])
    assert isinstance(mixture.part("scripted"), BreakoutPlayer)


def test_scripted_players_refuse_other_frames():
    with pytest.raises(ValueError, match=r"BreakoutPlayer reads frames of \[104, 80, 3\], got \[64, 64, 3\]"):
        BreakoutPlayer().act(np.zeros((64, 64, 3), np.uint8), np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"reads frames of \[104, 80, 3\], got \[64, 64, 3\]"):
        PongPlayer().act(np.zeros((64, 64, 3), np.uint8), np.random.default_rng(0))
