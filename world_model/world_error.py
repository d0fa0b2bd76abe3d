"""What is raised when a world, or a part of one, cannot be loaded."""


class WorldError(RuntimeError):
    """A world that cannot be loaded: what was expected, what was found, what to do."""
