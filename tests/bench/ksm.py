#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Page sharing by memd, the kernel's advisor, ksmtuned and two fixed rates, in turn, on this
machine's own KSM: how fast the savings come, what ksmd spends on them, what is kept.

usage: ksm.py --images DIR --out DIR --build DIR --ksmtuned FILE [--cases full,memd,...]
       ksm.py front DIR LOADER IMAGES NAME...

Guests are ksm_load processes with memory images of real guests in them, behind QMP sockets, so that
memd finds them as it finds QEMU. Saved is what they have loaded less their proportional share of
memory (Pss): the memory that is really free, whatever the kernel's counters say. Each case is switched on when the
first set has loaded; only "advisor-early" before. On a host without guests the advisor's lower limit
of CPU time makes it raise its rate tenfold a scan, up to the highest, and so it starts quickly.
Environment: BENCH_RUNS how often (1), BENCH_SECONDS how long a case lasts (600; full speed
ends when it has come round five times), BENCH_WAVE when the second guest set starts (300; memd, advisor and full speed), BENCH_STEADY the
length of the window at its end that counts as steady (120), BENCH_LOAD more options of ksm_load,
BENCH_NICE the nice value of ksmd and of all that is started here, for a machine on which others work
too (default: as they are, ksmd 5 by the kernel).
Every KSM setting is put back.
"""
import argparse
import atexit
import glob
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from ksm_plot import plot

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "it"))
import fake_qmp  # noqa: E402

KSM = "/sys/kernel/mm/ksm/"
KNOBS = ["pages_to_scan", "sleep_millisecs", "smart_scan", "use_zero_pages", "advisor_target_scan_time",
         "advisor_max_cpu", "advisor_min_pages_to_scan", "advisor_max_pages_to_scan", "max_page_sharing",
         "merge_across_nodes", "run", "advisor_mode"]
# What Linux 6.18 starts with. The advisor last: it refuses others' values while it runs.
DEFAULTS = {"pages_to_scan": "100", "sleep_millisecs": "20", "smart_scan": "1", "use_zero_pages": "0",
            "advisor_target_scan_time": "200", "advisor_max_cpu": "70", "run": "0"}
MIB = 1 << 20
RUNS = int(os.environ.get("BENCH_RUNS", "1"))
SECONDS = int(os.environ.get("BENCH_SECONDS", "600"))
WAVE = int(os.environ.get("BENCH_WAVE", "300"))
STEADY = int(os.environ.get("BENCH_STEADY", "120"))
NICE = os.environ.get("BENCH_NICE")
LOAD = os.environ.get("BENCH_LOAD", "").split()
FULL_SCANS, FULL_MOST_S = 5, 240  # full speed: until it has come round so often
# "memd" first after "full", which says what is attainable.
CASES = ["full", "memd", "advisor", "advisor-early", "ksmtuned", "default"]
# Cases in which a second guest set comes while the first is being kept merged.
WAVED = ["memd", "advisor"]


# ---- the guests ----

def front(directory, loader, images, names):
    """Sockets that answer as QEMU does; the process behind each is a loader."""
    def listen_then_load(sock):
        name = os.path.basename(sock.getsockname())[:-len(".qmp")]
        image = os.path.join(images, name.rsplit("-", 1)[0] + ".raw")
        r, w = os.pipe()
        pid = os.fork()
        if pid == 0:
            fake_qmp.ctypes.CDLL(None).prctl(fake_qmp.PR_SET_PDEATHSIG, signal.SIGKILL)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            sock.listen(4)
            log = os.open(os.path.join(directory, name + ".log"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(log, 1)
            os.write(w, b"x")
            os.execv(loader, [loader, "--seed", str(len(name) + sum(name.encode()))] + LOAD + [image])
        os.read(r, 1)
        os.close(r)
        os.close(w)
        return pid
    fake_qmp.listen_in_child = listen_then_load
    sys.argv = ["fake_qmp.py", "--dir", directory] + names
    return fake_qmp.main()


class Guests:
    """The front and its loaders."""
    def __init__(self, args, directory):
        self.dir, self.pids = directory, {}
        self.images = sorted(os.path.basename(p)[:-4] for p in glob.glob(os.path.join(args.images, "*.raw")))
        self.size = os.path.getsize(os.path.join(args.images, self.images[0] + ".raw")) // MIB
        self.process = subprocess.Popen(
            [sys.executable, "-B", os.path.abspath(__file__), "front", directory,
             os.path.join(args.build, "tests/bench/ksm-load"), args.images],
            stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the guests' front does not start")

    def ask(self, *words):
        out = subprocess.run([sys.executable, "-B", fake_qmp.__file__, "--send", self.dir + "/control", *words],
                             stdout=subprocess.PIPE, text=True, check=True).stdout
        return json.loads(out)

    def start(self, number):
        """A set of one guest per image; returns when the last has loaded its image."""
        begin = time.monotonic()
        names = [f"{image}-{number}" for image in self.images]
        for name in names:
            self.ask("add", f"{name}:bare:{self.size}")
            self.pids[name] = self.ask("show", name)["pid"]
        for name in names:
            while not self.loaded(name):
                if time.monotonic() - begin > 120:
                    raise RuntimeError(f"guest {name} does not load its image")
                time.sleep(0.05)
        return time.monotonic() - begin

    def loaded(self, name):
        with open(os.path.join(self.dir, name + ".log")) as f:
            words = f.read().split()
        return int(words[1]) if len(words) == 2 else 0

    def saved(self):
        """Bytes loaded less their proportional share in the processes."""
        total = 0
        for name, pid in self.pids.items():
            with open(f"/proc/{pid}/smaps_rollup") as f:
                for line in f:
                    if line.startswith("Pss_Anon:"):
                        total += self.loaded(name) - int(line.split()[1]) * 1024
        return total

    def stop(self):
        self.process.terminate()
        self.process.wait()


# ---- KSM ----

def read(name):
    with open(KSM + name) as f:
        text = f.read().strip()
    return text.split("[")[1].split("]")[0] if "[" in text else text


def write(name, value):
    if os.path.exists(KSM + name) and read(name) != value:
        with open(KSM + name, "w") as f:
            f.write(value)


class Settings:
    """What KSM's files held; put back at the end, however it comes."""
    def __init__(self):
        self.was = {name: read(name) for name in KNOBS if os.path.exists(KSM + name)}
        atexit.register(self.restore)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, lambda *_: sys.exit(1))

    def restore(self):
        set_all(self.was)


