/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * watch.c - to be told of the end of a run, rather than wait for it.
 *
 * For event loops: a Watch calls a function once when a flush is over. And for native works
 * that are periodic: see pykw_release_after_run. All of it is under the GIL.
 */
#include "binding.h"

/* While it is linked the worker holds it. */
struct pykw_watch {
	PyObject_HEAD
	struct kthread_watch watch;
	PyObject *notify;		/* called when it is over; NULL: nobody is */
	PyObject *held;			/* the Work that is watched, so that it stays */
	struct pykw_watch *next;
	struct pykw_watch **link;	/* in worker->watches; NULL: it is not there */
};

static PyTypeObject *watch_type;

static void unlink_watch(struct pykw_watch *w)
{
	*w->link = w->next;
	if (w->next)
		w->next->link = w->link;
	w->link = NULL;
}

/* It is linked. Ends it, and gives back the worker's reference. */
static void end_watch(struct pykw_watch *w)
{
	unlink_watch(w);
	kthread_watch_end(&w->watch);
	Py_CLEAR(w->held);
	Py_DECREF((PyObject *)w);
}

/* It is linked. */
static void end_and_notify(struct pykw_watch *w)
{
	PyObject *notify = w->notify, *result;

	w->notify = NULL;
	end_watch(w); /* which may have been its last reference */
	pykw_drain_finished(); /* who is told need not do it */
	if (!notify)
		return;
	result = PyObject_CallNoArgs(notify);
	if (!result)
		PyErr_WriteUnraisable(notify);
	Py_XDECREF(result);
	Py_DECREF(notify);
}

/* A call into Python may link and unlink others: so begin anew after each. */
void pykw_look_at_watches(struct pykw_worker *pw)
{
	struct pykw_watch *w = pw->watches;

	while (w) {
		if (!kthread_watch_over(&w->watch)) {
			w = w->next;
			continue;
		}
		end_and_notify(w);
		w = pw->watches;
	}
}

void pykw_let_watches_go(struct pykw_worker *pw)
{
	while (pw->watches)
		end_and_notify(pw->watches);
}

void pykw_forget_watches(struct pykw_worker *pw)
{
	while (pw->watches)
		end_watch(pw->watches);
}

/* @result: of the begin. Returns the Watch, None when it is over, or raises. */
static PyObject *link_watch(struct pykw_watch *w, int result, PyObject *notify, PyObject *held)
{
	struct pykw_worker *pw;

	if (result <= 0) {
		Py_DECREF((PyObject *)w);
		pykw_drain_finished();
		if (!result)
			return Py_NewRef(Py_None);
		pykw_raise_wait_refusal(result);
		return NULL;
	}
	pw = kthread_worker_data(w->watch.flush.worker);
	w->notify = Py_XNewRef(notify);
	w->held = Py_XNewRef(held);
	w->next = pw->watches;
	w->link = &pw->watches;
	if (w->next)
		w->next->link = &w->next;
	/* If it is over by now, who tells has not looked yet: that needs the GIL. */
	pw->watches = w;
	return Py_NewRef((PyObject *)w);
}

PyObject *pykw_watch_work(struct pykw_work *work, PyObject *notify)
{
	struct pykw_watch *w = pykw_allocate(watch_type);

	if (!w)
		return NULL;
	return link_watch(w, kthread_watch_work(&w->watch, pykw_kwork(work)), notify,
			  (PyObject *)work);
}

PyObject *pykw_watch_worker(struct pykw_worker *pw, PyObject *notify)
{
	struct pykw_watch *w = pykw_allocate(watch_type);

	if (!w)
		return NULL;
	return link_watch(w, kthread_watch_worker(&w->watch, pw->worker), notify, NULL);
}

void pykw_release_after_run(struct pykw_work *work)
{
	/* Nobody else can queue it while it executes here and is pending no more. */
	if (kthread_work_busy(pykw_kwork(work)) & KTHREAD_WORK_EXECUTING) {
		PyObject *watch = pykw_watch_work(work, NULL);

		if (!watch)
			PyErr_WriteUnraisable(NULL);
		Py_XDECREF(watch);
	}
	Py_DECREF((PyObject *)work);
}

static PyObject *watch_cancel(PyObject *self, PyObject *unused)
{
	struct pykw_watch *w = (struct pykw_watch *)self;

	(void)unused;
	Py_CLEAR(w->notify);
	if (w->link)
		end_watch(w); /* not the last reference: the caller has one */
	return Py_NewRef(Py_None);
}

static void watch_dealloc(PyObject *self)
{
	struct pykw_watch *w = (struct pykw_watch *)self;

	Py_XDECREF(w->notify);
	Py_XDECREF(w->held);
	pykw_free_object(self);
}

static PyMethodDef watch_methods[] = {
	{ "cancel", watch_cancel, METH_NOARGS, NULL },
	{ NULL, NULL, 0, NULL },
};

static PyType_Slot watch_slots[] = {
	{ Py_tp_dealloc, watch_dealloc },
	{ Py_tp_methods, watch_methods },
	{ 0, NULL },
};

static PyType_Spec watch_spec = {
	.name = "pykworker._native.Watch",
	.basicsize = sizeof(struct pykw_watch),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION,
	.slots = watch_slots,
};

int pykw_make_watch_type(void)
{
	watch_type = (PyTypeObject *)PyType_FromSpec(&watch_spec);
	return watch_type ? 0 : -1;
}
