# SPDX-License-Identifier: Apache-2.0
"""A guest under measurement: vmm's and QEMU's command lines for the same machine, the console on
a pipe, the QMP socket, and what the process takes from the host."""
import json
import os
import re
import select
import socket
import subprocess
import time

MIB = 1 << 20
IMAGES = "/lab"
IDLE = os.environ.get("BENCH_IDLE", "/stage/tests/bench/vmm-idle")
# What is plugged is movable, and so used first. The first process says so before anything else; then the image's own start goes on.
WORDS = ("console=ttyS0 quiet panic=-1 mitigations=off memhp_default_state=online_movable "
         'rdinit=/bin/sh -- -c "echo GUEST INIT; exec /init"')

# Kind: program, kernel, QEMU's machine. A QEMU microvm gives an unpacked kernel no ACPI tables and
# so no devices: it must unpack bzImage. q35 boots either.
KINDS = {
    "vmm": ("vmm", "vmlinux", None),
    "vmm-bzimage": ("vmm", "vmlinuz", None),
    "vmm-idle": (IDLE, "vmlinux", None),
    "qemu-microvm": ("qemu-system-x86_64", "vmlinuz", "microvm,acpi=on"),
    "qemu-q35": ("qemu-system-x86_64", "vmlinux", "q35,vmport=off"),
}


def vmm_words(memory, pages, reporting, hotplug):
    words = ["--memory", f"size={memory}M,pages={pages},merge=off", "--no-reboot", "--balloon",
             f"deflate-on-oom=off,free-page-reporting={'on' if reporting else 'off'}"]
    return words + (["--mem-device", f"size={hotplug}M"] if hotplug else [])


def qemu_words(machine, memory, pages, reporting, hotplug):
    bus = "pci" if machine.startswith("q35") else "device"
    backend = "memory-backend-ram" if pages == "thp" else "memory-backend-memfd,hugetlb=on,hugetlbsize=2M,prealloc=on"
    room = f",maxmem={memory + 2 * hotplug}M" if hotplug else ""
    words = ["-machine", machine + ",memory-backend=m0", "-accel", "kvm", "-cpu", "host", "-smp", "1",
             "-m", f"{memory}M{room}", "-object", f"{backend},id=m0,size={memory}M,merge=off",
             "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio",
             "-device", f"virtio-balloon-{bus},free-page-reporting={'on' if reporting else 'off'}",
             "-device", f"virtio-rng-{bus}"]
    if hotplug:
        words += ["-object", f"memory-backend-ram,id=m1,size={hotplug}M,merge=off",
                  "-device", f"virtio-mem-{bus},id=mem0,memdev=m1"]
    return words


