"""Opens a connection every millisecond and holds all of them until `/tmp/enough` exists. Then prints how many were opened, how
many failed, and how many are still established."""

import json
import os
import socket
import sys
import time

host, port = sys.argv[1].rsplit(":", 1)
held, failed = [], 0
while not os.path.exists("/tmp/enough") and len(held) < 15_000:
    try:
        held.append(socket.create_connection((host, int(port))))
    except OSError:
        failed += 1
    time.sleep(0.001)


def stands(connection):
    try:
        return connection.send(b"?") == 1 and connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    except OSError:
        return False


print(json.dumps({"held": len(held), "failed": failed, "standing": sum(map(stands, held))}))
