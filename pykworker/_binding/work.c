/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * work.c - the base type of Work, and how a work's callback is called.
 */
#include "future.h"

#include <errno.h>
#include <string.h>

PyTypeObject *pykw_work_type;

struct pykw_work *pykw_object_of(struct kthread_work *work)
{
	if (work->kind == KTHREAD_WORK_DELAYED)
		return ((struct pykw_timer *)work)->object;
	return (struct pykw_work *)((char *)work - offsetof(struct pykw_work, work));
}

/* In the work's own callback. */
static struct pykw_worker *worker_of(struct kthread_work *work)
{
	return kthread_worker_data(kthread_work_worker(work));
}

/* ---- Python works ---- */

PyObject *pykw_fetch_exception(void)
{
	PyObject *type, *value, *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	if (traceback)
		PyException_SetTraceback(value, traceback);
	Py_XDECREF(type);
	Py_XDECREF(traceback);
	return value;
}

bool pykw_end_ticks(struct pykw_work *w)
{
	struct pykw_timer *timer = pykw_timer_of(w);
	bool ticked = timer && timer->period_ns;

	if (ticked)
		timer->period_ns = 0;
	return ticked;
}

/* A callback may have ended the repetition by what it returned. */
static void heed_result(struct pykw_work *w, const PyObject *result)
{
	if (result == pykw_the.cancel && pykw_end_ticks(w))
		pykw_drop_pending(w); /* not the last reference: it executes */
}

/* context.run(fn, *args, **kwargs): contexts have no stable C API. */
static PyObject *call_in_context(struct pykw_work *w)
{
	Py_ssize_t n = w->args ? PyTuple_Size(w->args) : 0;
	PyObject *run = PyObject_GetAttrString(w->extra->context, "run");
	PyObject *args = run ? PyTuple_New(n + 1) : NULL, *result = NULL;

	if (args) {
		PyTuple_SetItem(args, 0, Py_NewRef(w->fn));
		for (Py_ssize_t i = 0; i < n; i++)
			PyTuple_SetItem(args, i + 1, Py_NewRef(PyTuple_GetItem(w->args, i)));
		result = PyObject_Call(run, args, w->kwargs);
	}
	Py_XDECREF(args);
	Py_XDECREF(run);
	return result;
}

PyObject *pykw_call_function(struct pykw_work *w)
{
	PyObject *result;

	if (w->extra && w->extra->context)
		result = call_in_context(w);
	else if (w->kwargs)
		result = PyObject_Call(w->fn, w->args, w->kwargs);
	else if (w->args)
		result = PyObject_CallObject(w->fn, w->args);
	else
		result = PyObject_CallNoArgs(w->fn);
	return result;
}

static void drop_run(struct pykw_worker *pw, struct pykw_work *w);

/* The run of a Python work. */
static PyObject *call(struct pykw_worker *pw, struct pykw_work *w)
{
	PyObject *result;

	if (pykw_begins_nothing(pw)) {
		drop_run(pw, w);
		return Py_NewRef(Py_None);
	}
	if (pykw_is_call(w))
		return pykw_run_call(pw, w);
	result = pykw_call_function(w);
	if (w->extra && result)
		heed_result(w, result);
	return result;
}

/* ---- how long works wait and run ---- */

static bool give_extra(struct pykw_work *w);

/* What finds no memory counts as not having waited. */
void pykw_note_since(struct pykw_worker *pw, struct pykw_work *w, uint64_t since)
{
	if (pw->times && give_extra(w))
		atomic_store_explicit(&w->extra->since, since, memory_order_relaxed);
}

/* Only its thread writes. */
static void add(_Atomic(uint64_t) *sum, _Atomic(uint64_t) *longest, uint64_t ns)
{
	atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + ns,
			      memory_order_relaxed);
	if (ns > atomic_load_explicit(longest, memory_order_relaxed))
		atomic_store_explicit(longest, ns, memory_order_relaxed);
}

static void count(_Atomic(uint64_t) *counter)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

/* The run of w begins; to be called before its next tick is queued. */
static void time_begin(struct pykw_worker *pw, struct pykw_work *w)
{
	struct pykw_times *times = pw->times;
	uint64_t since;

	if (!times)
		return;
	times->began = gil_clock_ns();
	since = w->extra ? atomic_load_explicit(&w->extra->since, memory_order_relaxed) : 0;
	add(&times->waited, &times->longest_wait,
	    since && times->began > since ? times->began - since : 0);
	count(&times->runs);
}