def set_all(values):
    write("advisor_mode", "none")
    for name in [n for n in KNOBS if n in values]:
        try:
            write(name, values[name])
        except OSError as error:
            print(f"ksm: {name} cannot be set to {values[name]}: {error.strerror}", file=sys.stderr)


def mergeable_processes():
    """Names of processes with mergeable memory (Linux 6.14 and later say so)."""
    names = []
    for path in glob.glob("/proc/[0-9]*/ksm_stat"):
        try:
            with open(path) as f:
                text = f.read()
            if "ksm_mergeable: yes" in text or "ksm_merge_any: yes" in text:
                with open(os.path.dirname(path) + "/comm") as f:
                    names.append(f.read().strip())
        except OSError:
            continue
    return names


def ksmd_pid():
    for path in glob.glob("/proc/[0-9]*/stat"):
        try:
            with open(path) as f:
                text = f.read()
        except OSError:
            continue
        if "(ksmd)" in text and text.rsplit(")", 1)[1].split()[1] == "2":
            return int(path.split("/")[2])
    raise RuntimeError("no ksmd: this kernel has no KSM")


class Ksmd:
    def __init__(self):
        self.pid = ksmd_pid()
        self.exact = os.path.exists(f"/proc/{self.pid}/schedstat")
        if NICE:
            was = os.getpriority(os.PRIO_PROCESS, self.pid)
            atexit.register(lambda: os.setpriority(os.PRIO_PROCESS, self.pid, was))
            for pid in (0, self.pid):
                os.setpriority(os.PRIO_PROCESS, pid, int(NICE))

    def seconds(self):
        if self.exact:
            with open(f"/proc/{self.pid}/schedstat") as f:
                return int(f.read().split()[0]) / 1e9
        with open(f"/proc/{self.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


# ---- who drives it ----

class Fixed:
    def __init__(self, args, directory, **values):
        set_all({**DEFAULTS, **values, "run": "1"})

    def stop(self):
        write("run", "0")


class Advisor(Fixed):
    def __init__(self, args, directory):
        super().__init__(args, directory)
        write("advisor_mode", "scan-time")

    def stop(self):
        write("advisor_mode", "none")
        super().stop()


class Program(Fixed):
    """A program sets KSM, started at the kernel's defaults with KSM off."""
    def __init__(self, command, log, env=None):
        set_all(DEFAULTS)
        self.log = open(log, "w")
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, env=env,
                                        start_new_session=True)
        atexit.register(self.end)  # before the settings are restored, or it would set them again

    def end(self):
        if self.log.closed:
            return
        # ksmtuned forks its loop: the whole group of it.
        os.killpg(self.process.pid, signal.SIGTERM)
        self.process.wait()
        self.log.close()

    def stop(self):
        self.end()
        super().stop()