class Guest:
    def __init__(self, kind, directory, memory=512, pages="thp", reporting=False, hotplug=0):
        program, kernel, machine = KINDS[kind]
        self.path = os.path.join(directory, "qmp")
        boot = {"kernel": f"{IMAGES}/{kernel}", "initrd": f"{IMAGES}/initrd", "append": WORDS}
        if machine:
            argv = [program] + qemu_words(machine, memory, pages, reporting, hotplug)
            argv += ["-qmp", f"unix:{self.path},server=on,wait=off"]
        else:
            argv = [program, "--name", "bench", "--qmp", self.path] + vmm_words(memory, pages, reporting, hotplug)
        for name, value in boot.items():
            argv += [("-" if machine else "--") + name, value]
        self.kind, self.memory, self.text, self.id = kind, memory, "", 0
        self.begin = time.monotonic()
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def until(self, pattern, limit=120):
        """Wait for PATTERN on the console; seconds since the process started."""
        end = time.monotonic() + limit
        while not re.search(pattern, self.text):
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                raise RuntimeError(f"no '{pattern}' in {limit} s: {self.text[-500:]}")
            data = os.read(self.process.stdout.fileno(), 65536)
            if not data:
                raise RuntimeError(f"ended: {self.text[-500:]}")
            self.text += data.decode(errors="replace")
        return time.monotonic() - self.begin

    def run(self, command, limit=120):
        """Run COMMAND in the guest's shell to its end."""
        self.text = ""
        # The quotes keep an echo of the line from looking like its end.
        self.process.stdin.write(command.encode() + b"; echo E''ND $?\n")
        self.process.stdin.flush()
        self.until(r"END \d+", limit)
        if "END 0" not in self.text:
            raise RuntimeError(f"{command}: {self.text[-500:]}")

    def connect(self):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        self.socket.connect(self.path)
        self.file = self.socket.makefile("r")
        self.file.readline()
        self.call("qmp_capabilities")

    def call(self, command, **arguments):
        self.id += 1
        request = {"execute": command, "arguments": {k.replace("_", "-"): v for k, v in arguments.items()}, "id": self.id}
        self.socket.sendall(json.dumps(request).encode() + b"\n")
        while True:
            reply = json.loads(self.file.readline())
            if reply.get("id") == self.id:
                if "error" in reply:
                    raise RuntimeError(f"{command}: {reply['error']}")
                return reply["return"]

    def wait_for(self, what, is_done, limit, pause=0.05):
        """Seconds until is_done() holds."""
        begin = time.monotonic()
        while not is_done():
            if time.monotonic() - begin > limit:
                raise RuntimeError(f"{what}: not done in {limit} s")
            time.sleep(pause)
        return time.monotonic() - begin

    def reach(self, what, target, now, limit):
        """Seconds until now() is the target. Looks rarely while there is far to go: each look costs
        an emulated processor as much as some MiB do."""
        begin, first, seen = time.monotonic(), now(), None
        while seen != target:
            passed = time.monotonic() - begin
            if passed > limit:
                raise RuntimeError(f"{what}: at {seen} instead of {target} after {limit} s")
            done = abs(first - seen) / abs(first - target) if seen is not None else 0
            time.sleep(min(max(passed * (1 / done - 1) * 0.6, 0.02), 1.0) if done else 0.1)
            seen = now()
        return time.monotonic() - begin

    def balloon(self, target_mib, limit=120):
        """Seconds until the guest has got to the target."""
        self.call("balloon", value=target_mib * MIB)
        return self.reach("balloon", target_mib * MIB, lambda: self.call("query-balloon")["actual"], limit)

    def hotplug(self, target_mib, limit=60):
        """Seconds until the guest's virtio-mem device has the target plugged."""
        name = self.call("query-memory-devices")[0]["data"]["id"]
        self.call("qom-set", path=f"/machine/peripheral/{name}", property="requested-size", value=target_mib * MIB)
        return self.reach("virtio-mem", target_mib * MIB, lambda: self.call("query-memory-devices")[0]["data"]["size"], limit)

    def mappings(self):
        """(bytes of the mapping, private bytes in it, its first line) of each."""
        rows = []
        with open(f"/proc/{self.process.pid}/smaps") as f:
            for line in f:
                if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
                    first, last = line.split()[0].split("-")
                    rows.append([int(last, 16) - int(first, 16), 0, line.rstrip()])
                elif line.startswith("Private_"):
                    rows[-1][1] += int(line.split()[1]) * 1024
        return rows

    def overhead(self):
        """Private bytes of the process that are not the guest's RAM."""
        rows = self.mappings()
        ram = [r for r in rows if r[0] >= self.memory * MIB // 2]
        if not ram:
            raise RuntimeError("the guest's RAM is not among the mappings")
        return sum(r[1] for r in rows) - sum(r[1] for r in ram)

    def resident(self):
        with open(f"/proc/{self.process.pid}/smaps_rollup") as f:
            return next(int(line.split()[1]) * 1024 for line in f if line.startswith("Rss:"))

    def huge_share(self):
        """Share of what the second-level tables map that is mapped by 2 MiB pages."""
        stats = self.call("query-stats", target="vm")
        value = {s["name"]: s["value"] for entry in stats for s in entry["stats"]}
        huge, small = value["pages_2m"] * 2 * MIB + value.get("pages_1g", 0) * 1024 * MIB, value["pages_4k"] * 4096
        return huge / (huge + small) if huge + small else 0.0
