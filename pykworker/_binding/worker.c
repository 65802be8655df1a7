/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker.c - the base type of Worker, and the calls that wait.
 */
#include "future.h"

#include "park.h"

#include <errno.h>
#include <stdlib.h>

/* How many works queue_many pushes at once. */
#define BATCH 256
#define FETCH_AHEAD 8

/* Instead of an -errno: an exception is set. */
#define ALREADY_RAISED (-4096)

PyTypeObject *pykw_worker_type;

_Atomic(bool) pykw_interpreter_exits;

static struct pykw_worker *from_handle(uintptr_t handle)
{
	return (struct pykw_worker *)handle;
}

static PyObject *from_id(uintptr_t id)
{
	return (PyObject *)id;
}

_Thread_local bool pykw_on_main_thread;

struct pykw_the pykw_the;

static PyObject *named(PyObject *objects, const char *name)
{
	return Py_XNewRef(PyDict_GetItemString(objects, name));
}

void pykw_set_objects(uintptr_t id_dict)
{
	PyObject *objects = from_id(id_dict);

	pykw_the = (struct pykw_the){
		.serve = named(objects, "serve"),
		.cancel = named(objects, "CANCEL"),
		.future_class = (PyTypeObject *)named(objects, "Future"),
		.call_class = (PyTypeObject *)named(objects, "Call"),
		.plain_future = named(objects, "PlainFuture"),
		.cancelled_error = named(objects, "CancelledError"),
		.broken_error = named(objects, "BrokenThreadPool"),
		.full_error = named(objects, "Full"),
		.deadlock_error = named(objects, "DeadlockError"),
		.make_condition = named(objects, "Condition"),
		.context_class = named(objects, "Context"),
		.is_finalizing = named(objects, "is_finalizing"),
		.partial = named(objects, "partial"),
	};
}

/* No Python code, in which the next signal could raise again. */
void pykw_interrupt(struct pykw_worker *pw, PyObject *exception)
{
	PyObject *before = pw->interrupt;

	pw->interrupt = exception;
	Py_XDECREF(before);
	kthread_stop_worker(pw->worker); /* by its own thread: only asks */
}