class Ksmtuned(Program):
    """Its own script and law; the threshold of free memory so that it wants to run."""
    def __init__(self, args, directory):
        env = dict(os.environ, KSM_THRES_COEF="100", PIDFILE=directory + "/ksmtuned.pid", DEBUG="1")
        super().__init__(["bash", args.ksmtuned], directory + "/ksmtuned.out", env)


class Memd(Program):
    def __init__(self, args, directory):
        conf = directory + "/memd.conf"
        with open(conf, "w") as f:
            f.write(f"[memd]\nruntime-dir={directory}/run\nstate-dir={directory}/state\n"
                    f"guests={directory}/*.qmp\n")
        super().__init__([args.build + "/memd", "--config", conf], directory + "/memd.out")
        self.ctl = [args.build + "/memctl", "--socket", directory + "/run/memd.sock", "--json"]
        for _ in range(100):
            if subprocess.run(self.ctl + ["status"], stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL).returncode == 0:
                return
            time.sleep(0.1)
        raise RuntimeError("memd does not answer; it says:\n" + open(directory + "/memd.out").read())

    def stop(self):
        with open(os.path.dirname(self.log.name) + "/explain.out", "w") as f:
            subprocess.run(self.ctl + ["explain"], stdout=f)
        super().stop()


DRIVERS = {
    # Without smart scan, which would skip what only a second guest set makes equal.
    "full": lambda a, d: Fixed(a, d, pages_to_scan="30000", sleep_millisecs="0", smart_scan="0"),
    "default": Fixed,
    "advisor": Advisor,
    "advisor-early": Advisor,
    "ksmtuned": Ksmtuned,
    "memd": Memd,
}


# ---- one case ----

class Series(list):
    """(seconds since the guests were loaded, saved bytes, ksmd's CPU seconds)"""
    def first(self, saved):
        """The sample that reached it."""
        return next((s for s in self if s[1] >= saved), None)

    def between(self, start, end):
        return [s for s in self if start <= s[0] <= end]

    def best(self):
        return max(s[1] for s in self)


def sample(guests, ksmd, series, start, cpu, until, scans=None):
    """For `until` seconds from start, or that many full scans: often at first, when much happens."""
    first_scan = int(read("full_scans"))
    while True:
        now = time.monotonic() - start
        series.append((now, guests.saved(), ksmd.seconds() - cpu))
        step = 0.2 if now < 20 else 0.5 if now < 60 else 2
        if now + step > until or (scans and now > 10 and int(read("full_scans")) - first_scan >= scans):
            return
        time.sleep(step)


