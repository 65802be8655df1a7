/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * future.h - a submitted call: a work that nobody made, and the future of its result.
 *
 * While the call is pending or executing the two hold each other; whoever ends that, the run,
 * a cancel or the worker's destruction, takes them apart. All of it is under the GIL.
 *
 * The future is a concurrent.futures.Future, whose methods lock a condition. Here the GIL is
 * the lock, and the condition is made when somebody asks for it: to wait for several futures,
 * or to add a callback. Until then nobody can be waiting in Python, and a change of state is a
 * store; from then on it is left to the methods.
 */
#ifndef PYKW_FUTURE_H
#define PYKW_FUTURE_H

#include "binding.h"

enum pykw_future_state {
	PYKW_PENDING,
	PYKW_RUNNING,
	PYKW_CANCELLED,
	PYKW_CANCELLED_AND_NOTIFIED,
	PYKW_FINISHED,
};

struct pykw_future {
	PyObject_HEAD
	enum pykw_future_state state;
	PyObject *result;		/* NULL: None */
	PyObject *exception;		/* NULL: None */
	PyObject *condition;		/* NULL: nobody has asked for it */
	PyObject *waiters;		/* a list, or NULL: none */
	PyObject *callbacks;		/* a list, or NULL: none */
	struct pykw_call *call;		/* until it is over; NULL: no worker's */
};

/* A Work object of a class of its own. */
struct pykw_call {
	struct pykw_work work;
	struct pykw_extra extra;
	struct pykw_future *future;	/* until it is over */
	struct pykw_call *next;		/* in worker->calls, while it is pending */
	struct pykw_call **link;	/* NULL: it is not there */
};

extern PyTypeObject *pykw_future_type, *pykw_call_type;
int pykw_make_future_types(void);

static inline bool pykw_is_call(const struct pykw_work *w)
{
	return w->extra && w->extra->is_call;
}

/*
 * Worker.submit, and _submit(context, fn, args, kwargs, reserved=False). Reserved: room() has
 * handed a place to this one.
 */
PyObject *pykw_submit(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *pykw_submit_in_context(PyObject *self, PyObject *args);

/* The run of a call. Returns None, or NULL: the exception is also to end run(). */
PyObject *pykw_run_call(struct pykw_worker *pw, struct pykw_work *w);

/* It will not run: cancelled, or with an exception. Takes the reference to that. */
void pykw_end_call(struct pykw_work *w, PyObject *exception);

/* The one that runs is not waited for any more: its future gets an error. */
void pykw_give_up_call(struct pykw_worker *pw);

/* Cancel all that are pending. */
void pykw_cancel_calls(struct pykw_worker *pw);

#endif /* PYKW_FUTURE_H */
