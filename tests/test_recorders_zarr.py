"""The recorder on this machine's disk, in all its ways of writing."""

from recorder_suite import RecorderSuite


class TestSealed(RecorderSuite):
    options = {}  # noqa: RUF012


class TestUnsealed(RecorderSuite):
    options = {"seal": False}  # noqa: RUF012


class TestSynced(RecorderSuite):
    options = {"fsync": "flush", "queue": 1}  # noqa: RUF012


class TestSharedWithSync(RecorderSuite):
    options = {"shared": True, "fsync": "episode"}  # noqa: RUF012