def run_case(name, args, ksmd):
    """Samples of the first guest set and, relative to the moment before it, of the second."""
    with tempfile.TemporaryDirectory() as directory:
        scans = FULL_SCANS if name == "full" else None
        length = FULL_MOST_S if scans else SECONDS
        wave_at = length if scans else WAVE if name in WAVED else length
        os.mkdir(directory + "/state")
        others = mergeable_processes()
        if others:
            print(f"  {name}: beside {len(others)} processes whose memory is scanned and merged too "
                  f"({', '.join(sorted(set(others)))}): its figures are theirs as well", flush=True)
        guests = Guests(args, directory)
        first, second = Series(), Series()
        driver = None
        try:
            set_all(DEFAULTS)
            cpu = ksmd.seconds()
            if name == "advisor-early":
                driver = DRIVERS[name](args, directory)
                time.sleep(10)
                cpu = ksmd.seconds()
            guests.start(1)
            start = time.monotonic()
            driver = driver or DRIVERS[name](args, directory)
            sample(guests, ksmd, first, start, cpu, min(wave_at, length), scans)
            if scans or wave_at < length:
                before, cpu = guests.saved(), ksmd.seconds()
                guests.start(2)
                sample(guests, ksmd, second, time.monotonic(), cpu, length - (0 if scans else wave_at), scans)
                second = Series((t, saved - before, spent) for t, saved, spent in second)
        finally:
            if driver:
                driver.stop()
            guests.stop()
            keep_log(args, directory, name)
    return first, second


def keep_log(args, directory, name):
    for path in glob.glob(directory + "/*.out"):
        kind = os.path.basename(path)[:-4]
        with open(path) as f, open(f"{args.out}/ksm-{name}-{kind}.log", "w") as out:
            out.write(f.read())


def figures(name, first, second, attainable, wave):
    """What a case is judged by."""
    best = first.best()
    own = first.first(0.99 * best)
    end = first[-1][0]
    steady = first.between(end - min(STEADY, end / 2), end)
    got = {"best_mib": best / MIB, "own_best_s": own[0], "own_best_cpu_s": own[2],
           "steady_cpu_percent": 100 * (steady[-1][2] - steady[0][2]) / max(steady[-1][0] - steady[0][0], 0.1),
           "held_percent": 100 * statistics.fmean(s[1] for s in steady) / attainable}
    for percent in (50, 90, 95):
        at = first.first(percent / 100 * attainable)
        got[f"time_{percent}_s"] = at[0] if at else None
        got[f"cpu_{percent}_s"] = at[2] if at else None
    for percent in (50, 90, 95):
        at = second.first(percent / 100 * wave) if second and wave else None
        got[f"wave_{percent}_s"] = at[0] if at else None
        got[f"wave_{percent}_cpu_s"] = at[2] if at else None
    at = second.first(0.99 * second.best()) if second else None
    got["wave_own_best_s"] = at[0] if at else None
    got["wave_own_best_cpu_s"] = at[2] if at else None
    got["wave_best_mib"] = second.best() / MIB if second else None
    print(f"  {name}: " + ", ".join(f"{k} {v:.4g}" for k, v in got.items() if v is not None), flush=True)
    return got


# ---- the result ----

METRICS = [("time to 50 % of attainable", "s", "time_50_s"), ("time to 90 % of attainable", "s", "time_90_s"),
           ("time to 95 % of attainable", "s", "time_95_s"), ("ksmd CPU to 50 %", "s", "cpu_50_s"),
           ("ksmd CPU to 90 %", "s", "cpu_90_s"), ("ksmd CPU to 95 %", "s", "cpu_95_s"),
           ("ksmd CPU, steady", "% of a core", "steady_cpu_percent"),
           ("held of attainable, steady", "%", "held_percent"), ("most saved", "MiB", "best_mib")]


def median(results, case, key):
    values = [r[key] for r in results.get(case, []) if r[key] is not None]
    return statistics.median(values) if values else None


