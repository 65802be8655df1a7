/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An interrupt's bottom half, as the ivtv driver has it: the top half notes the cause in a word
 * of bits and queues one work; the work takes all causes at once, on a thread with real-time
 * priority. However many interrupts come before it runs, it runs once for all.
 *
 * The interrupt is an eventfd that a thread reads or, with --source signal, a real-time signal,
 * in whose handler kthread_queue_work is legal. Beside it, in the same run, stands a plain thread
 * that does the same: with a mutex and a condition variable or, as these are not legal in a
 * handler, a semaphore.
 *
 *	cc -O2 -Isrc -o irq_bottom_half examples/c/irq_bottom_half.c src/[a-z]*.c -pthread
 *
 * The pair of ordered accesses:
 *
 *	cause	cause-A sets a bit after the counter and the stamp of its cause are written, cause-B
 *		takes all bits before it reads those. Weaker, the bottom half would see the bit
 *		but not yet the interrupt, clear it, and the interrupt would be lost.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "kthread_worker.h"

#define CAUSES 32u
#define BURST 4u			/* interrupts a tick, one behind the other */
#define TICK_NS 500000u
#define PRIORITY 50
#define PATIENCE_NS 20000000000u

enum who { WORKER, THREAD };
static const char *const names[] = { "worker", "plain thread" };

/* What the device would have in a register: bits that the top half sets. */
static _Atomic uint32_t causes;
static _Atomic uint32_t raised[CAUSES];	/* interrupts by cause; the top half's */
static uint32_t handled[CAUSES];	/* the bottom half's */
static uint64_t *stamps;		/* when each interrupt came; the top half's until cause-A */
static uint64_t *late;			/* how much later it was handled */
static uint64_t runs, empty_runs;	/* the bottom half's */
static _Atomic uint32_t taken;		/* interrupts that reached the top half */

static enum who who;			/* constant in a round */
static bool by_signal;
static struct kthread_worker *worker;
static struct kthread_work bottom_half;

/* The plain thread. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t wanted = PTHREAD_COND_INITIALIZER;
static bool is_wanted, leaves;		/* under lock */
static _Atomic bool leaves_too;		/* for the semaphore */
static sem_t wanted_by_signal;

static int irq_fd;
static _Atomic bool interrupted, top_leaves, load_leaves;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* ---- the bottom half ---- */

static void handle_causes(void)
{
	uint32_t bits = atomic_exchange_explicit(&causes, 0, memory_order_acquire); /* cause-B */
	uint64_t now = now_ns();

	runs++;
	if (!bits)
		empty_runs++;
	for (uint32_t cause = 0; bits; cause++, bits >>= 1) {
		uint32_t up_to;

		if (!(bits & 1))
			continue;
		/* The causes take turns: the k-th of this one has the number k * CAUSES + cause. */
		up_to = atomic_load_explicit(&raised[cause], memory_order_acquire);
		for (; handled[cause] != up_to; handled[cause]++) {
			uint32_t number = handled[cause] * CAUSES + cause;

			/* It may have come while this went on. */
			late[number] = now > stamps[number] ? now - stamps[number] : 0;
		}
	}
}

static void handle_work(struct kthread_work *work)
{
	(void)work;
	handle_causes();
}

static void *plain_thread(void *unused)
{
	for (;;) {
		if (by_signal) {
			while (sem_wait(&wanted_by_signal))
				;
			if (atomic_load(&leaves_too))
				return unused;
		} else {
			bool over;

			pthread_mutex_lock(&lock);
			while (!is_wanted && !leaves)
				pthread_cond_wait(&wanted, &lock);
			over = !is_wanted;
			is_wanted = false;
			pthread_mutex_unlock(&lock);
			if (over)
				return unused;
		}
		handle_causes();
	}
}

/* ---- the top half: in the handler of a signal, or on the thread that reads the eventfd ---- */

static void top_half(void)
{
	uint32_t number = atomic_load_explicit(&taken, memory_order_relaxed);
	uint32_t cause = number % CAUSES, old;

	stamps[number] = now_ns();
	atomic_fetch_add_explicit(&raised[cause], 1, memory_order_release);
	old = atomic_fetch_or_explicit(&causes, 1u << cause, memory_order_release); /* cause-A */
	if (who == WORKER) {
		kthread_queue_work(worker, &bottom_half);
	} else if (by_signal) {
		if (!old)	/* else whoever set the first bit has posted */
			sem_post(&wanted_by_signal);
	} else {
		pthread_mutex_lock(&lock);
		is_wanted = true;
		pthread_cond_signal(&wanted);
		pthread_mutex_unlock(&lock);
	}
	atomic_store_explicit(&taken, number + 1, memory_order_release);
}

static void on_interrupt_signal(int sig)
{
	int kept = errno;

	(void)sig;
	top_half();
	errno = kept;
}

