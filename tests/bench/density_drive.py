# SPDX-License-Identifier: Apache-2.0
"""Who manages memory in each case of the part density, and with what balloon its guests run."""
import os
import shutil
import subprocess
import time

from density_guest import BALLOON, MEMORY_MIB
from guest import MIB
from ksm import DEFAULTS, Program, set_all, write
from scarce import meminfo

PVE_LEAST_MIB = MEMORY_MIB // 2  # `balloon:` of a Proxmox guest; without it the guest does not take part
LAW_EVERY_S = 5


def host_bytes(info, locked):
    """A host's memory, when what the huge pages hold and the guard has locked is not there."""
    return info["MemTotal"] - info["Hugetlb"] - locked


class Plain:
    """Nobody: the kernel swaps."""
    balloon = ""

    def __init__(self, args, directory, guard):
        set_all({**DEFAULTS, "run": "0"})

    def tick(self, guests):
        """About once a second."""

    def stop(self):
        write("advisor_mode", "none")
        write("run", "0")


class Advisor(Plain):
    """The kernel's own: KSM's advisor and free page reporting."""
    balloon = ",free-page-reporting=on"

    def __init__(self, args, directory, guard):
        set_all({**DEFAULTS, "run": "1"})
        write("advisor_mode", "scan-time")


class Law(Plain):
    """A peer's balloon law; its own code re-stated in policy/law_*.c decides."""
    name, least = "", -1

    def __init__(self, args, directory, guard):
        super().__init__(args, directory, guard)
        self.process = subprocess.Popen([args.build + "/tests/bench/law", self.name], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True)
        self.targets, self.next, self.locked = {}, 0, args.locked

    def line(self, guest):
        stats = guest.call("qom-get", path=BALLOON, property="guest-stats")
        if "asked" not in vars(guest):
            guest.asked = True
            guest.call("qom-set", path=BALLOON, property="guest-stats-polling-interval", value=2)
        value = [v if v < 1 << 63 else -1 for v in map(stats["stats"].get, ("stat-free-memory", "stat-available-memory"))]
        age = int((time.time() - stats["last-update"]) * 1e6) if stats["last-update"] else -1
        return "guest " + " ".join(map(str, [
            guest.number + 1, MEMORY_MIB * MIB, self.least, guest.call("query-balloon")["actual"],
            self.targets.get(guest.number + 1, -1), *(value if age >= 0 else (-1, -1)), age]))

    def tick(self, guests):
        if time.monotonic() < self.next:
            return
        self.next = time.monotonic() + LAW_EVERY_S
        info = meminfo()
        self.ksm(info)
        known = {g.number + 1: g for g in guests if g.alive()}
        lines = [f"host {host_bytes(info, self.locked)} {info['MemAvailable']}"] + [self.line(g) for g in known.values()]
        self.process.stdin.write("\n".join(lines + [f"step {int(time.monotonic() * 1e6)}", ""]))
        self.process.stdin.flush()
        while (answer := self.process.stdout.readline()) != ".\n":
            if not answer:
                raise RuntimeError(f"the law {self.name} ended")
            number, target = map(int, answer.split())
            self.targets[number] = target
            known[number].call("balloon", value=target)

    def ksm(self, info):
        """What the peer does with KSM."""

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        super().stop()


class Pve(Law):
    """Proxmox VE: its auto-ballooning, ksmtuned as shipped, free page reporting."""
    name, least, balloon = "pve", PVE_LEAST_MIB * MIB, ",free-page-reporting=on"

    def __init__(self, args, directory, guard):
        super().__init__(args, directory, guard)
        env = dict(os.environ, PIDFILE=directory + "/ksmtuned.pid")
        self.tuned = Program(["bash", args.ksmtuned], directory + "/ksmtuned.out", env)
        self.guard = guard
        guard.tell(f"kill {self.tuned.process.pid}")

    def stop(self):
        self.tuned.stop()
        self.guard.tell(f"gone {self.tuned.process.pid}")
        super().stop()


class Mom(Law):
    """oVirt MOM: its balloon rules and its KSM rules (doc/ksm.rules), on averages of ten samples."""
    name = "mom"

    def __init__(self, args, directory, guard):
        super().__init__(args, directory, guard)
        self.free, self.pages, self.decide = [], 100, 0

    def ksm(self, info):
        total = host_bytes(info, self.locked)
        self.free = self.free[-9:] + [info["MemFree"] + info["Buffers"] + info["Cached"]]
        if time.monotonic() < self.decide:
            return
        self.decide = time.monotonic() + 10
        # What could be shared it takes from the guests' sizes, and so it is always on where there are many.
        is_low = sum(self.free) / len(self.free) < 0.2 * total
        self.pages = min(max(self.pages + (300 if is_low else -50), 64), 1250)
        write("sleep_millisecs", str(int(10 * 16777216 / (total / 1024))))
        write("pages_to_scan", str(self.pages))
        write("run", "1")


class Memd(Plain):
    """memd as it is installed, with the sockets of these guests."""
    balloon = ",deflate-on-oom=on,free-page-reporting=on"

    def __init__(self, args, directory, guard):
        self.dir, self.kept, self.guard = directory, f"{args.out}/{args.part}-memd", guard
        os.mkdir(directory + "/state")
        conf = directory + "/memd.conf"
        with open(conf, "w") as f:
            f.write(f"[memd]\nruntime-dir={directory}/run\nstate-dir={directory}/state\n"
                    f"guests={directory}/*.qmp\n")
        self.program = Program([args.build + "/memd", "--config", conf], directory + "/memd.out")
        guard.tell(f"kill {self.program.process.pid}")
        self.ctl = [args.build + "/memctl", "--socket", directory + "/run/memd.sock"]
        for _ in range(100):
            if self.ask("status", None) == 0:
                return
            time.sleep(0.1)
        with open(directory + "/memd.out") as f:
            raise RuntimeError("memd does not answer; it says:\n" + f.read())

    def ask(self, what, out):
        return subprocess.run(self.ctl + [what], stdout=out or subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                              check=False).returncode

    def stop(self):
        """Keeps what it says and its trace, for `memctl replay`."""
        shutil.rmtree(self.kept, ignore_errors=True)
        os.mkdir(self.kept)
        for what in ("status", "guests", "explain", "report"):
            with open(f"{self.kept}/{what}.out", "w") as f:
                self.ask(what, f)
        self.program.stop()
        self.guard.tell(f"gone {self.program.process.pid}")
        for name in ("memd.out", "state"):
            shutil.move(f"{self.dir}/{name}", self.kept)
        super().stop()


CASES = {"plain": Plain, "advisor": Advisor, "pve": Pve, "mom": Mom, "memd": Memd}
