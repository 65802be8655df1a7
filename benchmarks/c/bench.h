/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * bench.h - what the benchmarks of the C core share: the clock, medians, what they ran on.
 *
 * Each benchmark is a program that asks one question, and prints a table or, with --csv,
 * lines for a program. Compiled against another state of the core it compares the two.
 */
#ifndef BENCH_H
#define BENCH_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "kthread_worker.h"

#define UNUSED __attribute__((unused))

static UNUSED uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/*
 * Processor time of the calling thread: what others run meanwhile does not count. A call
 * takes a while; cpu_ns_cost says how long, to be subtracted.
 */
static UNUSED uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static UNUSED uint64_t cpu_ns_cost(void)
{
	static uint64_t least = UINT64_MAX;
	static bool known;

	for (int i = 0; i < 1000 && !known; i++) {
		uint64_t begin = cpu_ns(), cost = cpu_ns() - begin;

		least = cost < least ? cost : least;
	}
	known = true;
	return least;
}

static UNUSED uint32_t bench_random(uint64_t *state)
{
	uint64_t x = *state;

	x ^= x << 13;
	x ^= x >> 7;
	x ^= x << 17;
	*state = x;
	return (uint32_t)(x >> 32);
}

static UNUSED void *must(void *p)
{
	if (!p) {
		fprintf(stderr, "no memory, or no thread\n");
		exit(1);
	}
	return p;
}

/* Samples, and what is said of them. */
struct samples {
	double *ns;
	unsigned int count;
};

static UNUSED void samples_add(struct samples *s, double ns)
{
	s->ns = must(realloc(s->ns, (s->count + 1) * sizeof(*s->ns)));
	s->ns[s->count++] = ns;
}

static int compare_ns(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return x < y ? -1 : x > y;
}

/* 1, 2, 3: the quarter of them that is below. */
static UNUSED double quartile(struct samples *s, unsigned int which)
{
	qsort(s->ns, s->count, sizeof(*s->ns), compare_ns);
	return s->ns[(s->count - 1) * which / 4];
}

static UNUSED void pin_to(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		perror("sched_setaffinity");
}

static UNUSED const char *machine_model(void)
{
	static char model[200] = "unknown processor";
	char line[256];
	FILE *file = fopen("/proc/cpuinfo", "r");

	while (file && fgets(line, sizeof(line), file))
		if (sscanf(line, "model name : %199[^\n]", model) == 1)
			break;
	if (file)
		fclose(file);
	return model;
}

static UNUSED void print_machine(void)
{
	char day[32];
	struct utsname uts;
	time_t now = time(NULL);

	strftime(day, sizeof(day), "%Y-%m-%d", gmtime(&now));
	uname(&uts);
	printf("%s; %s, %ld processors; %s %s; compiled by %s\n", day, machine_model(),
	       sysconf(_SC_NPROCESSORS_ONLN), uts.sysname, uts.release, __VERSION__);
}

static UNUSED const char *option(int argc, char **argv, const char *name)
{
	for (int i = 1; i < argc; i++)
		if (!strcmp(argv[i], name))
			return i + 1 < argc ? argv[i + 1] : "";
	return NULL;
}

static UNUSED unsigned int number(int argc, char **argv, const char *name, unsigned int otherwise)
{
	const char *text = option(argc, argv, name);

	return text && *text ? (unsigned int)strtoul(text, NULL, 0) : otherwise;
}

#endif /* BENCH_H */
