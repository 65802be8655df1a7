/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * State of a work x verb, each cell a case: idle, pending, delayed, executing, executing
 * and pending, cancelling, disabled, on a frozen worker, on one without a thread, on one
 * that is being destroyed x queue, queue delayed, mod, cancel, cancel sync, flush, flush
 * worker, drain, disable, destroy, free.
 */
#include "harness.h"

#define HOUR (3600 * MS(1000))

/* The work that all is done to: blocks in each run until released, but for a first one. */
struct subject {
	struct kthread_delayed_work dwork;
	struct stage *stage;
};

struct stage {
	struct kthread_worker *worker;
	struct subject *subject;	/* of its own, so that it may be freed */
	struct blocker front;		/* occupies the worker, where the state needs that */
	struct counted behind;		/* shows that the worker is in order afterwards */
	struct gate entered, release;	/* of the subject */
	bool passes;			/* the subject's run is none of the case's */
	bool frees;			/* it ends by its own callback */
	atomic_int begun, ended;
	struct side rival;		/* cancels, or destroys, as the state has it */
	bool has_rival, destroyed;
};

static void give_up(struct stage *stage);

static void subject_run(struct kthread_work *work)
{
	struct stage *stage = ((struct subject *)work)->stage;

	if (stage->passes)
		return;
	atomic_fetch_add(&stage->begun, 1);
	gate_open(&stage->entered);
	gate_wait(&stage->release);
	if (stage->frees)
		give_up(stage);
	atomic_fetch_add(&stage->ended, 1);
}

static struct kthread_work *subject_work(struct stage *stage)
{
	return &stage->subject->dwork.work;
}

/* States: how to get there */

static void be_idle(struct stage *stage)
{
	stage->passes = true;
	CHECK(kthread_queue_work(stage->worker, subject_work(stage)));
	CHECK_EQ(kthread_flush_work(subject_work(stage)), 0);
	stage->passes = false;
}

static void be_pending(struct stage *stage)
{
	blocker_occupy(&stage->front, stage->worker);
	CHECK(kthread_queue_work(stage->worker, subject_work(stage)));
}

static void be_delayed(struct stage *stage)
{
	CHECK(kthread_queue_delayed_work(stage->worker, &stage->subject->dwork, HOUR));
}

static void be_executing(struct stage *stage)
{
	CHECK(kthread_queue_work(stage->worker, subject_work(stage)));
	gate_wait(&stage->entered);
}

static void be_executing_and_pending(struct stage *stage)
{
	be_executing(stage);
	CHECK(kthread_queue_work(stage->worker, subject_work(stage)));
}

static int side_cancel_sync(void *work)
{
	return kthread_cancel_work_sync_timeout(work, KTHREAD_FOREVER);
}

/* A run was pending as the rival began: that is the rival's to be told of. */
static void be_cancelling(struct stage *stage)
{
	be_executing_and_pending(stage);
	side_start(&stage->rival, side_cancel_sync, subject_work(stage));
	stage->has_rival = true;
	WAIT_UNTIL(!kthread_work_pending(subject_work(stage)));
}

static void be_disabled(struct stage *stage)
{
	CHECK(!kthread_disable_work_sync(subject_work(stage)));
}

static void be_frozen(struct stage *stage)
{
	CHECK_EQ(kthread_freeze_worker(stage->worker), 0);
	CHECK(kthread_queue_work(stage->worker, subject_work(stage)));
}

static void be_without_thread(struct stage *stage)
{
	CHECK_EQ(kthread_stop_worker(stage->worker), 0);
	CHECK(kthread_queue_work(stage->worker, subject_work(stage)));
}

static void be_stopping(struct stage *stage)
{
	be_pending(stage);
	kthread_close_worker(stage->worker);
	side_start(&stage->rival, side_destroy, stage->worker);
	stage->has_rival = true;
	side_settle(&stage->rival);
	CHECK(!atomic_load(&stage->rival.returned));
}

/* States: what lets them end */

static void release_thaw(struct stage *stage)
{
	kthread_thaw_worker(stage->worker);
}

static void release_start(struct stage *stage)
{
	/* Once it is destroyed there is no more to start. */
	CHECK_EQ(kthread_start_worker(stage->worker, NULL), stage->destroyed ? -ESHUTDOWN : 0);
}

enum state {
	IDLE, PENDING, DELAYED, EXECUTING, EXECUTING_AND_PENDING, CANCELLING, DISABLED, FROZEN,
	WITHOUT_THREAD, STOPPING,
};

