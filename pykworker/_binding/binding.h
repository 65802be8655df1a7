/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * binding.h - between the core and Python.
 *
 * The ways from Python into C are two. What is called often and never blocks (making a
 * work, queueing it) are methods of two C types, Work's and Worker's bases, with the
 * stable ABI of CPython 3.11. All else are plain functions, which cffi wraps
 * (binding.cdef). The generated wrappers keep the GIL; a function that waits gives it
 * back itself, see gil.c.
 *
 * The ways from C into Python are two as well: a work's callback, see work.c, and the
 * methods of the worker's core object, see struct pykw_worker.
 *
 * References: a Work object is held once for each queueing that said true, from then
 * until that run is over or dropped. No Python code runs while a lock of the core is
 * held.
 */
#ifndef PYKW_BINDING_H
#define PYKW_BINDING_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "kthread_worker.h"

#include "binding.cdef"

/* Of a struct pykw_record. */
enum pykw_record_kind {
	PYKW_QUEUED,
	PYKW_CALLED,
	PYKW_NATIVE,
};

/* What the core object may want to know: the method of it that is called then. */
enum pykw_tell {
	PYKW_TELL_ENTER = 1 << 0,	/* enter(): a thread is about to serve it */
	PYKW_TELL_LEAVE = 1 << 1,	/* leave(): that has run its last work */
	PYKW_TELL_ROOM = 1 << 2,	/* room(): a place on the list is free; true: somebody takes it */
	PYKW_TELL_NOTE = 1 << 3,	/* note_origin(work): it is about to be queued */
	PYKW_TELL_BUSY = 1 << 4,	/* busy(): something was queued; told once */
};

/* Classes and functions of Python's that are used here, by name. */
struct pykw_the {
	PyObject *serve;		/* see work.c */
	PyObject *cancel;		/* what a periodic work returns to be cancelled */
	PyTypeObject *future_class;	/* pykworker.Future */
	PyTypeObject *call_class;	/* the Work of a submitted call */
	PyObject *plain_future;		/* concurrent.futures.Future */
	PyObject *cancelled_error;
	PyObject *broken_error;
	PyObject *full_error;
	PyObject *deadlock_error;
	PyObject *make_condition;
	PyObject *context_class;
	PyObject *is_finalizing;
	PyObject *partial;		/* functools.partial */
};

extern struct pykw_the pykw_the;

struct pykw_call;
struct pykw_watch;
struct pykw_future;

/*
 * How long works have waited and run; kept where Worker(timing=True). Nanoseconds; written by
 * the worker's thread, read by whoever asks.
 */
struct pykw_times {
	_Atomic(uint64_t) runs, ended;		/* that have begun, and that have ended */
	_Atomic(uint64_t) waited, longest_wait;	/* from the queueing, or the deadline, to the begin */
	_Atomic(uint64_t) ran, longest_run;
	uint64_t began;				/* the present run; worker's thread */
};

/* What is kept for one worker; owned by its core object. */
struct pykw_worker {
	struct kthread_worker *worker;	/* held until this is freed: it answers when destroyed, too */
	/*
	 * The core object, borrowed: it outlives the worker. Its methods called from here:
	 * thread_started(), thread_ending(), report(work, exception), trace(event, work), and
	 * those of enum pykw_tell.
	 */
	PyObject *core;
	_Atomic(PyObject *) current;	/* the Work executing; set by the worker's thread */
	PyObject *runs;			/* see work.c; worker's thread, under the GIL */
	uint64_t coalesced;		/* under the GIL */
	uint64_t missed;		/* ticks of Python callbacks; under the GIL */
	struct pykw_times *times;	/* NULL: not kept; constant */
	_Atomic(bool) abandoned;	/* at exit: nothing is queued any more; under the GIL */
	bool daemon;			/* at exit nothing of it begins any more; under the GIL */
	_Atomic(bool) given_up;		/* nor is the running callback waited for */
	bool broken;			/* its initializer has failed: nothing runs; under the GIL */
	_Atomic(uint32_t) tells;	/* enum pykw_tell: what the core object wants to know */
	_Atomic(bool) leaving;		/* its thread has run its last work */
	uint64_t max_pending;		/* 0: any number; constant */
	_Atomic(uint64_t) pending;	/* works that are, by Python; only where max_pending is */
	struct pykw_call *calls;	/* submitted and pending; under the GIL */
	struct pykw_watch *watches;	/* under the GIL */
	_Atomic(bool) traced;		/* the core object's trace() wants to know */
	PyObject *interrupt;		/* what run() is to raise; under the GIL */
	PyObject *owner;		/* frees this with its last reference; borrowed; NULL until bound */
	bool keeps_gil;			/* its thread holds the GIL; that thread only */
	bool on_main_thread;		/* its thread runs signal handlers; that thread only */
	uint64_t handover_ns;		/* see gil.c; worker's thread only */
	struct pykw_record run;		/* see record.c; worker's thread */
	uint32_t recorded_as;		/* its number there; 0: it never was */
};

