"""What an agent is paid inside and outside: the counting, and the table of an agent."""

import numpy as np
import pytest
from example_modules import load_example

from benchmarks.dream_gap import DreamGapConfig, dreamed, played, rates, report


def test_rates_are_points_in_100_counted_steps():
    rewards = np.array([[1.0, 0.0], [-1.0, 0.0], [0.0, -1.0], [1.0, 1.0]])
    counted = np.array([[True, True], [True, True], [True, True], [False, False]])
    won, lost, both = rates(rewards, counted, np.random.default_rng(0)).split(" | ")
    assert [one.split(" (")[0] for one in (won, lost, both)] == ["+16.67", "+33.33", "-16.67"]
    assert won.endswith("(+0.00 to +33.33)")


@pytest.fixture(scope="module")
def run(tiny_world, tmp_path_factory):
    example, out = load_example("train_in_dream"), tmp_path_factory.mktemp("dream")
    example.learn(example.Dream(world=str(tiny_world), out=str(out), envs=2, length=4, updates=1, most_steps=6))
    return example, out


def test_a_report_of_an_agent(run, capsys):
    example, out = run
    agent, dream, steps = example.load_agent(out)
    assert steps == 8 and dream.most_steps == 6
    config = DreamGapConfig(out=str(out), pairs=2, depths=[2, 5], doubts=[0.0], games=2)
    rewards, apart = dreamed(config, agent, dream, example.SEEN)
    assert rewards.shape == apart.shape == (5, 2) and (apart > 0).all()
    real = played(config, agent, dream, example.SEEN)
    assert real.shape == (6, 2) and not np.isnan(real).any()
    report(config, rewards, apart, real)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[0] for line in lines[2:5]] == ["| inside, steps 0 to 2", "| inside, steps 2 to 5",
                                                             "| real game"]
    assert lines[-2].startswith("| 0 | 0% |") and lines[-1].startswith("| 255 | 100% |")


def test_a_run_that_is_not_there(run, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"settings\.json"):
        run[0].load_agent(tmp_path)
