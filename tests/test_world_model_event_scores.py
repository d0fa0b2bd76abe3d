"""Rewards and ends: matched once, by sign, within the slack."""

import numpy as np
import pytest

from world_model.event_scores import ends, event_figures, matches, return_error


def row(steps: int = 12, **events: float) -> np.ndarray:
    found = np.zeros(steps)
    for name, value in events.items():
        found[int(name[1:])] = value
    return found


def test_events_match_within_the_slack_and_by_sign() -> None:
    real, drawn = row(t2=1, t6=-1)[None], row(t3=1, t6=1, t8=-1)[None]
    exact, slack = event_figures(drawn, real, 0), event_figures(drawn, real, 1)
    assert [exact[k]["value"] for k in ("precision", "recall", "f1")] == [0, 0, 0]
    assert slack["precision"]["value"] == pytest.approx(1 / 3) and slack["recall"]["value"] == pytest.approx(1 / 2)
    assert slack["f1"]["value"] == pytest.approx(0.4) and (slack["drawn"], slack["real"]) == (3, 2)
    assert np.isnan(event_figures(drawn * 0, real, 0)["precision"]["value"])


def test_an_event_given_twice_counts_once() -> None:
    found = event_figures(row(t4=1, t5=1, t6=1)[None], row(t5=1)[None], 1)
    assert found["precision"]["value"] == pytest.approx(1 / 3) and found["recall"]["value"] == 1


def test_matches_are_as_many_as_can_be() -> None:
    assert matches(row(t3=1, t4=1), row(t2=1, t3=1), 1) == [(3, 2), (4, 3)]


def test_a_reward_of_another_size_is_told() -> None:
    found = event_figures(row(t2=1, t8=4)[None], row(t2=7, t8=4)[None], 1)
    assert found["f1"]["value"] == 1 and found["same_value"]["value"] == 0.5
    assert return_error(row(t2=1, t8=4)[None], row(t2=7, t8=4)[None])["value"] == 6


def test_an_end_is_one_event() -> None:
    over = np.array([[False, False, True, True], [True, True, True, True], [False] * 4])
    assert ends(over).tolist() == [[0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
