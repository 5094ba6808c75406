#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Stop, continue, reset, ask and reconnect a vmm in random order, from two QMP clients at once.

usage: storm_qmp.py QMP-SOCKET SERIAL-SOCKET PID SECONDS SEED

Prints `ok NAME` and `not ok NAME - why`. The guest is the tiny guest.
"""
import json
import os
import random
import select
import socket
import sys
import time

failed = False


def check(name, good, why=""):
    global failed
    failed |= not good
    print(f"ok {name}" if good else f"not ok {name} - {why}", flush=True)


class Client:
    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        self.socket.connect(path)
        self.file = self.socket.makefile("rw")
        self.file.readline()
        self.events = {}
        self.slowest = 0.0
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        start = time.monotonic()
        self.file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.file.flush()
        while True:
            line = self.file.readline()
            if not line:
                raise EOFError(command)
            message = json.loads(line)
            if "event" not in message:
                self.slowest = max(self.slowest, time.monotonic() - start)
                return message
            self.events[message["event"]] = self.events.get(message["event"], 0) + 1


def dial(path):
    """Its listen queue is short, and the loop may be busy with a reset: EAGAIN means later."""
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(20)
    until = time.monotonic() + 20
    while True:
        try:
            s.connect(path)
            break
        except BlockingIOError:
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    s.setblocking(False)
    return s


def tids(client):
    return [cpu["thread-id"] for cpu in client.call("query-cpus-fast")["return"]]


def threads(pid):
    """vCPU threads by name; KVM adds one of its own to each VM."""
    names = {}
    for tid in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{tid}/comm", encoding="ascii") as f:
            names[int(tid)] = f.read().strip()
    return names


def rss_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return next(int(line.split()[1]) for line in f if line.startswith("VmRSS"))


def settle(client, path):
    """A fresh guest answers on its serial line."""
    serial = dial(path)
    until, text = time.monotonic() + 60, b""
    client.call("system_reset")
    client.call("cont")
    while time.monotonic() < until:
        try:
            serial.send(b"\nsleep 50\n")
        except OSError:
            pass
        if select.select([serial], [], [], 1)[0]:
            text += serial.recv(65536)
        if b"READY" in text and b"OK sleep" in text.rsplit(b"READY", 1)[1]:
            serial.close()
            return True
        time.sleep(0.2)
    serial.close()
    return False


def storm(clients, serial_path, seconds):
    serial, count = dial(serial_path), 0
    words = [b"info\n", b"fill 3 1M\n", b"verify\n", b"reset\n", b"inflate 1M\n", b"deflate 1M\n", b"rng\n"]
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        client, count = random.choice(clients), count + 1
        what = random.randrange(10)
        if what < 2:
            client.call("stop")
        elif what < 4:
            client.call("cont")
        elif what == 4:
            client.call(random.choice(["system_reset", "system_powerdown"]))
        elif what == 5:
            client.call("balloon", value=random.choice([8, 24, 48]) << 20)
        elif what == 6:
            client.call("query-stats", target=random.choice(["vm", "vcpu"]))
        elif what == 7:
            serial.close()
            serial = dial(serial_path)
        else:
            try:
                serial.send(random.choice(words))
                serial.recv(65536)
            except OSError:
                pass
    serial.close()
    return count


def main():
    qmp, serial, pid, seconds, seed = *sys.argv[1:4], float(sys.argv[4]), int(sys.argv[5])
    random.seed(seed)
    clients = [Client(qmp), Client(qmp)]
    check("storm_start", settle(clients[0], serial), "the guest does not answer")
    before = tids(clients[0])
    fds, rss = len(os.listdir(f"/proc/{pid}/fd")), rss_kib(pid)
    check("thread_names", all(threads(pid).get(tid) == f"vcpu{i}" for i, tid in enumerate(before)),
          f"{threads(pid)}")
    try:
        count = storm(clients, serial, seconds)
    except (OSError, EOFError) as e:
        check("storm", False, repr(e))
        sys.exit(1)
    check("storm", True)
    check("storm_survived", settle(clients[0], serial), "the guest does not answer after it")
    events = clients[0].events
    print(f"# {count} commands, slowest {max(c.slowest for c in clients) * 1000:.0f} ms, {events}")
    check("stop_and_resume_in_turn", abs(events.get("STOP", 0) - events.get("RESUME", 0)) <= 1, f"{events}")
    check("same_threads", tids(clients[0]) == before, f"{before} became {tids(clients[0])}")
    now = len(os.listdir(f"/proc/{pid}/fd"))
    check("no_fd_leaks", now <= fds + 1, f"{fds} fds became {now}")
    if not os.environ.get("MEMD_SAN"):
        check("no_memory_leaks", rss_kib(pid) < rss + 16384, f"{rss} kB became {rss_kib(pid)} kB")
    sys.exit(failed)


main()
