"""The window under SDL's dummy driver: events in, pixels out."""

import numpy as np
import pytest

from envs import WorldEnv, play_in_window
from envs.game import Game
from envs.pilot import person
from envs.player import Player
from envs.scene import Scene
from envs.sessions import keys_of
from envs.stage import Stage
from recorders import open_recording


@pytest.fixture
def pygame(monkeypatch):
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    import pygame

    yield pygame
    pygame.display.quit()


@pytest.fixture
def window(pygame):
    from envs.window import Window

    return Window((20, 16, 3), scale=4)


def post(pygame, kind, key):
    pygame.event.post(pygame.event.Event(kind, key=key))


def shown(pygame):
    return pygame.surfarray.array3d(pygame.display.get_surface()).swapaxes(0, 1)


def test_a_key_is_held_until_it_is_let_go(pygame, window):
    post(pygame, pygame.KEYDOWN, pygame.K_UP)
    assert window.poll().held == ("up",)
    assert window.poll().held == ("up",)
    post(pygame, pygame.KEYDOWN, pygame.K_SPACE)
    assert window.poll().held == ("up", "space")
    post(pygame, pygame.KEYUP, pygame.K_UP)
    assert window.poll().held == ("space",)


def test_a_tap_between_two_looks_counts_once(pygame, window):
    post(pygame, pygame.KEYDOWN, pygame.K_s)
    post(pygame, pygame.KEYUP, pygame.K_s)
    inputs = window.poll()
    assert inputs.held == inputs.pressed == ("s",)
    assert window.poll().held == ()


def test_losing_the_focus_lets_go_of_all_keys(pygame, window):
    post(pygame, pygame.KEYDOWN, pygame.K_UP)
    window.poll()
    pygame.event.post(pygame.event.Event(pygame.WINDOWFOCUSLOST))
    assert window.poll().held == ()


def test_the_windows_cross_closes(pygame, window):
    pygame.event.post(pygame.event.Event(pygame.QUIT))
    assert window.poll().closed


def test_the_frame_is_shown_enlarged(pygame, window):
    frame = np.random.default_rng(0).integers(0, 256, (20, 16, 3), np.uint8)
    window.show(Scene(frame, ("one", "two", "three")))
    assert (shown(pygame)[: 20 * 4 : 4, : 16 * 4 : 4] == frame).all()


def test_the_picture_changes_with_the_frame_the_text_and_the_size(pygame, window):
    frame, lines = np.zeros((20, 16, 3), np.uint8), ("one", "two", "three")
    window.show(Scene(frame, lines))
    window.show(Scene(frame, lines))
    before = shown(pygame).copy()
    assert (before[: 20 * 4, : 16 * 4] == 0).all()
    frame[:] = 200
    window.show(Scene(frame, lines))
    assert (shown(pygame)[: 20 * 4, : 16 * 4] == 200).all()
    window.show(Scene(frame, ("four",)))
    assert (shown(pygame)[20 * 4 :] != before[20 * 4 :]).any()
    pygame.event.post(pygame.event.Event(pygame.VIDEORESIZE, w=5, h=5, size=(5, 5)))
    window.poll()
    window.show(Scene(frame, ("four",)))
    assert (shown(pygame) == 200).all(-1).sum() < 20 * 16 * 4


def test_a_window_that_was_covered_is_drawn_again(pygame, window):
    frame = np.full((20, 16, 3), 200, np.uint8)
    window.show(Scene(frame))
    pygame.display.get_surface().fill(0)
    window.show(Scene(frame))
    assert (shown(pygame) == 0).all()  # nothing has changed, so nothing was drawn
    pygame.event.post(pygame.event.Event(pygame.VIDEOEXPOSE))
    window.poll()
    window.show(Scene(frame))
    assert (shown(pygame)[: 20 * 4, : 16 * 4] == 200).all()


@pytest.mark.parametrize(("size", "scale"), [((200, 200), 5), ((64, 400), 4), ((5, 5), 1)])
def test_a_resized_window_takes_the_largest_whole_scale(pygame, window, size, scale):
    pygame.event.post(pygame.event.Event(pygame.VIDEORESIZE, w=size[0], h=size[1], size=size))
    window.poll()
    assert window.scale == scale


def test_the_player_runs_in_a_window(pygame, tiny_world):
    from envs.window import Window

    env = WorldEnv(str(tiny_world))
    window = Window(env.observation_space.shape, scale=2)
    keys = iter([None, pygame.K_UP, None, pygame.K_p, pygame.K_n, pygame.K_ESCAPE])

    def tick(fps):
        assert fps == 15
        key = next(keys)
        if key is not None:
            post(pygame, pygame.KEYDOWN, key)

    window.tick = tick
    bindings = keys_of(env)
    report = Player(Game(Stage(env)), window, [person(bindings)], bindings, fps=15).run()
    assert report.quit
    assert len(report.latencies_ms) == 5


def test_playing_in_a_window_records_what_the_person_did(pygame, tiny_world, tmp_path, monkeypatch):
    from envs.window import Window

    env = WorldEnv(str(tiny_world))
    wait, ticks = Window.tick, []
    events = {3: (pygame.KEYDOWN, pygame.K_w), 4: (pygame.KEYUP, pygame.K_w), 40: (pygame.KEYDOWN, pygame.K_q)}

    def tick(window, fps):
        ticks.append(fps)
        if len(ticks) in events:
            post(pygame, *events[len(ticks)])
        wait(window, fps)

    monkeypatch.setattr(Window, "tick", tick)
    report = play_in_window(env, seed=3, record=tmp_path / "mine")
    assert report.quit
    recording = open_recording(tmp_path / "mine")
    assert [int(action) for action in recording.actions if action] == [env.world.card["actions"]["keys"]["w"]]
    assert recording.episodes[0].seed == 3
    assert len(report.latencies_ms) == recording.episodes[0].steps > 2
    assert set(ticks) == {60}
    assert not pygame.display.get_init()


def test_a_wider_view_makes_the_window_wider(pygame, window):
    frame = np.full((20, 32, 3), 200, np.uint8)
    window.show(Scene(frame))
    assert window.scale == 4
    assert (shown(pygame)[: 20 * 4, : 32 * 4] == 200).all()


def pad(pygame, kind, **what):
    pygame.event.post(pygame.event.Event(kind, instance_id=0, **what))


def test_buttons_sticks_and_hats_of_gamepads_are_keys(pygame, window):
    pad(pygame, pygame.JOYBUTTONDOWN, button=0)
    assert window.poll().pressed == ("pad 0",)
    pad(pygame, pygame.JOYBUTTONUP, button=0)
    pad(pygame, pygame.JOYAXISMOTION, axis=1, value=-0.9)
    assert window.poll().held == ("pad up",)
    pad(pygame, pygame.JOYAXISMOTION, axis=1, value=-0.7)
    inputs = window.poll()
    assert inputs.held == ("pad up",) and inputs.pressed == ()
    pad(pygame, pygame.JOYAXISMOTION, axis=1, value=0.8)
    assert window.poll().held == ("pad down",)
    pad(pygame, pygame.JOYAXISMOTION, axis=1, value=0.1)
    pad(pygame, pygame.JOYHATMOTION, hat=0, value=(1, 1))
    assert window.poll().held == ("pad right", "pad up")
    pad(pygame, pygame.JOYHATMOTION, hat=0, value=(0, 1))
    assert window.poll().held == ("pad up",)
    pad(pygame, pygame.JOYDEVICEREMOVED)
    assert window.poll().held == ()