static void time_end(struct pykw_worker *pw)
{
	struct pykw_times *times = pw->times;

	if (!times)
		return;
	add(&times->ran, &times->longest_run, gil_clock_ns() - times->began);
	count(&times->ended);
}

/*
 * A run of a periodic work begins: queue the next one. Its deadline is counted from that of
 * this one, which nobody changes: who could, needs the GIL. The core has works of a fixed rate
 * of its own, but could not count the references to the object.
 */
static void queue_next_tick(struct pykw_worker *pw, struct pykw_work *w)
{
	struct pykw_timer *timer = pykw_timer_of(w);
	uint64_t deadline = timer->dwork.timer.deadline, now = gil_clock_ns(), skipped, step;
	int result;

	skipped = now > deadline ? (now - deadline) / timer->period_ns : 0;
	step = (skipped + 1) * timer->period_ns;
	deadline = step < UINT64_MAX - deadline ? deadline + step : UINT64_MAX;
	pykw_note_since(pw, w, deadline);
	result = kthread_queue_delayed_work_at(pw->worker, &timer->dwork, deadline);
	if (result > 0) {
		Py_INCREF((PyObject *)w);
		pykw_count_pending(pw, 1);
		timer->missed += skipped;
		pw->missed += skipped;
	} else if (result < 0) {
		pykw_end_ticks(w); /* its worker is being destroyed */
	}
}

/*
 * A burst is not run by one call from C for each work. The interpreter calls a Python
 * function from a loop in Python for a third of what such a call costs. So when more than
 * one work is listed,
 *
 *	def serve(runs):
 *		for run in runs:
 *			run()
 *
 * is called once, and runs is an iterator which ends one run and begins the next each
 * time it is asked: it says stop where the list has none, or one of another kind. The last
 * run is ended by the core as usual, after the GIL was given back. When a callback raises,
 * so does serve, and what is current then is the one that did.
 */
struct runs {
	PyObject_HEAD
	struct pykw_worker *pw;
	PyObject *call_current;		/* what runs a work that has arguments */
	bool begun;			/* the first one, which the core has begun, was given out */
};

static PyTypeObject *runs_type;

static void run_python(struct kthread_work *work);
static void run_native(struct kthread_work *work);

bool pykw_is_own(kthread_work_func_t func)
{
	return func == run_python || func == run_native;
}

static struct pykw_work *current_work(struct pykw_worker *pw)
{
	return (struct pykw_work *)atomic_load_explicit(&pw->current, memory_order_relaxed);
}

static void trace(struct pykw_worker *pw, const char *event, struct pykw_work *w)
{
	PyObject *name = PyUnicode_FromString(event);

	if (!name)
		PyErr_Clear();
	else
		pykw_tell_core(pw, "trace", name, (PyObject *)w);
	Py_XDECREF(name);
}

void pykw_trace_queue(struct pykw_worker *pw, PyObject *work)
{
	trace(pw, "queue", (struct pykw_work *)work);
}

/*
 * A place that is handed on stays counted, so that nobody else gets it. The one of a tick is not:
 * the next tick, which asks for none, is pending by then.
 */
void pykw_give_room(struct pykw_worker *pw)
{
	if (!pw->max_pending)
		return;
	if (!pykw_tells(pw, PYKW_TELL_ROOM) ||
	    atomic_load_explicit(&pw->pending, memory_order_relaxed) > pw->max_pending ||
	    !pykw_ask_core(pw, "room"))
		pykw_count_pending(pw, -1);
}

/* A run begins: w is shown as the current one, instead of what was. */
static void begin_run(struct pykw_worker *pw, struct pykw_work *w)
{
	const struct pykw_timer *timer = pykw_timer_of(w);

	atomic_store_explicit(&w->coalesced, 0, memory_order_relaxed);
	atomic_store_explicit(&pw->current, (PyObject *)w, memory_order_relaxed);
	time_begin(pw, w);
	if (timer && timer->period_ns)
		queue_next_tick(pw, w);
	pykw_give_room(pw);
}

