/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * accumulate - an extension module that has a worker of Python do its work, in C.
 *
 *	import accumulate
 *	import pykworker as kw
 *
 *	with kw.Worker("sums") as worker:
 *		sums = accumulate.Accumulator(worker)
 *		sums.add(3)
 *		sums.flush()
 *		assert sums.total == 3
 *
 * What is added is noted by whoever adds, and folded into the total by a work. Queueing that
 * while it is pending says no: however fast one adds, there is no more than one run for all
 * that came since the last. Nothing here needs the GIL, neither the adding nor the run.
 */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

#include "pykworker.h"

#define SLICE_NS UINT64_C(100000000)
#define THREADS_MAX 64

static const struct pykworker_api *api;

/* Apart from the object, so that it may outlive that. */
struct sums {
	struct kthread_delayed_work fold;	/* first: the work's function gets its address */
	struct kthread_worker *worker;		/* held */
	atomic_long waiting;
	atomic_long total;
	atomic_long runs;
};

struct accumulator {
	PyObject_HEAD
	struct sums *sums;
	PyObject *worker;			/* the Worker; it goes on as long as we do */
};

/* On the worker's thread, without the GIL. */
static void fold(struct kthread_work *work)
{
	struct sums *sums = (struct sums *)work;

	atomic_fetch_add(&sums->total, atomic_exchange(&sums->waiting, 0));
	atomic_fetch_add(&sums->runs, 1);
}

/* From any thread, with or without the GIL. Returns 0 or -errno. */
static int add_and_queue(struct sums *sums, long n)
{
	int result;

	atomic_fetch_add(&sums->waiting, n);
	result = api->queue_work_status(sums->worker, &sums->fold.work);
	/* While somebody cancels it nothing is queued: what was added waits for the next time. */
	return result < 0 && result != -ECANCELED ? result : 0;
}

static PyObject *raise_errno(int result)
{
	errno = -result;
	return PyErr_SetFromErrno(PyExc_OSError);
}

static PyObject *accumulator_add(PyObject *self, PyObject *arg)
{
	long n = PyLong_AsLong(arg);
	int result;

	if (n == -1 && PyErr_Occurred())
		return NULL;
	result = add_and_queue(((struct accumulator *)self)->sums, n);
	if (result)
		return raise_errno(result);
	Py_RETURN_NONE;
}

/* add_later(n, seconds): the last call says when. */
static PyObject *accumulator_add_later(PyObject *self, PyObject *args)
{
	struct sums *sums = ((struct accumulator *)self)->sums;
	double seconds;
	long n;
	int result;

	if (!PyArg_ParseTuple(args, "ld", &n, &seconds))
		return NULL;
	if (!(seconds >= 0 && seconds < 1e9)) {
		PyErr_SetString(PyExc_ValueError, "seconds must be from 0 to 1e9");
		return NULL;
	}
	atomic_fetch_add(&sums->waiting, n);
	result = api->mod_delayed_work_status(sums->worker, &sums->fold,
					      (uint64_t)(seconds * 1e9));
	if (result < 0 && result != -ECANCELED)
		return raise_errno(result);
	Py_RETURN_NONE;
}

/* In slices, with a look at Ctrl-C after each. Works of Python may have to run before ours. */
static PyObject *accumulator_flush(PyObject *self, PyObject *unused)
{
	struct sums *sums = ((struct accumulator *)self)->sums;
	int result;

	(void)unused;
	do {
		Py_BEGIN_ALLOW_THREADS
		result = api->flush_work_timeout(&sums->fold.work, SLICE_NS);
		Py_END_ALLOW_THREADS
		if (PyErr_CheckSignals() < 0)
			return NULL;
	} while (result == -ETIMEDOUT);
	if (result)
		return raise_errno(result);
	Py_RETURN_NONE;
}

static PyObject *accumulator_cancel(PyObject *self, PyObject *unused)
{
	struct sums *sums = ((struct accumulator *)self)->sums;
	int result;

	(void)unused;
	Py_BEGIN_ALLOW_THREADS
	result = api->cancel_work_sync_timeout(&sums->fold.work, KTHREAD_FOREVER);
	Py_END_ALLOW_THREADS
	return result < 0 ? raise_errno(result) : PyBool_FromLong(result);
}

struct adder {
	pthread_t thread;
	struct sums *sums;
	long times;
	long refused;
};

static void *add_often(void *arg)
{
	struct adder *adder = arg;

	for (long i = 0; i < adder->times; i++)
		adder->refused += add_and_queue(adder->sums, 1) != 0;
	return NULL;
}

