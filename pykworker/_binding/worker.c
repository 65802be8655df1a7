/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * worker.c - the base type of Worker, and the calls that wait.
 */
#include "binding.h"

#include <errno.h>
#include <stdlib.h>

/* How many works queue_many pushes at once. */
#define BATCH 256
#define FETCH_AHEAD 8

PyTypeObject *pykw_worker_type;

static bool interpreter_exits;

static struct pykw_worker *from_handle(uintptr_t handle)
{
	return (struct pykw_worker *)handle;
}

static PyObject *from_id(uintptr_t id)
{
	return (PyObject *)id;
}

_Thread_local bool pykw_on_main_thread;

/* No Python code, in which the next signal could raise again. */
void pykw_interrupt(struct pykw_worker *pw, PyObject *exception)
{
	PyObject *before = pw->interrupt;

	pw->interrupt = exception;
	Py_XDECREF(before);
	kthread_stop_worker(pw->worker); /* by its own thread: only asks */
}

void pykw_tell_core(struct pykw_worker *pw, const char *method, PyObject *first,
		    PyObject *second)
{
	PyObject *bound = PyObject_GetAttrString(pw->core, method);
	PyObject *result = NULL;
	bool in_run;

	if (bound)
		result = PyObject_CallFunctionObjArgs(bound, first, second, NULL);
	/* Who queues may be another thread, or the main one after run_pending(). */
	in_run = pw->on_main_thread && kthread_current_worker() == pw->worker;
	if (!result && in_run && PyErr_ExceptionMatches(PyExc_KeyboardInterrupt))
		pykw_interrupt(pw, pykw_fetch_exception());
	else if (!result)
		PyErr_WriteUnraisable(bound);
	Py_XDECREF(result);
	Py_XDECREF(bound);
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

static void on_leave(struct kthread_worker *worker)
{
	gil_forget(kthread_worker_data(worker));
}

/* Of others nothing is held, and it may be freed already. */
static void on_dropped(struct kthread_worker *worker, struct kthread_work *work,
		       kthread_work_func_t func)
{
	PyGILState_STATE before;

	(void)worker;
	if (!pykw_is_own(func))
		return;
	before = PyGILState_Ensure();
	pykw_end_ticks(pykw_object_of(work));
	Py_DECREF((PyObject *)pykw_object_of(work));
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
		message = interpreter_exits ?
				  "cannot schedule new futures after interpreter shutdown" :
				  "cannot schedule new futures after shutdown";
	}
	PyErr_SetString(PyExc_RuntimeError, message);
	return NULL;
}

static struct pykw_worker *handle_of(PyObject *self)
{
	struct pykw_worker *pw = ((struct pykw_worker_object *)self)->handle;

	if (!pw)
		PyErr_SetString(PyExc_RuntimeError, "Worker.__init__() was not called");
	return pw;
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
	} else if (result == 0) {
		atomic_fetch_add_explicit(&w->coalesced, 1, memory_order_relaxed);
		pw->coalesced++;
	}
	return result == -ECANCELED ? 0 : result;
}

static int add_one(struct pykw_worker *pw, struct kthread_batch *batch, PyObject *object)
{
	return note_queueing(pw, object,
			     kthread_batch_add(batch, pykw_kwork((struct pykw_work *)object)));
}

static PyObject *answer(struct pykw_worker *pw, PyObject *work, int result, bool queued)
{
	if (result < 0)
		return raise_refusal(result);
	if (queued && pw->traced)
		pykw_trace_queue(pw, work);
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
"\n"
"As the kernel's kthread_queue_work.");

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

static PyObject *worker_queue(PyObject *self, PyObject *work)
{
	struct pykw_worker *pw = handle_of(self);
	int result;

	if (!pw || !is_work(work))
		return NULL;
	if (pw->abandoned)
		return raise_refusal(-ESHUTDOWN);
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
	struct pykw_worker *pw = handle_of(self);
	struct pykw_timer *timer;
	PyObject *work;
	uint64_t delay_ns, period_ns;
	int result;

	if (!pw || !parse_delayed(args, &work, &delay_ns, &period_ns))
		return NULL;
	if (pw->abandoned)
		return raise_refusal(-ESHUTDOWN);
	/* It can't run, nor give back its reference, before this thread gives up the GIL. */
	timer = pykw_timer_of((struct pykw_work *)work);
	result = kthread_queue_delayed_work_status(pw->worker, &timer->dwork, delay_ns);
	if (result > 0 && period_ns)
		timer->period_ns = period_ns;
	result = note_queueing(pw, work, result);
	return answer(pw, work, result, result > 0);
}

