#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only
# The version, as the header has it; with "abi" the number in the soname, with "sources"
# the sources, which Meson has no pattern for.
set -eu
header=$(dirname "$0")/../src/kthread_worker.h
value() {
	sed -n "s/^#define KTHREAD_WORKER_$1 \([0-9][0-9]*\)\$/\1/p" "$header" | grep . || {
		echo "$header has no KTHREAD_WORKER_$1" >&2
		exit 1
	}
}
case ${1-} in
abi)
	value ABI
	;;
sources)
	cd "$(dirname "$0")/.."
	ls src/*.c
	;;
*)
	major=$(value VERSION_MAJOR)
	minor=$(value VERSION_MINOR)
	patch=$(value VERSION_PATCH)
	echo "$major.$minor.$patch"
	;;
esac
