#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Fake guests behind QMP sockets: as many as wanted in one process, well-behaved and not.

usage: fake_qmp.py --dir DIR [--proc TREE] [--host-memory BYTES] [--balloon-rate BYTES] GUEST...
       fake_qmp.py --send CONTROL COMMAND...

GUEST is NAME[:BEHAVIOUR[:MEMORY_MIB[:USED_MIB]]]. Behaviours:
  good        answers everything, statistics, a balloon that follows at --balloon-rate a second
  vmm         the same as our own hypervisor: greeting package, __memd-query-returned
  bare        no balloon device
  mute        accepts, never greets            hang     stops answering once set up
  lies        claims more than it has          garbage  greets, then answers with garbage
  flood       endless events                   close    accepts and closes
  slow        answers after 1.2 s               stuck    has a balloon that never moves
  ones, zeros statistics of 2^64-1, of 0        future   statistics dated an hour ahead
  signs       statistics that change their sign each time

Each guest's socket is listened on by a child of its own that sleeps, so that SO_PEERCRED tells
guests apart. With --proc, TREE/proc/PID says what such a guest would hold (stat, status, ksm_stat),
and with --host-memory TREE/proc/meminfo follows the sum.

DIR/control takes one command per connection: `show NAME`, `reset NAME`, `kill NAME`, `hang NAME`,
`resume NAME`, `used NAME MIB`, `add GUEST`, `quit`; the answer is one line of JSON.
"""
import argparse
import ctypes
import heapq
import json
import os
import re
import selectors
import signal
import socket
import sys
import time

MIB = 1 << 20
GREETING_QEMU = {"qemu": {"micro": 22, "minor": 2, "major": 7}, "package": "Debian 1:7.2+dfsg-7"}
GREETING_VMM = {"qemu": {"micro": 0, "minor": 1, "major": 0}, "package": "vmm 0.1.0"}
ABSENT = (1 << 64) - 1
PR_SET_PDEATHSIG = 1


def listen_in_child(sock):
    """Let a sleeping child of ours do the listen(2): it is what SO_PEERCRED then names."""
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        sock.listen(4)
        os.write(w, b"x")
        os.close(w)
        while True:
            signal.pause()
    os.read(r, 1)
    os.close(r)
    os.close(w)
    return pid


class Guest:
    def __init__(self, world, text):
        name, behaviour, memory, used = (text.split(":") + ["", "", ""])[:4]
        self.world, self.name, self.behaviour = world, name, behaviour or "good"
        self.memory = int(memory or 512) * MIB
        self.used = int(used) * MIB if used else self.memory // 4
        self.actual = self.target = self.memory
        self.interval = self.updated = self.asked = 0
        self.told = {"stats": {"stat-free-memory": ABSENT}, "last-update": 0}
        self.counts, self.hung, self.clients = {}, False, []
        self.booted = time.time()
        self.path = os.path.join(world.dir, name + ".qmp")
        if os.path.exists(self.path):
            os.unlink(self.path)
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.bind(self.path)
        self.pid = listen_in_child(self.sock)
        self.sock.setblocking(False)
        world.sel.register(self.sock, selectors.EVENT_READ, self.accept)
        self.write_proc()

    # ---- what the host sees ----
    def resident(self):
        return self.actual

    def write_proc(self):
        if not self.world.proc:
            return
        d = os.path.join(self.world.proc, "proc", str(self.pid))
        os.makedirs(d, exist_ok=True)
        rss = self.resident() // 1024
        files = {
            "stat": f"{self.pid} (fake) S 1 1 1 0 -1 4194560 0 0 0 0 10 10 0 0 20 0 1 0 4242 0 0\n",
            "status": "Name:\tfake\nState:\tS (sleeping)\n"
                      f"VmRSS:\t{rss:8} kB\nRssAnon:\t{rss:8} kB\nRssShmem:\t       0 kB\n"
                      "VmSwap:\t       0 kB\nHugetlbPages:\t       0 kB\n",
            "ksm_stat": "ksm_rmap_items 0\nksm_zero_pages 0\nksm_merging_pages 0\n"
                        "ksm_process_profit 0\n",
            "smaps": f"7f0000000000-{0x7f0000000000 + self.memory:x} rw-p 00000000 00:00 0 \n"
                     f"Size: {self.memory // 1024:14} kB\nRss: {rss:15} kB\n"
                     f"Anonymous: {rss:9} kB\nAnonHugePages:         0 kB\nSwap:                  0 kB\n"
                     "VmFlags: rd wr mr mw me ac sd mg \n",
            "numa_maps": f"7f0000000000 default anon={rss // 4} dirty={rss // 4} active=0 "
                         f"N0={rss // 4} kernelpagesize_kB=4\n",
        }
        for name, text in files.items():
            with open(os.path.join(d, name), "w", encoding="ascii") as f:
                f.write(text)
        self.world.write_meminfo()

    # ---- what it says ----
    def stats(self):
        return self.told

    def update_stats(self):
        """As QEMU: a timer asks the guest, between two updates the numbers stand still."""
        now = time.time()
        if not self.interval or now - self.asked < self.interval:
            return
        self.asked, self.updated = now, int(now)
        # With deflate-on-oom Linux leaves MemTotal alone and counts ballooned pages as used.
        total = self.memory - self.memory // 50
        available = max(total - self.used - (self.memory - self.actual), 0)
        values = {"stat-total-memory": total, "stat-free-memory": available // 2,
                  "stat-available-memory": available, "stat-disk-caches": available // 3,
                  "stat-swap-in": 0, "stat-swap-out": 0, "stat-major-faults": 7,
                  "stat-minor-faults": 1000, "stat-htlb-pgalloc": 0, "stat-htlb-pgfail": 0}
        if self.behaviour == "lies":
            values["stat-total-memory"] = self.memory * 4
            values["stat-available-memory"] = self.memory * 3
        if self.behaviour in ("ones", "zeros"):
            values = dict.fromkeys(values, ABSENT if self.behaviour == "ones" else 0)
        if self.behaviour == "signs" and self.updated % 2:
            values = {name: -value for name, value in values.items()}
        ahead = 3600 if self.behaviour == "future" else 0
        self.told = {"stats": values, "last-update": self.updated + ahead}

    def move_balloon(self, seconds):
        step = int(self.world.rate * seconds)
        wanted = max(self.target, self.used)
        before = self.actual
        if self.behaviour == "stuck":
            return
        if self.actual > wanted:
            self.actual = max(self.actual - step, wanted)
        else:
            self.actual = min(self.actual + step * 8, wanted)
        if self.actual != before:
            self.write_proc()

    def qom_get(self, prop):
        if prop == "guest-stats":
            return self.stats()
        return {"guest-stats-polling-interval": self.interval, "deflate-on-oom": True,
                "free-page-reporting": self.behaviour == "vmm"}[prop]

    def run(self, command, args):
        """The "return" value; raises KeyError for what we do not have."""
        if command == "query-name":
            return {"name": self.name}
        if command == "query-status":
            return {"status": "running", "singlestep": False, "running": True}
        if command == "query-memory-size-summary":
            return {"base-memory": self.memory, "plugged-memory": 0}
        if command == "qom-list":
            children = [{"name": "type", "type": "string"}]
            if args["path"] == "/machine/peripheral" and self.behaviour != "bare":
                children.append({"name": "balloon0", "type": "child<virtio-balloon-device>"
                                 if self.behaviour == "vmm" else "child<virtio-balloon-pci>"})
            return children
        if command == "query-memdev":
            return [{"id": "ram0", "size": self.memory, "merge": True, "dump": True,
                     "prealloc": False, "share": False, "host-nodes": [], "policy": "default"}]
        if command == "query-balloon" and self.behaviour != "bare":
            return {"actual": self.actual}
        if command == "balloon" and self.behaviour != "bare":
            self.target = min(args["value"], self.memory)
            return {}
        if command == "qom-get" and args["path"].endswith("/balloon0"):
            return self.qom_get(args["property"])
        if command == "qom-set" and args["property"] == "guest-stats-polling-interval":
            self.interval = args["value"]
            return {}
        if command == "query-stats" and self.behaviour == "vmm":
            huge = (self.actual >> 21) * 3 // 4
            return [{"provider": "kvm", "stats": [
                {"name": "pages_4k", "value": (self.actual >> 12) - huge * 512},
                {"name": "pages_2m", "value": huge}, {"name": "pages_1g", "value": 0}]}]
        if command == "__memd-query-returned" and self.behaviour == "vmm":
            return {"balloon-bytes": self.memory - self.actual, "reported-bytes": 0,
                    "balloon-counters": {}}
        raise KeyError(command)

    # ---- the wire ----
    def accept(self, sock):
        conn, _ = sock.accept()
        if self.behaviour == "close":
            conn.close()
            return
        conn.setblocking(False)
        self.clients.append(conn)
        self.world.sel.register(conn, selectors.EVENT_READ, self.receive)
        if self.behaviour != "mute" and not self.hung:
            version = GREETING_VMM if self.behaviour == "vmm" else GREETING_QEMU
            self.send(conn, {"QMP": {"version": version, "capabilities": ["oob"]}})

    def drop(self, conn):
        if conn in self.clients:
            self.clients.remove(conn)
            self.world.buffers.pop(conn, None)
            self.world.sel.unregister(conn)
            conn.close()

    def send(self, conn, message):
        data = message if isinstance(message, bytes) else json.dumps(message).encode() + b"\r\n"
        try:
            conn.send(data)
        except BlockingIOError:
            pass
        except OSError:
            self.drop(conn)

    def event(self, name, data=None):
        now = time.time()
        message = {"event": name, "timestamp": {"seconds": int(now), "microseconds": 0}}
        if data:
            message["data"] = data
        for conn in list(self.clients):
            self.send(conn, message)

    def receive(self, conn):
        try:
            data = conn.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.drop(conn)
            return
        if self.behaviour == "mute":
            return
        buffer = self.world.buffers.get(conn, b"") + data
        *lines, self.world.buffers[conn] = buffer.split(b"\n")
        for line in lines:
            if line.strip():
                self.answer(conn, json.loads(line))

    def answer(self, conn, message):
        command, args = message["execute"], message.get("arguments", {})
        self.counts[command] = self.counts.get(command, 0) + 1
        if self.behaviour == "hang" and command == "query-balloon" and self.counts[command] > 3:
            self.hung = True
        if self.hung:
            return
        try:
            reply = {"return": {} if command == "qmp_capabilities" else self.run(command, args)}
        except KeyError:
            if command in ("query-balloon", "balloon"):
                error = {"class": "DeviceNotActive", "desc": "No balloon device has been activated"}
            else:
                error = {"class": "CommandNotFound", "desc": f"The command {command} has not been found"}
            reply = {"error": error}
        if "id" in message:
            reply["id"] = message["id"]
        if self.behaviour == "garbage" and command == "query-balloon":
            reply = b"\x00\xffthis is not JSON {{{{\r\n" * 3
        if self.behaviour == "slow":
            self.world.later(1.2, lambda: self.send(conn, reply))
        else:
            self.send(conn, reply)

    def reset(self):
        """A reboot: the balloon is empty, the device keeps its target, QEMU's way."""
        self.actual = self.memory
        self.updated = 0
        self.told = {"stats": {"stat-free-memory": ABSENT}, "last-update": 0}
        self.booted = time.time()
        self.write_proc()
        self.event("RESET", {"guest": True, "reason": "guest-reset"})

    def kill(self):
        for conn in list(self.clients):
            self.drop(conn)
        self.world.sel.unregister(self.sock)
        self.sock.close()
        os.unlink(self.path)
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        if self.world.proc:
            d = os.path.join(self.world.proc, "proc", str(self.pid))
            for name in os.listdir(d):
                os.unlink(os.path.join(d, name))
            os.rmdir(d)


