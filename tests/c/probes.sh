#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# probes.sh PROGRAM BARE OBJECT... - do tools find the static probes of src/trace.h?
#
# readelf has to name them in the notes of the objects and of the program, and none in BARE,
# which was compiled without; perf and bpftrace, where they are here and work, have to list
# them for the program.

program=$1 bare=$2
shift 2

said() {
	echo "skip  probes: $*"
	[ "$REQUIRE_TOOLS" != 1 ]
	exit
}

fail() {
	echo "FAIL  probes: $*"
	exit 1
}

command -v readelf >/dev/null || said 'there is no readelf here'

# What the header defines, with the number of arguments: "queue 2".
wanted=$(sed -n 's/^[[:space:]]*DTRACE_PROBE\([0-9]*\)(kthread, \([a-z_]*\).*/\2 \1/p' \
	"$SRC/trace.h" | sort -u)
for name in queue execute_start execute_end; do
	echo "$wanted" | grep -q "^$name " || fail "src/trace.h has no probe $name"
done

# The same of an ELF file's notes. An argument is "8@%rax": its size, at its place.
noted() {
	readelf -nW "$@" | awk '
		/Provider: / { mine = /Provider: kthread$/ }
		/ Name: / { name = $2 }
		/ Arguments: / && mine { print name, gsub(/@/, "@") }' | sort -u
}

found=$(noted "$@")
[ "$found" = "$wanted" ] || fail "the objects have" $found", src/trace.h" $wanted
found=$(noted "$program")
[ "$found" = "$wanted" ] || fail "$program has" $found", src/trace.h" $wanted
found=$(noted "$bare")
[ -z "$found" ] || fail "compiled without probes there are" $found
echo "ok    probes (readelf:" $(echo "$wanted" | cut -d ' ' -f 1)")"

# perf's own store of programs, apart from the user's.
store=$(mktemp -d) || exit 1
trap 'rm -rf "$store"' EXIT
if ! command -v perf >/dev/null; then
	echo '      skip: there is no perf here'
elif ! perf --buildid-dir "$store" buildid-cache --add "$program" >"$store/log" 2>&1; then
	echo "      skip: perf does not work here: $(head -n 1 "$store/log")"
else
	listed=$(perf --buildid-dir "$store" list sdt 2>/dev/null |
		sed -n 's/^[[:space:]]*sdt_kthread:\([a-z_]*\).*/\1 /p' | sort -u)
	echo "$wanted" | while read -r name n; do
		echo "$listed" | grep -qx "$name " || fail "perf does not list $name"
	done || exit 1
	echo '      perf lists them'
fi

if ! command -v bpftrace >/dev/null; then
	echo '      skip: there is no bpftrace here'
elif ! listed=$(bpftrace -l "usdt:$program:kthread:*" 2>"$store/log") || [ -z "$listed" ]; then
	echo "      skip: bpftrace does not work here: $(head -n 1 "$store/log")"
else
	echo "$wanted" | while read -r name n; do
		echo "$listed" | grep -q ":$name\$" || fail "bpftrace does not list $name"
	done || exit 1
	echo '      bpftrace lists them'
fi