static void *top_thread(void *unused)
{
	uint64_t one;
	sigset_t set;

	if (by_signal) {
		/* This is the thread that the signals interrupt; the others block them. */
		sigemptyset(&set);
		sigaddset(&set, SIGRTMIN);
		pthread_sigmask(SIG_UNBLOCK, &set, NULL);
	}
	/* A semaphore of an eventfd: one read is one interrupt. With signals only the end comes. */
	for (;;) {
		if (read(irq_fd, &one, sizeof(one)) != sizeof(one)) {
			if (errno != EINTR)
				die("read from an eventfd");
			continue;
		}
		if (atomic_load(&top_leaves))
			return unused;
		top_half();
	}
}

/* ---- the device ---- */

static void interrupt(uint32_t number)
{
	uint64_t one = 1;
	union sigval none = { 0 };

	(void)number;
	if (!by_signal) {
		if (write(irq_fd, &one, sizeof(one)) != sizeof(one))
			die("write to an eventfd");
		return;
	}
	/*
	 * Real-time signals are queued, and not merged; the queue may be full for a moment. It goes
	 * to the top half's thread, the only one that does not block it.
	 */
	while (sigqueue(getpid(), SIGRTMIN, none)) {
		if (errno != EAGAIN)
			die("sigqueue");
		sched_yield();
	}
#ifdef __SANITIZE_THREAD__
	/* ThreadSanitizer holds signals back and merges them, real-time ones too: one at a time. */
	while (atomic_load(&taken) <= number && !atomic_load(&interrupted))
		sched_yield();
#endif
}

static void sleep_until(uint64_t ns)
{
	struct timespec ts = { (time_t)(ns / 1000000000u), (long)(ns % 1000000000u) };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
}

/* Returns how many interrupts it made. */
static uint32_t play_device(uint32_t ticks)
{
	uint64_t next = now_ns();
	uint32_t sent = 0;

	for (uint32_t tick = 0; tick < ticks && !atomic_load(&interrupted); tick++) {
		for (uint32_t i = 0; i < BURST; i++, sent++)
			interrupt(sent);
		sleep_until(next += TICK_NS);
	}
	return sent;
}

static void *load(void *unused)
{
	volatile uint64_t x = 1;

	while (!atomic_load_explicit(&load_leaves, memory_order_relaxed))
		for (int i = 0; i < 1000; i++)
			x = x * 6364136223846793005u + 1;
	return unused;
}

/* ---- the program ---- */

struct sum {
	uint64_t interrupts, runs;
	uint64_t *late;
};

