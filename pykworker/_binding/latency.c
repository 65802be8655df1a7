/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * latency.c - how late the ticks of a period begin; what `python -m pykworker latency` counts in.
 *
 * The buckets are linear within a power of two, and their widths double from one to the next: 64
 * of one nanosecond, then 64 for each power of two. So a value is known to 1/64 of itself, over
 * ten orders of magnitude, in a fixed table: recording allocates nothing, and costs the same
 * whatever has been recorded.
 */
#include "binding.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define SHARE_BITS 6
#define SHARES (1u << SHARE_BITS)

static uint32_t bucket_of(uint64_t ns)
{
	uint32_t shift, index;

	if (ns < SHARES)
		return (uint32_t)ns;
	shift = 63 - (uint32_t)__builtin_clzll(ns) - SHARE_BITS;
	index = shift * SHARES + (uint32_t)(ns >> shift);
	return index < PYKW_LATENCY_BUCKETS ? index : PYKW_LATENCY_BUCKETS - 1;
}

/* The least value that bucket counts; it ends where the next one begins. */
uint64_t pykw_latency_bucket_begin(uint32_t index)
{
	uint32_t shift = index < SHARES ? 0 : index / SHARES - 1;

	return (uint64_t)(index - shift * SHARES) << shift;
}

/* One thread writes, so that no sum is lost; another one may look meanwhile. */
static void set(uint64_t *field, uint64_t value)
{
	__atomic_store_n(field, value, __ATOMIC_RELAXED);
}

void pykw_latency_record(struct pykw_latency *latency, uint64_t late_ns)
{
	uint64_t *bucket = &latency->buckets[bucket_of(late_ns)];

	if (!latency->count || late_ns < latency->min_ns)
		set(&latency->min_ns, late_ns);
	if (late_ns > latency->max_ns)
		set(&latency->max_ns, late_ns);
	set(&latency->sum_ns, latency->sum_ns + late_ns);
	set(bucket, *bucket + 1);
	set(&latency->count, latency->count + 1);
}

static void record_moment(struct pykw_latency *latency, uint64_t due, uint64_t now)
{
	pykw_latency_record(latency, now > due ? now - due : 0);
}

/* The moment from which on a tick of w is late; skipped: all that w has until then. */
struct tick {
	uint64_t due_ns;
	uint64_t skipped;
};

/*
 * By now w is armed for the next tick, counted from the deadline of this one and past those that
 * are skipped. So the way back from there is exact, and no matter how much later than whoever
 * armed it this asks for the time.
 *
 * The deadline is under the lock of this thread's worker; but besides this thread nobody moves
 * it, since nobody but the command knows the work.
 */
static struct tick tick_of(struct pykw_worker *pw, const struct pykw_work *w, uint64_t before)
{
	struct pykw_timer *timer = pykw_timer_of(w);
	bool native = w->extra->native;
	bool armed = native ? pw->worker->rearmed : timer->period_ns != 0;
	uint64_t period = native ? timer->dwork.period : timer->period_ns;
	struct tick tick = {
		.due_ns = timer->dwork.timer.deadline,
		.skipped = native ? kthread_delayed_work_missed(&timer->dwork) : timer->missed,
	};

	if (armed) /* its worker is not closing */
		tick.due_ns -= (tick.skipped - before + 1) * period;
	return tick;
}

/* In the callback of a periodic work; the first that it does. */
void pykw_latency_tick(void *data)
{
	uint64_t now = gil_clock_ns();
	struct pykw_latency *latency = data;
	struct kthread_worker *worker = kthread_current_worker();
	struct pykw_worker *pw = worker ? kthread_worker_data(worker) : NULL;
	struct pykw_work *w = pw ? (struct pykw_work *)atomic_load(&pw->current) : NULL;
	struct tick tick;

	if (!w || !pykw_timer_of(w))
		return;
	tick = tick_of(pw, w, latency->missed);
	set(&latency->missed, tick.skipped);
	record_moment(latency, tick.due_ns, now);
}

/*
 * In a loop that sleeps until next_ns: the same, and the same rule for ticks that have passed.
 * Returns when the next one is due.
 */
uint64_t pykw_latency_lap(struct pykw_latency *latency)
{
	uint64_t now = gil_clock_ns(), due = latency->next_ns;
	uint64_t passed = now > due ? (now - due) / latency->interval_ns : 0;

	latency->next_ns = due + (passed + 1) * latency->interval_ns;
	set(&latency->missed, latency->missed + passed);
	record_moment(latency, due, now);
	return latency->next_ns;
}

/* ---- load ---- */

#define COPIED (1u << 20)	/* more than the inner caches hold */
#define MAPPED (1u << 18)
#define CALLS 200

/* Pages that come and go: faults, and the other CPUs are told to forget them. */
static void map_and_unmap(size_t page)
{
	char *pages = mmap(NULL, MAPPED, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (pages == MAP_FAILED)
		return;
	for (size_t at = 0; at < MAPPED; at += page)
		((volatile char *)pages)[at] = 1;
	munmap(pages, MAPPED);
}

void pykw_latency_load(void *data)
{
	const uint64_t *stop = data;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	char *memory = calloc(2, COPIED);

	while (!__atomic_load_n(stop, __ATOMIC_RELAXED)) {
		if (memory) {
			memcpy(memory, memory + COPIED, COPIED);
			memory[COPIED]++;
			__asm__ volatile("" : : "r"(memory) : "memory"); /* it is needed */
		}
		map_and_unmap(page);
		for (int i = 0; i < CALLS; i++)
			getppid();
	}
	free(memory);
}
