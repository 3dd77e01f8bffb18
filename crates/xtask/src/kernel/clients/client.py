"""Opens connections until one fails, holds all of them, and prints their number.

client.py KIND ORDER MOST DESTINATION...

KIND is how: `plain`, `mapped` (an IPv6 socket to an IPv4 address) or `asyncio`. ORDER is `turns` (each destination in turn)
or `rows` (one destination after the other). MOST is how many to try at each destination.
"""

import asyncio
import json
import socket
import sys

kind, order, most, *destinations = sys.argv[1:]
held = []


def split(destination):
    host, port = destination.rsplit(":", 1)
    return host.strip("[]"), int(port)


async def connect(destination):
    host, port = split(destination)
    if kind == "asyncio":
        held.append(await asyncio.open_connection(host, port))
        return
    family = socket.AF_INET6 if kind == "mapped" or ":" in host else socket.AF_INET
    connection = socket.socket(family)
    connection.connect(("::ffff:" + host if kind == "mapped" else host, port))
    held.append(connection)


async def main():
    rows = [destinations] if order == "turns" else [[one] for one in destinations]
    for row in rows:
        for _ in range(int(most)):
            for destination in list(row):
                try:
                    await connect(destination)
                except OSError:
                    row.remove(destination)
    print(json.dumps({"held": len(held)}))


asyncio.run(main())