/* Traced runs are made one by one, and those that are dropped. */
static bool may_serve(struct pykw_worker *pw)
{
	return !pw->traced && !pykw_begins_nothing(pw);
}

static PyObject *runs_next(PyObject *self)
{
	struct runs *runs = (struct runs *)self;
	struct pykw_worker *pw = runs->pw;
	struct pykw_work *w = pw ? current_work(pw) : NULL;

	if (!pw || !w)
		return NULL; /* kept by a debugger, and the burst is over */
	if (runs->begun) {
		struct pykw_work *ended = w;
		struct kthread_work *next;

		if (pw->on_main_thread && PyErr_CheckSignals() < 0) {
			pykw_interrupt(pw, pykw_fetch_exception());
			return NULL;
		}
		next = may_serve(pw) ? kthread_next_work(pw->worker, run_python) : NULL;
		if (!next)
			return NULL;
		time_end(pw);
		w = pykw_object_of(next);
		begin_run(pw, w);
		Py_DECREF((PyObject *)ended); /* held since it was queued */
	}
	runs->begun = true;
	return Py_NewRef(w->args || w->extra ? runs->call_current : w->fn);
}

static PyObject *runs_call_current(PyObject *self, PyObject *unused)
{
	struct pykw_worker *pw = ((struct runs *)self)->pw;
	struct pykw_work *w = pw ? current_work(pw) : NULL;

	(void)unused;
	return w ? call(pw, w) : Py_NewRef(Py_None);
}

