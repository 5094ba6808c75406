#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Boot, overhead, inflate and deflate of vmm and QEMU microvm, A B A B, medians.

usage: vmm.py [--runs N] OUT.json      inside a host with /dev/kvm and the lab's images
"""
import json
import os
import re
import select
import socket
import statistics
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20
MEMORY = 1024 * MIB
INFLATE = 512 * MIB
IMAGES = os.environ.get("DEMO_IMAGES", "/lab")


class Guest:
    """One guest process with its console on a pipe and its QMP socket."""

    def __init__(self, kind, directory):
        qmp = os.path.join(directory, "qmp")
        words = "console=ttyS0 quiet"
        boot = ["-kernel", f"{IMAGES}/vmlinuz", "-initrd", f"{IMAGES}/initrd", "-append", words]
        if kind == "vmm":
            argv = ["vmm", "--name", "bench", "--memory", "size=1G,pages=small,merge=off",
                    "--balloon", "deflate-on-oom=off,free-page-reporting=off", "--qmp", qmp]
            argv += ["-" + w if w in ("-kernel", "-initrd", "-append") else w for w in boot]
        else:
            argv = ["qemu-system-x86_64", "-M", "microvm,acpi=on,pit=off,pic=off,rtc=off",
                    "-accel", "kvm", "-cpu", "host", "-smp", "1", "-m", "1024",
                    "-machine", "memory-backend=m0", "-object", "memory-backend-ram,id=m0,size=1G,merge=off",
                    "-nodefaults", "-no-user-config", "-nographic", "-serial", "stdio",
                    "-device", "virtio-balloon-device", "-qmp", f"unix:{qmp},server=on,wait=off"] + boot
        self.begin = time.monotonic()
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = ""
        self.path = qmp
        self.id = 0

    def until(self, pattern, limit):
        end = time.monotonic() + limit
        while not re.search(pattern, self.text):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise RuntimeError(f"no '{pattern}' in {limit} s: {self.text[-500:]}")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise RuntimeError(f"ended: {self.text[-500:]}")
            self.text += data.decode(errors="replace")
        return time.monotonic()

    def type(self, command, pattern, limit):
        self.text = ""
        self.process.stdin.write(command.encode() + b"\n")
        self.process.stdin.flush()
        return self.until(pattern, limit)

    def connect(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(self.path)
        self.file = self.socket.makefile("r")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.id += 1
        self.socket.sendall(json.dumps({"execute": command, "arguments": arguments, "id": self.id}).encode() + b"\n")
        while True:
            reply = json.loads(self.file.readline())
            if reply.get("id") == self.id:
                if "error" in reply:
                    raise RuntimeError(f"{command}: {reply['error']}")
                return reply["return"]

    def balloon(self, target, limit=300):
        """Seconds until the guest has got to TARGET bytes."""
        begin = time.monotonic()
        self.call("balloon", value=target)
        while self.call("query-balloon")["actual"] != target:
            if time.monotonic() - begin > limit:
                raise RuntimeError("the balloon does not arrive")
            time.sleep(0.05)
        return time.monotonic() - begin

    def overhead(self):
        """Private bytes of the process that are not the guest's RAM."""
        total = 0
        size = private = 0
        for line in open(f"/proc/{self.process.pid}/smaps"):
            if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                if size < 512 * MIB:
                    total += private
                first, last = line.split()[0].split("-")
                size, private = int(last, 16) - int(first, 16), 0
            elif line.startswith("Private_"):
                private += int(line.split()[1]) * 1024
        return total + (private if size < 512 * MIB else 0)

    def close(self):
        self.process.kill()
        self.process.wait()


def measure(kind):
    with tempfile.TemporaryDirectory() as directory:
        guest = Guest(kind, directory)
        try:
            boot = guest.until(r"GUEST READY", 300) - guest.begin
            guest.connect()
            overhead = guest.overhead()
            guest.type("memhog 700M; echo E''ND", r"END", 300)
            inflate = INFLATE / MIB / guest.balloon(MEMORY - INFLATE)
            deflate = INFLATE / MIB / guest.balloon(MEMORY)
            return {"boot": boot, "overhead": overhead / MIB, "inflate": inflate, "deflate": deflate}
        finally:
            guest.close()


def main():
    args, runs = sys.argv[1:], 5
    if args[:1] == ["--runs"]:
        runs, args = int(args[1]), args[2:]
    if len(args) != 1:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    got = {"vmm": [], "qemu-microvm": []}
    for run in range(runs):
        for kind in got:
            got[kind].append(measure(kind))
            print(f"run {run + 1}/{runs} {kind}: " + ", ".join(f"{k} {v:.2f}" for k, v in got[kind][-1].items()), flush=True)
    middle = {kind: {k: statistics.median(r[k] for r in rows) for k in rows[0]} for kind, rows in got.items()}
    rows = []
    for metric, unit, note in (("boot", "s", "process start to first process, lower is better"),
                               ("overhead", "MiB", "private memory beside guest RAM, lower is better"),
                               ("inflate", "MiB/s", "of touched memory, higher is better"),
                               ("deflate", "MiB/s", "higher is better")):
        ours, peer = middle["vmm"][metric], middle["qemu-microvm"][metric]
        rows.append({"case": "debian13-initrd", "metric": metric, "unit": unit, "ours": ours, "peer_name": "qemu-microvm",
                     "peer": peer, "ratio": ours / peer if peer else 0.0, "runs": runs, "note": note})
    host = f"{os.uname().release}, {os.cpu_count()} cpu, " + next(
        (l.split(":")[1].strip() for l in open("/proc/cpuinfo") if l.startswith("model name")), "?")
    with open(args[0], "w") as f:
        json.dump({"schema": 1, "part": "vmm", "host": host, "rows": rows}, f, indent=1)


main()