static PyObject *worker_mod_delayed(PyObject *self, PyObject *args)
{
	struct pykw_worker *pw = handle_of(self);
	PyObject *work;
	uint64_t delay_ns, unused;
	int result;

	if (!pw || !parse_delayed(args, &work, &delay_ns, &unused))
		return NULL;
	if (pw->abandoned)
		return raise_refusal(-ESHUTDOWN);
	result = kthread_mod_delayed_work_status(
		pw->worker, &pykw_timer_of((struct pykw_work *)work)->dwork, delay_ns);
	if (result == 0)
		Py_INCREF(work);
	return answer(pw, work, result == -ECANCELED ? 0 : result, result == 0);
}

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
":raises RuntimeError: one is refused, as by queue(); those before it are queued.");

/* Works are spread over memory: have the one that comes some turns later on its way. */
static void fetch_ahead(PyObject *list, Py_ssize_t i, Py_ssize_t n)
{
	const char *object;

	if (i + FETCH_AHEAD >= n)
		return;
	object = (const char *)PyList_GetItem(list, i + FETCH_AHEAD);
	__builtin_prefetch(object, 1);
	__builtin_prefetch(object + 64, 1);
}

/* Returns how many of the works were queued; *result: why the last one looked at was refused. */
static Py_ssize_t queue_all(struct pykw_worker *pw, PyObject *list, Py_ssize_t n, int *result)
{
	struct kthread_batch batch;
	Py_ssize_t queued = 0;

	for (Py_ssize_t i = 0; i < n && *result >= 0;) {
		/* Some at a time, so that native works begin meanwhile. */
		Py_ssize_t end = n - i < BATCH ? n : i + BATCH;

		kthread_batch_begin(&batch, pw->worker);
		for (; i < end && *result >= 0; i++) {
			fetch_ahead(list, i, n);
			*result = add_one(pw, &batch, PyList_GetItem(list, i));
			queued += *result == 1;
		}
		kthread_batch_end(&batch);
	}
	return queued;
}

/* The same one by one, each told to the hook. */
static Py_ssize_t queue_all_traced(struct pykw_worker *pw, PyObject *list, Py_ssize_t n, int *result)
{
	Py_ssize_t queued = 0;

	for (Py_ssize_t i = 0; i < n && *result >= 0; i++) {
		PyObject *work = PyList_GetItem(list, i);

		*result = queue_one(pw, work);
		queued += *result == 1;
		if (*result > 0)
			pykw_trace_queue(pw, work);
	}
	return queued;
}

static PyObject *worker_queue_many(PyObject *self, PyObject *works)
{
	struct pykw_worker *pw = handle_of(self);
	Py_ssize_t n, queued = 0;
	PyObject *list;
	int result = 0;

	if (!pw)
		return NULL;
	/*
	 * A list can be used as it is, unless hooks are called: no Python code runs from here on
	 * that could change it.
	 */
	list = PyList_Check(works) && !pw->traced ? Py_NewRef(works) : PySequence_List(works);
	if (!list)
		return NULL;
	n = PyList_Size(list);
	for (Py_ssize_t i = 0; i < n; i++) {
		fetch_ahead(list, i, n);
		if (!is_work(PyList_GetItem(list, i))) {
			Py_DECREF(list);
			return NULL;
		}
	}
	if (n && pw->abandoned)
		result = -ESHUTDOWN;
	else if (!pw->traced)
		queued = queue_all(pw, list, n, &result);
	else
		queued = queue_all_traced(pw, list, n, &result);
	Py_DECREF(list);
	return result < 0 ? raise_refusal(result) : PyLong_FromSsize_t(queued);
}

static int wait_for_drain(void *drain, uint64_t timeout_ns)
{
	return kthread_drain_wait(drain, timeout_ns);
}

