"""The connection of a page with its kernel: nothing that runs code, and no widget that the dashboard did not make."""

from __future__ import annotations

import json
from typing import Any

from jupyter_server.services.kernels.connection.base import deserialize_binary_message, deserialize_msg_from_ws_v1
from jupyter_server.services.kernels.connection.channels import ZMQChannelsWebsocketConnection

MESSAGES = ["comm_open", "comm_close", "comm_msg", "comm_info_request", "kernel_info_request"]
"""What a page may say to its kernel."""

COMMS = frozenset({"jupyter.widget.control"})
"""The one kind of comm that a page opens: it asks for the widgets there are."""

_V1 = "v1.kernel.websocket.jupyter.org"


class Connection(ZMQChannelsWebsocketConnection):
    """Jupyter's connection, which besides ``MESSAGES`` (of ``Kernels``) looks at which comm a page opens."""

    def handle_incoming_message(self, incoming_msg: Any) -> None:
        """Pass a message on to the kernel; one that opens another comm, or cannot be read, goes nowhere."""
        try:
            target = opens(incoming_msg, v1=self.subprotocol == _V1)
        except (AttributeError, IndexError, KeyError, TypeError, ValueError):
            self.log.warning("a message of a page cannot be read and is ignored")
            return
        if target is None or target in COMMS:
            super().handle_incoming_message(incoming_msg)
        else:
            self.log.warning("a page wanted to open a comm of its own and is ignored")


def opens(message: Any, *, v1: bool) -> str | None:
    """Return the target of the comm that a message opens, None for any other message.

    ``v1``: the protocol in which the parts of a message follow each other as bytes. Raises what reading raises.

    >>> opens('{"header": {"msg_type": "comm_open"}, "content": {"target_name": "x"}}', v1=False)
    'x'
    """
    if v1:
        parts = deserialize_msg_from_ws_v1(message)[1]
        header, content = json.loads(parts[0]), json.loads(parts[3])
    else:
        whole = deserialize_binary_message(message) if isinstance(message, bytes) else json.loads(message)
        header, content = whole["header"], whole["content"]
    return str(content["target_name"]) if header["msg_type"] == "comm_open" else None
