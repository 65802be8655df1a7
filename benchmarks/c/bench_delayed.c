/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What does a delayed work cost among n armed ones? Arming, changing the delay, cancelling,
 * and expiring, which is running the work once its time has come. Baselines, measured in
 * the same run: a list kept sorted, where an insertion walks past half of it, and the growth
 * of log2(n), which no structure that compares and sorts can do without.
 *
 *	bench_delayed [--least N] [--most N] [--rounds N] [--cpu A] [--csv]
 *
 * Compiled with -DNO_DELAYED, for a core without delayed works, it has nothing to measure.
 */
#include "bench.h"

#ifdef NO_DELAYED

int main(void)
{
	printf("this core has no delayed works\n");
	return 0;
}

#else

#define HOUR 3600000000000ull
#define LIST_MOST 10000u	/* beyond, the sorted list would take minutes */
#define OPERATIONS 10000u	/* timed a round and operation, or n if that is more */

enum operation { ARM, MOD, CANCEL, EXPIRE, LIST, OPERATIONS_COUNT };

static const char *const names[] = { "arm", "re-arm", "cancel", "expire and run", "sorted list" };

/* Processor time since a look at it, without what that took. */
static uint64_t since(uint64_t begin)
{
	uint64_t ns = cpu_ns() - begin, cost = cpu_ns_cost();

	return ns > cost ? ns - cost : 0;
}

static void nothing(struct kthread_work *work)
{
	(void)work;
}

/* Some moment in the next hour after the next. */
static uint64_t later(uint64_t *random)
{
	return HOUR + (uint64_t)bench_random(random) * 800;
}

static void shuffle(uint32_t *order, uint32_t n, uint64_t *random)
{
	for (uint32_t i = n - 1; i; i--) {
		uint32_t j = bench_random(random) % (i + 1), swap = order[i];

		order[i] = order[j];
		order[j] = swap;
	}
}

/* ---- the baseline ---- */

struct entry {
	struct entry *next, *prev;
	uint64_t deadline;
};

static struct entry head; /* a ring */

static void list_insert(struct entry *entry, uint64_t deadline)
{
	struct entry *before = head.prev;

	entry->deadline = deadline;
	while (before != &head && before->deadline > deadline)
		before = before->prev;
	entry->prev = before;
	entry->next = before->next;
	before->next->prev = entry;
	before->next = entry;
}

static void list_remove(struct entry *entry)
{
	entry->prev->next = entry->next;
	entry->next->prev = entry->prev;
}

/* Take some out, untimed, and put them back. */
static double measure_list(uint32_t n, uint32_t *order, uint64_t *random)
{
	struct entry *entries = must(calloc(n, sizeof(*entries)));
	uint32_t operations = n / 10;
	uint64_t begin, ns;

	head.next = head.prev = &head;
	/* Rising, so that building it is cheap. */
	for (uint32_t i = 0; i < n; i++)
		list_insert(&entries[order[i]], HOUR + (uint64_t)i * (UINT32_MAX / n) * 800);
	for (uint32_t i = 0; i < operations; i++)
		list_remove(&entries[i]);
	begin = cpu_ns();
	for (uint32_t i = 0; i < operations; i++)
		list_insert(&entries[i], later(random));
	ns = since(begin);
	free(entries);
	return (double)ns / operations;
}

/* ---- ours ---- */

struct bench {
	struct kthread_worker *worker;	/* without a thread: nobody is woken */
	struct kthread_delayed_work *works;
	uint32_t n;
	uint32_t *order;
	uint64_t random;
};

/* Some of n are cancelled and armed again, a tenth at a time, so that about n are armed. */
static void measure_arm_and_cancel(struct bench *b, double ns[])
{
	uint32_t step = b->n / 10, done = 0;
	uint64_t begin, cancelled = 0, armed = 0;

	while (done < OPERATIONS) {
		shuffle(b->order, b->n, &b->random);
		for (uint32_t at = 0; at + step <= b->n && done < OPERATIONS; at += step) {
			begin = cpu_ns();
			for (uint32_t i = at; i < at + step; i++)
				kthread_cancel_delayed_work(&b->works[b->order[i]]);
			cancelled += since(begin);
			begin = cpu_ns();
			for (uint32_t i = at; i < at + step; i++)
				kthread_queue_delayed_work(b->worker, &b->works[b->order[i]],
							   later(&b->random));
			armed += since(begin);
			done += step;
		}
	}
	ns[CANCEL] = (double)cancelled / done;
	ns[ARM] = (double)armed / done;
}

static double measure_mod(struct bench *b)
{
	uint64_t begin;

	shuffle(b->order, b->n, &b->random);
	begin = cpu_ns();
	for (uint32_t i = 0; i < OPERATIONS; i++)
		kthread_mod_delayed_work(b->worker, &b->works[b->order[i % b->n]],
					 later(&b->random));
	return (double)since(begin) / OPERATIONS;
}