static PyMethodDef runs_methods[] = {
	{ "call_current", runs_call_current, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot runs_slots[] = {
	{ Py_tp_dealloc, pykw_free_object },
	{ Py_tp_iter, PyObject_SelfIter },
	{ Py_tp_iternext, runs_next },
	{ Py_tp_methods, runs_methods },
	{ 0, NULL },
};

static PyType_Spec runs_spec = {
	.name = "pykworker._native.Runs",
	.basicsize = sizeof(struct runs),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = runs_slots,
};

static PyObject *make_runs(struct pykw_worker *pw)
{
	struct runs *runs = pykw_allocate(runs_type);

	if (!runs)
		return NULL;
	runs->pw = pw;
	runs->call_current = PyObject_GetAttrString((PyObject *)runs, "call_current");
	if (!runs->call_current) {
		Py_DECREF((PyObject *)runs);
		return NULL;
	}
	/* The bound method holds it, and it the method: ended by pykw_forget_runs. */
	return (PyObject *)runs;
}

void pykw_forget_runs(struct pykw_worker *pw)
{
	struct runs *runs = (struct runs *)pw->runs;

	if (!runs)
		return;
	pw->runs = NULL;
	runs->pw = NULL;
	Py_CLEAR(runs->call_current);
	Py_DECREF((PyObject *)runs);
}

/* Run the current work and those behind it. */
static PyObject *serve(struct pykw_worker *pw)
{
	if (!pw->runs) {
		pw->runs = make_runs(pw);
		if (!pw->runs) {
			PyErr_Clear();
			return call(pw, current_work(pw));
		}
	}
	((struct runs *)pw->runs)->begun = false;
	return PyObject_CallFunctionObjArgs(pykw_the.serve, pw->runs, NULL);
}

static void run_python(struct kthread_work *work)
{
	struct pykw_worker *pw = worker_of(work);
	struct pykw_work *w = pykw_object_of(work);
	PyObject *result;

	gil_keep(pw);
	/* Before the work is called: raised in its first instruction, it would be lost. */
	if (pw->on_main_thread && PyErr_CheckSignals() < 0)
		pykw_interrupt(pw, pykw_fetch_exception());
	begin_run(pw, w);
	if (pw->traced)
		trace(pw, "start", w);
	result = pw->worker->more && may_serve(pw) ? serve(pw) : call(pw, w);
	time_end(pw);
	w = current_work(pw); /* another, when more were run */
	if (result) {
		Py_DECREF(result);
	} else if (pw->on_main_thread && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt)) {
		pykw_interrupt(pw, pykw_fetch_exception());
	} else {
		PyObject *exception = pykw_fetch_exception();

		pykw_note_origin(pw, w, exception);
		pykw_tell_core(pw, "report", (PyObject *)w, exception);
		Py_XDECREF(exception);
	}
	if (pw->traced)
		trace(pw, "end", w);
	atomic_store_explicit(&pw->current, NULL, memory_order_relaxed);
	Py_DECREF((PyObject *)w); /* held since it was queued */
}

/* ---- native works ---- */

/*
 * A native work ends on a thread without the GIL, so its reference is given back later:
 * it is put on this stack, which the next holder of the GIL that comes by drains, who
 * flushes it before it returns, and the interpreter, which is asked to, when it gets round
 * to it: only its main thread does, and in CPython 3.12 not even soon.
 */
static _Atomic(struct pykw_work *) finished_works;

/*
 * Taken off the stack. Not a local list: what a finalizer calls may give the GIL away, and the
 * rest is not kept until that returns, but left to who drains meanwhile. Under the GIL.
 */
static struct pykw_work *taken_works;

static void take_finished(void)
{
	struct pykw_work *w = atomic_exchange_explicit(&finished_works, NULL,
						       memory_order_acquire);
	struct pykw_work **end = &w;

	while (*end)
		end = &(*end)->extra->native->next_finished;
	*end = taken_works;
	taken_works = w;
}

void pykw_drain_finished(void)
{
	take_finished();
	while (taken_works) {
		struct pykw_work *w = taken_works;
		uint32_t n;

		taken_works = w->extra->native->next_finished;
		/* From here on another run may put it on the stack again. */
		n = atomic_exchange_explicit(&w->extra->native->finished, 0, memory_order_acq_rel);
		while (n--)
			Py_DECREF((PyObject *)w);
	}
}

static int drain_when_asked(void *unused)
{
	(void)unused;
	pykw_drain_finished();
	return 0;
}

/* The interpreter's queue, which is everybody's and short, was full. */
static _Atomic(bool) was_not_asked;

static void give_back_later(struct pykw_work *w)
{
	struct pykw_work *head;

	if (atomic_fetch_add_explicit(&w->extra->native->finished, 1, memory_order_acq_rel))
		return; /* it is on the stack, and not yet drained */
	head = atomic_load_explicit(&finished_works, memory_order_relaxed);
	do
		w->extra->native->next_finished = head;
	while (!atomic_compare_exchange_weak_explicit(&finished_works, &head, w,
						      memory_order_release,
						      memory_order_relaxed));
	if (!head || atomic_load_explicit(&was_not_asked, memory_order_relaxed)) {
		atomic_store_explicit(&was_not_asked, false, memory_order_relaxed);
		/* Another that takes this back meanwhile asks after that. */
		if (Py_AddPendingCall(drain_when_asked, NULL) < 0)
			atomic_store_explicit(&was_not_asked, true, memory_order_relaxed);
	}
}

static void run_native(struct kthread_work *work)
{
	struct pykw_worker *pw = worker_of(work);
	struct pykw_work *w = pykw_object_of(work);
	/* Then what was held for this run is held for the next one. */
	bool rearmed = pw->worker->rearmed;

	atomic_store_explicit(&w->coalesced, 0, memory_order_relaxed);
	atomic_store_explicit(&pw->current, (PyObject *)w, memory_order_release);
	if (!rearmed && pw->max_pending) {
		/* Always: who begins to wait for room now is either seen or sees it. */
		gil_keep(pw);
		pykw_give_room(pw);
	}
	if (pw->traced) {
		gil_keep(pw);
		trace(pw, "start", w);
	}
	gil_give_back(pw);
	time_begin(pw, w);
	if (rearmed)
		pykw_note_since(pw, w, pykw_timer_of(w)->dwork.timer.deadline);
	if (!pykw_begins_nothing(pw)) {
		w->extra->native->function(w->extra->native->data);
		time_end(pw);
	} else if (rearmed && kthread_cancel_work(work)) {
		rearmed = false; /* nor does it tick any more */
		gil_keep(pw);
		pykw_give_room(pw);
	}
	if (pw->traced) {
		gil_keep(pw);
		trace(pw, "end", w);
	}
	atomic_store_explicit(&pw->current, NULL, memory_order_release);
	if (!rearmed)
		give_back_later(w);
}

/* ---- dropped ---- */

/* A pending run is no more: that of a tick may be while the one before executes. */
void pykw_release_dropped(struct pykw_worker *pw, struct pykw_work *w)
{
	const struct pykw_timer *timer = pykw_timer_of(w);

	if (pykw_is_call(w))
		pykw_end_call(w, NULL); /* its future is cancelled, if it is not already */
	pykw_give_room(pw);
	if (timer && w->extra->native)
		pykw_release_after_run(w);
	else
		Py_DECREF((PyObject *)w); /* held since it was queued */
}

bool pykw_drop_pending(struct pykw_work *w)
{
	struct kthread_work *work = pykw_kwork(w);
	/* Who is queued from C alone may be on another worker by then: this one is for Python's. */
	struct kthread_worker *worker = kthread_work_worker(work);

	if (!kthread_cancel_work(work))
		return false;
	pykw_release_dropped(kthread_worker_data(worker), w);
	return true;
}

/*
 * The initializer has failed, or it is a daemon's and the interpreter exits: what was pending
 * becomes idle without a run.
 */
static void drop_run(struct pykw_worker *pw, struct pykw_work *w)
{
	pykw_end_ticks(w);
	if (pykw_is_call(w))
		pykw_end_call(w, pw->broken ? pykw_broken_exception() : NULL);
	else if (pykw_timer_of(w))
		pykw_drop_pending(w);
}

void pykw_note_origin(struct pykw_worker *pw, struct pykw_work *w, PyObject *exception)
{
	if (pykw_tells(pw, PYKW_TELL_NOTE))
		pykw_tell_core(pw, "add_origin", (PyObject *)w, exception);
}

/* ---- the type ---- */

static PyObject *work_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	struct pykw_work *w = pykw_allocate(type);

	(void)args, (void)kwargs; /* for __init__ */
	if (w)
		kthread_init_work(&w->work, NULL); /* refused by every queue until __init__ */
	return (PyObject *)w;
}