/* What a work without the GIL has besides. */
struct pykw_native {
	void (*function)(void *data);	/* constant */
	void *data;			/* constant */
	_Atomic(uint32_t) finished;	/* references to give back */
	struct pykw_work *next_finished; /* the worker's thread, then under the GIL */
};

/* What a delayed work has besides; the kthread_work that counts is in here. */
struct pykw_timer {
	struct kthread_delayed_work dwork;
	struct pykw_work *object;	/* whose this is */
	uint64_t period_ns;		/* of a Python callback; 0: not periodic, or no more; under the GIL */
	uint64_t missed;		/* of a Python callback; under the GIL */
};

/* What few works have. */
struct pykw_extra {
	struct pykw_native *native;	/* NULL: a Python callback */
	struct pykw_timer *timer;	/* NULL: it can't be delayed */
	PyObject *context;		/* what the callback runs in; NULL: the thread's own */
	_Atomic(uint64_t) since;	/* when it came, or is due; only where times are kept */
	bool is_call;			/* part of a struct pykw_call */
};

/* A Work object. What a queueing looks at comes first. */
struct pykw_work {
	PyObject_HEAD
	struct pykw_extra *extra;	/* NULL: nothing */
	struct kthread_work work;	/* not used when there is a timer */
	PyObject *fn;			/* the callable; of a native work, its address */
	PyObject *args;			/* a tuple; NULL: none */
	PyObject *kwargs;		/* NULL: none */
	_Atomic(uint64_t) coalesced;	/* "already pending" since the last run began; under the GIL */
};

static inline struct pykw_timer *pykw_timer_of(const struct pykw_work *w)
{
	return w->extra ? w->extra->timer : NULL;
}

static inline struct kthread_work *pykw_kwork(struct pykw_work *w)
{
	struct pykw_timer *timer = pykw_timer_of(w);

	return timer ? &timer->dwork.work : &w->work;
}

/* A Worker object. */
struct pykw_worker_object {
	PyObject_HEAD
	struct pykw_worker *handle;	/* NULL until bound */
	PyObject *owner;		/* keeps handle; not tracked by the collector */
};

/* A new object of a type of ours, all zero; NULL with an exception. */
static inline void *pykw_allocate(PyTypeObject *type)
{
	return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
}

/* The last step of a dealloc: the memory, and the object's reference to its type. */
static inline void pykw_free_object(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF((PyObject *)type);
}

/* ---- gil.c: who holds the GIL, and when ---- */

/* Give it back for a wait; take it again. */
PyThreadState *gil_leave(void);
void gil_return(PyThreadState *state);

/* CLOCK_MONOTONIC, nanoseconds. */
uint64_t gil_clock_ns(void);

/*
 * Wait without the GIL for as long as it takes, and run signal handlers meanwhile. @wait
 * returns 0, -ETIMEDOUT, -EINTR or another -errno, and may be called repeatedly. @pw: the
 * worker that is waited for; NULL: none.
 *
 * Returns as @wait; -EINTR: a signal handler has raised an exception; -ECANCELED: the worker was
 * given up at exit.
 */
int gil_wait(struct pykw_worker *pw, int (*wait)(void *arg, uint64_t timeout_ns), void *arg,
	     uint64_t timeout_ns);

/*
 * A signal that comes between the interpreter's last look and the sleep does not
 * interrupt the sleep. So nobody sleeps longer than this at a stretch.
 */
#define SLICE_NS UINT64_C(250000000)

/* On a worker's thread: take it unless it is kept; give it back if it is kept. */
static inline void gil_keep(struct pykw_worker *pw);
static inline void gil_give_back(struct pykw_worker *pw);
void gil_take(struct pykw_worker *pw);
void gil_drop(struct pykw_worker *pw);

/* Around kthread_worker_fn on a thread that has the GIL. */
void gil_lend(void);
void gil_take_home(void);

/* The worker's thread is about to leave: undo what gil_keep made. */
void gil_forget(struct pykw_worker *pw);

/* ---- work.c ---- */

extern PyTypeObject *pykw_work_type;
int pykw_make_work_types(void);

/*
 * Other extensions queue works as well, see capi.c. Is one with this function that of a Work
 * object?
 */
bool pykw_is_own(kthread_work_func_t func);

/* The object that a work of the core belongs to, if it is one of ours. */
struct pykw_work *pykw_object_of(struct kthread_work *work);

/* A queueing of the Work said true. */
void pykw_trace_queue(struct pykw_worker *pw, PyObject *work);

/* It is not periodic any more. Was it? Under the GIL. */
bool pykw_end_ticks(struct pykw_work *w);

/* A work is pending no more: its place is free. Under the GIL, if the core object is told. */
void pykw_give_room(struct pykw_worker *pw);

/* Its pending run was dropped: give back what was held for it. Under the GIL. */
void pykw_release_dropped(struct pykw_worker *pw, struct pykw_work *w);

/* Drop the pending run, without waiting for one that executes. Returns whether there was one. */
bool pykw_drop_pending(struct pykw_work *w);

/* Note when the run to come was asked for, or is due, where times are kept. */
void pykw_note_since(struct pykw_worker *pw, struct pykw_work *w, uint64_t since);