/* All are armed for moments that have passed when they are looked at. */
static double measure_expire(struct bench *b)
{
	uint64_t begin, ns = 0;
	uint32_t done = 0;

	while (done < OPERATIONS) {
		for (uint32_t i = 0; i < b->n; i++)
			kthread_mod_delayed_work(b->worker, &b->works[i],
						 1 + bench_random(&b->random) % 1000000);
		for (uint64_t due = now_ns() + 1000000; now_ns() < due;)
			;
		begin = cpu_ns();
		if (kthread_worker_run_pending(b->worker) != (int)b->n) {
			fprintf(stderr, "not all have run\n");
			exit(1);
		}
		ns += since(begin);
		done += b->n;
		for (uint32_t i = 0; i < b->n; i++)
			kthread_queue_delayed_work(b->worker, &b->works[i], later(&b->random));
	}
	return (double)ns / done;
}

static void measure(uint32_t n, unsigned int rounds, struct samples samples[])
{
	struct bench b = { .n = n, .random = 88172645463325252ull };
	double ns[OPERATIONS_COUNT];

	b.worker = must(kthread_create_worker(0, "bench"));
	b.works = must(calloc(n, sizeof(*b.works)));
	b.order = must(calloc(n, sizeof(*b.order)));
	for (uint32_t i = 0; i < n; i++) {
		b.order[i] = i;
		kthread_init_delayed_work(&b.works[i], nothing);
		kthread_queue_delayed_work(b.worker, &b.works[i], later(&b.random));
	}
	for (unsigned int i = 0; i <= rounds; i++) {
		measure_arm_and_cancel(&b, ns);
		ns[MOD] = measure_mod(&b);
		ns[EXPIRE] = measure_expire(&b);
		ns[LIST] = n <= LIST_MOST ? measure_list(n, b.order, &b.random) : 0;
		for (int j = 0; i && j < OPERATIONS_COUNT; j++) /* the first is to warm up */
			samples_add(&samples[j], ns[j]);
	}
	kthread_destroy_worker(b.worker);
	free(b.works);
	free(b.order);
}

static double log2_of(uint32_t n)
{
	double whole = 31 - __builtin_clz(n), rest = n / (double)(UINT32_C(1) << (int)whole);

	/* Between two powers of two a straight line is near enough. */
	return whole + rest - 1;
}

static void print_csv(uint32_t n, struct samples samples[], const double first[], double growth)
{
	for (int i = 0; i < OPERATIONS_COUNT; i++)
		if (quartile(&samples[i], 2) > 0)
			printf("%u,%s,%.1f,%.1f,%.1f,%.3f\n", n, names[i], quartile(&samples[i], 1),
			       quartile(&samples[i], 2), quartile(&samples[i], 3),
			       quartile(&samples[i], 2) / first[i]);
	printf("%u,log2(n),,,,%.3f\n", n, growth);
}

static void print_row(uint32_t n, struct samples samples[], const double first[], double growth)
{
	printf("%8u", n);
	for (int i = 0; i < OPERATIONS_COUNT; i++) {
		if (quartile(&samples[i], 2) > 0)
			printf(" %9.0f %6.2f", quartile(&samples[i], 2),
			       quartile(&samples[i], 2) / first[i]);
		else
			printf(" %9s %6s", "-", "-");
	}
	printf(" %6.2f\n", growth);
}

int main(int argc, char **argv)
{
	unsigned int least = number(argc, argv, "--least", 100);
	unsigned int most = number(argc, argv, "--most", 100000);
	unsigned int rounds = number(argc, argv, "--rounds", 15);
	bool csv = option(argc, argv, "--csv");
	double first[OPERATIONS_COUNT] = { 0 };

	if (least < 10) {
		fprintf(stderr, "--least: at least 10\n");
		return 2;
	}
	if (option(argc, argv, "--cpu"))
		pin_to((int)number(argc, argv, "--cpu", 0));
	if (csv) {
		printf("n,operation,q1_ns,median_ns,q3_ns,ratio\n");
	} else {
		print_machine();
		printf("nanoseconds of processor time an operation among n armed works, median of\n"
		       "%u rounds, and the ratio to n = %u\n\n",
		       rounds, least);
		printf("%8s", "n");
		for (int i = 0; i < OPERATIONS_COUNT; i++)
			printf(" %16s", names[i]);
		printf(" log2(n)\n");
	}
	for (uint32_t n = least; n <= most; n *= 10) {
		struct samples samples[OPERATIONS_COUNT] = { { NULL, 0 } };

		measure(n, rounds ? rounds : 1, samples);
		for (int i = 0; i < OPERATIONS_COUNT; i++)
			if (n == least)
				first[i] = quartile(&samples[i], 2);
		if (csv)
			print_csv(n, samples, first, log2_of(n) / log2_of(least));
		else
			print_row(n, samples, first, log2_of(n) / log2_of(least));
		fflush(stdout);
		for (int i = 0; i < OPERATIONS_COUNT; i++)
			free(samples[i].ns);
	}
	return 0;
}

#endif /* NO_DELAYED */
