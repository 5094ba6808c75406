#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Part density-lab: the same as part density with guests under vmm on the emulated host, smaller and
# slower, for that host has one processor: who holds more? No more than eight guests: with ten and
# twelve the emulator fell silent in three of three tries. CASES= a choice of plain, advisor, mom, memd.
set -euo pipefail
share=$(mktemp -d)
trap 'rm -rf "$share"' EXIT
mkdir "$share/bench" "$share/it"
cp tests/bench/*.py "$share/bench/"
cp tests/it/fake_qmp.py "$share/it/"
[ -z "${BENCH_SPARE:-}" ] || cp "$BENCH_SPARE" "$share/spare.json"
cat >"$share/run" <<'END'
#!/bin/bash
mkdir -p /tmp/build /tmp/images
ln -sfn /stage/bin/* /stage/tests /tmp/build/
modprobe zram num_devices=0
export PATH=$PATH:/usr/sbin:/sbin
exec python3 -B /share/bench/density.py --vmm /tmp/images --out /out --build /tmp/build --ksmtuned none "$@"
END
chmod +x "$share/run"
# shellcheck disable=SC2086 # words
tests/lab/lab run --memory "${BENCH_MEMORY:-4G}" --nodes 1 --share "$share" --out "$BENCH_OUT" --timeout $((4000 * ${BENCH_RUNS:-1})) -- \
	env BENCH_FREE="${BENCH_FREE:-320M}" BENCH_SWAP="${BENCH_SWAP:-192M}" BENCH_STEPS="${BENCH_STEPS:-3,4,5,6,7,8}" \
	BENCH_SETTLE="${BENCH_SETTLE:-20}" \
	BENCH_RUNS="${BENCH_RUNS:-1}" ${BENCH_SPARE:+BENCH_SPARE=/share/spare.json} BENCH_SLOWER="${BENCH_SLOWER:-4}" BENCH_LIMIT_S="${BENCH_LIMIT_S:-2}" \
	/share/run --cases "${CASES:-plain,advisor,mom,memd}"
