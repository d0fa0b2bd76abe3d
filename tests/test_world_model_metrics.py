"""Likeness of pictures with known answers."""

import numpy as np
import pytest

from world_model.metrics import motion, psnr, ssim

NOISE = np.random.default_rng(0).integers(0, 256, (2, 40, 32, 3), np.uint8)


def test_equal_pictures_are_alike() -> None:
    assert psnr(NOISE, NOISE).tolist() == [60, 60] and ssim(NOISE, NOISE) == pytest.approx([1, 1])


def test_psnr_of_a_known_difference() -> None:
    flat = np.zeros((1, 4, 4, 3), np.uint8)
    assert psnr(flat, flat + 10)[0] == pytest.approx(28.13, abs=0.01)


def test_ssim_of_flat_pictures_is_the_luminance_term() -> None:
    a, b = np.full((1, 16, 16, 3), 100, np.uint8), np.full((1, 16, 16, 3), 50, np.uint8)
    assert ssim(a, b)[0] == pytest.approx((2 * 100 * 50 + 6.5025) / (100**2 + 50**2 + 6.5025), abs=1e-6)


def test_ssim_follows_its_definition_at_one_window() -> None:
    a, b = NOISE[:1, :11, :11], NOISE[1:, :11, :11]
    x, y = (frame[0] @ np.array([0.299, 0.587, 0.114]) for frame in (a, b))
    line = np.exp(-0.5 * ((np.arange(11) - 5) / 1.5) ** 2)
    w = np.outer(line, line) / line.sum() ** 2
    mx, my = (w * x).sum(), (w * y).sum()
    vx, vy, cov = (w * (x - mx) ** 2).sum(), (w * (y - my) ** 2).sum(), (w * (x - mx) * (y - my)).sum()
    c1, c2 = 2.55**2, 7.65**2
    expected = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(a, b)[0] == pytest.approx(expected, abs=1e-5)


def test_ssim_reads_pictures_smaller_than_its_window() -> None:
    assert ssim(NOISE[:, :8, :7], NOISE[:, :8, :7]) == pytest.approx([1, 1])
    assert ssim(NOISE[:, :8, :7], NOISE[::-1, :8, :7])[0] < 0.5


def test_motion_is_the_mean_difference() -> None:
    frames = np.stack([np.full((4, 4, 3), value, np.uint8) for value in (10, 24, 24, 5)])
    assert motion(frames).tolist() == [14, 0, 19] and motion(frames[None])[0].tolist() == [14, 0, 19]


def test_what_nobody_sees_is_no_motion() -> None:
    frames = np.random.default_rng(0).integers(100, 110, (5, 8, 8, 3)).astype(np.uint8)
    assert motion(frames).tolist() == [0, 0, 0, 0]
