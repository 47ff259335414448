"""A panel's kernel half with a browser that writes down what it is told. Not a test file."""

import json
import threading

import comm
import pytest


class Wire(comm.DummyComm):
    """A comm whose other end writes down what came, as JSON would carry it."""

    def __init__(self, *args, **kwargs):
        self.traits, self.messages, self.closed_now, self.sent, self._reply_subshell_for = {}, [], False, 0, None
        super().__init__(*args, **kwargs)

    def publish_msg(self, msg_type, data=None, metadata=None, buffers=None, **keys):
        text = json.dumps(data or {}, allow_nan=False, ensure_ascii=False).encode()
        self.sent += len(text)
        data = json.loads(text)
        if msg_type != "comm_close": self.traits |= data.get("state", {})
        if data.get("method") == "custom": self.messages.append(data["content"])
        self.closed_now |= msg_type == "comm_close"


@pytest.fixture
def wired(monkeypatch):
    """`wired(panel)` keeps a live panel, whose widget has a `Wire`; it is closed after the test, with no thread left."""
    monkeypatch.setattr(comm, "create_comm", Wire)
    made, before = [], {*threading.enumerate()}

    def keep(panel):
        made.append(panel)
        return panel

    yield keep
    for panel in made:
        panel.close()
        panel.wait()
    for thread in [thread for thread in threading.enumerate() if thread not in before and thread.name.startswith("panel: ")]:
        thread.join(60)  # work that was given up ends with its piece
        assert not thread.is_alive()


def says(panel, kind: str, *values, asked: int = 1, **fields) -> dict:
    """A message of the browser; the traits it holds afterwards."""
    panel._take(None, {"type": kind, "asked": asked, "values": list(values), "fields": fields}, [])
    return panel.view.comm.traits
