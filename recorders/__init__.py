"""Record anything that steps and read it back exactly: games, players, lossless recordings."""

from .behaviours import Behaviour, HeldRandom, Mixture, Noisy, behaviour_for
from .clip import Clip
from .command import Command
from .episode import Episode
from .games import GameConfig, MissingGame, action_meanings, game_card, game_for, game_from_card, make_game
from .layout import BusyError, RecordingError
from .pong_player import PongPlayer
from .preprocess import FrameConfig, PreprocessFrames
from .recorder import Recorder, RecorderStats
from .recording import Recording, open_recording
from .schema import Extra
from .spaces import space_card, space_from_card
from .zarr_recorder import ZarrRecorder

__all__ = [
    "Behaviour",
    "BusyError",
    "Clip",
    "Command",
    "Episode",
    "Extra",
    "FrameConfig",
    "GameConfig",
    "HeldRandom",
    "MissingGame",
    "Mixture",
    "Noisy",
    "PongPlayer",
    "PreprocessFrames",
    "Recorder",
    "RecorderStats",
    "Recording",
    "RecordingError",
    "ZarrRecorder",
    "action_meanings",
    "behaviour_for",
    "game_card",
    "game_for",
    "game_from_card",
    "make_game",
    "open_recording",
    "space_card",
    "space_from_card",
]
