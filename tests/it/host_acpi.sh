#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# iasl reads what the ACPI builder makes of many topologies, random ones too, and says nothing.
# shellcheck source-path=SCRIPTDIR source=lib.sh
cd "$(dirname "$0")/../.." || exit 1
. tests/it/lib.sh
replay=$MEMD_BUILD/fuzz-replay/vmm_acpi

if ! command -v iasl >/dev/null; then
	skip acpi_iasl 'no iasl here (package acpica-tools)'
	exit 0
fi
mkdir "$T/in" "$T/out"
cp tests/corpus/vmm_acpi/* "$T/in/"
seed=${SEED:-$RANDOM}
python3 - "$T/in" "$seed" <<'END'
import os, random, sys
random.seed(int(sys.argv[2]))
for n in range(40):
    # Room enough and 64 CPUs at most, so that all of them are built.
    data = bytearray(random.randbytes(16 + 7 * 64))
    data[0], data[3] = data[0] % 64 + 1, 0
    open(os.path.join(sys.argv[1], "random%d" % n), "wb").write(data)
END
build() { ACPI_OUT=$T/out "$replay" "$T/in/"* >"$T/replay" 2>&1; }
check acpi_built "seed $seed: the tables do not hold together" build
n=0
for table in "$T/out"/*.dat; do
	# -vs: no banner; what is left is about the table.
	said=$(cd "$T/out" && iasl -d -vs -p "$T/out/text" "$table" 2>&1 | grep -iE 'error|warning|invalid|unknown|beyond|checksum')
	n=$((n + 1))
	[ -z "$said" ] && grep -qiE 'error|unknown (sub|table)|invalid|incorrect checksum' "$T/out/text.dsl" && said=$(grep -iE 'error|unknown|invalid|incorrect' "$T/out/text.dsl" | head -n 2)
	[ -z "$said" ] || {
		not_ok acpi_iasl "seed $seed, ${table##*/}: $said"
		finish
	}
done
check acpi_iasl "only $n tables" [ $n -gt 200 ]
has_table() { compgen -G "$T/out/*-$1.dat" >/dev/null; }
for name in APIC FACP DSDT SRAT SLIT HMAT; do
	check "acpi_has_$name" 'no such table among them' has_table "$name"
done
finish
