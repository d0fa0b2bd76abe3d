"""The executor with exact denoisers and no training: a Gaussian chain whose law is known (invariant I10).

Frames follow an AR(1) chain, so the best clean estimate is a linear map that can be written down. Sampling is then
linear in the noise, and the drawn covariance is exact: no samples, no tolerance for chance. The numbers are squared
Bures distances to the true covariance, F = 12 frames, S = 40 steps, on the variance-preserving cosine path. They show
that under strictly causal attention even a perfect network is biased unless the stagger is as large as the steps.
"""

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from world_model.plans import ad_plan
from world_model.sampler import NoisePath, SamplerConfig, flow_path, run_plan

FRAMES, STEPS = 12, 40


def cosine_path() -> NoisePath:
    angle = math.pi / 2 * 0.999 * torch.arange(STEPS + 1, dtype=torch.float64) / STEPS
    return NoisePath(torch.arange(STEPS + 1, dtype=torch.float64), angle.cos(), angle.sin())


def chain(correlation: float) -> np.ndarray:
    index = np.arange(FRAMES)
    return correlation ** np.abs(index[:, None] - index[None])


def root(matrix: np.ndarray) -> np.ndarray:
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    return (vectors * np.sqrt(values.clip(0))) @ vectors.T


def squared_bures(a: np.ndarray, b: np.ndarray) -> float:
    half = root(a)
    return float(np.trace(a) + np.trace(b) - 2 * np.trace(root(half @ b @ half)))


def distance(correlation: float, stagger: int, causal: bool) -> float:
    """Run the plan on the identity: row j of the batch is the answer to unit noise in frame j."""
    path, covariance, noise = cosine_path(), chain(correlation), torch.eye(FRAMES, dtype=torch.float64)
    committed: list[Tensor] = []

    def denoise(live: Tensor, times: Tensor, first: int) -> Tensor:
        seen = torch.cat([torch.stack(committed, 1)[:, :first], live], 1) if first else live  # [F, n]
        levels = [0] * first + [int(t) for t in times]
        begun = len(levels)
        if not causal:  # attention both ways also sees the frames that have not begun
            seen, levels = torch.cat([seen, noise[:, begun:]], 1), levels + [STEPS] * (FRAMES - begun)
        alpha, sigma = path.alphas[levels].numpy(), path.sigmas[levels].numpy()
        estimates = []
        for i in range(first, begun):
            n = i + 1 if causal else len(levels)
            gram = covariance[:n, :n] * np.outer(alpha[:n], alpha[:n]) + np.diag(sigma[:n] ** 2 + 1e-12)
            weights = np.linalg.solve(gram, covariance[i, :n] * alpha[:n])
            estimates.append(seen[:, :n] @ torch.from_numpy(weights))
        return torch.stack(estimates, 1)

    def finish(clean: Tensor, index: int) -> Tensor:
        committed.append(clean)
        return clean

    drawn = run_plan(ad_plan(FRAMES, STEPS, stagger), path, noise, denoise, finish).numpy()
    return squared_bures(drawn.T @ drawn, covariance)


@pytest.mark.parametrize(("stagger", "causal9", "both9", "causal6"), [
    (0, 1.359, 0.025, 0.553),
    (1, 0.975, 0.019, 0.470),
    (2, 0.762, 0.016, 0.403),
    (5, 0.454, 0.013, 0.260),
    (10, 0.242, 0.012, 0.132),
    (20, 0.077, 0.014, 0.037),
    (40, 0.018, 0.016, 0.012),
])  # fmt: skip
def test_the_executor_reproduces_the_measured_table(stagger: int, causal9: float, both9: float, causal6: float) -> None:
    assert distance(0.9, stagger, causal=True) == pytest.approx(causal9, abs=1e-3)
    assert distance(0.9, stagger, causal=False) == pytest.approx(both9, abs=1e-3)
    assert distance(0.6, stagger, causal=True) == pytest.approx(causal6, abs=1e-3)


def test_a_perfect_denoiser_is_returned_untouched_and_frames_finish_in_order() -> None:
    target = torch.randn(2, 3, 4, generator=torch.Generator().manual_seed(0))
    order: list[int] = []

    def finish(clean: Tensor, index: int) -> Tensor:
        order.append(index)
        return clean

    path = flow_path(SamplerConfig(steps=5, shift=3.0))
    drawn = run_plan(ad_plan(3, 5, 2), path, torch.randn(2, 3, 4),
                     lambda live, times, first: target[:, first : first + live.shape[1]], finish)
    assert torch.allclose(drawn, target, atol=1e-6)
    assert order == [0, 1, 2]


def test_the_network_is_told_the_time_of_each_live_frame() -> None:
    path, told = flow_path(SamplerConfig(steps=2, shift=1.0)), []

    def denoise(live: Tensor, times: Tensor, first: int) -> Tensor:
        told.append((first, times.tolist()))
        return torch.zeros_like(live)

    run_plan(ad_plan(2, 2, 1), path, torch.randn(1, 2, 1), denoise)
    assert told == [(0, [1.0]), (0, [0.5, 1.0]), (1, [0.5])]