/* add_from_threads(threads, times): each of so many threads adds 1 so often; how many were refused. */
static PyObject *accumulator_add_from_threads(PyObject *self, PyObject *args)
{
	struct adder adders[THREADS_MAX];
	long times, refused = 0;
	int threads, made = 0, error = 0;

	if (!PyArg_ParseTuple(args, "il", &threads, &times))
		return NULL;
	if (threads < 1 || threads > THREADS_MAX) {
		PyErr_Format(PyExc_ValueError, "threads must be from 1 to %d", THREADS_MAX);
		return NULL;
	}
	Py_BEGIN_ALLOW_THREADS
	for (; made < threads && !error; made += !error) {
		adders[made] = (struct adder){ .sums = ((struct accumulator *)self)->sums,
					       .times = times };
		error = pthread_create(&adders[made].thread, NULL, add_often, &adders[made]);
	}
	for (int i = 0; i < made; i++) {
		pthread_join(adders[i].thread, NULL);
		refused += adders[i].refused;
	}
	Py_END_ALLOW_THREADS
	return error ? raise_errno(-error) : PyLong_FromLong(refused);
}

static PyObject *accumulator_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	struct kthread_worker *worker;
	struct accumulator *self;
	PyObject *python_worker;

	if (kwargs && PyDict_Size(kwargs)) {
		PyErr_SetString(PyExc_TypeError, "Accumulator() takes no keyword arguments");
		return NULL;
	}
	if (!PyArg_ParseTuple(args, "O", &python_worker))
		return NULL;
	worker = api->hold_worker(python_worker);
	if (!worker)
		return NULL;
	self = (struct accumulator *)((allocfunc)PyType_GetSlot(type, Py_tp_alloc))(type, 0);
	if (self)
		self->sums = calloc(1, sizeof(*self->sums));
	if (!self || !self->sums) {
		api->release_worker(worker);
		Py_XDECREF((PyObject *)self);
		return self ? PyErr_NoMemory() : NULL;
	}
	api->init_delayed_work(&self->sums->fold, fold);
	self->sums->worker = worker;
	self->worker = Py_NewRef(python_worker);
	return (PyObject *)self;
}

/*
 * The memory of a work may go when it is neither pending nor executing. A cancel sees to that;
 * but not from a callback which the worker waits for, nor in a forked child, whose parent has
 * run it: there it stays.
 */
static void accumulator_dealloc(PyObject *object)
{
	struct accumulator *self = (struct accumulator *)object;
	PyTypeObject *type = Py_TYPE(object);
	int result;

	if (self->sums) {
		Py_BEGIN_ALLOW_THREADS
		result = api->cancel_work_sync_timeout(&self->sums->fold.work, KTHREAD_FOREVER);
		Py_END_ALLOW_THREADS
		if (result >= 0) {
			api->release_worker(self->sums->worker);
			free(self->sums);
		}
	}
	Py_XDECREF(self->worker);
	((freefunc)PyType_GetSlot(type, Py_tp_free))(object);
	Py_DECREF(type);
}

static PyObject *get_total(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromLong(atomic_load(&((struct accumulator *)self)->sums->total));
}

static PyObject *get_runs(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromLong(atomic_load(&((struct accumulator *)self)->sums->runs));
}

static PyObject *get_pending(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(
		api->work_pending(&((struct accumulator *)self)->sums->fold.work));
}

static PyMethodDef accumulator_methods[] = {
	{ "add", accumulator_add, METH_O, "Add a number." },
	{ "add_later", accumulator_add_later, METH_VARARGS,
	  "Add a number, and have the worker fold it in so many seconds." },
	{ "flush", accumulator_flush, METH_NOARGS, "Wait until all that was added is in total." },
	{ "cancel", accumulator_cancel, METH_NOARGS,
	  "Drop the pending run; what was added waits for the next." },
	{ "add_from_threads", accumulator_add_from_threads, METH_VARARGS,
	  "Add 1 so often from each of so many threads; return how many were refused." },
	{ NULL, NULL, 0, NULL },
};

static PyGetSetDef accumulator_getset[] = {
	{ "total", get_total, NULL, "What the worker has added up.", NULL },
	{ "runs", get_runs, NULL, "How many runs that took.", NULL },
	{ "pending", get_pending, NULL, "Whether a run is to come.", NULL },
	{ NULL, NULL, NULL, NULL, NULL },
};

static PyType_Slot accumulator_slots[] = {
	{ Py_tp_new, accumulator_new },
	{ Py_tp_dealloc, accumulator_dealloc },
	{ Py_tp_methods, accumulator_methods },
	{ Py_tp_getset, accumulator_getset },
	{ 0, NULL },
};

static PyType_Spec accumulator_spec = {
	.name = "accumulate.Accumulator",
	.basicsize = sizeof(struct accumulator),
	.flags = Py_TPFLAGS_DEFAULT,
	.slots = accumulator_slots,
};

static struct PyModuleDef module_def = {
	PyModuleDef_HEAD_INIT,
	.m_name = "accumulate",
	.m_size = -1,
};

PyMODINIT_FUNC PyInit_accumulate(void)
{
	PyObject *module, *type;

	api = pykworker_import_api(1);
	if (!api)
		return NULL;
	module = PyModule_Create(&module_def);
	type = module ? PyType_FromSpec(&accumulator_spec) : NULL;
	if (!type || PyModule_AddObjectRef(module, "Accumulator", type) < 0)
		Py_CLEAR(module);
	Py_XDECREF(type);
	return module;
}