static int compare(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static double us(const struct sum *sum, uint32_t per_mille)
{
	uint64_t at = sum->interrupts * per_mille / 1000;

	if (!sum->interrupts)
		return 0;
	return (double)sum->late[at < sum->interrupts ? at : sum->interrupts - 1] / 1000;
}

static void make_realtime(pthread_t thread)
{
	struct sched_param param = { .sched_priority = PRIORITY };

	pthread_setschedparam(thread, SCHED_FIFO, &param);
}

/* Returns whether every interrupt was handled, once. */
static bool play(uint32_t ticks, bool realtime, struct sum *sum)
{
	pthread_t top, plain;
	uint64_t begun, one = 1;
	uint32_t sent, counted = 0;
	bool good = true;

	memset(handled, 0, sizeof(handled));
	for (uint32_t i = 0; i < CAUSES; i++)
		atomic_store(&raised[i], 0);
	atomic_store(&taken, 0);
	runs = empty_runs = 0;
	leaves = is_wanted = false;
	atomic_store(&leaves_too, false);
	atomic_store(&top_leaves, false);
	if ((errno = pthread_create(&top, NULL, top_thread, NULL)) ||
	    (who == THREAD && (errno = pthread_create(&plain, NULL, plain_thread, NULL))))
		die("pthread_create");
	/* An interrupt comes before all else; so does its handler, here for both. */
	if (realtime)
		make_realtime(top);
	if (realtime && who == THREAD)
		make_realtime(plain);

	sent = play_device(ticks);
	begun = now_ns();
	while (atomic_load_explicit(&taken, memory_order_acquire) != sent &&
	       now_ns() - begun < PATIENCE_NS)
		sleep_until(now_ns() + 100000);
	atomic_store(&top_leaves, true);
	if (write(irq_fd, &one, sizeof(one)) != sizeof(one))
		die("write to an eventfd");
	pthread_join(top, NULL);
	if (who == WORKER) {
		good &= !kthread_flush_work(&bottom_half);
	} else {
		pthread_mutex_lock(&lock);
		leaves = true;
		pthread_cond_signal(&wanted);
		pthread_mutex_unlock(&lock);
		if (by_signal) {
			/* What is posted before is handled before. */
			while (atomic_load(&causes) && now_ns() - begun < PATIENCE_NS)
				sleep_until(now_ns() + 100000);
			atomic_store(&leaves_too, true);
			sem_post(&wanted_by_signal);
		}
		pthread_join(plain, NULL);
		while (!sem_trywait(&wanted_by_signal))
			;
	}
	for (uint32_t i = 0; i < CAUSES; i++) {
		good &= handled[i] == atomic_load(&raised[i]);
		counted += handled[i];
	}
	if (!good || counted != sent || atomic_load(&causes)) {
		fprintf(stderr, "%s: %u interrupts sent, %u taken, %u handled\n", names[who], sent,
			atomic_load(&taken), counted);
		return false;
	}
	memcpy(sum->late + sum->interrupts, late, sent * sizeof(*late));
	sum->interrupts += sent;
	sum->runs += runs - empty_runs;
	return true;
}

static void on_sigint(int sig)
{
	(void)sig;
	atomic_store(&interrupted, true);
}

static void *allocate(size_t size)
{
	void *memory = calloc(size, sizeof(uint64_t));

	if (!memory)
		die("calloc");
	return memory;
}

int main(int argc, char **argv)
{
	struct kthread_attr attr = KTHREAD_ATTR_INIT;
	struct sigaction action = { .sa_handler = on_sigint };
	struct sum sums[2][2] = { 0 };
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);
	uint32_t ticks = 500;
	int rounds = 2;
	bool realtime = true, good = true;
	pthread_t *loads;
	sigset_t set;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick")) {
			ticks = 100;
			rounds = 1;
		} else if (!strcmp(argv[i], "--long")) {
			ticks = 4000;
			rounds = 5;
		} else if (!strcmp(argv[i], "--source") && i + 1 < argc &&
			   (!strcmp(argv[i + 1], "eventfd") || !strcmp(argv[i + 1], "signal"))) {
			by_signal = !strcmp(argv[++i], "signal");
		} else {
			printf("usage: %s [--source eventfd|signal] [--quick|--long]\n", argv[0]);
			return strcmp(argv[i], "--help") ? 2 : 0;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	sigaction(SIGINT, &action, NULL);
	action.sa_handler = on_interrupt_signal;
	sigaction(SIGRTMIN, &action, NULL);
	irq_fd = eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC);
	if (irq_fd < 0 || sem_init(&wanted_by_signal, 0, 0))
		die("eventfd");
	stamps = allocate((size_t)ticks * BURST);
	late = allocate((size_t)ticks * BURST);
	loads = calloc((size_t)cpus, sizeof(*loads));
	if (!loads)
		die("calloc");
	for (int i = 0; i < 4; i++)
		sums[i / 2][i % 2].late = allocate((size_t)ticks * BURST * (size_t)rounds);

	kthread_init_work(&bottom_half, handle_work);
	worker = kthread_create_worker(0, "bottom-half");
	attr.policy = SCHED_FIFO;
	attr.priority = PRIORITY;
	if (!worker)
		die("kthread_create_worker");
	if (kthread_start_worker(worker, &attr)) {
		realtime = false;
		if (kthread_start_worker(worker, NULL))
			die("kthread_start_worker");
	}
	printf("source: %s; priority: %s\n", by_signal ? "a real-time signal" : "an eventfd",
	       realtime ? "SCHED_FIFO 50" :
	       "none, SCHED_FIFO is refused (CAP_SYS_NICE or RLIMIT_RTPRIO would allow it)");

	for (int loaded = 0; loaded < 2; loaded++) {
		long running = 0;

		atomic_store(&load_leaves, false);
		for (; loaded && running < cpus; running++)
			if ((errno = pthread_create(&loads[running], NULL, load, NULL)))
				die("pthread_create");
		for (int i = 0; i < 2 * rounds && good && !atomic_load(&interrupted); i++) {
			who = (i + i / 2) % 2 ? THREAD : WORKER; /* now this one first, now that */
			good = play(ticks, realtime, &sums[loaded][who]);
		}
		atomic_store(&load_leaves, true);
		while (running)
			pthread_join(loads[--running], NULL);
	}
	kthread_destroy_worker(worker);

	printf("%-8s%-14s%11s%8s%9s%9s%9s%9s\n", "", "", "interrupts", "runs", "p50 us", "p99",
	       "p99.9", "max");
	for (int i = 0; i < 4; i++) {
		struct sum *sum = &sums[i / 2][i % 2];

		if (!sum->interrupts)
			continue;
		qsort(sum->late, sum->interrupts, sizeof(*sum->late), compare);
		printf("%-8s%-14s%11llu%8llu%9.1f%9.1f%9.1f%9.1f\n", i / 2 ? "load" : "idle",
		       names[i % 2], (unsigned long long)sum->interrupts,
		       (unsigned long long)sum->runs, us(sum, 500), us(sum, 990), us(sum, 999),
		       us(sum, 1000));
	}
	for (int i = 0; i < 4; i++)
		free(sums[i / 2][i % 2].late);
	free(stamps);
	free(late);
	free(loads);
	if (!good) {
		puts("FAILED: an interrupt was lost, or handled twice");
		return 1;
	}
	if (atomic_load(&interrupted)) {
		puts("interrupted; until then no cause was lost, none handled twice");
		return 130;
	}
	puts("no cause lost, none handled twice");
	return 0;
}