static bool call_core(struct pykw_worker *pw, const char *method, PyObject *first,
		      PyObject *second)
{
	PyObject *bound = PyObject_GetAttrString(pw->core, method);
	PyObject *result = NULL;
	bool in_run, answer = false;

	if (bound)
		result = PyObject_CallFunctionObjArgs(bound, first, second, NULL);
	/* Who queues may be another thread, or the main one after run_pending(). */
	in_run = pw->on_main_thread && kthread_current_worker() == pw->worker;
	if (!result && in_run && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
		pykw_interrupt(pw, pykw_fetch_exception());
	else if (!result)
		PyErr_WriteUnraisable(bound);
	else
		answer = result == Py_True;
	Py_XDECREF(result);
	Py_XDECREF(bound);
	return answer;
}

void pykw_tell_core(struct pykw_worker *pw, const char *method, PyObject *first,
		    PyObject *second)
{
	call_core(pw, method, first, second);
}

bool pykw_ask_core(struct pykw_worker *pw, const char *method)
{
	return call_core(pw, method, NULL, NULL);
}

/* ---- what the core calls ---- */

static void on_idle(struct kthread_worker *worker)
{
	gil_give_back(kthread_worker_data(worker));
}

static void on_interrupted(struct kthread_worker *worker)
{
	struct pykw_worker *pw = kthread_worker_data(worker);

	gil_keep(pw);
	if (PyErr_CheckSignals() < 0)
		pykw_interrupt(pw, pykw_fetch_exception());
	gil_give_back(pw);
}

static void on_enter(struct kthread_worker *worker)
{
	struct pykw_worker *pw = kthread_worker_data(worker);

	atomic_store(&pw->leaving, false);
	if (!pykw_tells(pw, PYKW_TELL_ENTER))
		return;
	gil_keep(pw);
	pykw_tell_core(pw, "enter", NULL, NULL);
	gil_give_back(pw);
}

/* Who wants to know says so first and looks at leaving then; here it is the other way round. */
static void on_leave(struct kthread_worker *worker)
{
	struct pykw_worker *pw = kthread_worker_data(worker);

	atomic_store(&pw->leaving, true);
	if (atomic_load(&pw->tells) & PYKW_TELL_LEAVE) {
		gil_keep(pw);
		pykw_tell_core(pw, "leave", NULL, NULL);
		gil_give_back(pw);
	}
	gil_forget(pw);
}

static void on_progress(struct kthread_worker *worker)
{
	struct pykw_worker *pw = kthread_worker_data(worker);
	PyGILState_STATE before;
	PyObject *owner;

	if (kthread_current_worker() == worker) {
		gil_keep(pw);
		pykw_look_at_watches(pw);
		return;
	}
	before = PyGILState_Ensure();
	/* Who is told may let go of the worker. */
	owner = Py_XNewRef(pw->owner);
	pykw_look_at_watches(pw);
	Py_XDECREF(owner);
	PyGILState_Release(before);
}

/* Of others nothing is held, and it may be freed already. */
static void on_dropped(struct kthread_worker *worker, struct kthread_work *work,
		       kthread_work_func_t func)
{
	struct pykw_worker *pw = kthread_worker_data(worker);
	struct pykw_work *w;
	PyGILState_STATE before;
	PyObject *owner;

	if (!pykw_is_own(func))
		return;
	w = pykw_object_of(work);
	before = PyGILState_Ensure();
	owner = Py_XNewRef(pw->owner); /* as in on_progress */
	pykw_end_ticks(w);
	pykw_release_dropped(pw, w);
	Py_XDECREF(owner);
	PyGILState_Release(before);
}

/* Our own functions give it back themselves, where they have to. */
static void on_begin(struct kthread_worker *worker, struct kthread_work *work)
{
	struct pykw_worker *pw = kthread_worker_data(worker);

	if (pw->keeps_gil && !pykw_is_own(work->func))
		gil_drop(pw);
}

static const struct kthread_worker_ops ops = {
	.idle = on_idle,
	.interrupted = on_interrupted,
	.enter = on_enter,
	.progress = on_progress,
	.leave = on_leave,
	.dropped = on_dropped,
	.begin = on_begin,
};

struct pykw_worker *pykw_worker_of(struct kthread_worker *worker)
{
	return worker && worker->ops == &ops ? kthread_worker_data(worker) : NULL;
}

/* ---- queue: the methods of the type ---- */

static PyObject *raise_refusal(int error)
{
	const char *message;

	switch (error) {
	case -EBUSY:
		message = "work is pending or executing on another worker";
		break;
	case -EINVAL:
		message = "Work.__init__() was not called";
		break;
	case -EAGAIN:
		message = "worker is being drained";
		break;
	case -ESRCH:
		message = "this worker was left behind in the parent process by fork";
		break;
	default:
		message = pykw_interpreter_exits ?
				  "cannot schedule new futures after interpreter shutdown" :
				  "cannot schedule new futures after shutdown";
	}
	PyErr_SetString(PyExc_RuntimeError, message);
	return NULL;
}

struct pykw_worker *pykw_handle_of(PyObject *self)
{
	struct pykw_worker *pw = ((struct pykw_worker_object *)self)->handle;

	if (!pw)
		PyErr_SetString(PyExc_RuntimeError, "Worker.__init__() was not called");
	return pw;
}

static void raise_broken(void)
{
	PyErr_SetString(pykw_the.broken_error, "A thread initializer failed, the thread pool is "
					       "not usable anymore");
}

PyObject *pykw_broken_exception(void)
{
	raise_broken();
	return pykw_fetch_exception();
}

/* A place on the list; or why there is none comes first. */
static bool has_room(struct pykw_worker *pw)
{
	return !pw->max_pending ||
	       atomic_load_explicit(&pw->pending, memory_order_relaxed) < pw->max_pending ||
	       kthread_worker_refusal(pw->worker);
}

bool pykw_may_queue(struct pykw_worker *pw, struct pykw_work *w)
{
	if (pw->broken) {
		raise_broken();
		return false;
	}
	if (pykw_begins_nothing(pw)) {
		raise_refusal(-ESHUTDOWN);
		return false;
	}
	if (!has_room(pw) && !(w && kthread_work_pending(pykw_kwork(w)))) {
		PyErr_SetNone(pykw_the.full_error);
		return false;
	}
	return true;
}

void pykw_raise_wait_refusal(int error)
{
	if (error == -EDEADLK)
		PyErr_SetString(pykw_the.deadlock_error,
				"the callback that asks for this wait would wait for itself");
	else if (error == -ECANCELED)
		PyErr_SetString(PyExc_RuntimeError, PYKW_GIVEN_UP);
	else
		raise_refusal(error);
}

static bool is_work(PyObject *object)
{
	/* The first type seen, Work itself as a rule, is kept for good and need only be compared. */
	static PyTypeObject *usual;

	if (Py_TYPE(object) == usual)
		return true;
	if (PyObject_TypeCheck(object, pykw_work_type)) {
		if (!usual)
			usual = (PyTypeObject *)Py_NewRef((PyObject *)Py_TYPE(object));
		return true;
	}
	PyErr_Format(PyExc_TypeError, "a Work is needed, not %R", (PyObject *)Py_TYPE(object));
	return false;
}

/*
 * What a queueing of the work said: 1: queued, and from now on it is held; 0: already
 * pending; -errno: refused. Returns the same; 0 for one that is being cancelled, or disabled.
 */
static int note_queueing(struct pykw_worker *pw, PyObject *object, int result)
{
	struct pykw_work *w = (struct pykw_work *)object;

	if (result > 0) {
		Py_INCREF(object);
		pykw_count_pending(pw, 1);
	} else if (result == 0) {
		atomic_fetch_add_explicit(&w->coalesced, 1, memory_order_relaxed);
		pw->coalesced++;
	}
	return result == -ECANCELED ? 0 : result;
}

static int add_one(struct pykw_worker *pw, struct kthread_batch *batch, PyObject *object)
{
	struct pykw_work *w = (struct pykw_work *)object;
	int result = kthread_batch_add(batch, pykw_kwork(w));

	if (pw->times && result > 0) /* it can't begin before the batch ends */
		pykw_note_since(pw, w, gil_clock_ns());
	return note_queueing(pw, object, result);
}

/* Once: who is told that it is busy asks for it again when there is nothing left to do. */
void pykw_was_queued(struct pykw_worker *pw, struct pykw_work *w)
{
	if (pykw_tells(pw, PYKW_TELL_BUSY)) {
		atomic_fetch_and(&pw->tells, ~(uint32_t)PYKW_TELL_BUSY);
		pykw_tell_core(pw, "busy", NULL, NULL);
	}
	if (pw->traced)
		pykw_trace_queue(pw, (PyObject *)w);
}

static PyObject *answer(struct pykw_worker *pw, PyObject *work, int result, bool queued)
{
	if (result < 0)
		return raise_refusal(result);
	if (queued)
		pykw_was_queued(pw, (struct pykw_work *)work);
	return PyBool_FromLong(result);
}

PyDoc_STRVAR(queue_doc,
"queue($self, work, /)\n"
"--\n"
"\n"
"Queue a work: it goes to the tail, and a sleeping worker wakes.\n"
"\n"
"Takes no lock and never blocks. From any thread, and from callbacks.\n"
"\n"
":param work: a Work; held until it has run. While it executes it may be queued\n"
"    again, and then runs once more.\n"
":returns: True; or False when it is pending already: it keeps its place, and its run\n"
"    sees what the caller has written; False also when it is being cancelled, or disabled.\n"
":raises TypeError: not a Work.\n"
":raises RuntimeError: the work is pending or executing on another worker, the worker is\n"
"    being drained or is destroyed, or was left behind in the parent process by fork.\n"
":raises queue.Full: max_pending works are pending.\n"
"\n"
"As the kernel's kthread_queue_work.\n"
"\n"
">>> with kw.Worker(start=False) as worker:\n"
"...     work = kw.Work(print)\n"
"...     worker.queue(work), worker.queue(work)  # the second one changes nothing\n"
"(True, False)");

/* Held, and counted, before it is pushed: then a native run may end at any time. */
static int queue_one(struct pykw_worker *pw, PyObject *work)
{
	struct kthread_batch batch;
	int result;

	kthread_batch_begin(&batch, pw->worker);
	result = add_one(pw, &batch, work);
	kthread_batch_end(&batch);
	return result;
}

bool pykw_prepare(struct pykw_worker *pw, struct pykw_work *w)
{
	if (!pykw_may_queue(pw, w))
		return false;
	if (!pykw_tells(pw, PYKW_TELL_NOTE) || kthread_work_pending(pykw_kwork(w)))
		return true;
	pykw_tell_core(pw, "note_origin", (PyObject *)w, NULL);
	return pykw_may_queue(pw, w); /* meanwhile others may have come */
}

bool pykw_queue_call(struct pykw_worker *pw, struct pykw_work *w)
{
	int result = queue_one(pw, (PyObject *)w);

	if (result < 0)
		raise_refusal(result);
	return result > 0;
}

static PyObject *worker_queue(PyObject *self, PyObject *work)
{
	struct pykw_worker *pw = pykw_handle_of(self);
	int result;

	if (!pw || !is_work(work) || !pykw_prepare(pw, (struct pykw_work *)work))
		return NULL;
	result = queue_one(pw, work);
	return answer(pw, work, result, result > 0);
}

PyObject *pykw_queue(PyObject *worker, PyObject *work)
{
	return worker_queue(worker, work);
}

/* A work that can be delayed, the delay in nanoseconds, and perhaps the period. */
static bool parse_delayed(PyObject *args, PyObject **work, uint64_t *delay_ns, uint64_t *period_ns)
{
	unsigned long long delay, period = 0;

	if (!PyArg_ParseTuple(args, "O!K|K", pykw_work_type, work, &delay, &period))
		return false;
	*delay_ns = delay;
	*period_ns = period;
	if (pykw_timer_of((struct pykw_work *)*work))
		return true;
	raise_refusal(-EINVAL);
	return false;
}

static PyObject *worker_queue_delayed(PyObject *self, PyObject *args)
{
	struct pykw_worker *pw = pykw_handle_of(self);
	struct pykw_timer *timer;
	struct pykw_work *w;
	PyObject *work;
	uint64_t delay_ns, period_ns;
	int result;

	if (!pw || !parse_delayed(args, &work, &delay_ns, &period_ns) ||
	    !pykw_prepare(pw, (struct pykw_work *)work))
		return NULL;
	w = (struct pykw_work *)work;
	timer = pykw_timer_of(w);
	if (pw->times && !kthread_work_pending(pykw_kwork(w)))
		pykw_note_since(pw, w, gil_clock_ns() + delay_ns);
	/*
	 * A Python work can't run before this thread gives up the GIL. A native one may run, and
	 * end, at once: but what it gives back it gives back later, under the GIL.
	 */
	if (w->extra->native && period_ns)
		result = kthread_queue_periodic_work_status(pw->worker, &timer->dwork, delay_ns,
							    period_ns);
	else
		result = kthread_queue_delayed_work_status(pw->worker, &timer->dwork, delay_ns);
	if (result > 0 && period_ns && !w->extra->native)
		timer->period_ns = period_ns;
	result = note_queueing(pw, work, result);
	return answer(pw, work, result, result > 0);
}

static PyObject *worker_mod_delayed(PyObject *self, PyObject *args)
{
	struct pykw_worker *pw = pykw_handle_of(self);
	PyObject *work;
	uint64_t delay_ns, unused;
	int result;

	if (!pw || !parse_delayed(args, &work, &delay_ns, &unused) ||
	    !pykw_prepare(pw, (struct pykw_work *)work))
		return NULL;
	if (pw->times)
		pykw_note_since(pw, (struct pykw_work *)work, gil_clock_ns() + delay_ns);
	result = kthread_mod_delayed_work_status(
		pw->worker, &pykw_timer_of((struct pykw_work *)work)->dwork, delay_ns);
	if (result == 0)
		note_queueing(pw, work, 1);
	return answer(pw, work, result == -ECANCELED ? 0 : result, result == 0);
}

PyDoc_STRVAR(submit_doc,
"submit($self, fn, /, *args, **kwargs)\n"
"--\n"
"\n"
"Have ``fn(*args, **kwargs)`` called on the worker's thread, behind all that is queued.\n"
"\n"
"A call is a work like the others, but for its result, which the future carries, and its\n"
"exception, which is the future's and not on_error's. Nothing of it is held when it is over.\n"
"\n"
"Takes no lock and never blocks. From any thread, and from callbacks.\n"
"\n"
":returns: a Future.\n"
":raises RuntimeError: as by queue(); BrokenThreadPool when the initializer has failed.\n"
":raises queue.Full: max_pending works are pending.\n"
"\n"
"As concurrent.futures.Executor.submit.\n"
"\n"
">>> with kw.Worker() as worker:\n"
"...     worker.submit(sorted, 'cab', reverse=True).result()\n"
"['c', 'b', 'a']");

PyDoc_STRVAR(queue_many_doc,
"queue_many($self, works, /)\n"
"--\n"
"\n"
"Queue works in one call.\n"
"\n"
"From any thread, and from callbacks.\n"
"\n"
":param works: an iterable of Work, all looked at before the first is queued.\n"
":returns: how many were queued; the others were pending already.\n"
":raises TypeError: one is not a Work; none is queued.\n"
":raises RuntimeError: one is refused, as by queue(); those before it are queued.\n"
"\n"
">>> done = []\n"
">>> with kw.Worker() as worker:\n"
"...     worker.queue_many(kw.Work(done.append, n) for n in range(3))\n"
"3\n"
">>> done\n"
"[0, 1, 2]");

/* Works are spread over memory: have the one that comes some turns later on its way. */
static void fetch(const void *object)
{
	__builtin_prefetch(object, 1);
	__builtin_prefetch((const char *)object + 64, 1);
}

/*
 * The members of a list, all of them works, in an array which PyMem_Free frees: each is asked for
 * once. They are the list's to hold. Returns NULL with an exception.
 */
static PyObject **works_of(PyObject *list, Py_ssize_t n)
{
	PyObject **works = PyMem_Malloc(((size_t)n + !n) * sizeof(*works));
	Py_ssize_t got = 0;

	if (!works)
		return (PyObject **)PyErr_NoMemory();
	for (Py_ssize_t i = 0; i < n; i++) {
		for (; got < n && got <= i + FETCH_AHEAD; got++) {
			works[got] = PyList_GetItem(list, got);
			fetch(works[got]);
		}
		if (!is_work(works[i])) {
			PyMem_Free(works);
			return NULL;
		}
	}
	return works;
}

/* Returns how many of the works were queued; *result: why the last one looked at was refused. */
static Py_ssize_t queue_all(struct pykw_worker *pw, PyObject **works, Py_ssize_t n, int *result)
{
	struct kthread_batch batch;
	Py_ssize_t queued = 0;

	for (Py_ssize_t i = 0; i < n && *result >= 0;) {
		/* Some at a time, so that native works begin meanwhile. */
		Py_ssize_t end = n - i < BATCH ? n : i + BATCH;

		kthread_batch_begin(&batch, pw->worker);
		for (; i < end && *result >= 0; i++) {
			if (i + FETCH_AHEAD < n)
				fetch(works[i + FETCH_AHEAD]);
			*result = add_one(pw, &batch, works[i]);
			queued += *result == 1;
		}
		kthread_batch_end(&batch);
	}
	return queued;
}

/* The same one by one, since each is looked at before, or told to the hook after it. */
static Py_ssize_t queue_one_by_one(struct pykw_worker *pw, PyObject **works, Py_ssize_t n, int *result)
{
	Py_ssize_t queued = 0;

	for (Py_ssize_t i = 0; i < n && *result >= 0; i++) {
		PyObject *work = works[i];

		if (!pykw_prepare(pw, (struct pykw_work *)work)) {
			*result = ALREADY_RAISED;
			break;
		}
		*result = queue_one(pw, work);
		queued += *result == 1;
		if (*result > 0)
			pykw_was_queued(pw, (struct pykw_work *)work);
	}
	return queued;
}

static bool looks_at_each(struct pykw_worker *pw)
{
	return pw->traced || pw->max_pending || pykw_tells(pw, PYKW_TELL_NOTE | PYKW_TELL_BUSY);
}

static PyObject *worker_queue_many(PyObject *self, PyObject *works)
{
	struct pykw_worker *pw = pykw_handle_of(self);
	Py_ssize_t n, queued = 0;
	PyObject *list, **array;
	bool one_by_one;
	int result = 0;

	if (!pw)
		return NULL;
	/*
	 * A list can be used as it is, unless hooks are called: no Python code runs from here on
	 * that could change it.
	 */
	one_by_one = looks_at_each(pw);
	list = PyList_Check(works) && !one_by_one ? Py_NewRef(works) : PySequence_List(works);
	if (!list)
		return NULL;
	n = PyList_Size(list);
	array = works_of(list, n);
	if (!array) {
		Py_DECREF(list);
		return NULL;
	}
	if (n && !one_by_one && !pykw_may_queue(pw, NULL))
		result = ALREADY_RAISED;
	else if (one_by_one || looks_at_each(pw)) /* making the list may have set a hook */
		queued = queue_one_by_one(pw, array, n, &result);
	else
		queued = queue_all(pw, array, n, &result);
	PyMem_Free(array);
	Py_DECREF(list);
	if (result == ALREADY_RAISED)
		return NULL;
	return result < 0 ? raise_refusal(result) : PyLong_FromSsize_t(queued);
}

static int wait_for_drain(void *drain, uint64_t timeout_ns)
{
	return kthread_drain_wait(drain, timeout_ns);
}

/* _drain(timeout_ns): 0 or -errno. A method, since a signal handler may raise meanwhile. */
static PyObject *worker_drain(PyObject *self, PyObject *timeout)
{
	struct pykw_worker *pw = pykw_handle_of(self);
	uint64_t timeout_ns = PyLong_AsUnsignedLongLong(timeout);
	struct kthread_drain drain;
	int result;

	if (!pw || PyErr_Occurred())
		return NULL;
	result = kthread_drain_begin(&drain, pw->worker);
	if (!result) {
		result = gil_wait(pw, wait_for_drain, &drain, timeout_ns);
		kthread_drain_end(&drain);
	}
	return result == -EINTR ? NULL : PyLong_FromLong(result);
}

/* _watch_flush(notify): a Watch; None: the flush is over. */
static PyObject *worker_watch_flush(PyObject *self, PyObject *notify)
{
	struct pykw_worker *pw = pykw_handle_of(self);

	return pw ? pykw_watch_worker(pw, notify) : NULL;
}

/* _cancel_calls(): cancel all submitted calls that are pending. */
static PyObject *worker_cancel_calls(PyObject *self, PyObject *unused)
{
	struct pykw_worker *pw = pykw_handle_of(self);

	(void)unused;
	if (!pw)
		return NULL;
	pykw_cancel_calls(pw);
	return Py_NewRef(Py_None);
}

static PyObject *worker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	(void)args, (void)kwargs; /* for __init__ */
	return pykw_allocate(type);
}