static bool is_fresh(struct pykw_work *w)
{
	if (!w->fn)
		return true;
	PyErr_SetString(PyExc_RuntimeError, "Work.__init__() was called before");
	return false;
}

/* Room for what few works have. Returns false without memory. */
static bool give_extra(struct pykw_work *w)
{
	if (!w->extra)
		w->extra = PyMem_Calloc(1, sizeof(*w->extra));
	return w->extra;
}

/*
 * Take "context" out of the keyword arguments, which become NULL when none is left. NULL: there
 * is none, or None. Returns false: an exception is set.
 */
static bool take_context(PyObject **kwargs, PyObject **context)
{
	PyObject *given = PyDict_GetItemString(*kwargs, "context");

	if (!given)
		return true;
	if (given != Py_None && PyObject_IsInstance(given, pykw_the.context_class) <= 0) {
		if (!PyErr_Occurred())
			PyErr_Format(PyExc_TypeError,
				     "context must be a contextvars.Context or None, not %R",
				     (PyObject *)Py_TYPE(given));
		return false;
	}
	*context = given == Py_None ? NULL : Py_NewRef(given);
	if (PyDict_DelItemString(*kwargs, "context") < 0)
		return false;
	if (PyDict_Size(*kwargs) == 0)
		Py_CLEAR(*kwargs);
	return true;
}

void pykw_init_python_work(struct pykw_work *w)
{
	kthread_init_work(&w->work, run_python);
}

static int work_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	struct pykw_work *w = (struct pykw_work *)self;
	Py_ssize_t n = PyTuple_Size(args);
	PyObject *fn, *rest = NULL, *copy = NULL, *context = NULL;

	if (n < 1) {
		PyErr_SetString(PyExc_TypeError,
				"Work() missing 1 required positional argument: 'fn'");
		return -1;
	}
	fn = PyTuple_GetItem(args, 0);
	if (!PyCallable_Check(fn)) {
		PyErr_Format(PyExc_TypeError, "fn must be callable, not %R",
			     (PyObject *)Py_TYPE(fn));
		return -1;
	}
	if (kwargs && PyDict_Size(kwargs) > 0 && !(copy = PyDict_Copy(kwargs)))
		return -1;
	if (copy && !take_context(&copy, &context))
		goto failed;
	if (n > 1 || copy) {
		rest = PyTuple_GetSlice(args, 1, n);
		if (!rest)
			goto failed;
	}
	/* Last: the copies may have run the collector, and that anything. */
	if (!is_fresh(w))
		goto failed;
	if (context) {
		if (!give_extra(w)) {
			PyErr_NoMemory();
			goto failed;
		}
		w->extra->context = context;
	}
	w->fn = Py_NewRef(fn);
	w->args = rest;
	w->kwargs = copy;
	pykw_init_python_work(w);
	return 0;