class World:
    def __init__(self, args):
        self.dir, self.proc, self.rate = args.dir, args.proc, args.balloon_rate
        self.host_memory = args.host_memory
        self.sel = selectors.DefaultSelector()
        self.buffers, self.timers, self.guests, self.timer_id = {}, [], {}, 0
        self.other = 0
        self.last = time.monotonic()
        path = os.path.join(self.dir, "control")
        if os.path.exists(path):
            os.unlink(path)
        self.control = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.control.bind(path)
        self.control.listen(8)
        self.sel.register(self.control, selectors.EVENT_READ, self.command)
        self.done = False

    def later(self, seconds, fn):
        self.timer_id += 1
        heapq.heappush(self.timers, (time.monotonic() + seconds, self.timer_id, fn))

    def write_meminfo(self):
        if not self.proc or not self.host_memory:
            return
        path = os.path.join(self.proc, "proc", "meminfo")
        held = sum(g.resident() for g in self.guests.values()) + self.other
        left = max(self.host_memory - held, 0) // 1024
        with open(path, encoding="ascii") as f:
            text = f.read()
        for key, value in (("MemTotal", self.host_memory // 1024), ("MemFree", left),
                           ("MemAvailable", left)):
            text = re.sub(rf"(?m)^{key}:.*$", f"{key}: {value:15} kB", text)
        # In place and by one write: memd keeps the file open.
        fd = os.open(path, os.O_WRONLY)
        os.pwrite(fd, text.encode(), 0)
        os.ftruncate(fd, len(text))
        os.close(fd)

    def show(self, g):
        return {"name": g.name, "pid": g.pid, "memory": g.memory, "actual": g.actual,
                "target": g.target, "interval": g.interval, "clients": len(g.clients),
                "counts": g.counts}

    def execute(self, words):
        verb, rest = words[0], words[1:]
        if verb == "quit":
            self.done = True
            return {}
        if verb == "add":
            self.add(rest[0])
            return {}
        if verb == "other":
            self.other = int(rest[0]) * MIB
            self.write_meminfo()
            return {}
        g = self.guests[rest[0]]
        if verb == "show":
            return self.show(g)
        if verb == "used":
            g.used = int(rest[1]) * MIB
        elif verb == "kill":
            g.kill()
            del self.guests[g.name]
            self.write_meminfo()
        elif verb == "reset":
            g.reset()
        elif verb in ("hang", "resume"):
            g.hung = verb == "hang"
        else:
            raise KeyError(verb)
        return {}

    def command(self, sock):
        conn, _ = sock.accept()
        with conn:
            words = conn.recv(4096).decode().split()
            try:
                answer = self.execute(words)
            except (KeyError, IndexError, ValueError) as e:
                answer = {"error": repr(e)}
            conn.sendall(json.dumps(answer).encode() + b"\n")

    def add(self, text):
        g = Guest(self, text)
        self.guests[g.name] = g
        self.write_meminfo()

    def tick(self):
        now = time.monotonic()
        for g in list(self.guests.values()):
            g.move_balloon(now - self.last)
            g.update_stats()
            if g.behaviour == "flood":
                for conn in list(g.clients):
                    g.send(conn, b'{"event":"NOISE","timestamp":{"seconds":1,"microseconds":1}}\r\n' * 800)
        self.last = now
        self.later(0.02 if any(g.behaviour == "flood" for g in self.guests.values()) else 0.1,
                   self.tick)

    def loop(self):
        self.tick()
        while not self.done:
            timeout = max(self.timers[0][0] - time.monotonic(), 0) if self.timers else None
            for key, _ in self.sel.select(timeout):
                key.data(key.fileobj)
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[2]()
        for g in self.guests.values():
            g.kill()


def send(path, words):
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as s:
        s.connect(path)
        s.sendall(" ".join(words).encode())
        answer = s.makefile().readline()
    print(answer, end="")
    return 1 if "error" in json.loads(answer) else 0


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    p.add_argument("--dir")
    p.add_argument("--proc")
    p.add_argument("--host-memory", type=int)
    p.add_argument("--balloon-rate", type=int, default=512 * MIB)
    p.add_argument("--send")
    p.add_argument("words", nargs="*")
    args = p.parse_args()
    if args.send:
        return send(args.send, args.words)
    world = World(args)
    signal.signal(signal.SIGTERM, lambda *_: setattr(world, "done", True))
    for text in args.words:
        world.add(text)
    print("ready", flush=True)
    world.loop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
