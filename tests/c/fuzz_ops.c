/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Sequences of calls, derived from bytes, against a model. STRESS_ROUNDS, STRESS_SEED; or,
 * compiled with -DFUZZING, a target of libFuzzer.
 *
 * Sequential: one thread, workers without one of their own, a clock that stands still until
 * the sequence moves it. So every result is determined, and the model predicts each: what a
 * call returns, its errno, the state of every work, which work runs next. Callbacks play
 * sequences of their own.
 *
 * Concurrent: several threads, and what has to hold whatever they do. See struct rival.
 *
 *	FUZZ_INPUT=file fuzz_ops given_input	plays what a fuzzer has kept
 */
#include "harness.h"

#include <poll.h>

#define HOUR MS(3600000)

/* ---- the bytes ---- */

struct input {
	const uint8_t *at, *end;
};

/* A call: which, on whom, and how. */
struct op {
	uint8_t code, who, arg;
};

static bool next_op(struct input *in, struct op *op)
{
	if (in->end - in->at < 3)
		return false;
	op->code = in->at[0];
	op->who = in->at[1];
	op->arg = in->at[2];
	in->at += 3;
	return true;
}

static const uint64_t delays[8] = { 0, 1, 5, 20, 1000, HOUR, KTHREAD_FOREVER - 5, KTHREAD_FOREVER };
static const uint64_t periods[8] = { 0, 1, 3, 10, 100, HOUR, UINT64_MAX / 2, UINT64_MAX };

/* ---- the clock ---- */

/* The calling thread's; 0: it is the system's. */
static _Thread_local uint64_t clock_ns;

/*
 * In place of the C library's, where its name and its structure are what they look like.
 * Only the thread that plays the sequence sees another time.
 */
#if defined(__LP64__) && defined(__linux__)
#define CLOCK_IS_OURS 1
int clock_gettime(clockid_t clock, struct timespec *ts)
{
	if (clock != CLOCK_MONOTONIC || !clock_ns)
		return (int)syscall(SYS_clock_gettime, clock, ts);
	ts->tv_sec = (time_t)(clock_ns / 1000000000u);
	ts->tv_nsec = (long)(clock_ns % 1000000000u);
	return 0;
}
#else
#define CLOCK_IS_OURS 0
#endif

/* ---- the model ---- */

#define WORKERS 3
#define WORKS 6
#define FIRST_DELAYED 3	/* of the works */
#define OWN 2		/* the worker whose struct is ours, not kthread_create_worker's */
#define SCRIPT_MAX 4

enum place { IDLE, LISTED, TIMED };

struct work {
	struct kthread_delayed_work dwork; /* of a plain work only its first member is used */
	bool delayed;
	struct op script[SCRIPT_MAX];	/* what its callback does */
	unsigned int script_length;

	enum place place;
	int slot;			/* the worker it is pending on */
	struct kthread_worker *named;	/* the last it was queued on */
	bool in_round;			/* it may begin in the present run_pending */
	bool executes;
	uint64_t deadline, order, period, missed;
	unsigned int disabled;
};

struct worker {
	struct kthread_worker *worker;
	struct work *list[WORKS];
	unsigned int count;
	bool closed, dead, frozen, stopping, runs;
	uint64_t queued, executed, cancelled;
	bool hooked;
	unsigned int wakes;		/* since the last run_pending came to its end */
	uint64_t known_timer;		/* the earliest, then */
};

static struct kthread_worker own_worker;
static struct worker workers[WORKERS];
static struct work works[WORKS];
static uint64_t armings;
static struct worker *serving;		/* whose callback we are in */
static struct work *drops[WORKS];	/* what is to be told as dropped, in this order */
static unsigned int drops_count, drops_seen;

static struct work *earliest(const struct worker *w)
{
	struct work *first = NULL;

	for (int i = FIRST_DELAYED; i < WORKS; i++) {
		struct work *m = &works[i];

		if (m->place != TIMED || &workers[m->slot] != w)
			continue;
		if (!first || m->deadline < first->deadline ||
		    (m->deadline == first->deadline && m->order < first->order))
			first = m;
	}
	return first;
}

static uint64_t next_timer(const struct worker *w)
{
	const struct work *first = earliest(w);

	return first ? first->deadline : UINT64_MAX;
}

static unsigned int timers_of(const struct worker *w)
{
	unsigned int count = 0;

	for (int i = 0; i < WORKS; i++)
		count += works[i].place == TIMED && &workers[works[i].slot] == w;
	return count;
}

static void enlist(struct worker *w, struct work *m)
{
	m->place = LISTED;
	m->slot = (int)(w - workers);
	m->in_round = false;
	w->list[w->count++] = m;
	w->queued++;
}

static void unlist(struct worker *w, struct work *m)
{
	unsigned int i = 0;

	while (w->list[i] != m)
		i++;
	w->count--;
	memmove(&w->list[i], &w->list[i + 1], (w->count - i) * sizeof(w->list[0]));
	m->place = IDLE;
}

static void arm(struct worker *w, struct work *m, uint64_t deadline)
{
	m->place = TIMED;
	m->slot = (int)(w - workers);
	m->deadline = deadline;
	m->order = ++armings;
}

static void expire(struct worker *w)
{
	while (next_timer(w) != UINT64_MAX && next_timer(w) <= clock_ns)
		enlist(w, earliest(w));
}

/* Off the list or the timers. */
static void take_off(struct work *m)
{
	if (m->place == LISTED)
		unlist(&workers[m->slot], m);
	m->place = IDLE;
}

static bool drop(struct work *m)
{
	if (m->place == IDLE)
		return false;
	workers[m->slot].cancelled++;
	take_off(m);
	m->period = 0;
	return true;
}