failed:
	Py_XDECREF(context);
	Py_XDECREF(copy);
	Py_XDECREF(rest);
	return -1;
}

/* _init_native(address, data, fn, args): make it a work that runs without the GIL. */
static PyObject *work_init_native(PyObject *self, PyObject *args)
{
	struct pykw_work *w = (struct pykw_work *)self;
	PyObject *address, *data, *fn, *works_args;
	struct pykw_native *native;
	void *function, *pointer;

	if (!PyArg_ParseTuple(args, "OOOO!", &address, &data, &fn, &PyTuple_Type, &works_args))
		return NULL;
	function = PyLong_AsVoidPtr(address);
	if (PyErr_Occurred())
		return NULL;
	pointer = PyLong_AsVoidPtr(data);
	if (PyErr_Occurred())
		return NULL;
	if (!is_fresh(w))
		return NULL;
	native = PyMem_Calloc(1, sizeof(*native));
	if (!native || !give_extra(w)) {
		PyMem_Free(native);
		return PyErr_NoMemory();
	}
	w->extra->native = native;
	memcpy(&w->extra->native->function, &function, sizeof(function));
	w->extra->native->data = pointer;
	w->fn = Py_NewRef(fn);
	w->args = Py_NewRef(works_args);
	kthread_init_work(&w->work, run_native);
	return Py_NewRef(Py_None);
}

/* _init_timer(): make it a work that can be delayed. */
static PyObject *work_init_timer(PyObject *self, PyObject *unused)
{
	struct pykw_work *w = (struct pykw_work *)self;
	struct pykw_timer *timer;

	(void)unused;
	if (!w->fn || pykw_timer_of(w)) {
		PyErr_SetString(PyExc_RuntimeError, "Work.__init__() comes before, once");
		return NULL;
	}
	timer = PyMem_Calloc(1, sizeof(*timer));
	if (!timer || !give_extra(w)) {
		PyMem_Free(timer);
		return PyErr_NoMemory();
	}
	kthread_init_delayed_work(&timer->dwork, w->work.func);
	timer->object = w;
	w->extra->timer = timer;
	return Py_NewRef(Py_None);
}

/* ---- cancel ---- */

static int wait_for_cancel(void *cancel, uint64_t timeout_ns)
{
	return kthread_cancel_wait(cancel, timeout_ns);
}

/*
 * A periodic work whose run has begun, but not got the GIL yet, is about to be pending: then
 * what is dropped is its next tick.
 */
static PyObject *cancel_and_wait(struct pykw_work *w, bool disable)
{
	struct kthread_worker *worker = kthread_work_worker(pykw_kwork(w));
	struct kthread_cancel cancel;
	int result = kthread_cancel_begin(&cancel, pykw_kwork(w)), overflow = 0;
	bool ticked;

	if (result)
		return PyLong_FromLong(result);
	if (cancel.dropped) /* nor does it drop anything later, since it refuses what comes */
		pykw_release_dropped(kthread_worker_data(worker), w);
	ticked = pykw_end_ticks(w);
	result = gil_wait(worker ? kthread_worker_data(worker) : NULL, wait_for_cancel, &cancel,
			  UINT64_MAX);
	if (disable && result != -EINTR)
		overflow = kthread_cancel_end_disabled(&cancel);
	else
		kthread_cancel_end(&cancel);
	if (result == -EINTR)
		return NULL;
	if (!result)
		result = overflow;
	return PyLong_FromLong(result ? result : cancel.dropped || ticked);
}

/* _cancel(how): "now", "wait" or "disable". 1: a pending run was dropped; 0; -errno. */
static PyObject *work_cancel(PyObject *self, PyObject *how)
{
	struct pykw_work *w = (struct pykw_work *)self;
	bool dropped, ticked;

	if (!pykw_kwork(w)->func)
		return PyLong_FromLong(0); /* never made, or being collected */
	if (PyUnicode_CompareWithASCIIString(how, "now"))
		return cancel_and_wait(w, !PyUnicode_CompareWithASCIIString(how, "disable"));
	ticked = pykw_end_ticks(w);
	dropped = pykw_drop_pending(w);
	return PyLong_FromLong(dropped || ticked);
}