static int worker_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	return 0;
}

static void worker_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	Py_XDECREF(((struct pykw_worker_object *)self)->owner);
	pykw_free_object(self);
}

static PyMethodDef worker_methods[] = {
	{ "queue", worker_queue, METH_O, queue_doc },
	{ "queue_many", worker_queue_many, METH_O, queue_many_doc },
	{ "_queue_delayed", worker_queue_delayed, METH_VARARGS, NULL },
	{ "_mod_delayed", worker_mod_delayed, METH_VARARGS, NULL },
	{ "_drain", worker_drain, METH_O, NULL },
	{ "submit", (PyCFunction)(void (*)(void))pykw_submit, METH_VARARGS | METH_KEYWORDS, submit_doc },
	{ "_submit", pykw_submit_in_context, METH_VARARGS, NULL },
	{ "_watch_flush", worker_watch_flush, METH_O, NULL },
	{ "_cancel_calls", worker_cancel_calls, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot worker_slots[] = {
	{ Py_tp_new, worker_new },
	{ Py_tp_dealloc, worker_dealloc },
	{ Py_tp_traverse, worker_traverse },
	{ Py_tp_methods, worker_methods },
	{ 0, NULL },
};

static PyType_Spec worker_spec = {
	.name = "pykworker._native.WorkerBase",
	.basicsize = sizeof(struct pykw_worker_object),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = worker_slots,
};

int pykw_make_worker_type(void)
{
	pykw_worker_type = (PyTypeObject *)PyType_FromSpec(&worker_spec);
	return pykw_worker_type ? 0 : -1;
}

/* cffi can't return a Python object: they are put into a list of the caller's. */
void pykw_export_types(uintptr_t id_list)
{
	PyObject *capsule;
	PyTypeObject **types[] = { &pykw_work_type, &pykw_worker_type, &pykw_future_type,
				   &pykw_call_type };

	if (!pykw_work_type && (pykw_make_work_types() < 0 || pykw_make_worker_type() < 0 ||
				pykw_make_future_types() < 0 || pykw_make_watch_type() < 0)) {
		PyErr_WriteUnraisable(NULL);
		return;
	}
	for (size_t i = 0; i < sizeof(types) / sizeof(types[0]); i++)
		if (PyList_Append(from_id(id_list), (PyObject *)*types[i]) < 0)
			PyErr_WriteUnraisable(NULL);
	capsule = pykw_make_capsule();
	if (!capsule || PyList_Append(from_id(id_list), capsule) < 0)
		PyErr_WriteUnraisable(NULL);
	Py_XDECREF(capsule);
}

/* ---- coming and going ---- */

uintptr_t pykw_worker_new(const char *name, uint32_t busy_poll_ns, uint64_t max_pending,
			  bool timing, uintptr_t id_core)
{
	struct pykw_worker *pw = calloc(1, sizeof(*pw));

	if (!pw)
		return 0;
	if (timing)
		pw->times = calloc(1, sizeof(*pw->times));
	if (!timing || pw->times)
		pw->worker = kthread_create_worker(0, "%s", name);
	if (!pw->worker) {
		free(pw->times);
		free(pw);
		return 0;
	}
	kthread_hold_worker(pw->worker);
	pw->core = from_id(id_core);
	pw->max_pending = max_pending;
	kthread_worker_set_ops(pw->worker, &ops, pw);
	if (busy_poll_ns != UINT32_MAX)
		kthread_worker_set_busy_poll(pw->worker, busy_poll_ns);
	return (uintptr_t)pw;
}

/* Of a destroyed worker, or, in a forked child, of one of the parent's. */
void pykw_worker_free(uintptr_t worker)
{
	struct pykw_worker *pw = from_handle(worker);

	pykw_forget_watches(pw);
	kthread_release_worker(pw->worker);
	Py_XDECREF(pw->interrupt);
	free(pw->times);
	free(pw);
}

/* In a forked child: what another thread was executing, nobody is here. */
void pykw_worker_after_fork(uintptr_t worker)
{
	struct pykw_worker *pw = from_handle(worker);

	if (kthread_current_worker() != pw->worker)
		atomic_store_explicit(&pw->current, NULL, memory_order_relaxed);
	pykw_forget_watches(pw);
}

void pykw_worker_bind(uintptr_t id_worker, uintptr_t worker, uintptr_t id_owner)
{
	struct pykw_worker_object *object = (struct pykw_worker_object *)from_id(id_worker);
	PyObject *before = object->owner;

	object->owner = Py_NewRef(from_id(id_owner));
	object->handle = from_handle(worker);
	object->handle->owner = object->owner;
	Py_XDECREF(before);
}

int pykw_worker_start(uintptr_t worker, const struct kthread_attr *attr)
{
	struct kthread_worker *w = from_handle(worker)->worker;
	PyThreadState *state;
	int result;

	state = gil_leave();
	result = kthread_start_worker(w, attr);
	gil_return(state);
	return result;
}

/* Have the calling thread serve the worker. */
static int serve(uintptr_t worker, bool main_thread, int (*fn)(struct kthread_worker *))
{
	struct kthread_worker *w = from_handle(worker)->worker;
	int result;

	if (kthread_current_worker())
		return -EDEADLK;
	if (kthread_worker_thread(w, NULL, NULL))
		return -EBUSY;
	Py_CLEAR(from_handle(worker)->interrupt);
	pykw_on_main_thread = main_thread;
	gil_lend();
	kthread_set_patience(main_thread ? SLICE_NS : 0);
	result = fn(w);
	kthread_set_patience(0);
	gil_take_home();
	pykw_on_main_thread = false;
	if (!kthread_worker_thread(w, NULL, NULL))
		pykw_forget_runs(from_handle(worker));
	return result;
}

static int run_until_stopped(struct kthread_worker *worker)
{
	return kthread_worker_fn(worker);
}

int pykw_worker_run(uintptr_t worker, bool main_thread)
{
	return serve(worker, main_thread, run_until_stopped);
}

int pykw_worker_run_pending(uintptr_t worker, bool main_thread)
{
	return serve(worker, main_thread, kthread_worker_run_pending);
}

int pykw_worker_fd(uintptr_t worker)
{
	return kthread_worker_fd(from_handle(worker)->worker);
}

/* The look and the note in one: another thread may change the hooks as well. */
void pykw_worker_trace(uintptr_t worker, uintptr_t id_hooks)
{
	from_handle(worker)->traced = PyDict_Size(from_id(id_hooks)) > 0;
}

/* Wait for one slice; what is left then is the caller's to wait for. */
static uint64_t slice_of(uint64_t timeout_ns)
{
	return timeout_ns < SLICE_NS ? timeout_ns : SLICE_NS;
}

static int after_slice(int result, uint64_t timeout_ns)
{
	return result == -ETIMEDOUT && timeout_ns > SLICE_NS ? -EINTR : result;
}

static int wait_without_gil(int (*wait)(struct kthread_worker *, uint64_t), uintptr_t worker,
			    uint64_t timeout_ns)
{
	struct kthread_worker *w = from_handle(worker)->worker;
	PyThreadState *state;
	int result;

	if (pykw_is_beyond_waiting(from_handle(worker)))
		return -ECANCELED;
	state = gil_leave();
	result = wait(w, slice_of(timeout_ns));
	gil_return(state);
	pykw_drain_finished();
	return after_slice(result, timeout_ns);
}

int pykw_worker_stop(uintptr_t worker, uint64_t timeout_ns)
{
	return wait_without_gil(kthread_stop_worker_interruptible, worker, timeout_ns);
}

int pykw_worker_freeze(uintptr_t worker, uint64_t timeout_ns)
{
	return wait_without_gil(kthread_freeze_worker_interruptible, worker, timeout_ns);
}

void pykw_worker_thaw(uintptr_t worker)
{
	struct kthread_worker *w = from_handle(worker)->worker;
	PyThreadState *state = gil_leave();

	kthread_thaw_worker(w);
	gil_return(state);
}

bool pykw_worker_freezing(uintptr_t worker)
{
	return kthread_worker_freezing(from_handle(worker)->worker);
}

bool pykw_worker_closed(uintptr_t worker)
{
	return kthread_worker_refusal(from_handle(worker)->worker) == -ESHUTDOWN;
}

int pykw_worker_destroy(uintptr_t worker, uint64_t timeout_ns)
{
	return wait_without_gil(kthread_destroy_worker_interruptible, worker, timeout_ns);
}

void pykw_worker_close(uintptr_t worker)
{
	struct kthread_worker *w = from_handle(worker)->worker;
	PyThreadState *state = gil_leave();

	kthread_close_worker(w);
	gil_return(state);
}

/*
 * At exit: what is pending is dropped, and nothing more begins. @give_up: who waits for the
 * callback that runs is let go, by an error.
 */
void pykw_worker_abandon(uintptr_t worker, bool give_up)
{
	struct pykw_worker *pw = from_handle(worker);
	PyThreadState *state;

	pw->abandoned = true;
	if (give_up)
		pw->given_up = true;
	state = gil_leave();
	kthread_abandon_worker(pw->worker);
	gil_return(state);
	if (give_up) {
		pykw_give_up_call(pw);
		pykw_let_watches_go(pw);
	}
}

bool pykw_is_beyond_waiting(struct pykw_worker *pw)
{
	PyObject *answer;
	bool finalizing;

	if (!pw->abandoned || pw->given_up)
		return pw->given_up;
	answer = PyObject_CallNoArgs(pykw_the.is_finalizing);
	finalizing = answer == Py_True;
	Py_XDECREF(answer);
	return finalizing;
}

uint64_t pykw_worker_ident(uintptr_t worker)
{
	struct kthread_worker *w = from_handle(worker)->worker;
	pthread_t thread;

	/* What threading.get_ident() says on the thread: CPython casts pthread_self(). */
	return kthread_worker_thread(w, &thread, NULL) ? (uint64_t)(uintptr_t)thread : 0;
}

uint64_t pykw_worker_native_id(uintptr_t worker)
{
	struct kthread_worker *w = from_handle(worker)->worker;
	pid_t tid;

	return kthread_worker_thread(w, NULL, &tid) ? (uint64_t)tid : 0;
}

void pykw_worker_current_work(uintptr_t worker, uintptr_t id_list)
{
	/* The GIL keeps it alive: only its holder gives back references, drained or not. */
	PyObject *work = atomic_load_explicit(&from_handle(worker)->current,
					      memory_order_acquire);

	if (work && PyList_Append(from_id(id_list), work) < 0)
		PyErr_WriteUnraisable(NULL);
}

/* The work whose callback the calling thread is in, if it is one of ours. */
void pykw_current_work(uintptr_t id_list)
{
	struct pykw_worker *pw = pykw_worker_of(kthread_current_worker());

	if (pw)
		pykw_worker_current_work((uintptr_t)pw, id_list);
}

uintptr_t pykw_worker_core(uintptr_t worker)
{
	return (uintptr_t)from_handle(worker)->worker;
}

/* What run() is to raise, if anything. */
void pykw_worker_interrupt(uintptr_t worker, uintptr_t id_list)
{
	struct pykw_worker *pw = from_handle(worker);

	if (pw->interrupt && PyList_Append(from_id(id_list), pw->interrupt) < 0)
		PyErr_WriteUnraisable(NULL);
	Py_CLEAR(pw->interrupt);
}

void pykw_worker_stats(uintptr_t worker, uint64_t *counters)
{
	struct pykw_worker *pw = from_handle(worker);
	struct kthread_worker_stats stats;

	kthread_worker_get_stats(pw->worker, &stats);
	counters[0] = stats.queued;
	counters[1] = stats.executed;
	counters[2] = pw->coalesced;
	counters[3] = stats.cancelled;
	counters[4] = stats.pending;
	counters[5] = stats.delayed;
	counters[6] = stats.sleeps;
	counters[7] = stats.poll_hits;
	counters[8] = stats.missed + pw->missed;
}

/* Runs begun and ended, nanoseconds waited and run, the longest of each. False: not kept. */
bool pykw_worker_times(uintptr_t worker, uint64_t *times)
{
	struct pykw_times *kept = from_handle(worker)->times;
	_Atomic(uint64_t) *fields[] = { &kept->runs, &kept->ended, &kept->waited,
					&kept->longest_wait, &kept->ran, &kept->longest_run };

	if (!kept)
		return false;
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		times[i] = atomic_load_explicit(fields[i], memory_order_relaxed);
	return true;
}

/* ---- flush ---- */

/*
 * Wait for what flush notes. When a slice is over, or a signal handler ran, the result
 * is AGAIN and what was noted, to be passed as again the next time: so that a work which
 * requeues itself for ever is not noted anew each time.
 */
#define AGAIN ((int64_t)1 << 32)
#define AGAIN_FROM_THE_BEGIN ((int64_t)1 << 33)

static int64_t wait_for_flush(struct kthread_flush *flush, uint64_t timeout_ns)
{
	PyThreadState *state;
	int result;

	/* What is over needs no hand-over of the GIL. */
	result = kthread_flush_wait(flush, 0);
	if (result != -ETIMEDOUT || timeout_ns == 0) {
		pykw_drain_finished();
		return result;
	}
	if (pykw_is_beyond_waiting(kthread_worker_data(flush->worker)))
		return -ECANCELED;
	state = gil_leave();
	result = kthread_flush_wait(flush, slice_of(timeout_ns));
	gil_return(state);
	pykw_drain_finished();
	result = after_slice(result, timeout_ns);
	if (result != -EINTR)
		return result;
	return flush->sealed ? AGAIN | flush->target : AGAIN_FROM_THE_BEGIN;
}

int64_t pykw_flush_work(uintptr_t work, int64_t again, uint64_t timeout_ns)
{
	struct kthread_work *kwork = (struct kthread_work *)work;
	struct kthread_flush flush = {
		.worker = again ? kthread_work_worker(kwork) : NULL,
		.work = kwork,
		.target = (uint32_t)again,
		.sealed = true,
	};

	/* Once: a begin cuts the timer short of whatever run is pending then. */
	if (!again)
		kthread_flush_begin_work(&flush, kwork);
	return wait_for_flush(&flush, timeout_ns);
}

int64_t pykw_flush_worker(uintptr_t worker, int64_t again, uint64_t timeout_ns)
{
	struct kthread_worker *w = from_handle(worker)->worker;
	struct kthread_flush flush = {
		.worker = w,
		.target = (uint32_t)again,
		.sealed = true,
	};

	if (!(again & AGAIN))
		kthread_flush_begin_worker(&flush, w);
	return wait_for_flush(&flush, timeout_ns);
}

/* ---- small ones ---- */

void pykw_note_moment(void *moments)
{
	uint64_t *m = moments, now = gil_clock_ns();

	if (m[1] < m[0])
		m[2 + m[1]++] = now;
}

const char *pykw_sleeps_on(void)
{
	return park_name();
}

/* -1: the calling thread serves no worker. */
int pykw_should_stop(void)
{
	return kthread_current_worker() ? kthread_should_stop() : -1;
}

void pykw_worker_set_daemon(uintptr_t worker, bool daemon)
{
	from_handle(worker)->daemon = daemon;
}

void pykw_worker_tell(uintptr_t worker, uint32_t what, bool wanted)
{
	if (wanted)
		atomic_fetch_or(&from_handle(worker)->tells, what);
	else
		atomic_fetch_and(&from_handle(worker)->tells, ~what);
}

bool pykw_worker_leaving(uintptr_t worker)
{
	return atomic_load(&from_handle(worker)->leaving);
}

void pykw_worker_break(uintptr_t worker)
{
	from_handle(worker)->broken = true;
}

void pykw_worker_give_room(uintptr_t worker)
{
	pykw_give_room(from_handle(worker));
}

bool pykw_worker_has_room(uintptr_t worker)
{
	struct pykw_worker *pw = from_handle(worker);

	return pykw_begins_nothing(pw) || has_room(pw);
}

void pykw_note_exit(void)
{
	pykw_interpreter_exits = true;
}
