#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Attack a QMP server: nasty_qmp.py SOCKET PID. Prints "ok NAME" and "not ok NAME - why".

After and during each attack a well-behaved client must be answered quickly, and the server's
memory and descriptors must come back to where they were. The last test ends the server by quit.
"""
import array
import json
import os
import random
import socket
import sys
import time

PATH, PID = sys.argv[1], int(sys.argv[2])
ANSWER_SECONDS = 10  # a loaded machine with sanitizers; a stalled server never answers
MIB = 1 << 20


def connect():
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(ANSWER_SECONDS)
    until = time.time() + ANSWER_SECONDS
    while True:
        try:
            s.connect(PATH)
            return s
        except BlockingIOError:  # the queue of connections is full for the moment
            if time.time() > until:
                raise
            time.sleep(0.01)


class Client:
    """A well-behaved one."""

    def __init__(self):
        self.file = connect().makefile("rwb", buffering=0)
        self.read = self.file.readline
        greeting = json.loads(self.read())
        if "QMP" not in greeting:
            raise RuntimeError("no greeting but %s" % greeting)
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments, "id": 1}).encode())
        while True:
            line = self.read()
            if not line:
                raise RuntimeError("closed while %s waits" % command)
            answer = json.loads(line)
            if "event" not in answer:
                return answer

    def close(self):
        self.file.close()


def rss():
    for line in open("/proc/%d/smaps_rollup" % PID):
        if line.startswith("Rss:"):
            return int(line.split()[1]) * 1024
    return 0


def fds():
    return len(os.listdir("/proc/%d/fd" % PID))


def settled(count, limit, seconds=5):
    """Has count() come down to limit?"""
    until = time.time() + seconds
    while count() > limit and time.time() < until:
        time.sleep(0.1)
    return count() <= limit


def send_all(s, data):
    """As much as the server takes; it may close, or stop reading."""
    try:
        s.sendall(data)
    except OSError:
        pass


def random_bytes(good):
    generator = random.Random(1)
    pieces = [b'{"execute":', b'"query-status"', b"}", b"{", b"[", b"]", b"\n", b"\xff", b"\0",
              b'"', b"\\", b"'", b",", b":", b'"arguments":', b"1e999", b"null", b"{}", b'"id":']
    for _ in range(200):
        s = connect()
        data = b"".join(generator.choice(pieces) if generator.random() < 0.9
                        else generator.randbytes(generator.randrange(20)) for _ in range(200))
        send_all(s, data)
        if generator.random() < 0.5:
            s.setblocking(False)
            try:
                s.recv(65536)
            except OSError:
                pass
        s.close()


def huge_line(good):
    s = connect()
    before = rss()
    s.sendall(b'{"execute":"')
    most = 0
    for _ in range(160):
        s.sendall(b"x" * 65536)
        most = max(most, rss())
    s.sendall(b'"}\n{"execute":"qmp_capabilities"}\n')
    lines = s.makefile("rb")
    lines.readline()
    error, answer = json.loads(lines.readline()), json.loads(lines.readline())
    assert "size limit" in error["error"]["desc"], error
    assert answer == {"return": {}}, answer
    assert most - before < 8 * MIB, "memory grew by %d MiB" % ((most - before) // MIB)
    s.close()


def deep_and_wide(good):
    before = rss()
    s = connect()
    for text in (b"[" * 900000, b'{"a":' * 200000, b'{"a":[' + b"{}," * 300000 + b"{}]}",
                 b'{"a":[' + b"[],[[]]," * 100000 + b"[]]}"):
        s.sendall(text + b"\n")
    s.sendall(b'{"execute":"qmp_capabilities"}')
    lines = s.makefile("rb")
    lines.readline()
    while "error" in (answer := json.loads(lines.readline())):
        pass
    assert answer == {"return": {}}, answer
    s.close()
    grown = rss() - before
    assert grown < 48 * MIB, "memory grew by %d MiB" % (grown // MIB)


def silent_crowd(good):
    crowd = [connect() for _ in range(100)]
    other = Client()
    assert "return" in other.call("query-status")
    other.close()
    for s in crowd:
        s.close()


def churn(good):
    for i in range(1000):
        s = connect()
        if i % 3 == 0:
            send_all(s, b'{"execute":"qmp_capa')
        elif i % 3 == 1:
            send_all(s, b'{"execute":"qmp_capabilities"}{"execute":"query-commands"}')
            s.shutdown(socket.SHUT_WR)
        s.close()


def never_reads(good):
    before = rss()
    s = connect()
    s.sendall(b'{"execute":"qmp_capabilities"}')
    s.setblocking(False)
    sent = 0
    until = time.time() + 5
    try:
        while time.time() < until:
            sent += s.send(b'{"execute":"query-commands"}' * 100)
    except BlockingIOError:
        pass
    assert "return" in good.call("query-status")
    assert sent > 0
    # Its server's side stops at a bound; events then pile up until it is dropped.
    assert rss() - before < 16 * MIB, "memory grew by %d MiB" % ((rss() - before) // MIB)
    s.close()


def passed_descriptors(good):
    s = connect()
    sent = array.array("i", [0] * 50)
    for _ in range(20):
        s.sendmsg([b"{"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, sent)])
    assert "return" in good.call("query-status")
    s.close()


def odd_commands(good):
    for command, arguments in (
            ("balloon", {"value": -2**63}), ("balloon", {"value": "1G"}), ("balloon", {}),
            ("qom-get", {"path": "/" * 100000, "property": "x"}),
            ("qom-get", {"path": "/machine", "property": "y" * 100000}),
            ("qom-get", {"path": "%s%n\u0000", "property": "type"}),
            ("qom-set", {"path": "/objects/ram0", "property": "merge", "value": {}}),
            ("qom-set", {"path": "/objects/ram0", "property": "size", "value": 1}),
            ("query-stats", {"target": "vcpu", "vcpus": [{}, None, 5]}),
            ("query-stats", {"target": "vm", "providers": [None]}),
            ("x" * 100000, {}), ("", {}), ("quit ", {}), ("\u202equit", {})):
        answer = good.call(command, **arguments)
        assert "error" in answer or command == "query-stats", (command[:20], answer)


def run(name, attack, good):
    rss_before, fds_before = rss(), fds()
    start = time.time()
    try:
        attack(good)
        slowest = time.time()
        assert good.call("query-status")["return"]["status"], "no status"
        slowest = time.time() - slowest
        assert slowest < ANSWER_SECONDS / 2, "then an answer took %.1f s" % slowest
        assert settled(fds, fds_before), "%d descriptors stay open" % (fds() - fds_before)
        assert settled(lambda: rss() - rss_before, 48 * MIB), "memory stays"
        print("ok %s" % name)
    except (AssertionError, OSError, ValueError, KeyError, RuntimeError) as error:
        print("not ok %s - after %.1f s: %s %s" % (name, time.time() - start,
                                                   type(error).__name__, error))
    sys.stdout.flush()


def main():
    good = Client()
    for attack in (random_bytes, huge_line, deep_and_wide, silent_crowd, churn, never_reads,
                   passed_descriptors, odd_commands):
        run(attack.__name__, attack, good)
    answer = good.call("quit")
    print("ok quit_answers" if answer.get("return") == {} else "not ok quit_answers - %s" % answer)


main()