/* _drain(timeout_ns): 0 or -errno. A method, since a signal handler may raise meanwhile. */
static PyObject *worker_drain(PyObject *self, PyObject *timeout)
{
	struct pykw_worker *pw = handle_of(self);
	uint64_t timeout_ns = PyLong_AsUnsignedLongLong(timeout);
	struct kthread_drain drain;
	int result;

	if (!pw || PyErr_Occurred())
		return NULL;
	result = kthread_drain_begin(&drain, pw->worker);
	if (!result) {
		result = gil_wait(wait_for_drain, &drain, timeout_ns);
		kthread_drain_end(&drain);
	}
	return result == -EINTR ? NULL : PyLong_FromLong(result);
}

static PyObject *worker_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	(void)args, (void)kwargs; /* for __init__ */
	return ((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
}

static int worker_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(Py_TYPE(self));
	return 0;
}

static void worker_dealloc(PyObject *self)
{
	PyTypeObject *type = Py_TYPE(self);

	PyObject_GC_UnTrack(self);
	Py_XDECREF(((struct pykw_worker_object *)self)->owner);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(self);
	Py_DECREF(type);
}

static PyMethodDef worker_methods[] = {
	{ "queue", worker_queue, METH_O, queue_doc },
	{ "queue_many", worker_queue_many, METH_O, queue_many_doc },
	{ "_queue_delayed", worker_queue_delayed, METH_VARARGS, NULL },
	{ "_mod_delayed", worker_mod_delayed, METH_VARARGS, NULL },
	{ "_drain", worker_drain, METH_O, NULL },
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

	if ((!pykw_work_type && pykw_make_work_types() < 0) ||
	    (!pykw_worker_type && pykw_make_worker_type() < 0)) {
		PyErr_WriteUnraisable(NULL);
		return;
	}
	capsule = pykw_make_capsule();
	if (!capsule || PyList_Append(from_id(id_list), (PyObject *)pykw_work_type) < 0 ||
	    PyList_Append(from_id(id_list), (PyObject *)pykw_worker_type) < 0 ||
	    PyList_Append(from_id(id_list), capsule) < 0)
		PyErr_WriteUnraisable(NULL);
	Py_XDECREF(capsule);
}

/* ---- coming and going ---- */

uintptr_t pykw_worker_new(const char *name, uint32_t busy_poll_ns, uintptr_t id_core)
{
	struct pykw_worker *pw = calloc(1, sizeof(*pw));

	if (!pw)
		return 0;
	pw->worker = kthread_create_worker(0, "%s", name);
	if (!pw->worker) {
		free(pw);
		return 0;
	}
	kthread_hold_worker(pw->worker);
	pw->core = from_id(id_core);
	kthread_worker_set_ops(pw->worker, &ops, pw);
	if (busy_poll_ns != UINT32_MAX)
		kthread_worker_set_busy_poll(pw->worker, busy_poll_ns);
	return (uintptr_t)pw;
}

/* Of a destroyed worker, or, in a forked child, of one of the parent's. */
void pykw_worker_free(uintptr_t worker)
{
	struct pykw_worker *pw = from_handle(worker);

	kthread_release_worker(pw->worker);
	Py_XDECREF(pw->interrupt);
	free(pw);
}

/* In a forked child: what another thread was executing, nobody is here. */
void pykw_worker_after_fork(uintptr_t worker)
{
	struct pykw_worker *pw = from_handle(worker);

	if (kthread_current_worker() != pw->worker)
		atomic_store_explicit(&pw->current, NULL, memory_order_relaxed);
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

int pykw_worker_start(uintptr_t worker)
{
	struct kthread_worker *w = from_handle(worker)->worker;
	PyThreadState *state;
	int result;

	state = gil_leave();
	result = kthread_start_worker(w, NULL);
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

/* At exit, of a daemon: nothing more begins; who runs is not waited for. */
void pykw_worker_abandon(uintptr_t worker)
{
	from_handle(worker)->abandoned = true;
	pykw_worker_stop(worker, 0);
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
	if (result != -ETIMEDOUT || timeout_ns == 0)
		return result;
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

/* -1: the calling thread serves no worker. */
int pykw_should_stop(void)
{
	return kthread_current_worker() ? kthread_should_stop() : -1;
}

void pykw_note_exit(void)
{
	interpreter_exits = true;
}