static const struct {
	void (*enter)(struct stage *stage);
	void (*leave)(struct stage *stage); /* besides opening all gates */
	int rival;			/* what the rival's call returns */
} states[] = {
	[IDLE] = { be_idle, NULL, 0 },
	[PENDING] = { be_pending, NULL, 0 },
	[DELAYED] = { be_delayed, NULL, 0 },
	[EXECUTING] = { be_executing, NULL, 0 },
	[EXECUTING_AND_PENDING] = { be_executing_and_pending, NULL, 0 },
	[CANCELLING] = { be_cancelling, NULL, 1 },
	[DISABLED] = { be_disabled, NULL, 0 },
	[FROZEN] = { be_frozen, release_thaw, 0 },
	[WITHOUT_THREAD] = { be_without_thread, release_start, 0 },
	[STOPPING] = { be_stopping, NULL, 0 },
};

static void enter(struct stage *stage, enum state state)
{
	memset(stage, 0, sizeof(*stage));
	gate_init(&stage->entered);
	gate_init(&stage->release);
	blocker_init(&stage->front);
	counted_init(&stage->behind);
	stage->worker = new_worker("matrix");
	stage->subject = calloc(1, sizeof(*stage->subject));
	CHECK(stage->subject);
	kthread_init_delayed_work(&stage->subject->dwork, subject_run);
	stage->subject->stage = stage;
	states[state].enter(stage);
}

static void release(struct stage *stage, enum state state)
{
	if (states[state].leave)
		states[state].leave(stage);
	gate_open(&stage->front.release[0]);
	gate_open(&stage->release);
}

/* Let all end that can, and the worker with it. */
static void leave(struct stage *stage, enum state state)
{
	if (stage->has_rival)
		CHECK_EQ(side_join(&stage->rival), states[state].rival);
	if (!stage->destroyed && state != STOPPING)
		CHECK_EQ(kthread_destroy_worker(stage->worker), 0);
}

/* Verbs, with what they return as a status */

static int verb_queue(void *arg)
{
	struct stage *stage = arg;

	return kthread_queue_work_status(stage->worker, subject_work(stage));
}

static int verb_queue_delayed(void *arg)
{
	struct stage *stage = arg;

	return kthread_queue_delayed_work_status(stage->worker, &stage->subject->dwork, HOUR);
}

static int verb_mod(void *arg)
{
	struct stage *stage = arg;

	return kthread_mod_delayed_work_status(stage->worker, &stage->subject->dwork, HOUR);
}

static int verb_cancel(void *arg)
{
	return kthread_cancel_work(subject_work(arg));
}

static int verb_cancel_sync(void *arg)
{
	return side_cancel_sync(subject_work(arg));
}

static int verb_flush(void *arg)
{
	return kthread_flush_work(subject_work(arg));
}

static int verb_flush_worker(void *arg)
{
	return kthread_flush_worker(((struct stage *)arg)->worker);
}

static int verb_drain(void *arg)
{
	return kthread_drain_worker(((struct stage *)arg)->worker);
}

static int verb_disable(void *arg)
{
	return kthread_disable_work_sync_timeout(subject_work(arg), KTHREAD_FOREVER);
}

static int verb_destroy(void *arg)
{
	return kthread_destroy_worker(((struct stage *)arg)->worker);
}

/* What a cell expects. */
struct expected {
	int result;
	bool waits;		/* until the state is released */
	unsigned int busy;	/* the work, after the call, or while that waits */
	int runs;		/* of the work, once the state is released; all of them ended */
};

#define P KTHREAD_WORK_PENDING
#define E KTHREAD_WORK_EXECUTING
#define T KTHREAD_WORK_TIMED
#define R KTHREAD_WORK_REFUSED

/* A run may be about to begin; nothing else is about to happen. */
static void check_busy(struct stage *stage, unsigned int busy)
{
	if (busy & E)
		WAIT_UNTIL(kthread_work_busy(subject_work(stage)) == busy);
	CHECK_EQ(kthread_work_busy(subject_work(stage)), busy);
}