def rows(results, attainable, cases):
    out = []

    def row(case, metric, unit, ours, peer_name, peer, note=""):
        out.append({"case": case, "metric": metric, "unit": unit, "ours": ours, "peer_name": peer_name,
                    "peer": peer, "ratio": ours / peer if ours is not None and peer else None,
                    "runs": RUNS, "note": note})

    for peer in [c for c in cases if c != "memd"]:
        for metric, unit, key in METRICS:
            peers = median(results, peer, key)
            row(f"memd/{peer}", metric, unit, median(results, "memd", key), peer, peers,
                "" if peers is not None else f"never, in {SECONDS} s")
    if "advisor" in results:
        row("goal", "time to 95 %, of the advisor's to its own best", "s", median(results, "memd", "time_95_s"),
            "advisor", median(results, "advisor", "own_best_s"), "goal: ratio at most 0.05; its best: 99 % of its most")
        row("goal", "ksmd CPU to 95 %, of the advisor's to its own best", "s", median(results, "memd", "cpu_95_s"),
            "advisor", median(results, "advisor", "own_best_cpu_s"), "goal: ratio at most 0.5")
        row("goal", "second guest set: time to 95 %, of the advisor's to its own best", "s",
            median(results, "memd", "wave_95_s"), "advisor", median(results, "advisor", "wave_own_best_s"),
            "goal: ratio at most 0.05; KSM was on when they came")
        row("goal", "second guest set: ksmd CPU to 95 %, of the advisor's to its own best", "s",
            median(results, "memd", "wave_95_cpu_s"), "advisor", median(results, "advisor", "wave_own_best_cpu_s"),
            "goal: ratio at most 0.5")
    row("goal", "second guest set: time to 90 %", "s", median(results, "memd", "wave_90_s"), "full",
        median(results, "full", "wave_90_s"), "goal: at most 15 s from the end of its loading")
    row("goal", "second guest set: ksmd CPU to 90 %", "s", median(results, "memd", "wave_90_cpu_s"), "full",
        median(results, "full", "wave_90_cpu_s"))
    row("attainable", "what full speed saves", "MiB", attainable / MIB, "", None)
    return out


def main():
    p = argparse.ArgumentParser(usage=__doc__)
    for name in ("--images", "--out", "--build", "--ksmtuned"):
        p.add_argument(name, required=True)
    p.add_argument("--cases", default=",".join(CASES))
    args = p.parse_args()
    cases = args.cases.split(",")
    ksmd = Ksmd()
    settings = Settings()
    if settings.was["run"] == "1":
        raise RuntimeError("KSM is on: somebody uses it, and what would be measured is theirs too")
    results, drawn, attainable, wave = {}, {}, [], []
    for run in range(RUNS):
        print(f"run {run + 1} of {RUNS}", flush=True)
        for name in cases:
            first, second = run_case(name, args, ksmd)
            if name == "full":
                attainable.append(statistics.median(s[1] for s in first[-10:]))
                wave.append(statistics.median(s[1] for s in second[-10:]) if second else 0)
            drawn.setdefault(name, (first, second))
            goal = attainable[-1] if attainable else first.best()
            results.setdefault(name, []).append(figures(name, first, second, goal, wave[-1] if wave else 0))
    settings.restore()
    what = statistics.median(attainable) if attainable else 0
    doc = {"schema": 1, "part": "ksm", "host": f"Linux {os.uname().release}, {os.cpu_count()} processors",
           "rows": rows(results, what, cases)}
    with open(args.out + "/ksm.json", "w") as f:
        json.dump(doc, f, indent=1)
    with open(args.out + "/ksm-series.json", "w") as f:
        json.dump({name: {"first": s[0], "second": s[1]} for name, s in drawn.items()}, f)
    with open(args.out + "/ksm.svg", "w") as f:
        f.write(plot(drawn, what))


if __name__ == "__main__":
    if sys.argv[1:2] == ["front"]:
        sys.exit(front(sys.argv[2], sys.argv[3], sys.argv[4], sys.argv[5:]))
    main()