/* _enable(): whether it may be queued again; None: it was not disabled. */
static PyObject *work_enable(PyObject *self, PyObject *unused)
{
	struct kthread_work *work = pykw_kwork((struct pykw_work *)self);

	(void)unused;
	if (!work->disabled)
		return Py_NewRef(Py_None);
	return PyBool_FromLong(kthread_enable_work(work));
}

/* _remaining(): nanoseconds until the timer runs out; None: none runs. */
static PyObject *work_remaining(PyObject *self, PyObject *unused)
{
	struct pykw_timer *timer = pykw_timer_of((struct pykw_work *)self);
	uint64_t ns = timer ? kthread_delayed_work_remaining(&timer->dwork) : KTHREAD_FOREVER;

	(void)unused;
	if (ns == KTHREAD_FOREVER)
		return Py_NewRef(Py_None);
	return PyLong_FromUnsignedLongLong(ns);
}

/* ---- life ---- */

int pykw_work_traverse(PyObject *self, visitproc visit, void *arg)
{
	struct pykw_work *w = (struct pykw_work *)self;

	Py_VISIT(Py_TYPE(self));
	if (w->extra)
		Py_VISIT(w->extra->context);
	Py_VISIT(w->fn);
	Py_VISIT(w->args);
	Py_VISIT(w->kwargs);
	return 0;
}

int pykw_work_clear(PyObject *self)
{
	struct pykw_work *w = (struct pykw_work *)self;

	pykw_kwork(w)->func = NULL; /* a finalizer may still queue it: refused from now on */
	Py_CLEAR(w->fn);
	Py_CLEAR(w->args);
	Py_CLEAR(w->kwargs);
	if (w->extra)
		Py_CLEAR(w->extra->context);
	return 0;
}

static void work_dealloc(PyObject *self)
{
	struct pykw_work *w = (struct pykw_work *)self;

	PyObject_GC_UnTrack(self);
	pykw_work_clear(self);
	if (w->extra) {
		PyMem_Free(w->extra->native);
		PyMem_Free(w->extra->timer);
		PyMem_Free(w->extra);
	}
	pykw_free_object(self);
}

static PyObject *get_fn(PyObject *self, void *unused)
{
	PyObject *fn = ((struct pykw_work *)self)->fn;

	(void)unused;
	return Py_NewRef(fn ? fn : Py_None);
}

static PyObject *get_args(PyObject *self, void *unused)
{
	PyObject *args = ((struct pykw_work *)self)->args;

	(void)unused;
	return args ? Py_NewRef(args) : PyTuple_New(0);
}

static PyObject *get_kwargs(PyObject *self, void *unused)
{
	PyObject *kwargs = ((struct pykw_work *)self)->kwargs;

	(void)unused;
	return kwargs ? PyDict_Copy(kwargs) : PyDict_New();
}

static PyObject *get_pending(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(kthread_work_pending(pykw_kwork((struct pykw_work *)self)));
}

static PyObject *get_executing(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(kthread_work_busy(pykw_kwork((struct pykw_work *)self)) &
			       KTHREAD_WORK_EXECUTING);
}

static PyObject *get_disabled(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(pykw_kwork((struct pykw_work *)self)->disabled);
}

static PyObject *get_missed(PyObject *self, void *unused)
{
	struct pykw_timer *timer = pykw_timer_of((struct pykw_work *)self);

	(void)unused;
	if (timer && !timer->missed)
		return PyLong_FromUnsignedLongLong(kthread_delayed_work_missed(&timer->dwork));
	return PyLong_FromUnsignedLongLong(timer ? timer->missed : 0);
}

static PyObject *get_coalesced(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromUnsignedLongLong(((struct pykw_work *)self)->coalesced);
}

static PyObject *get_context(PyObject *self, void *unused)
{
	struct pykw_work *w = (struct pykw_work *)self;

	(void)unused;
	return Py_NewRef(w->extra && w->extra->context ? w->extra->context : Py_None);
}

