"""Record anything that steps and read it back exactly: games, players, lossless recordings."""

from .behaviours import Behaviour, HeldRandom, Mixture, Noisy, behaviour_for
from .command import Command
from .games import GameConfig, MissingGame, action_meanings, game_card, game_for, game_from_card, make_game, space_card
from .layout import RecordingError
from .pong_player import PongPlayer
from .preprocess import FrameConfig, PreprocessFrames
from .recording import Episode, Recording, open_recording
from .segment import RolloutWriter

__all__ = [
    "Behaviour",
    "Command",
    "Episode",
    "FrameConfig",
    "GameConfig",
    "HeldRandom",
    "MissingGame",
    "Mixture",
    "Noisy",
    "PongPlayer",
    "PreprocessFrames",
    "Recording",
    "RecordingError",
    "RolloutWriter",
    "action_meanings",
    "behaviour_for",
    "game_card",
    "game_for",
    "game_from_card",
    "make_game",
    "open_recording",
    "space_card",
]
