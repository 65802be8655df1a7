#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
#
# run-tests.sh LABEL PROGRAM... - run test programs, each with a time limit.
#
#   TEST_TIMEOUT     seconds for a test_* program (60)
#   STRESS_TIMEOUT   seconds for a stress_* or fuzz_* program (240)
#   TEST_RUNNER      the command that runs a program, when it does not run by itself
#
# One line a program; the output of those that fail; a last line that counts. A
# program that exits with 77 was skipped, and its reason is printed; so is the
# reason of a skipped case of a program that passed.

label=$1
shift

log=$(mktemp) || exit 2
trap 'rm -f "$log"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

passed=0 failed=0 skipped=0

run() {
	case ${1##*/} in
	stress_* | fuzz_*) limit=${STRESS_TIMEOUT:-240} ;;
	*) limit=${TEST_TIMEOUT:-60} ;;
	esac
	if command -v timeout >/dev/null 2>&1; then
		timeout -k 5 "$limit" $TEST_RUNNER "$@" >"$log" 2>&1
	else
		$TEST_RUNNER "$@" >"$log" 2>&1
	fi
}

# The thread sanitizer and a system that spreads its mappings widely do not always get
# on; without that spreading they do.
run_settled() {
	run "$1"
	code=$?
	if [ $code -ne 0 ] && grep -q 'ThreadSanitizer: unexpected memory mapping' "$log" &&
	   command -v setarch >/dev/null 2>&1; then
		case ${1##*/} in
		stress_* | fuzz_*) limit=${STRESS_TIMEOUT:-240} ;;
		*) limit=${TEST_TIMEOUT:-60} ;;
		esac
		timeout -k 5 "$limit" setarch -R "$1" >"$log" 2>&1
		code=$?
	fi
	return $code
}

for program; do
	name=$label/${program##*/}
	run_settled "$program"
	code=$?
	case $code in
	0)
		echo "ok    $name"
		sed -n 's/^skip /      skip: /p' "$log"
		passed=$((passed + 1))
		;;
	77)
		echo "skip  $name"
		sed -n 's/^skip /      skip: /p' "$log"
		skipped=$((skipped + 1))
		;;
	*)
		why="exit status $code"
		[ $code -eq 124 ] || [ $code -eq 137 ] && why="no end within $limit s"
		echo "FAIL  $name ($why)"
		sed 's/^/      /' "$log"
		failed=$((failed + 1))
		;;
	esac
done

echo "$label: $passed passed, $failed failed, $skipped skipped"
[ $failed -eq 0 ]
