"""RLlib draws worlds as one batch per env runner, and learns in them."""

import numpy as np
import pytest
from example_modules import load_example

from envs import WorldVectorEnv

ray = pytest.importorskip("ray", reason="needs the extra ray")
pytestmark = pytest.mark.filterwarnings("ignore")  # RLlib's own


@pytest.fixture(scope="module", autouse=True)
def one_node():
    ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)
    yield
    ray.shutdown()


@pytest.mark.parametrize("runners", [0, 1])
def test_runners_draw_worlds_as_batches_and_learn(small_world, runners):
    example = load_example("rllib_ppo")
    algorithm = example.ppo_config(small_world, runners, envs=3, steps=7).build_algo()
    found = algorithm.train()["env_runners"]
    assert found["num_env_steps_sampled"] == 3 * 16 and found["episode_len_mean"] == 7  # cut after every seventh step

    def look(runner):
        env = runner.env.unwrapped
        seen = env.reset(seed=0)[0]
        bounds = 0 <= float(seen.min()) <= float(seen.max()) <= 1
        return type(env).__name__, env.num_envs, seen.dtype == np.float32, bounds

    looks = algorithm.env_runner_group.foreach_env_runner(look, local_env_runner=not runners)
    assert looks == [(WorldVectorEnv.__name__, 3, True, True)]
    algorithm.stop()
