"""Record anything that steps and read it back exactly: games, players, lossless recordings."""

from .behaviour import Behaviour
from .behaviours import HeldRandom, Mixture, Noisy, behaviour_for
from .breakout_player import BreakoutPlayer
from .clip import Clip
from .clip_dataset import ClipDataset
from .command import Command, command, settings
from .env_card import env_card, make_recorded_env
from .episode import Episode
from .games import GameConfig, MissingGame, action_meanings, game_card, game_for, game_from_card, make_game
from .latents import latents
from .layout import BusyError, RecordingError
from .pong_player import PongPlayer
from .preprocess import FrameConfig, PreprocessFrames
from .record_episodes import RecordEpisodes
from .record_vector import RecordVectorEpisodes
from .recorder import Recorder, RecorderStats
from .recording import Recording, open_recording
from .resimulate import Difference, Replay, branch, resimulate
from .schema import Extra
from .software import processor
from .spaces import space_card, space_from_card
from .training_cache import TrainingCache
from .zarr_recorder import ZarrRecorder

__all__ = [
    "Behaviour",
    "BreakoutPlayer",
    "BusyError",
    "Clip",
    "ClipDataset",
    "Command",
    "Difference",
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
    "RecordEpisodes",
    "RecordVectorEpisodes",
    "Recorder",
    "RecorderStats",
    "Recording",
    "RecordingError",
    "Replay",
    "TrainingCache",
    "ZarrRecorder",
    "action_meanings",
    "behaviour_for",
    "branch",
    "command",
    "env_card",
    "game_card",
    "game_for",
    "game_from_card",
    "latents",
    "make_game",
    "make_recorded_env",
    "open_recording",
    "processor",
    "resimulate",
    "settings",
    "space_card",
    "space_from_card",
]