static void cell(enum state state, int (*verb)(void *), struct expected e)
{
	static struct stage stage;
	struct side side;

	enter(&stage, state);
	side_start(&side, verb, &stage);
	if (e.waits) {
		side_settle(&side);
		CHECK(!atomic_load(&side.returned));
	} else {
		CHECK_EQ(side_join(&side), e.result);
		stage.destroyed = verb == verb_destroy;
	}
	check_busy(&stage, e.busy);
	release(&stage, state);
	if (e.waits) {
		CHECK_EQ(side_join(&side), e.result);
		CHECK_EQ(atomic_load(&stage.ended), e.runs);
		stage.destroyed = verb == verb_destroy;
	}
	leave(&stage, state);
	CHECK_EQ(atomic_load(&stage.ended), e.runs);
	CHECK_EQ(atomic_load(&stage.begun), e.runs);
	CHECK_EQ(kthread_work_busy(subject_work(&stage)),
		 verb == verb_disable || state == DISABLED ? R : 0);
	free(stage.subject);
}

/* The case <name>_work_<verb>_<happens>; in a line of its own, for those who look for it. */
#define CELL(name, state, verb, happens, ...)					\
	TEST(name##_work_##verb##_##happens)					\
	{									\
		cell(state, verb_##verb, (struct expected){ __VA_ARGS__ });	\
	}

CELL(idle, IDLE, queue, is_true_and_runs_once, .result = 1, .busy = E, .runs = 1)
CELL(idle, IDLE, queue_delayed, is_true_and_its_timer_runs, .result = 1, .busy = P | T)
CELL(idle, IDLE, mod, is_false_and_its_timer_runs, .result = 0, .busy = P | T)
CELL(idle, IDLE, cancel, is_false, .result = 0)
CELL(idle, IDLE, cancel_sync, is_false_at_once, .result = 0)
CELL(idle, IDLE, flush, returns_at_once, .result = 0)
CELL(idle, IDLE, flush_worker, returns_at_once, .result = 0)
CELL(idle, IDLE, drain, returns_at_once, .result = 0)
CELL(idle, IDLE, disable, is_false_at_once_and_refuses, .result = 0, .busy = R)
CELL(idle, IDLE, destroy, returns, .result = 0)

CELL(pending, PENDING, queue, is_false_and_runs_once, .result = 0, .busy = P, .runs = 1)
CELL(pending, PENDING, queue_delayed, is_false_and_no_timer_runs, .result = 0, .busy = P, .runs = 1)
CELL(pending, PENDING, mod, is_true_and_its_timer_runs, .result = 1, .busy = P | T)
CELL(pending, PENDING, cancel, is_true_and_it_does_not_run, .result = 1)
CELL(pending, PENDING, cancel_sync, is_true_at_once_and_it_does_not_run, .result = 1)
CELL(pending, PENDING, flush, waits_for_its_run, .waits = true, .busy = P, .runs = 1)
CELL(pending, PENDING, flush_worker, waits_for_its_run, .waits = true, .busy = P, .runs = 1)
CELL(pending, PENDING, drain, waits_for_its_run, .waits = true, .busy = P, .runs = 1)
CELL(pending, PENDING, disable, is_true_at_once_and_it_does_not_run, .result = 1, .busy = R)
CELL(pending, PENDING, destroy, runs_it, .waits = true, .busy = P, .runs = 1)

CELL(delayed, DELAYED, queue, is_false_and_its_timer_runs_on, .result = 0, .busy = P | T)
CELL(delayed, DELAYED, queue_delayed, is_false_and_its_timer_runs_on, .result = 0, .busy = P | T)
CELL(delayed, DELAYED, mod, is_true_and_its_timer_runs_anew, .result = 1, .busy = P | T)
CELL(delayed, DELAYED, cancel, is_true_and_no_timer_runs, .result = 1)
CELL(delayed, DELAYED, cancel_sync, is_true_at_once_and_no_timer_runs, .result = 1)
CELL(delayed, DELAYED, flush, runs_it_now_and_waits, .waits = true, .busy = E, .runs = 1)
CELL(delayed, DELAYED, flush_worker, returns_at_once, .result = 0, .busy = P | T)
CELL(delayed, DELAYED, drain, returns_at_once, .result = 0, .busy = P | T)
CELL(delayed, DELAYED, disable, is_true_at_once_and_no_timer_runs, .result = 1, .busy = R)
CELL(delayed, DELAYED, destroy, cancels_it, .result = 0)

CELL(executing, EXECUTING, queue, is_true_and_runs_once_more, .result = 1, .busy = E | P, .runs = 2)
CELL(executing, EXECUTING, queue_delayed, is_true_and_its_timer_runs, .result = 1, .busy = E | P | T,
     .runs = 1)
CELL(executing, EXECUTING, mod, is_false_and_its_timer_runs, .result = 0, .busy = E | P | T,
     .runs = 1)
CELL(executing, EXECUTING, cancel, is_false_at_once, .result = 0, .busy = E, .runs = 1)
CELL(executing, EXECUTING, cancel_sync, is_false_after_its_run, .waits = true, .result = 0,
     .busy = E | R, .runs = 1)
CELL(executing, EXECUTING, flush, waits_for_its_run, .waits = true, .busy = E, .runs = 1)
CELL(executing, EXECUTING, flush_worker, waits_for_its_run, .waits = true, .busy = E, .runs = 1)
CELL(executing, EXECUTING, drain, waits_for_its_run, .waits = true, .busy = E, .runs = 1)
CELL(executing, EXECUTING, disable, is_false_after_its_run, .waits = true, .result = 0,
     .busy = E | R, .runs = 1)
CELL(executing, EXECUTING, destroy, waits_for_its_run, .waits = true, .busy = E, .runs = 1)

CELL(executing_and_pending, EXECUTING_AND_PENDING, queue, is_false_and_runs_once_more,
     .result = 0, .busy = E | P, .runs = 2)
CELL(executing_and_pending, EXECUTING_AND_PENDING, queue_delayed, is_false_and_no_timer_runs,
     .result = 0, .busy = E | P, .runs = 2)
CELL(executing_and_pending, EXECUTING_AND_PENDING, mod, is_true_and_its_timer_runs,
     .result = 1, .busy = E | P | T, .runs = 1)
CELL(executing_and_pending, EXECUTING_AND_PENDING, cancel, is_true_at_once_and_drops_one_run,
     .result = 1, .busy = E, .runs = 1)
CELL(executing_and_pending, EXECUTING_AND_PENDING, cancel_sync, is_true_after_the_first_run,
     .waits = true, .result = 1, .busy = E | R, .runs = 1)
CELL(executing_and_pending, EXECUTING_AND_PENDING, flush, waits_for_both_runs,
     .waits = true, .busy = E | P, .runs = 2)
CELL(executing_and_pending, EXECUTING_AND_PENDING, flush_worker, waits_for_both_runs,
     .waits = true, .busy = E | P, .runs = 2)
CELL(executing_and_pending, EXECUTING_AND_PENDING, drain, waits_for_both_runs,
     .waits = true, .busy = E | P, .runs = 2)
CELL(executing_and_pending, EXECUTING_AND_PENDING, disable, is_true_after_the_first_run,
     .waits = true, .result = 1, .busy = E | R, .runs = 1)
CELL(executing_and_pending, EXECUTING_AND_PENDING, destroy, waits_for_both_runs,
     .waits = true, .busy = E | P, .runs = 2)

CELL(cancelling, CANCELLING, queue, is_refused, .result = -ECANCELED, .busy = E | R, .runs = 1)
CELL(cancelling, CANCELLING, queue_delayed, is_refused, .result = -ECANCELED, .busy = E | R,
     .runs = 1)
CELL(cancelling, CANCELLING, mod, is_true_and_nothing_is_queued, .result = 1, .busy = E | R,
     .runs = 1)
CELL(cancelling, CANCELLING, cancel, is_false_at_once, .result = 0, .busy = E | R, .runs = 1)
CELL(cancelling, CANCELLING, cancel_sync, is_false_after_its_run, .waits = true, .result = 0,
     .busy = E | R, .runs = 1)
CELL(cancelling, CANCELLING, flush, waits_for_its_run, .waits = true, .busy = E | R, .runs = 1)
CELL(cancelling, CANCELLING, flush_worker, waits_for_its_run, .waits = true, .busy = E | R,
     .runs = 1)
CELL(cancelling, CANCELLING, drain, waits_for_its_run, .waits = true, .busy = E | R, .runs = 1)
CELL(cancelling, CANCELLING, disable, is_false_after_its_run, .waits = true, .result = 0,
     .busy = E | R, .runs = 1)
CELL(cancelling, CANCELLING, destroy, waits_for_its_run, .waits = true, .busy = E | R, .runs = 1)

CELL(disabled, DISABLED, queue, is_refused, .result = -ECANCELED, .busy = R)
CELL(disabled, DISABLED, queue_delayed, is_refused, .result = -ECANCELED, .busy = R)
CELL(disabled, DISABLED, mod, is_refused, .result = -ECANCELED, .busy = R)
CELL(disabled, DISABLED, cancel, is_false, .result = 0, .busy = R)
CELL(disabled, DISABLED, cancel_sync, is_false_at_once, .result = 0, .busy = R)
CELL(disabled, DISABLED, flush, returns_at_once, .result = 0, .busy = R)
CELL(disabled, DISABLED, flush_worker, returns_at_once, .result = 0, .busy = R)
CELL(disabled, DISABLED, drain, returns_at_once, .result = 0, .busy = R)
CELL(disabled, DISABLED, disable, is_false_and_counts, .result = 0, .busy = R)
CELL(disabled, DISABLED, destroy, returns, .result = 0, .busy = R)

CELL(frozen, FROZEN, queue, is_false_and_runs_once_thawed, .result = 0, .busy = P, .runs = 1)
CELL(frozen, FROZEN, queue_delayed, is_false_and_no_timer_runs, .result = 0, .busy = P, .runs = 1)
CELL(frozen, FROZEN, mod, is_true_and_its_timer_runs, .result = 1, .busy = P | T)
CELL(frozen, FROZEN, cancel, is_true_and_it_does_not_run, .result = 1)
CELL(frozen, FROZEN, cancel_sync, is_true_at_once_and_it_does_not_run, .result = 1)
CELL(frozen, FROZEN, flush, waits_for_the_thaw, .waits = true, .busy = P, .runs = 1)
CELL(frozen, FROZEN, flush_worker, waits_for_the_thaw, .waits = true, .busy = P, .runs = 1)
CELL(frozen, FROZEN, drain, waits_for_the_thaw, .waits = true, .busy = P, .runs = 1)
CELL(frozen, FROZEN, disable, is_true_at_once_and_it_does_not_run, .result = 1, .busy = R)
CELL(frozen, FROZEN, destroy, thaws_and_runs_it, .waits = true, .busy = E, .runs = 1)

CELL(threadless, WITHOUT_THREAD, queue, is_false_and_runs_once_started, .result = 0, .busy = P,
     .runs = 1)
CELL(threadless, WITHOUT_THREAD, queue_delayed, is_false_and_no_timer_runs, .result = 0,
     .busy = P, .runs = 1)
CELL(threadless, WITHOUT_THREAD, mod, is_true_and_its_timer_runs, .result = 1, .busy = P | T)
CELL(threadless, WITHOUT_THREAD, cancel, is_true_and_it_does_not_run, .result = 1)
CELL(threadless, WITHOUT_THREAD, cancel_sync, is_true_at_once_and_it_does_not_run, .result = 1)
CELL(threadless, WITHOUT_THREAD, flush, waits_for_a_thread, .waits = true, .busy = P, .runs = 1)
CELL(threadless, WITHOUT_THREAD, flush_worker, waits_for_a_thread, .waits = true, .busy = P,
     .runs = 1)
CELL(threadless, WITHOUT_THREAD, drain, waits_for_a_thread, .waits = true, .busy = P, .runs = 1)
CELL(threadless, WITHOUT_THREAD, disable, is_true_at_once_and_it_does_not_run, .result = 1,
     .busy = R)
CELL(threadless, WITHOUT_THREAD, destroy, drops_it, .result = 0)

CELL(stopping, STOPPING, queue, is_refused, .result = -ESHUTDOWN, .busy = P, .runs = 1)
CELL(stopping, STOPPING, queue_delayed, is_refused, .result = -ESHUTDOWN, .busy = P, .runs = 1)
CELL(stopping, STOPPING, mod, is_refused, .result = -ESHUTDOWN, .busy = P, .runs = 1)
CELL(stopping, STOPPING, cancel, is_true_and_it_does_not_run, .result = 1)
CELL(stopping, STOPPING, cancel_sync, is_true_at_once_and_it_does_not_run, .result = 1)
CELL(stopping, STOPPING, flush, waits_for_its_run, .waits = true, .busy = P, .runs = 1)
CELL(stopping, STOPPING, flush_worker, waits_for_its_run, .waits = true, .busy = P, .runs = 1)
CELL(stopping, STOPPING, drain, waits_for_its_run, .waits = true, .busy = P, .runs = 1)
CELL(stopping, STOPPING, disable, is_true_at_once_and_it_does_not_run, .result = 1, .busy = R)
CELL(stopping, STOPPING, destroy, waits_for_the_first_one, .waits = true, .busy = P, .runs = 1)

/*
 * Free: a work is its worker's until a call has taken it back, and the header says which.
 * Right after that call it goes, and the worker is used on. Where no sanitizer looks, the
 * memory is kept and written over instead, and has to stay as it is.
 */

static void *freed;

static void give_up(struct stage *stage)
{
	freed = stage->subject;
	stage->subject = NULL;
	if (UNDER_ASAN || UNDER_TSAN)
		free(freed);
	else
		memset(freed, 0xa5, sizeof(struct subject));
}

static void check_untouched(void)
{
	if (UNDER_ASAN || UNDER_TSAN)
		return;
	for (size_t i = 0; i < sizeof(struct subject); i++)
		CHECK_EQ(((unsigned char *)freed)[i], 0xa5);
	free(freed);
}

/* The worker runs another work; then it ends. */
static void use_on(struct stage *stage, enum state state)
{
	if (state != STOPPING) {
		CHECK(kthread_queue_work(stage->worker, &stage->behind.work));
		release(stage, state);
		CHECK_EQ(kthread_flush_work(&stage->behind.work), 0);
		CHECK_EQ(atomic_load(&stage->behind.runs), 1);
		CHECK_EQ(kthread_flush_worker(stage->worker), 0);
	}
	leave(stage, state);
	check_untouched();
}

/* @call may wait for what @first lets end. */
static void freed_after(enum state state, int (*call)(void *), int result, bool released_first)
{
	static struct stage stage;

	enter(&stage, state);
	if (released_first)
		gate_open(&stage.release);
	CHECK_EQ(call(&stage), result);
	give_up(&stage);
	use_on(&stage, state);
}

TEST(idle_work_free_at_once)
{
	static struct stage stage;

	enter(&stage, IDLE);
	give_up(&stage);
	use_on(&stage, IDLE);
}

/* Pending it is not to be freed: the header's table has "no", but for the callback. */
TEST(pending_work_free_after_cancel)
{
	freed_after(PENDING, verb_cancel, 1, false);
}

TEST(delayed_work_free_after_cancel)
{
	freed_after(DELAYED, verb_cancel, 1, false);
}

TEST(executing_work_free_after_flush)
{
	freed_after(EXECUTING, verb_flush, 0, true);
}

TEST(executing_work_free_in_its_callback)
{
	static struct stage stage;

	enter(&stage, EXECUTING);
	stage.frees = true;
	release(&stage, EXECUTING);
	CHECK(kthread_queue_work(stage.worker, &stage.behind.work));
	CHECK_EQ(kthread_flush_work(&stage.behind.work), 0);
	CHECK_EQ(atomic_load(&stage.ended), 1);
	leave(&stage, EXECUTING);
	check_untouched();
}

/* Which of the two runs comes first is open: the second is dropped, or has ended as well. */
TEST(executing_and_pending_work_free_after_cancel_sync)
{
	static struct stage stage;
	int result;

	enter(&stage, EXECUTING_AND_PENDING);
	gate_open(&stage.release);
	result = verb_cancel_sync(&stage);
	CHECK_EQ(atomic_load(&stage.ended), result ? 1 : 2);
	give_up(&stage);
	use_on(&stage, EXECUTING_AND_PENDING);
}

TEST(cancelling_work_free_after_the_cancel)
{
	static struct stage stage;

	enter(&stage, CANCELLING);
	gate_open(&stage.release);
	CHECK_EQ(side_join(&stage.rival), 1);
	stage.has_rival = false;
	give_up(&stage);
	use_on(&stage, CANCELLING);
}

TEST(disabled_work_free_at_once)
{
	static struct stage stage;

	enter(&stage, DISABLED);
	give_up(&stage);
	use_on(&stage, DISABLED);
}

TEST(frozen_work_free_after_cancel)
{
	freed_after(FROZEN, verb_cancel, 1, false);
}

TEST(threadless_work_free_after_cancel)
{
	freed_after(WITHOUT_THREAD, verb_cancel, 1, false);
}

TEST(stopping_work_free_after_flush)
{
	static struct stage stage;

	enter(&stage, STOPPING);
	release(&stage, STOPPING);
	CHECK_EQ(verb_flush(&stage), 0);
	give_up(&stage);
	use_on(&stage, STOPPING);
}
