/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * gil.c - who holds the GIL, and when.
 *
 * A worker's thread takes the GIL when it comes to a Python work, and keeps it for the
 * next one: taking it anew for each costs more than most callbacks do. It gives it back
 * before it polls, sleeps, rests, runs a native work or leaves, and before a run is
 * shown to its flushers while nothing else is queued, since they need it next.
 *
 * The hand-over. Who queues a work and then flushes it holds the GIL a little longer
 * than the worker needs to see the work. A worker that asked for the GIL at once would
 * go to sleep on it, and be woken some microseconds later. So it polls first, for a
 * short time, until somebody has given it back to wait: that is the one who flushes.
 * Where nobody does so the time shrinks to nothing.
 */
#include "binding.h"

#include <errno.h>
#include <time.h>

#define HANDOVER_MAX_NS 20000u
#define HANDOVER_LOOKS 16

/* Threads that have given the GIL back to wait in gil_leave. */
static _Atomic(uint32_t) waiting;

/* What the calling thread needs to take the GIL while it serves a worker. */
static _Thread_local struct {
	PyThreadState *state;		/* while it does not hold the GIL; NULL: none yet */
	PyGILState_STATE before;	/* for PyGILState_Release, when made is set */
	bool made;			/* its thread state was made here */
} custody;

uint64_t gil_clock_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

PyThreadState *gil_leave(void)
{
	PyThreadState *state = PyEval_SaveThread();

	atomic_fetch_add(&waiting, 1);
	return state;
}

void gil_return(PyThreadState *state)
{
	atomic_fetch_sub(&waiting, 1);
	PyEval_RestoreThread(state);
}

static int wait_in_slices(struct pykw_worker *pw, int (*wait)(void *arg, uint64_t timeout_ns),
			  void *arg, uint64_t timeout_ns)
{
	uint64_t begin = gil_clock_ns(), waited = 0;
	int result = -ETIMEDOUT;

	while (result == -ETIMEDOUT && waited < timeout_ns) {
		uint64_t left = timeout_ns - waited;
		PyThreadState *state;

		if (pw && pykw_is_beyond_waiting(pw))
			return -ECANCELED;
		state = gil_leave();
		result = wait(arg, left < SLICE_NS ? left : SLICE_NS);
		gil_return(state);
		pykw_drain_finished();
		if (PyErr_CheckSignals() < 0)
			return -EINTR;
		if (result == -EINTR)
			result = -ETIMEDOUT;
		if (timeout_ns != UINT64_MAX)
			waited = gil_clock_ns() - begin;
	}
	return result;
}

int gil_wait(struct pykw_worker *pw, int (*wait)(void *arg, uint64_t timeout_ns), void *arg,
	     uint64_t timeout_ns)
{
	int result = wait(arg, 0);
	PyObject *owner;

	/* What is over may have been a worker's that is gone. */
	if (result != -ETIMEDOUT)
		return result;
	/* Meanwhile this one may be destroyed, and let go of. */
	owner = Py_XNewRef(pw ? pw->owner : NULL);
	result = wait_in_slices(pw, wait, arg, timeout_ns);
	Py_XDECREF(owner);
	return result;
}

static bool somebody_waits(void)
{
	return atomic_load_explicit(&waiting, memory_order_relaxed) != 0;
}

static void poll_for_handover(struct pykw_worker *pw)
{
	uint64_t until;

	if (!pw->handover_ns || somebody_waits())
		return;
	until = gil_clock_ns() + pw->handover_ns;
	do {
		for (int i = 0; i < HANDOVER_LOOKS; i++) {
			if (somebody_waits())
				return;
#if defined(__x86_64__) || defined(__i386__)
			__builtin_ia32_pause();
#endif
		}
	} while (gil_clock_ns() < until);
}

/* Threads of ours that threading is about to learn of, or to forget. */
static _Atomic(uint32_t) being_registered;

uint32_t pykw_being_registered(void)
{
	return atomic_load(&being_registered);
}

/*
 * The interpreter ends the threads of daemons when they come for the GIL late in its exit. One
 * that held a lock of threading's then would leave it locked, and the exit waits for that: so
 * nothing of the kind is begun any more, and the exit waits for what has begun.
 */
static bool may_be_ended(struct pykw_worker *pw)
{
	return pykw_interpreter_exits && (pw->daemon || pw->abandoned);
}

void gil_take(struct pykw_worker *pw)
{
	poll_for_handover(pw);
	pw->on_main_thread = pykw_on_main_thread;
	if (custody.state) {
		PyEval_RestoreThread(custody.state);
		pw->keeps_gil = true;
	} else {
		/* The first Python work on this thread; its state lives as long as the thread. */
		custody.before = PyGILState_Ensure();
		custody.made = true;
		pw->keeps_gil = true;
		if (!may_be_ended(pw)) {
			atomic_fetch_add(&being_registered, 1);
			pykw_tell_core(pw, "thread_started", NULL, NULL);
			atomic_fetch_sub(&being_registered, 1);
		}
	}
	pw->handover_ns = somebody_waits() ? HANDOVER_MAX_NS : pw->handover_ns / 2;
}

void gil_drop(struct pykw_worker *pw)
{
	pw->keeps_gil = false;
	custody.state = PyEval_SaveThread();
}

void gil_lend(void)
{
	custody.state = PyEval_SaveThread();
}

void gil_take_home(void)
{
	PyEval_RestoreThread(custody.state);
	custody.state = NULL;
}

void gil_forget(struct pykw_worker *pw)
{
	if (!custody.made)
		return;
	gil_keep(pw);
	pykw_forget_runs(pw);
	custody.made = false;
	if (may_be_ended(pw)) {
		gil_drop(pw); /* the interpreter frees the thread's state with its own */
		custody.state = NULL;
		return;
	}
	atomic_fetch_add(&being_registered, 1);
	pykw_tell_core(pw, "thread_ending", NULL, NULL);
	pw->keeps_gil = false;
	custody.state = NULL;
	PyGILState_Release(custody.before); /* with what is the thread's own, which may be threading's */
	atomic_fetch_sub(&being_registered, 1);
}
