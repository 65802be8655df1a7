/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * pykworker.h - works in C, on a worker that was made in Python.
 *
 * For extension modules: in C, C++, Cython or pybind11, with or without Py_LIMITED_API. A module
 * needs this header and kthread_worker.h to be built, both in pykworker.get_include(), and
 * nothing to be linked to: the functions come out of a table at run time, in the capsule
 * pykworker._C_API.
 *
 *	struct count {
 *		struct kthread_work work;
 *		long n;
 *	};
 *
 *	static void count_one(struct kthread_work *work)	// no GIL here
 *	{
 *		((struct count *)work)->n++;
 *	}
 *
 *	static const struct pykworker_api *api;
 *	...
 *	api = pykworker_import_api(1);		// once, as the module is imported
 *	if (!api)
 *		return NULL;
 *	...
 *	worker = api->hold_worker(python_worker);
 *	if (!worker)
 *		return NULL;
 *	api->init_work(&count->work, count_one);
 *	api->queue_work(worker, &count->work);
 *	Py_BEGIN_ALLOW_THREADS
 *	api->flush_work(&count->work);		// it has run; count may be freed now
 *	Py_END_ALLOW_THREADS
 *	api->release_worker(worker);
 *
 * Such works and those of Python take their turns in one order. A work's function is called
 * without the GIL; it may take it with PyGILState_Ensure. worker.flush(), drain(), destroy()
 * and stats() count these works in; current_work, on_queue, on_start and on_end show the works of
 * Python alone. What is pending when the worker is destroyed runs, unless there is no thread to
 * run it, or, with daemon=True, the interpreter exits: then it does not, and is idle once the
 * destruction has returned.
 *
 * The memory of a work is its owner's. It is not to be freed before a flush_work or a
 * cancel_work_sync has returned 0, or the work's own function was called the last time.
 */
#ifndef PYKWORKER_H
#define PYKWORKER_H

#include <Python.h>

#include "kthread_worker.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The version of the table described here; a later one has more functions at its end. */
#define PYKWORKER_API_VERSION 1u

/* Differs where struct kthread_work or struct kthread_delayed_work is laid out otherwise. */
#define PYKWORKER_LAYOUT 1u

#define PYKWORKER_CAPSULE "pykworker._C_API"

/*
 * The table. Constant, and there until the process ends.
 *
 * GIL: "needed", the caller must hold it; "any", it may hold it or not; "not held", the call may
 * wait for the worker, whose thread may wait for the GIL: who holds it meanwhile waits for
 * ever. Where nothing else is said, a function is what kthread_worker.h says of its namesake
 * there, kthread_queue_work of queue_work. The calls that take a work take the work in a
 * struct kthread_delayed_work as well.
 */
struct pykworker_api {
	uint32_t version;		/* PYKWORKER_API_VERSION, or later */
	uint32_t size;			/* of the table, in bytes */
	uint32_t layout;		/* PYKWORKER_LAYOUT */
	uint32_t work_size;		/* sizeof(struct kthread_work) */
	uint32_t delayed_work_size;	/* sizeof(struct kthread_delayed_work) */
	uint32_t unused;

	/*
	 * The core's worker of a pykworker.Worker. It is held: until the release it answers all
	 * calls, once destroyed with ESHUTDOWN. A hold keeps the memory, not the worker: keep the
	 * Worker object too, if works are to run. Each hold is to be released once.
	 *
	 * Returns NULL with TypeError or RuntimeError for an object that is none.
	 * GIL: needed
	 */
	struct kthread_worker *(*hold_worker)(PyObject *worker);
	/* GIL: needed */
	void (*release_worker)(struct kthread_worker *worker);
	/*
	 * As the method worker.queue(work), with a pykworker.Work.
	 * Returns 1: queued; 0: already pending; -1 with an exception.
	 * GIL: needed
	 */
	int (*queue_object)(PyObject *worker, PyObject *work);

	/* GIL: any */
	void (*init_work)(struct kthread_work *work, kthread_work_func_t func);
	void (*init_delayed_work)(struct kthread_delayed_work *dwork, kthread_work_func_t func);

	/* GIL: any; queue_work and queue_work_status from a signal handler, too */
	bool (*queue_work)(struct kthread_worker *worker, struct kthread_work *work);
	int (*queue_work_status)(struct kthread_worker *worker, struct kthread_work *work);
	bool (*queue_delayed_work)(struct kthread_worker *worker,
				   struct kthread_delayed_work *dwork, uint64_t delay_ns);
	int (*queue_delayed_work_status)(struct kthread_worker *worker,
					 struct kthread_delayed_work *dwork, uint64_t delay_ns);
	int (*queue_periodic_work_status)(struct kthread_worker *worker,
					  struct kthread_delayed_work *dwork, uint64_t delay_ns,
					  uint64_t period_ns);
	bool (*mod_delayed_work)(struct kthread_worker *worker,
				 struct kthread_delayed_work *dwork, uint64_t delay_ns);
	int (*mod_delayed_work_status)(struct kthread_worker *worker,
				       struct kthread_delayed_work *dwork, uint64_t delay_ns);

	/* GIL: any */
	bool (*cancel_work)(struct kthread_work *work);
	bool (*enable_work)(struct kthread_work *work);
	bool (*work_pending)(struct kthread_work *work);
	unsigned int (*work_busy)(struct kthread_work *work);
	uint64_t (*delayed_work_remaining)(struct kthread_delayed_work *dwork);
	uint64_t (*delayed_work_missed)(struct kthread_delayed_work *dwork);
	struct kthread_worker *(*current_worker)(void);
	bool (*should_stop)(void);

	/* GIL: not held */
	bool (*cancel_work_sync)(struct kthread_work *work);
	int (*cancel_work_sync_timeout)(struct kthread_work *work, uint64_t timeout_ns);
	bool (*disable_work_sync)(struct kthread_work *work);
	int (*flush_work)(struct kthread_work *work);
	int (*flush_work_timeout)(struct kthread_work *work, uint64_t timeout_ns);
	int (*flush_worker)(struct kthread_worker *worker);
	int (*flush_worker_timeout)(struct kthread_worker *worker, uint64_t timeout_ns);
};

/*
 * pykworker_import_api - import pykworker, and get its table
 * @min_version: the version that has all functions which the caller uses
 *
 * Returns the table, or NULL with an exception: ImportError when pykworker is not installed, is
 * too old, or lays out a work otherwise than the headers that the caller was built with;
 * AttributeError when its extension module can't be used.
 *
 * GIL: needed
 */
static inline const struct pykworker_api *pykworker_import_api(uint32_t min_version)
{
	const struct pykworker_api *api =
		(const struct pykworker_api *)PyCapsule_Import(PYKWORKER_CAPSULE, 0);

	if (!api)
		return NULL;
	if (api->version < min_version) {
		PyErr_Format(PyExc_ImportError,
			     "pykworker is too old: it has version %u of its C functions, and %u "
			     "is needed",
			     (unsigned int)api->version, (unsigned int)min_version);
		return NULL;
	}
	if (api->layout != PYKWORKER_LAYOUT || api->work_size != sizeof(struct kthread_work) ||
	    api->delayed_work_size != sizeof(struct kthread_delayed_work)) {
		PyErr_SetString(PyExc_ImportError,
				"built for another pykworker, whose works are laid out otherwise: "
				"build it anew");
		return NULL;
	}
	return api;
}

#ifdef __cplusplus
}
#endif

#endif /* PYKWORKER_H */