static uint64_t deadline_of(uint64_t delay)
{
	return delay < UINT64_MAX - clock_ns ? clock_ns + delay : UINT64_MAX;
}

/* Where the delay says. */
static void put(struct worker *w, struct work *m, uint64_t delay)
{
	if (delay) {
		arm(w, m, deadline_of(delay));
	} else {
		m->deadline = clock_ns;
		enlist(w, m);
	}
}

/* 1: it is claimed, idle until now; 0: pending there already. */
static int claim(struct worker *w, struct work *m)
{
	if (m->disabled)
		return -ECANCELED;
	if (m->place != IDLE)
		return &workers[m->slot] == w ? 0 : -EBUSY;
	if (m->executes && m->named != w->worker)
		return -EBUSY;
	m->named = w->worker;
	return 1;
}

static int claim_unless_closed(struct worker *w, struct work *m)
{
	return w->closed ? -ESHUTDOWN : claim(w, m);
}

/* ---- what a call returned, against what it was to ---- */

static int errno_of(int status)
{
	return status < 0 && status != -ECANCELED ? -status : 0;
}

static unsigned int steps; /* so that a failure says how far it came */

#define EXPECT(call, expected)							\
	do {									\
		intmax_t got_ = (intmax_t)(call), expected_ = (intmax_t)(expected); \
		if (got_ != expected_) {					\
			printf("%s:%d: step %u: %s is %jd, the model says %jd\n", __FILE__, \
			       __LINE__, steps, #call, got_, expected_);	\
			check_failed();						\
		}								\
	} while (0)

#define EXPECT_BOOL(call, expected, error)					\
	do {									\
		int error_ = (error);						\
										\
		errno = 0;							\
		EXPECT(call, expected);						\
		EXPECT(errno, error_);						\
	} while (0)

static unsigned int busy_bits(const struct work *m)
{
	return (m->place != IDLE ? KTHREAD_WORK_PENDING : 0) |
	       (m->place == TIMED ? KTHREAD_WORK_TIMED : 0) |
	       (m->executes ? KTHREAD_WORK_EXECUTING : 0) |
	       (m->disabled ? KTHREAD_WORK_REFUSED : 0);
}

/* A wake that is owed has come, and never two. */
static void check_wakes(const struct worker *w)
{
	CHECK(w->wakes <= !w->runs);
	if (w->hooked && !w->runs && !w->closed && !w->frozen &&
	    (w->count || next_timer(w) < w->known_timer))
		EXPECT(w->wakes, 1);
}

static void check_all(void)
{
	for (int i = 0; i < WORKS; i++) {
		struct work *m = &works[i];
		uint64_t remaining = KTHREAD_FOREVER;

		EXPECT(kthread_work_busy(&m->dwork.work), busy_bits(m));
		EXPECT(kthread_work_pending(&m->dwork.work), m->place != IDLE);
		CHECK(kthread_work_worker(&m->dwork.work) == m->named);
		if (!m->delayed)
			continue;
		if (m->place == TIMED && m->deadline != UINT64_MAX)
			remaining = m->deadline > clock_ns ? m->deadline - clock_ns : 0;
		EXPECT(kthread_delayed_work_remaining(&m->dwork), remaining);
		EXPECT(kthread_delayed_work_missed(&m->dwork), m->missed);
	}
	for (int i = 0; i < WORKERS; i++) {
		struct worker *w = &workers[i];

		EXPECT(kthread_worker_freezing(w->worker), w->frozen);
		EXPECT(kthread_worker_next_timer(w->worker), w->closed ? UINT64_MAX : next_timer(w));
		check_wakes(w);
	}
}

/* Has the list taken what is pushed, so not after every call. */
static void check_stats(struct worker *w)
{
	struct kthread_worker_stats stats;

	kthread_worker_get_stats(w->worker, &stats);
	EXPECT(stats.queued, w->queued);
	EXPECT(stats.executed, w->executed);
	EXPECT(stats.pending, w->count);
	EXPECT(stats.cancelled, w->cancelled);
	EXPECT(stats.delayed, timers_of(w));
	EXPECT(stats.sleeps, 0);
}

/* ---- hooks ---- */

static void count_wake(struct kthread_worker *worker)
{
	for (int i = 0; i < WORKERS; i++)
		if (workers[i].worker == worker)
			workers[i].wakes++;
}

static void check_drop(struct kthread_worker *worker, struct kthread_work *work,
		       kthread_work_func_t func)
{
	CHECK(func == work->func);
	CHECK(drops_seen < drops_count);
	CHECK(work == &drops[drops_seen]->dwork.work);
	CHECK(kthread_work_worker(work) == worker);
	CHECK(!kthread_work_pending(work));
	drops_seen++;
}

static const struct kthread_worker_ops dropping_ops = { .dropped = check_drop };

static void say_nothing(const char *message)
{
	(void)message;
}

/* ---- the calls ---- */

static void play(const struct op *op, struct input *more);
static void run_script(struct kthread_work *work);

static void create(struct worker *w)
{
	int slot = (int)(w - workers);

	*w = (struct worker){ .known_timer = UINT64_MAX };
	if (slot == OWN) {
		kthread_init_worker(&own_worker);
		w->worker = &own_worker;
	} else {
		w->worker = kthread_create_worker(0, "fuzz");
		CHECK(w->worker);
		kthread_hold_worker(w->worker);
	}
	kthread_worker_set_ops(w->worker, &dropping_ops, NULL);
	/* Polling looks at the clock, and that stands still. */
	kthread_worker_set_busy_poll(w->worker, 0);
}

static void init_work(struct work *m)
{
	if (m->delayed)
		kthread_init_delayed_work(&m->dwork, run_script);
	else
		kthread_init_work(&m->dwork.work, run_script);
}

/* An idle one; otherwise the call is to leave it alone, where it can know. */
static void try_init(struct work *m)
{
	if (m->place == IDLE && m->executes)
		return;
	if (m->place != IDLE && m->slot == OWN)
		return;
	init_work(m);
	if (m->place != IDLE)
		return;
	m->named = NULL;
	m->disabled = 0;
	m->missed = 0;
}

static void queue(struct worker *w, struct work *m, uint8_t arg)
{
	int expected = claim_unless_closed(w, m);

	if (expected > 0)
		enlist(w, m);
	if (arg & 1)
		EXPECT_BOOL(kthread_queue_work(w->worker, &m->dwork.work), expected > 0,
			    errno_of(expected));
	else
		EXPECT(kthread_queue_work_status(w->worker, &m->dwork.work), expected);
}

static void queue_batch(struct worker *w, struct work *m, uint8_t arg)
{
	struct kthread_batch batch;

	kthread_batch_begin(&batch, w->worker);
	for (int i = 0; i < 1 + arg % 4; i++) {
		int expected = claim_unless_closed(w, m);

		if (expected > 0)
			enlist(w, m);
		EXPECT(kthread_batch_add(&batch, &m->dwork.work), expected);
		m = &works[(m - works + 1) % WORKS];
	}
	kthread_batch_end(&batch);
}

static void queue_delayed(struct worker *w, struct work *m, uint8_t arg)
{
	uint64_t delay = delays[arg & 7];
	int expected = m->delayed ? claim_unless_closed(w, m) : -EINVAL;

	if (expected > 0) {
		if (delay)
			m->missed = 0;
		put(w, m, delay);
	}
	if (arg & 8)
		EXPECT_BOOL(kthread_queue_delayed_work(w->worker, &m->dwork, delay), expected > 0,
			    errno_of(expected));
	else
		EXPECT(kthread_queue_delayed_work_status(w->worker, &m->dwork, delay), expected);
}

/* At a moment that has passed, or is to come. */
static void queue_at(struct worker *w, struct work *m, uint8_t arg)
{
	uint64_t delay = delays[arg & 7];
	uint64_t moment = arg & 8 ? clock_ns - arg : deadline_of(delay);
	int expected = m->delayed ? claim_unless_closed(w, m) : -EINVAL;

	if (expected > 0) {
		m->missed = 0;
		put(w, m, moment > clock_ns ? delay : 0);
	}
	EXPECT(kthread_queue_delayed_work_at(w->worker, &m->dwork, moment), expected);
}

static void queue_periodic(struct worker *w, struct work *m, uint8_t arg)
{
	uint64_t delay = delays[arg & 7], period = periods[arg >> 3 & 7];
	int expected = m->delayed && period ? claim_unless_closed(w, m) : -EINVAL;

	if (expected > 0) {
		m->period = period;
		m->missed = 0;
		put(w, m, delay);
	}
	if (arg & 64)
		EXPECT_BOOL(kthread_queue_periodic_work(w->worker, &m->dwork, delay, period),
			    expected > 0, errno_of(expected));
	else
		EXPECT(kthread_queue_periodic_work_status(w->worker, &m->dwork, delay, period),
		       expected);
}

static void mod(struct worker *w, struct work *m, uint8_t arg)
{
	uint64_t delay = delays[arg & 7];
	int result = m->delayed ? claim_unless_closed(w, m) : -EINVAL;

	if (result >= 0) {
		take_off(m);
		put(w, m, delay);
		result = !result;
	}
	if (arg & 8)
		EXPECT_BOOL(kthread_mod_delayed_work(w->worker, &m->dwork, delay), result > 0,
			    result < 0 ? -result : 0);
	else
		EXPECT(kthread_mod_delayed_work_status(w->worker, &m->dwork, delay), result);
}

/* Nothing executes but the caller, so that none of them waits. */
static void cancel(struct work *m, uint8_t arg)
{
	struct kthread_work *work = &m->dwork.work;
	bool expected = drop(m);
	struct kthread_cancel steps_of;

	switch (arg % 6) {
	case 0:
		EXPECT_BOOL(kthread_cancel_work(work), expected, 0);
		break;
	case 1:
		EXPECT_BOOL(kthread_cancel_work_sync(work), expected, 0);
		break;
	case 2:
		EXPECT(kthread_cancel_work_sync_timeout(work, 0), expected);
		break;
	case 3:
		if (m->delayed)
			EXPECT_BOOL(kthread_cancel_delayed_work_sync(&m->dwork), expected, 0);
		else
			EXPECT_BOOL(kthread_cancel_work_sync(work), expected, 0);
		break;
	case 4:
		if (m->delayed)
			EXPECT_BOOL(kthread_cancel_delayed_work(&m->dwork), expected, 0);
		else
			EXPECT_BOOL(kthread_cancel_work(work), expected, 0);
		break;
	default:
		EXPECT(kthread_cancel_begin(&steps_of, work), 0);
		EXPECT(steps_of.dropped, expected);
		if (m->delayed) /* the kernel's rule: true, and nothing is queued */
			EXPECT(kthread_mod_delayed_work_status(workers[arg / 6 % WORKERS].worker,
							       &m->dwork, 5),
			       workers[arg / 6 % WORKERS].closed ? -ESHUTDOWN : 1);
		EXPECT(kthread_work_busy(work), busy_bits(m) | KTHREAD_WORK_REFUSED);
		EXPECT(kthread_cancel_wait(&steps_of, 0), 0);
		kthread_cancel_end(&steps_of);
	}
}

static void disable(struct work *m, uint8_t arg)
{
	bool expected;

	if (m->disabled == 3)
		return;
	expected = drop(m);
	m->disabled++;
	if (arg & 1)
		EXPECT_BOOL(kthread_disable_work_sync(&m->dwork.work), expected, 0);
	else
		EXPECT(kthread_disable_work_sync_timeout(&m->dwork.work, 0), expected);
}

static void enable(struct work *m)
{
	bool was = m->disabled;

	if (was)
		m->disabled--;
	EXPECT_BOOL(kthread_enable_work(&m->dwork.work), was && !m->disabled, was ? 0 : EINVAL);
}

static void flush_work(struct work *m, uint8_t arg)
{
	int expected = 0;

	if (m->place != IDLE || m->executes)
		expected = serving && serving->worker == m->named ? -EDEADLK : -ETIMEDOUT;
	/* The timer is cut short, unless the call is refused. */
	if (expected == -ETIMEDOUT && m->place == TIMED && !workers[m->slot].closed)
		enlist(&workers[m->slot], m);
	if (m->delayed)
		EXPECT(kthread_flush_delayed_work_timeout(&m->dwork, arg & 1), expected);
	else
		EXPECT(kthread_flush_work_timeout(&m->dwork.work, arg & 1), expected);
}

static void flush_worker(struct worker *w, uint8_t arg)
{
	int expected = w->runs ? -EDEADLK : w->count ? -ETIMEDOUT : 0;

	EXPECT(kthread_flush_worker_timeout(w->worker, arg & 1), expected);
}

static void drain(struct worker *w, uint8_t arg)
{
	int expected = w->runs ? -EDEADLK : w->count ? -ETIMEDOUT : 0;

	EXPECT(kthread_drain_worker_timeout(w->worker, arg & 1), expected);
}

static void freeze(struct worker *w, uint8_t arg)
{
	int expected = w->runs ? -EDEADLK : w->closed ? -ESHUTDOWN : 0;

	if (!expected)
		w->frozen = true;
	if (arg & 1)
		EXPECT(kthread_freeze_worker(w->worker), expected);
	else
		EXPECT(kthread_freeze_worker_timeout(w->worker, 0), expected);
}

static void thaw(struct worker *w)
{
	w->frozen = false;
	kthread_thaw_worker(w->worker);
}

static void stop(struct worker *w)
{
	if (w->runs)
		w->stopping = true;
	EXPECT(kthread_stop_worker_timeout(w->worker, 0), 0);
}

/* It has a thread, or may get none; no other case stays sequential. */
static void start(struct worker *w)
{
	if (w->runs || w->closed)
		EXPECT(kthread_start_worker(w->worker, NULL), w->closed ? -ESHUTDOWN : -EBUSY);
}

static void set_hook(struct worker *w, uint8_t arg)
{
	int expected = w->closed ? -ESHUTDOWN : w->runs ? -EBUSY : 0;

	if (!expected) {
		w->hooked = arg & 1;
		w->wakes = 0;
		w->known_timer = next_timer(w);
	}
	EXPECT(kthread_worker_set_wake(w->worker, arg & 1 ? count_wake : NULL), expected);
}

static void run_pending(struct worker *w)
{
	uint64_t before = w->executed;
	int result;

	if (serving || w->closed) {
		EXPECT(kthread_worker_run_pending(w->worker), serving ? -EBUSY : -ESHUTDOWN);
		return;
	}
	expire(w);
	for (unsigned int i = 0; i < w->count; i++)
		w->list[i]->in_round = true;
	w->wakes = 0;
	w->runs = true;
	w->known_timer = UINT64_MAX;
	serving = w;
	result = kthread_worker_run_pending(w->worker);
	serving = NULL;
	w->runs = false;
	EXPECT(result, w->executed - before);
	if (!w->frozen && !w->stopping) {
		if (!w->closed)
			expire(w);
		CHECK(!w->count || !w->list[0]->in_round);
	}
	w->stopping = false;
	w->known_timer = next_timer(w);
	for (unsigned int i = 0; i < w->count; i++)
		w->list[i]->in_round = false;
}

/* The next run begins: is it the one that the model says? Then play what its callback does. */
static void run_script(struct kthread_work *work)
{
	struct work *m = (struct work *)work;
	struct worker *w = serving;
	struct op script[SCRIPT_MAX];
	unsigned int length = m->script_length;

	CHECK(w && kthread_current_worker() == w->worker && kthread_current_work() == work);
	CHECK(!w->frozen && !w->stopping);
	if (!w->closed)
		expire(w);
	CHECK(w->count && w->list[0] == m && m->in_round);
	unlist(w, m);
	w->executed++;
	if (m->period && !w->closed) {
		uint64_t skipped = clock_ns > m->deadline ?
				   (clock_ns - m->deadline) / m->period : 0;
		uint64_t step = (skipped + 1) * m->period;

		m->missed += skipped;
		arm(w, m, step < UINT64_MAX - m->deadline ? m->deadline + step : UINT64_MAX);
	} else {
		m->period = 0;
	}
	m->executes = true;
	check_all();
	memcpy(script, m->script, sizeof(script));
	for (unsigned int i = 0; i < length; i++)
		play(&script[i], NULL);
	m->executes = false;
}

static void close_worker(struct worker *w, bool destroy, uint8_t arg)
{
	struct work *m;

	drops_count = drops_seen = 0;
	if (destroy && w->runs) {
		EXPECT(kthread_destroy_worker(w->worker), -EDEADLK);
		return;
	}
	if (!w->closed) {
		w->closed = true;
		w->frozen = false;
		while ((m = earliest(w))) {
			drop(m);
			drops[drops_count++] = m;
		}
	}
	if (destroy && !w->dead) {
		w->dead = true;
		w->hooked = false;
		while (w->count) {
			drops[drops_count++] = w->list[0];
			drop(w->list[0]);
		}
	}
	if (!destroy)
		kthread_close_worker(w->worker);
	else if (arg & 1)
		EXPECT(kthread_destroy_worker(w->worker), 0);
	else
		EXPECT(kthread_destroy_worker_timeout(w->worker, 0), 0);
	EXPECT(drops_seen, drops_count);
}

/* A new one where a destroyed one was. */
static void create_anew(struct worker *w)
{
	if (!w->dead)
		return;
	if (w->worker == &own_worker) {
		/* The header has it: before their next use, since the struct is another one now. */
		for (int i = 0; i < WORKS; i++)
			if (works[i].named == &own_worker)
				try_init(&works[i]);
	} else {
		kthread_release_worker(w->worker);
	}
	create(w);
}

static void read_script(struct work *m, uint8_t arg, struct input *more)
{
	if (!more)
		return; /* scripts do not write scripts */
	m->script_length = 0;
	while (m->script_length < 1u + arg % SCRIPT_MAX &&
	       next_op(more, &m->script[m->script_length]))
		m->script_length++;
}

enum call {
	QUEUE, QUEUE_BATCH, QUEUE_DELAYED, QUEUE_AT, QUEUE_PERIODIC, MOD, CANCEL, DISABLE, ENABLE,
	FLUSH, FLUSH_WORKER, DRAIN, FREEZE, THAW, STOP, START, RUN, RUN_MORE, ADVANCE,
	ADVANCE_MORE, SET_HOOK, STATS, CLOSE, DESTROY, CREATE, CREATE_MORE, INIT, SCRIPT,
	SCRIPT_MORE,
	CALLS,
};

static void play(const struct op *op, struct input *more)
{
	struct work *m = &works[op->who % WORKS];
	struct worker *w = &workers[op->who / WORKS % WORKERS];
	uint8_t arg = op->arg;

	steps++;
	switch ((enum call)(op->code % CALLS)) {
	case QUEUE:		queue(w, m, arg); break;
	case QUEUE_BATCH:	queue_batch(w, m, arg); break;
	case QUEUE_DELAYED:	queue_delayed(w, m, arg); break;
	case QUEUE_AT:		queue_at(w, m, arg); break;
	case QUEUE_PERIODIC:	queue_periodic(w, m, arg); break;
	case MOD:		mod(w, m, arg); break;
	case CANCEL:		cancel(m, arg); break;
	case DISABLE:		disable(m, arg); break;
	case ENABLE:		enable(m); break;
	case FLUSH:		flush_work(m, arg); break;
	case FLUSH_WORKER:	flush_worker(w, arg); break;
	case DRAIN:		drain(w, arg); break;
	case FREEZE:		freeze(w, arg); break;
	case THAW:		thaw(w); break;
	case STOP:		stop(w); break;
	case START:		start(w); break;
	case RUN:
	case RUN_MORE:		run_pending(w); break;
	case ADVANCE:		clock_ns += arg % 16; break;
	case ADVANCE_MORE:	clock_ns += arg * 16u; break;
	case SET_HOOK:		set_hook(w, arg); break;
	case STATS:		check_stats(w); break;
	case CLOSE:		if (arg % 4 == 0) close_worker(w, false, arg); break;
	case DESTROY:		if (arg % 2 == 0) close_worker(w, true, arg >> 1); break;
	case CREATE:
	case CREATE_MORE:	create_anew(w); break;
	case INIT:		try_init(m); break;
	case SCRIPT:
	case SCRIPT_MORE:	read_script(m, arg, more); break;
	case CALLS:		break;
	}
	check_all();
}

static void play_sequence(struct input *in)
{
	kthread_warn_func_t before = kthread_set_warn_hook(say_nothing);
	struct timespec now;
	struct op op;

	/* Deadlines are passed to the system as well, and are to have passed there. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	clock_ns = ((uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec) / 2;
	memset(works, 0, sizeof(works));
	steps = 0;
	for (int i = 0; i < WORKERS; i++)
		create(&workers[i]);
	for (int i = 0; i < WORKS; i++) {
		works[i].delayed = i >= FIRST_DELAYED;
		init_work(&works[i]);
	}
	while (next_op(in, &op))
		play(&op, in);
	for (int i = 0; i < WORKERS; i++) {
		close_worker(&workers[i], true, 0);
		check_stats(&workers[i]);
	}
	check_all();
	for (int i = 0; i < WORKERS; i++)
		if (i != OWN)
			kthread_release_worker(workers[i].worker);
	clock_ns = 0;
	kthread_set_warn_hook(before);
}

/* ---- the concurrent part ---- */

#define RIVALS 3
#define SHARED 4	/* works that all of them queue, cancel and flush */
#define FIFOS 3		/* works of each rival, whose order is watched */
#define DESTROYED_MAX 64
#define MOMENT 200000u	/* ns; how long one waits for what may never come */

/* Workers: one that lasts, one that is destroyed now and then, one that a poller runs. */
enum { LASTING, MORTAL, POLLED, SLOTS };

struct shared {
	struct kthread_delayed_work dwork;
	atomic_long owed;	/* queueings accepted, neither run nor dropped */
	atomic_bool runs;
	atomic_uint begun, ended;
	bool periodic;		/* its runs are not owed one by one */
	bool obedient;		/* its callback does nothing further */
};

struct fifo {
	struct kthread_work work;
	struct rival *rival;
	atomic_uint stamp;	/* counts what the rival has queued in this order */
};

/*
 * One of the threads. What has to hold: no work runs twice at once; a queueing that was
 * accepted ends in exactly one run or one drop that somebody is told of; the rival's own
 * work is idle after a flush or a cancel of its, until it queues it again; what it queues on
 * one worker runs in that order; and everything comes to an end.
 */
struct rival {
	struct side side;
	struct input in;
	int index;
	struct shared own;
	bool quiet;		/* own was seen idle, with so many begun: */
	unsigned int begun;
	struct fifo fifos[FIFOS];
	unsigned int queued;	/* the last stamp given */
	atomic_uint ran;	/* the last stamp seen by the worker */
	unsigned int disabled[SHARED];
};

static struct shared shared[SHARED + 1]; /* the last one is periodic */
static struct rival rivals[RIVALS];
static _Atomic(struct kthread_worker *) slots[SLOTS];
static struct kthread_worker *destroyed[DESTROYED_MAX];
static atomic_uint destroyed_count;
static struct input deeds;	/* what callbacks do */
static atomic_bool ending;

static void settle(struct shared *s)
{
	if (!s->periodic)
		CHECK(atomic_fetch_sub(&s->owed, 1) > 0);
}

static void drop_shared(struct kthread_worker *worker, struct kthread_work *work,
			kthread_work_func_t func)
{
	(void)worker, (void)func;
	for (unsigned int i = 0; i <= SHARED; i++)
		if (work == &shared[i].dwork.work)
			settle(&shared[i]);
}

static const struct kthread_worker_ops settling_ops = { .dropped = drop_shared };

static int accepted(struct shared *s, int status, bool is)
{
	CHECK(status >= 0 || status == -EBUSY || status == -ESHUTDOWN || status == -EAGAIN ||
	      status == -ECANCELED);
	if (!is)
		settle(s);
	return status;
}

/* Counted first: it may run before the call has returned. */
static int queue_shared(struct kthread_worker *worker, struct shared *s, uint8_t arg)
{
	uint64_t delay = arg & 3 ? 0 : (uint64_t)arg * 100;
	int status;

	if (s->periodic)
		return kthread_queue_periodic_work_status(worker, &s->dwork, delay,
							  20000u + arg * 500u);
	atomic_fetch_add(&s->owed, 1);
	if (arg & 4)
		status = kthread_queue_work_status(worker, &s->dwork.work);
	else
		status = kthread_queue_delayed_work_status(worker, &s->dwork, delay);
	return accepted(s, status, status > 0);
}

static int mod_shared(struct kthread_worker *worker, struct shared *s, uint8_t arg)
{
	uint64_t delay = arg & 1 ? 0 : arg & 2 ? HOUR : (uint64_t)arg * 100;
	int status;

	if (s->periodic)
		return 0; /* idle, it would queue it once */
	atomic_fetch_add(&s->owed, 1);
	status = kthread_mod_delayed_work_status(worker, &s->dwork, delay);
	return accepted(s, status, !status);
}

/* Returns what the cancel does. */
static int cancel_shared(struct shared *s, uint8_t arg)
{
	struct kthread_cancel cancel;
	int result;

	if (arg & 1) {
		result = kthread_cancel_work(&s->dwork.work);
	} else {
		/* In steps: what it has dropped is known also when it does not get to its end. */
		result = kthread_cancel_begin(&cancel, &s->dwork.work);
		if (result) {
			CHECK_EQ(result, -EDEADLK);
			return result;
		}
		do
			result = kthread_cancel_wait(&cancel, arg & 2 ? KTHREAD_FOREVER : MOMENT);
		while (result == -EINTR);
		CHECK(!result || result == -ETIMEDOUT || result == -EDEADLK);
		kthread_cancel_end(&cancel);
		result = result ? result : cancel.dropped;
		if (cancel.dropped)
			settle(s);
		return result;
	}
	if (result)
		settle(s);
	return result;
}

static void run_shared(struct kthread_work *work)
{
	struct shared *s = (struct shared *)work, *other;
	struct kthread_worker *worker = kthread_current_worker();
	unsigned int run = atomic_fetch_add(&s->begun, 1);
	const uint8_t *deed;

	CHECK(!atomic_exchange(&s->runs, true));
	CHECK(kthread_current_work() == work);
	settle(s);
	if (!s->obedient && !atomic_load(&ending) && deeds.end - deeds.at >= 2) {
		deed = deeds.at + run * 2 % ((size_t)(deeds.end - deeds.at) - 1);
		other = &shared[deed[1] % SHARED];
		switch (deed[0] % 16) {
		case 0: queue_shared(worker, s, deed[1]); break;
		case 1: mod_shared(worker, s, deed[1]); break;
		case 2: cancel_shared(s, deed[1]); break;
		case 3: queue_shared(worker, other, deed[1]); break;
		case 4: mod_shared(worker, other, deed[1]); break;
		case 5: cancel_shared(other, deed[1]); break;
		case 6: kthread_flush_work_timeout(&other->dwork.work, MOMENT / 8); break;
		case 7: kthread_flush_worker_timeout(atomic_load(&slots[deed[1] % SLOTS]),
						     MOMENT / 8); break;
		default: spin(deed[1]);
		}
	}
	atomic_fetch_add(&s->ended, 1);
	atomic_store(&s->runs, false);
}

static void run_fifo(struct kthread_work *work)
{
	struct fifo *fifo = (struct fifo *)work;
	unsigned int stamp = atomic_load(&fifo->stamp);

	CHECK(stamp > atomic_exchange(&fifo->rival->ran, stamp));
}

static void init_shared(struct shared *s)
{
	memset(s, 0, sizeof(*s));
	kthread_init_delayed_work(&s->dwork, run_shared);
}

static struct kthread_worker *create_slot(int slot)
{
	struct kthread_worker *worker = kthread_create_worker(0, "slot %d", slot);

	CHECK(worker);
	kthread_hold_worker(worker);
	kthread_worker_set_ops(worker, &settling_ops, NULL);
	if (slot != POLLED)
		CHECK_EQ(kthread_start_worker(worker, NULL), 0);
	return worker;
}

/* It is seen idle by its only owner. */
static void check_own_idle(struct rival *r)
{
	CHECK_EQ(kthread_work_busy(&r->own.dwork.work), 0);
	CHECK_EQ(atomic_load(&r->own.owed), 0);
	CHECK_EQ(atomic_load(&r->own.begun), atomic_load(&r->own.ended));
	r->quiet = true;
	r->begun = atomic_load(&r->own.begun);
}

static void use_own(struct rival *r, struct kthread_worker *worker, uint8_t code, uint8_t arg)
{
	struct shared *s = &r->own;

	if (r->quiet)
		CHECK_EQ(atomic_load(&s->begun), r->begun);
	switch (code % 4) {
	case 0:
		r->quiet = false;
		queue_shared(worker, s, arg);
		break;
	case 1:
		r->quiet = false;
		mod_shared(worker, s, arg);
		break;
	case 2:
		if (cancel_shared(s, arg | 2) >= 0 && !(arg & 1))
			check_own_idle(r);
		break;
	default:
		if (!kthread_flush_delayed_work_timeout(&s->dwork, MOMENT))
			check_own_idle(r);
	}
}

/* Only idle works get a stamp, so that a run never sees that of the next queueing. */
static void use_fifo(struct rival *r, uint8_t arg)
{
	struct fifo *fifo = &r->fifos[arg % FIFOS];

	if (kthread_work_busy(&fifo->work))
		return;
	atomic_store(&fifo->stamp, ++r->queued);
	kthread_queue_work(atomic_load(&slots[LASTING]), &fifo->work);
}

static void replace_mortal(void)
{
	struct kthread_worker *fresh, *old;
	unsigned int n = atomic_fetch_add(&destroyed_count, 1);

	if (n >= DESTROYED_MAX)
		return;
	fresh = create_slot(MORTAL);
	old = atomic_exchange(&slots[MORTAL], fresh);
	CHECK_EQ(kthread_destroy_worker(old), 0);
	destroyed[n] = old;
}

static void stop_and_start(struct kthread_worker *worker)
{
	int result = kthread_stop_worker_timeout(worker, MOMENT);

	CHECK(!result || result == -ETIMEDOUT);
	result = kthread_start_worker(worker, NULL);
	CHECK(!result || result == -EBUSY || result == -ESHUTDOWN);
}

static void freeze_and_thaw(struct kthread_worker *worker)
{
	int result = kthread_freeze_worker_timeout(worker, MOMENT);

	CHECK(!result || result == -ETIMEDOUT || result == -ESHUTDOWN);
	kthread_thaw_worker(worker);
}

static void play_rival(struct rival *r, const struct op *op)
{
	struct kthread_worker *worker = atomic_load(&slots[op->who / 16 % SLOTS]);
	struct shared *s = &shared[op->who % (SHARED + 1)];
	unsigned int *disabled = &r->disabled[op->who % SHARED];
	struct kthread_worker_stats stats;

	switch (op->code % 32) {
	case 0: case 1: case 2: case 3:
		queue_shared(worker, s, op->arg);
		break;
	case 4: case 5: case 6:
		mod_shared(worker, s, op->arg);
		break;
	case 7: case 8: case 9:
		cancel_shared(s, op->arg);
		break;
	case 10: case 11:
		kthread_flush_work_timeout(&s->dwork.work, MOMENT);
		break;
	case 12:
		kthread_flush_worker_timeout(worker, MOMENT);
		break;
	case 13:
		kthread_drain_worker_timeout(worker, MOMENT);
		break;
	case 14:
		freeze_and_thaw(worker);
		break;
	case 15:
		if (op->who / 16 % SLOTS != POLLED)
			stop_and_start(worker);
		break;
	case 16:
		if (op->arg % 16 == 0)
			replace_mortal();
		break;
	case 17:
		if (s->periodic || *disabled)
			break;
		++*disabled;
		if (kthread_disable_work_sync(&shared[op->who % SHARED].dwork.work))
			settle(&shared[op->who % SHARED]);
		break;
	case 18: case 19:
		if (*disabled) {
			kthread_enable_work(&shared[op->who % SHARED].dwork.work);
			--*disabled;
		}
		break;
	case 20:
		kthread_worker_get_stats(worker, &stats);
		CHECK(stats.executed + stats.pending <= stats.queued);
		break;
	case 21:
		kthread_work_busy(&s->dwork.work);
		kthread_delayed_work_remaining(&s->dwork);
		kthread_worker_next_timer(worker);
		break;
	case 22: case 23: case 24: case 25:
		/* Not where a destruction drops it, and tells a moment after a flush has seen it. */
		use_own(r, atomic_load(&slots[op->who & 16 ? LASTING : POLLED]),
			(uint8_t)(op->code / 32), op->arg);
		break;
	case 26: case 27: case 28: case 29:
		use_fifo(r, op->arg);
		break;
	default:
		spin(op->arg * 8u);
	}
}

static int run_rival(void *arg)
{
	struct rival *r = arg;
	struct op op;

	while (next_op(&r->in, &op))
		play_rival(r, &op);
	for (unsigned int i = 0; i < SHARED; i++)
		while (r->disabled[i]) {
			kthread_enable_work(&shared[i].dwork.work);
			r->disabled[i]--;
		}
	return 0;
}

static atomic_bool poller_to_end;

static void end_poller(struct kthread_work *work)
{
	(void)work;
	atomic_store(&poller_to_end, true);
}

/* Runs when it is told to, and never looks of itself: a wake that is lost shows. */
static int run_poller(void *arg)
{
	struct kthread_worker *worker = arg;
	struct pollfd fd = { .fd = kthread_worker_fd(worker), .events = POLLIN };

	while (!atomic_load(&poller_to_end)) {
		poll(&fd, 1, fd.fd < 0 ? 1 : -1);
		CHECK(kthread_worker_run_pending(worker) >= 0);
	}
	return 0;
}

static void end_slot(int slot)
{
	struct kthread_worker *worker = atomic_load(&slots[slot]);
	int result;

	kthread_thaw_worker(worker);
	if (slot != POLLED) {
		CHECK_EQ(kthread_stop_worker(worker), 0);
		result = kthread_start_worker(worker, NULL);
		CHECK(!result);
	}
	CHECK_EQ(kthread_flush_worker(worker), 0);
}

static void check_idle_for_good(struct shared *s)
{
	kthread_flush_work(&s->dwork.work);
	cancel_shared(s, 2);
	CHECK_EQ(kthread_work_busy(&s->dwork.work), 0);
	CHECK_EQ(atomic_load(&s->owed), 0);
	CHECK_EQ(atomic_load(&s->begun), atomic_load(&s->ended));
}

static void play_at_once(struct input *in)
{
	size_t share = (size_t)(in->end - in->at) / (RIVALS + 1) / 3 * 3;
	struct kthread_work last;
	struct side poller;

	memset(rivals, 0, sizeof(rivals));
	atomic_store(&ending, false);
	atomic_store(&poller_to_end, false);
	atomic_store(&destroyed_count, 0);
	for (int i = 0; i <= SHARED; i++)
		init_shared(&shared[i]);
	shared[SHARED].periodic = true;
	for (int i = 0; i < SLOTS; i++)
		atomic_store(&slots[i], create_slot(i));
	kthread_worker_fd(atomic_load(&slots[POLLED])); /* made while nobody queues */
	deeds = (struct input){ in->at, in->at + share };
	side_start(&poller, run_poller, atomic_load(&slots[POLLED]));
	for (int i = 0; i < RIVALS; i++) {
		struct rival *r = &rivals[i];

		r->index = i;
		r->in.at = in->at + (size_t)(i + 1) * share;
		r->in.end = r->in.at + share;
		init_shared(&r->own);
		r->own.obedient = true;
		for (int j = 0; j < FIFOS; j++) {
			kthread_init_work(&r->fifos[j].work, run_fifo);
			r->fifos[j].rival = r;
		}
	}
	for (int i = 0; i < RIVALS; i++)
		side_start(&rivals[i].side, run_rival, &rivals[i]);
	for (int i = 0; i < RIVALS; i++)
		CHECK_EQ(side_join(&rivals[i].side), 0);

	atomic_store(&ending, true);
	kthread_cancel_delayed_work_sync(&shared[SHARED].dwork);
	for (int i = 0; i < SLOTS; i++)
		end_slot(i);
	for (int i = 0; i <= SHARED; i++)
		check_idle_for_good(&shared[i]);
	for (int i = 0; i < RIVALS; i++)
		check_idle_for_good(&rivals[i].own);
	kthread_init_work(&last, end_poller);
	CHECK_EQ(kthread_queue_work_status(atomic_load(&slots[POLLED]), &last), 1);
	CHECK_EQ(side_join(&poller), 0);
	for (int i = 0; i < SLOTS; i++) {
		CHECK_EQ(kthread_destroy_worker(atomic_load(&slots[i])), 0);
		kthread_release_worker(atomic_load(&slots[i]));
	}
	for (unsigned int i = 0; i < DESTROYED_MAX && i < atomic_load(&destroyed_count); i++)
		kthread_release_worker(destroyed[i]);
	for (int i = 0; i < RIVALS; i++)
		for (int j = 0; j < FIFOS; j++)
			CHECK_EQ(kthread_work_busy(&rivals[i].fifos[j].work), 0);
}

/* ---- who plays ---- */

static UNUSED void play_input(const uint8_t *bytes, size_t size)
{
	struct input in = { bytes + 1, bytes + size };

	if (size < 4)
		return;
	/* Threads take their time: most inputs are for one. */
	if (bytes[0] % 16 == 15)
		play_at_once(&in);
	else if (CLOCK_IS_OURS)
		play_sequence(&in);
}

#ifdef FUZZING

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	play_input(bytes, size);
	return 0;
}

#endif

#define BYTES_MAX 3000

static void fill(uint8_t *bytes, size_t size, uint64_t *random)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] = (uint8_t)stress_random(random);
}

