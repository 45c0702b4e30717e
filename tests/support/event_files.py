"""What TensorBoard's event files hold, read without TensorBoard."""

from __future__ import annotations

from pathlib import Path

from tensorboardX.proto.event_pb2 import Event


def events(folder: Path) -> list[tuple[int, str, float]]:
    """(step, tag, value) of every scalar in a folder's event files, by the records' framing."""
    found = []
    for path in sorted(folder.rglob("events.out.tfevents.*")):
        data, at = path.read_bytes(), 0
        while at < len(data):
            length = int.from_bytes(data[at : at + 8], "little")
            event = Event.FromString(data[at + 12 : at + 12 + length])
            at += 12 + length + 4
            found += [(event.step, value.tag, value.simple_value) for value in event.summary.value]
    return found
