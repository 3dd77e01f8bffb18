"""Repeats a sequence of long and short connections until so many long ones stand, and prints what happened.

pattern.py DESTINATION PATTERN STANDING [FILE]

PATTERN is made of `L`, a connection that stays, and `s`, one that is reset at once. Without any `s`, it goes on until a
connect fails, and then connects a hundred times more. It ends at once, or when there is a FILE.
"""

import collections
import json
import os
import resource
import socket
import struct
import sys
import time

destination, pattern, standing, *file = sys.argv[1:]
host, port = destination.rsplit(":", 1)
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
held, failed = [], collections.Counter()


def connect():
    connection = socket.socket()
    try:
        connection.connect((host, int(port)))
    except OSError as error:
        failed[error.errno] += 1
        connection.close()
        return None
    return connection


tries = 0
while len(held) < int(standing) and sum(failed.values()) <= 100:
    connection = connect()
    if connection is None:
        continue
    if pattern[tries % len(pattern)] == "L":
        held.append(connection)
    else:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
    tries += 1

sources = collections.Counter(connection.getsockname()[0] for connection in held)
print(json.dumps({"held": len(held), "failed": failed, "sources": sources}), flush=True)
while file and not os.path.exists(file[0]):
    time.sleep(0.01)