TEST(random_calls_agree_with_the_model)
{
	unsigned int rounds = stress_rounds(20000);
	uint64_t random = stress_seed();
	uint8_t bytes[BYTES_MAX];

	if (!CLOCK_IS_OURS)
		SKIP("the C library's clock can't be replaced here");
	test_needs_seconds(200);
	printf("STRESS_ROUNDS=%u\n", rounds);
	for (unsigned int i = 0; i < rounds; i++) {
		size_t size = 30 + stress_random(&random) % (i % 8 ? 300 : BYTES_MAX - 30);
		struct input in = { bytes, bytes + size };

		fill(bytes, size, &random);
		play_sequence(&in);
	}
}

TEST(random_calls_at_once)
{
	unsigned int rounds = stress_rounds(400);
	uint64_t random = stress_seed();
	uint8_t bytes[BYTES_MAX];

	test_needs_seconds(200);
	printf("STRESS_ROUNDS=%u\n", rounds);
	for (unsigned int i = 0; i < rounds; i++) {
		struct input in = { bytes, bytes + sizeof(bytes) };

		fill(bytes, sizeof(bytes), &random);
		play_at_once(&in);
	}
}

/* Nothing, unless FUZZ_INPUT names a file. */
TEST(given_input)
{
	const char *name = getenv("FUZZ_INPUT");
	static uint8_t bytes[1 << 20];
	size_t size;
	FILE *file;

	if (!name)
		return;
	file = fopen(name, "rb");
	CHECK(file);
	size = fread(bytes, 1, sizeof(bytes), file);
	fclose(file);
	play_input(bytes, size);
}
