/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * capi.c - the table for other extension modules, see pykworker.h.
 *
 * What they queue is foreign here: no Work object stands behind it. It is told by its
 * function, see pykw_is_own.
 */
#include "binding.h"

#include "pykworker.h"

static struct pykw_worker *worker_from(PyObject *object)
{
	struct pykw_worker *pw;

	if (!PyObject_TypeCheck(object, pykw_worker_type)) {
		PyErr_Format(PyExc_TypeError, "a Worker of pykworker is needed, not %R",
			     (PyObject *)Py_TYPE(object));
		return NULL;
	}
	pw = ((struct pykw_worker_object *)object)->handle;
	if (!pw)
		PyErr_SetString(PyExc_RuntimeError, "Worker.__init__() was not called");
	return pw;
}

/* What frees the worker goes with its last reference: a hold is one. */
static struct kthread_worker *hold_worker(PyObject *worker)
{
	struct pykw_worker *pw = worker_from(worker);

	if (!pw)
		return NULL;
	Py_INCREF(((struct pykw_worker_object *)worker)->owner);
	return pw->worker;
}

static void release_worker(struct kthread_worker *worker)
{
	struct pykw_worker *pw = pykw_worker_of(worker);

	if (pw)
		Py_DECREF(pw->owner);
}

static int queue_object(PyObject *worker, PyObject *work)
{
	PyObject *answer;
	int queued;

	if (!worker_from(worker))
		return -1;
	answer = pykw_queue(worker, work);
	if (!answer)
		return -1;
	queued = answer == Py_True;
	Py_DECREF(answer);
	return queued;
}

static const struct pykworker_api api = {
	.version = PYKWORKER_API_VERSION,
	.size = sizeof(struct pykworker_api),
	.layout = PYKWORKER_LAYOUT,
	.work_size = sizeof(struct kthread_work),
	.delayed_work_size = sizeof(struct kthread_delayed_work),
	.hold_worker = hold_worker,
	.release_worker = release_worker,
	.queue_object = queue_object,
	.init_work = kthread_init_work,
	.init_delayed_work = kthread_init_delayed_work,
	.queue_work = kthread_queue_work,
	.queue_work_status = kthread_queue_work_status,
	.queue_delayed_work = kthread_queue_delayed_work,
	.queue_delayed_work_status = kthread_queue_delayed_work_status,
	.queue_periodic_work_status = kthread_queue_periodic_work_status,
	.mod_delayed_work = kthread_mod_delayed_work,
	.mod_delayed_work_status = kthread_mod_delayed_work_status,
	.cancel_work = kthread_cancel_work,
	.enable_work = kthread_enable_work,
	.work_pending = kthread_work_pending,
	.work_busy = kthread_work_busy,
	.delayed_work_remaining = kthread_delayed_work_remaining,
	.delayed_work_missed = kthread_delayed_work_missed,
	.current_worker = kthread_current_worker,
	.should_stop = kthread_should_stop,
	.cancel_work_sync = kthread_cancel_work_sync,
	.cancel_work_sync_timeout = kthread_cancel_work_sync_timeout,
	.disable_work_sync = kthread_disable_work_sync,
	.flush_work = kthread_flush_work,
	.flush_work_timeout = kthread_flush_work_timeout,
	.flush_worker = kthread_flush_worker,
	.flush_worker_timeout = kthread_flush_worker_timeout,
};

PyObject *pykw_make_capsule(void)
{
	return PyCapsule_New((void *)&api, PYKWORKER_CAPSULE, NULL);
}
