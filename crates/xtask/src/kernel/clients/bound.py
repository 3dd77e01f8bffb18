"""Connects several bound sockets and a UDP socket, and prints the source address of each."""

import json
import socket
import sys

host, port, address, interface = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]


def source(family=socket.AF_INET, kind=socket.SOCK_STREAM, prepare=lambda one: None, to=host):
    with socket.socket(family, kind) as one:
        prepare(one)
        one.connect((to, port))
        return one.getsockname()[0].removeprefix("::ffff:")


def device(one):
    one.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())


def no_port(one):
    one.setsockopt(socket.IPPROTO_IP, 24, 1)  # IP_BIND_ADDRESS_NO_PORT
    one.bind((address, 0))


print(
    json.dumps(
        {
            "address": source(prepare=lambda one: one.bind((address, 0))),
            "address without a port": source(prepare=no_port),
            "mapped address": source(
                socket.AF_INET6, prepare=lambda one: one.bind(("::ffff:" + address, 0)), to="::ffff:" + host
            ),
            "port": source(prepare=lambda one: one.bind(("", 0))),
            "port of both families": source(socket.AF_INET6, prepare=lambda one: one.bind(("", 0)), to="::ffff:" + host),
            "interface": source(prepare=device),
            "datagrams": source(kind=socket.SOCK_DGRAM),
        }
    )
)