static PyObject *get_handle(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromVoidPtr(pykw_kwork((struct pykw_work *)self));
}

static PyGetSetDef work_getset[] = {
	{ "fn", get_fn, NULL,
	  "The callable that runs.\n\n"
	  ">>> kw.Work(len, 'abc').fn is len\n"
	  "True", NULL },
	{ "args", get_args, NULL,
	  "The positional arguments that it is called with.\n\n"
	  ">>> kw.Work(pow, 2, 10).args\n"
	  "(2, 10)", NULL },
	{ "kwargs", get_kwargs, NULL,
	  "The keyword arguments that it is called with.\n\n"
	  ">>> kw.Work(print, sep='-').kwargs\n"
	  "{'sep': '-'}", NULL },
	{ "context", get_context, NULL,
	  "The contextvars.Context that it is called in; None: the thread's own.\n\n"
	  ">>> import contextvars\n"
	  ">>> context = contextvars.copy_context()\n"
	  ">>> kw.Work(print, context=context).context is context\n"
	  "True", NULL },
	{ "pending", get_pending, NULL,
	  "Whether it is queued and has not begun yet: a live snapshot.\n\n"
	  ">>> with kw.Worker(start=False) as worker:\n"
	  "...     work = kw.Work(print)\n"
	  "...     assert worker.queue(work)\n"
	  "...     work.pending\n"
	  "True", NULL },
	{ "executing", get_executing, NULL,
	  "Whether it runs now: a live snapshot.\n\n"
	  ">>> with kw.Worker() as worker:\n"
	  "...     @worker.work\n"
	  "...     def look():\n"
	  "...         print(look.executing, look.pending)\n"
	  "...     assert look.queue()\n"
	  "True False", NULL },
	{ "coalesced", get_coalesced, NULL,
	  "How often queueing said \"already pending\" since its last run began.\n\n"
	  ">>> with kw.Worker(start=False) as worker:\n"
	  "...     work = kw.Work(print)\n"
	  "...     answers = [worker.queue(work) for _ in range(3)]\n"
	  "...     answers, work.coalesced\n"
	  "([True, False, False], 2)", NULL },
	{ "disabled", get_disabled, NULL,
	  "Whether queueing is refused until enable() is called: a live snapshot.\n\n"
	  ">>> work = kw.Work(print)\n"
	  ">>> work.disable(), work.disabled\n"
	  "(False, True)", NULL },
	{ "_missed", get_missed, NULL, NULL, NULL },
	{ "_handle", get_handle, NULL, NULL, NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

/* _watch_flush(notify): a Watch; None: the flush is over. */
static PyObject *work_watch_flush(PyObject *self, PyObject *notify)
{
	return pykw_watch_work((struct pykw_work *)self, notify);
}

static PyMethodDef work_methods[] = {
	{ "_watch_flush", work_watch_flush, METH_O, NULL },
	{ "_init_native", work_init_native, METH_VARARGS, NULL },
	{ "_init_timer", work_init_timer, METH_NOARGS, NULL },
	{ "_cancel", work_cancel, METH_O, NULL },
	{ "_enable", work_enable, METH_NOARGS, NULL },
	{ "_remaining", work_remaining, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

PyDoc_STRVAR(work_doc, "WorkBase(fn, /, *args, context=None, **kwargs)\n--\n\nThe C part of Work.");

static PyType_Slot work_slots[] = {
	{ Py_tp_doc, (void *)work_doc },
	{ Py_tp_new, work_new },
	{ Py_tp_init, work_init },
	{ Py_tp_dealloc, work_dealloc },
	{ Py_tp_traverse, pykw_work_traverse },
	{ Py_tp_clear, pykw_work_clear },
	{ Py_tp_getset, work_getset },
	{ Py_tp_methods, work_methods },
	{ 0, NULL },
};

static PyType_Spec work_spec = {
	.name = "pykworker._native.WorkBase",
	.basicsize = sizeof(struct pykw_work),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = work_slots,
};

int pykw_make_work_types(void)
{
	runs_type = (PyTypeObject *)PyType_FromSpec(&runs_spec);
	pykw_work_type = (PyTypeObject *)PyType_FromSpec(&work_spec);
	return runs_type && pykw_work_type ? 0 : -1;
}
