#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# mutants.sh - is each mend of src/mends.h missed by a test when it is left out?
#
#   mutants.sh check              does mutants.txt name each mend, and nothing else?
#   mutants.sh programs VARIANT   the programs that it names, for make
#   mutants.sh try MEND           build without the mend, run its cases, note the result
#   mutants.sh table              print the results; fails unless every mutant was caught
#
# The Makefile calls it, and gives HERE, SRC, OUT, MAKE, and MUTANTS: the mends to leave out.
#
#   MUTANT_SECONDS   how long a case may take before it counts as hanging (5)
#   MUTANT_TRIES     how often the cases are tried on one that survives (10): where the fault
#                    is a race, a case need not hit it at once

list=$HERE/mutants.txt

mends() {
	sed -n 's/^[[:space:]]*MEND_\([A-Z0-9_]*\).*/\1/p' "$SRC/mends.h" | grep -vx NONE
}

lines() {
	sed 's/#.*//; /^[[:space:]]*$/d' "$list"
}

# "asan/test_flush" is of that variant, "test_flush" of the plain one.
variant_of() {
	case $1 in
	*/*) echo "${1%%/*}" ;;
	*) echo plain ;;
	esac
}

check() {
	faults=0
	fault() {
		echo "FAIL  mutants: $*"
		faults=$((faults + 1))
	}
	for mend in $MUTANTS; do
		grep -q "MENDED($mend)" "$SRC"/*.c "$SRC"/*.h || fault "src never asks for $mend"
		lines | awk -v m="$mend" '$1 == m && NF > 2 { n++ } END { exit !n }' ||
			fault "no line in mutants.txt has a program and a case for $mend"
	done
	for name in $(lines | awk '{ print $1 }' | sort -u); do
		mends | grep -qx "$name" || fault "mutants.txt names $name, src/mends.h does not"
	done
	for name in $(lines | awk '{ print $2 }' | sort -u); do
		[ -f "$HERE/${name##*/}.c" ] || fault "mutants.txt names $name, which is no program"
	done
	[ $faults -eq 0 ]
}

programs() {
	for name in $(lines | awk '{ print $2 }' | sort -u); do
		if [ "$(variant_of "$name")" = "$1" ]; then
			echo "${name##*/}"
		fi
	done
}

run_case() {
	timeout -k 2 $((2 * seconds + 5)) "$1" "$2" >"$dir/log" 2>&1
}

# The cases of one line, until one fails, by which the mutant is caught.
try_line() {
	name=$1
	variant=$(variant_of "$name")
	program=${name##*/}
	shift
	if ! "$MAKE" --no-print-directory -f "$HERE/Makefile" VARIANT="$variant" MUTANT="$mend" \
	    TESTS="$program" programs >"$dir/build" 2>&1; then
		result="error it does not build: $(grep -m 1 error "$dir/build")"
		return
	fi
	if [ ! -x "$dir/$variant/$program" ]; then
		result="skipped $(head -n 1 "$dir/build")"
		return
	fi
	for case; do
		run_case "$dir/$variant/$program" "$case"
		code=$?
		if grep -q '^no such case' "$dir/log"; then
			result="error $name has no case $case"
			return
		fi
		[ $code -eq 0 ] && continue
		if [ $code -eq 77 ]; then
			result="skipped $name $case: $(sed -n 's/^skip [^:]*: //p' "$dir/log")"
			continue
		fi
		how='fails'
		[ $code -gt 128 ] && how="dies of signal $((code - 128))"
		grep -q ' hangs: no end' "$dir/log" && how='hangs'
		[ $code -eq 124 ] || [ $code -eq 137 ] && how='hangs'
		# It has to be the mutant's doing.
		if run_case "$OUT/$variant/$program" "$case"; then
			result="caught $name $case $how"
			return
		fi
		result="survived $name $case $how, but with the mend as well"
	done
}

try() {
	mend=$1
	dir=$OUT/mutants/$mend
	seconds=${MUTANT_SECONDS:-5}
	result=survived
	mkdir -p "$dir"
	rm -f "$dir/result"
	TEST_CASE_TIMEOUT=$seconds
	export TEST_CASE_TIMEOUT
	lines | awk -v m="$mend" '$1 == m { $1 = ""; print }' >"$dir/lines"
	for try in $(seq "${MUTANT_TRIES:-10}"); do
		while read -r arguments; do
			# shellcheck disable=SC2086
			try_line $arguments </dev/null
			case $result in
			caught* | error*) break 2 ;;
			esac
		done <"$dir/lines"
	done
	echo "$result" >"$dir/result"
	[ "${try:-1}" -eq 1 ] || echo "      $mend: try $try"
}

table() {
	caught=0 skipped=0 failed=0
	for mend in $MUTANTS; do
		result=$(cat "$OUT/mutants/$mend/result" 2>/dev/null || echo 'error was not tried')
		kind=${result%% *}
		text=${result#"$kind"}
		case $kind in
		caught)
			printf 'ok    %-26s%s\n' "$mend" "$text"
			caught=$((caught + 1))
			;;
		skipped)
			printf 'skip  %-26s%s\n' "$mend" "$text"
			skipped=$((skipped + 1))
			;;
		*)
			printf 'FAIL  %-26s %s\n' "$mend" "$result"
			failed=$((failed + 1))
			;;
		esac
	done
	echo "mutants: $caught caught, $failed not, $skipped skipped"
	[ $failed -eq 0 ] && { [ $skipped -eq 0 ] || [ "${REQUIRE_TOOLS:-0}" != 1 ]; }
}

"$@"
