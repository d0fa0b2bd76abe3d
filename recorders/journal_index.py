"""What a segment's journal adds up to."""

from .journal import Event


def index_events(events: list[Event]) -> tuple[list[tuple[Event, Event]], Event | None, int]:
    """(begin, end) of finished episodes, the begin of a cut one if any of it is left, and rows in all.

    Raises:
        KeyError, TypeError, ValueError: if the events contradict themselves.
    """
    ends: list[tuple[Event, Event]] = []
    begin, rows, finished = None, 0, 0
    for event in events:
        if event["event"] == "begin":
            begin = event
            if not isinstance(event["start"], int) or not isinstance(event["episode"], int) or event["start"] < 0:
                raise ValueError(f"episode {event['episode']!r} begins at row {event['start']!r}")
        elif event["event"] == "flush":
            if not isinstance(event["rows"], int) or event["rows"] < rows:
                raise ValueError(f"it counts {event['rows']!r} rows after {rows}")
            rows = event["rows"]
        elif event["event"] == "end" and begin is not None:
            if not isinstance(event["stop"], int) or not finished <= begin["start"] < event["stop"]:
                raise ValueError(f"episode {event['episode']} has rows {begin['start']} to {event['stop']}")
            float(event["return"])
            ends.append((begin, event))
            begin, finished = None, int(event["stop"])
    if begin is not None and rows - begin["start"] >= 2:
        return ends, begin, rows
    return ends, None, finished


def journal_tails(events: list[Event]) -> list[tuple[int, int, Event]]:
    """(first row, row after the last, event) of all events that hold rows of small fields."""
    found, before = [], 0
    for event in events:
        if event["event"] == "flush":
            if "tail" in event:
                found.append((before, int(event["rows"]), event))
            before = int(event["rows"])
    return found