/* Make it one with a Python callback, whose fn, args and kwargs are set. */
void pykw_init_python_work(struct pykw_work *w);

/* Call fn, with args and kwargs, in its context. */
PyObject *pykw_call_function(struct pykw_work *w);

/* Where the core object has noted where it was queued, that is added to the exception. */
void pykw_note_origin(struct pykw_worker *pw, struct pykw_work *w, PyObject *exception);

int pykw_work_traverse(PyObject *self, visitproc visit, void *arg);
int pykw_work_clear(PyObject *self);

/* The worker's thread leaves. Under the GIL. */
void pykw_forget_runs(struct pykw_worker *pw);

/* Give back the references to native works that have run. Under the GIL. */
void pykw_drain_finished(void);

/* ---- watch.c ---- */

int pykw_make_watch_type(void);

/* A Watch that calls notify() when a flush begun now is over; None: it is over. */
PyObject *pykw_watch_work(struct pykw_work *work, PyObject *notify);
PyObject *pykw_watch_worker(struct pykw_worker *pw, PyObject *notify);

/* Notify those that are over. Under the GIL. */
void pykw_look_at_watches(struct pykw_worker *pw);

/* Notify them all, over or not. Under the GIL. */
void pykw_let_watches_go(struct pykw_worker *pw);

/* End them all. Under the GIL. */
void pykw_forget_watches(struct pykw_worker *pw);

/*
 * Give back a reference when no run is left that could execute, one that goes on included.
 * Under the GIL.
 */
void pykw_release_after_run(struct pykw_work *work);

/* ---- worker.c ---- */

extern PyTypeObject *pykw_worker_type;
int pykw_make_worker_type(void);

/* The Worker's; NULL with an exception when it has none. */
struct pykw_worker *pykw_handle_of(PyObject *self);

/* May something be queued, this work if not NULL? False: an exception is set. */
bool pykw_may_queue(struct pykw_worker *pw, struct pykw_work *w);

/* The same, and the core object is told before it is. */
bool pykw_prepare(struct pykw_worker *pw, struct pykw_work *w);

/* A work was made pending: tell who wants to know. */
void pykw_was_queued(struct pykw_worker *pw, struct pykw_work *w);

/* Queue a new call. Returns false: an exception is set. */
bool pykw_queue_call(struct pykw_worker *pw, struct pykw_work *w);

static inline bool pykw_tells(struct pykw_worker *pw, uint32_t what)
{
	return atomic_load_explicit(&pw->tells, memory_order_relaxed) & what;
}

/* A work of this worker has become, or is no more, pending. */
static inline void pykw_count_pending(struct pykw_worker *pw, int change)
{
	if (pw->max_pending)
		atomic_fetch_add_explicit(&pw->pending, (uint64_t)(int64_t)change,
					  memory_order_relaxed);
}

/* What is raised when the initializer has failed. */
PyObject *pykw_broken_exception(void);

/*
 * Nobody who waits for it will get an answer: it was given up at exit, or is a daemon whose thread
 * the interpreter has ended.
 */
bool pykw_is_beyond_waiting(struct pykw_worker *pw);

#define PYKW_GIVEN_UP "the worker was given up at interpreter exit"

extern _Atomic(bool) pykw_interpreter_exits;

/*
 * What is pending is to be dropped: the initializer has failed, or the interpreter exits and
 * it is a daemon's, or given up. Looked at by every run.
 */
static inline bool pykw_begins_nothing(struct pykw_worker *pw)
{
	return pw->broken || pw->abandoned || (pw->daemon && pykw_interpreter_exits);
}

/* Raise what a wait in C was refused for. */
void pykw_raise_wait_refusal(int error);

/* What is kept for a worker of the core; NULL: it was not made in Python. */
struct pykw_worker *pykw_worker_of(struct kthread_worker *worker);

/* Worker.queue(work), of a Worker that is made. */
PyObject *pykw_queue(PyObject *worker, PyObject *work);

/* Call a method of the core object; an exception in it goes to sys.unraisablehook. */
void pykw_tell_core(struct pykw_worker *pw, const char *method, PyObject *first,
		    PyObject *second);

/* Call a method of the core object. Returns whether it said true; an exception as above. */
bool pykw_ask_core(struct pykw_worker *pw, const char *method);

/* The calling thread is the main one, which runs signal handlers, and in run(). */
extern _Thread_local bool pykw_on_main_thread;

/* On the main thread, in run(): end it, and have it raise this; takes the reference. */
void pykw_interrupt(struct pykw_worker *pw, PyObject *exception);

/* The exception being raised, as an object with its traceback; clears it. */
PyObject *pykw_fetch_exception(void);

/* ---- capi.c ---- */

/* The table for other extensions, as a capsule. */
PyObject *pykw_make_capsule(void);

static inline void gil_keep(struct pykw_worker *pw)
{
	if (!pw->keeps_gil)
		gil_take(pw);
}

static inline void gil_give_back(struct pykw_worker *pw)
{
	if (pw->keeps_gil)
		gil_drop(pw);
}

#endif /* PYKW_BINDING_H */
