/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * future.c - submitted calls and their futures, see future.h.
 */
#include "future.h"

#include <errno.h>
#include <math.h>

PyTypeObject *pykw_future_type, *pykw_call_type;

static const char *const state_names[] = {
	[PYKW_PENDING] = "PENDING",
	[PYKW_RUNNING] = "RUNNING",
	[PYKW_CANCELLED] = "CANCELLED",
	[PYKW_CANCELLED_AND_NOTIFIED] = "CANCELLED_AND_NOTIFIED",
	[PYKW_FINISHED] = "FINISHED",
};

enum { STATES = sizeof(state_names) / sizeof(state_names[0]) };

static PyObject *state_objects[STATES];

static bool is_over(const struct pykw_future *f)
{
	return f->state >= PYKW_CANCELLED;
}

/* Nobody waits in Python, nor can begin to before the GIL is given up. */
static bool is_unwatched(const struct pykw_future *f)
{
	return !f->condition;
}

/* ---- the call and its future part ---- */

static void link_call(struct pykw_worker *pw, struct pykw_call *call)
{
	call->next = pw->calls;
	call->link = &pw->calls;
	if (call->next)
		call->next->link = &call->next;
	pw->calls = call;
}

static void unlink_call(struct pykw_call *call)
{
	if (!call->link)
		return;
	*call->link = call->next;
	if (call->next)
		call->next->link = call->link;
	call->link = NULL;
}

/* Take them apart. Returns the future with the reference that the call had; NULL: it is over. */
static struct pykw_future *part(struct pykw_call *call)
{
	struct pykw_future *f = call->future;

	unlink_call(call);
	call->future = NULL;
	if (f) {
		f->call = NULL;
		Py_DECREF((PyObject *)call); /* the future's; not the last one: the caller has another */
	}
	return f;
}

/* Call a method of the future; what it raises goes to sys.unraisablehook. */
static PyObject *tell(struct pykw_future *f, const char *method, PyObject *argument)
{
	PyObject *bound = PyObject_GetAttrString((PyObject *)f, method);
	PyObject *result = NULL;

	if (bound)
		result = PyObject_CallFunctionObjArgs(bound, argument, NULL);
	if (!result)
		PyErr_WriteUnraisable(bound);
	Py_XDECREF(bound);
	return result;
}

static void set_result(struct pykw_future *f, PyObject *result)
{
	if (is_unwatched(f) && !is_over(f)) {
		f->result = Py_NewRef(result);
		f->state = PYKW_FINISHED;
	} else {
		Py_XDECREF(tell(f, "set_result", result));
	}
}

static void set_exception(struct pykw_future *f, PyObject *exception)
{
	if (is_unwatched(f) && !is_over(f)) {
		f->exception = Py_NewRef(exception);
		f->state = PYKW_FINISHED;
	} else {
		Py_XDECREF(tell(f, "set_exception", exception));
	}
}

/* Returns false: it was cancelled, or has been given a result by somebody else. */
static bool begin(struct pykw_future *f)
{
	PyObject *answer;
	bool begun;

	if (f->state != PYKW_PENDING)
		return false;
	if (is_unwatched(f)) {
		f->state = PYKW_RUNNING;
		return true;
	}
	answer = tell(f, "_set_running", NULL); /* meanwhile it may be cancelled */
	begun = answer && PyObject_IsTrue(answer) > 0;
	Py_XDECREF(answer);
	return begun;
}

PyObject *pykw_run_call(struct pykw_worker *pw, struct pykw_work *w)
{
	struct pykw_call *call = (struct pykw_call *)w;
	struct pykw_future *f;
	PyObject *result, *exception;
	bool interrupts = false;

	unlink_call(call); /* pending no more */
	f = call->future;
	if (!f)
		return Py_NewRef(Py_None);
	Py_INCREF((PyObject *)f);
	if (!begin(f)) {
		Py_XDECREF((PyObject *)part(call));
		Py_DECREF((PyObject *)f);
		return Py_NewRef(Py_None);
	}
	result = pykw_call_function(w);
	exception = result ? NULL : pykw_fetch_exception();
	if (exception) {
		interrupts = pw->on_main_thread &&
			     PyErr_GivenExceptionMatches(exception, PyExc_KeyboardInterrupt);
		pykw_note_origin(pw, w, exception);
	}
	/* First: who is told by the future may look at what the call holds. */
	Py_XDECREF((PyObject *)part(call));
	if (is_over(f))
		; /* it was given up at exit */
	else if (result)
		set_result(f, result);
	else
		set_exception(f, exception);
	Py_DECREF((PyObject *)f);
	Py_XDECREF(result);
	if (interrupts)
		PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
	Py_XDECREF(exception);
	return interrupts ? NULL : Py_NewRef(Py_None);
}

/* As cancel(), of one that is pending. */
static void mark_cancelled(struct pykw_future *f)
{
	if (is_unwatched(f))
		f->state = PYKW_CANCELLED_AND_NOTIFIED;
	else
		Py_XDECREF(tell(f, "_cancel_and_notify", NULL));
}

void pykw_end_call(struct pykw_work *w, PyObject *exception)
{
	struct pykw_future *f = part((struct pykw_call *)w);

	if (f && f->state == PYKW_PENDING) {
		if (exception)
			set_exception(f, exception);
		else
			mark_cancelled(f);
	}
	Py_XDECREF((PyObject *)f);
	Py_XDECREF(exception);
}

void pykw_give_up_call(struct pykw_worker *pw)
{
	struct pykw_work *w = (struct pykw_work *)atomic_load_explicit(&pw->current,
								       memory_order_acquire);
	struct pykw_future *f = w && pykw_is_call(w) ? ((struct pykw_call *)w)->future : NULL;
	PyObject *error;

	if (!f || is_over(f))
		return;
	Py_INCREF((PyObject *)f);
	error = PyObject_CallFunction(PyExc_RuntimeError, "s", PYKW_GIVEN_UP);
	if (error)
		set_exception(f, error);
	else
		PyErr_WriteUnraisable((PyObject *)f);
	Py_XDECREF(error);
	Py_DECREF((PyObject *)f);
}

/* It is cancelled: take it off the list. */
static void drop_call(struct pykw_future *f)
{
	struct pykw_call *call = f->call;

	if (!call)
		return;
	Py_INCREF((PyObject *)call);
	Py_XDECREF((PyObject *)part(call));
	pykw_drop_pending(&call->work);
	Py_DECREF((PyObject *)call);
}

void pykw_cancel_calls(struct pykw_worker *pw)
{
	while (pw->calls) {
		struct pykw_future *f = pw->calls->future;

		unlink_call(pw->calls);
		if (!f || f->state != PYKW_PENDING)
			continue;
		Py_INCREF((PyObject *)f);
		mark_cancelled(f);
		drop_call(f);
		Py_DECREF((PyObject *)f);
	}
}

/* ---- submit ---- */

static PyObject *submit(PyObject *self, PyObject *context, PyObject *fn, PyObject *args,
			PyObject *kwargs)
{
	struct pykw_worker *pw = pykw_handle_of(self);
	struct pykw_future *f = NULL;
	struct pykw_call *call = NULL;

	if (!pw)
		return NULL;
	f = pykw_allocate(pykw_the.future_class);
	call = f ? pykw_allocate(pykw_the.call_class) : NULL;
	if (!call)
		goto failed;
	call->work.extra = &call->extra;
	call->extra.is_call = true;
	call->extra.context = Py_XNewRef(context);
	call->work.fn = Py_NewRef(fn);
	call->work.args = Py_XNewRef(args);
	call->work.kwargs = Py_XNewRef(kwargs);
	pykw_init_python_work(&call->work);
	call->future = (struct pykw_future *)Py_NewRef((PyObject *)f);
	f->call = (struct pykw_call *)Py_NewRef((PyObject *)call);
	if (!pykw_prepare(pw, &call->work) || !pykw_queue_call(pw, &call->work)) {
		Py_XDECREF((PyObject *)part(call));
		goto failed;
	}
	link_call(pw, call);
	pykw_was_queued(pw, &call->work);
	Py_DECREF((PyObject *)call);
	return (PyObject *)f;
failed:
	Py_XDECREF((PyObject *)call);
	Py_XDECREF((PyObject *)f);
	return NULL;
}

PyObject *pykw_submit(PyObject *self, PyObject *args, PyObject *kwargs)
{
	Py_ssize_t n = PyTuple_Size(args);
	PyObject *rest = NULL, *copy = NULL, *future;

	if (n < 1) {
		PyErr_SetString(PyExc_TypeError,
				"submit() missing 1 required positional argument: 'fn'");
		return NULL;
	}
	if (kwargs && PyDict_Size(kwargs) > 0 && !(copy = PyDict_Copy(kwargs)))
		return NULL;
	if ((n > 1 || copy) && !(rest = PyTuple_GetSlice(args, 1, n))) {
		Py_XDECREF(copy);
		return NULL;
	}
	future = submit(self, NULL, PyTuple_GetItem(args, 0), rest, copy);
	Py_XDECREF(rest);
	Py_XDECREF(copy);
	return future;
}

PyObject *pykw_submit_in_context(PyObject *self, PyObject *args)
{
	PyObject *context, *fn, *works_args, *works_kwargs;
	struct pykw_worker *pw = pykw_handle_of(self);
	PyObject *future, *exception;
	int reserved = 0;

	if (!pw || !PyArg_ParseTuple(args, "OOO!O!|p", &context, &fn, &PyTuple_Type, &works_args,
				     &PyDict_Type, &works_kwargs, &reserved))
		return NULL;
	if (reserved)
		pykw_count_pending(pw, -1); /* and in what follows it is counted again */
	future = submit(self, context == Py_None ? NULL : context, fn, works_args, works_kwargs);
	if (!future && reserved) {
		exception = pykw_fetch_exception();
		pykw_count_pending(pw, 1);
		pykw_give_room(pw);
		PyErr_SetObject((PyObject *)Py_TYPE(exception), exception);
		Py_DECREF(exception);
	}
	return future;
}

/* ---- wait ---- */

/* A time limit as the standard library takes it: any number, or None. Returns false: an error. */
static bool parse_timeout(PyObject *args, PyObject *kwargs, const char *format,
			  uint64_t *timeout_ns)
{
	static char *names[] = { "timeout", NULL };
	PyObject *timeout = Py_None;
	double seconds;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, format, names, &timeout))
		return false;
	*timeout_ns = UINT64_MAX;
	if (timeout == Py_None)
		return true;
	seconds = PyFloat_AsDouble(timeout);
	if (seconds == -1.0 && PyErr_Occurred())
		return false;
	if (!(seconds > 0))
		*timeout_ns = 0;
	else if (seconds < 1e9)
		*timeout_ns = (uint64_t)ceil(seconds * 1e9);
	return true;
}

struct call_wait {
	struct kthread_flush flush;
	const struct pykw_future *future;
};

/* The future may be told before the run has ended, whose last part are its callbacks. */
static int wait_for_run(void *arg, uint64_t timeout_ns)
{
	struct call_wait *wait = arg;
	int result = kthread_flush_wait(&wait->flush, timeout_ns);

	return result == -ETIMEDOUT && is_over(wait->future) ? 0 : result;
}

/*
 * Wait in C for as long as it is a worker's: that is the flush of its call. Returns false: an
 * exception is set.
 */
static bool wait_for_call(struct pykw_future *f, uint64_t timeout_ns)
{
	struct pykw_call *call = f->call;
	struct call_wait wait = { .future = f };
	struct pykw_worker *pw;
	int result;

	if (is_over(f) || !call)
		return true;
	Py_INCREF((PyObject *)call);
	kthread_flush_begin_work(&wait.flush, &call->work.work);
	pw = wait.flush.worker ? kthread_worker_data(wait.flush.worker) : NULL;
	result = gil_wait(pw, wait_for_run, &wait, timeout_ns);
	Py_DECREF((PyObject *)call);
	if (result != -EINTR && (!result || is_over(f)))
		return true;
	if (result == -ETIMEDOUT)
		PyErr_SetNone(PyExc_TimeoutError);
	else if (result != -EINTR)
		pykw_raise_wait_refusal(result);
	return false;
}

/*
 * The inherited method, which waits for the condition: for a future that is not a worker's, and
 * for the moment between a run dropped and its future told.
 */
static PyObject *wait_in_python(PyObject *self, const char *method, uint64_t timeout_ns)
{
	if (timeout_ns == UINT64_MAX)
		return PyObject_CallMethod(pykw_the.plain_future, method, "O", self);
	return PyObject_CallMethod(pykw_the.plain_future, method, "Od", self, timeout_ns / 1e9);
}

static PyObject *future_result(PyObject *self, PyObject *args, PyObject *kwargs)
{
	struct pykw_future *f = (struct pykw_future *)self;
	uint64_t timeout_ns;

	if (!parse_timeout(args, kwargs, "|O:result", &timeout_ns) ||
	    !wait_for_call(f, timeout_ns))
		return NULL;
	if (!is_over(f))
		return wait_in_python(self, "result", timeout_ns);
	if (f->state != PYKW_FINISHED) {
		PyErr_SetNone(pykw_the.cancelled_error);
		return NULL;
	}
	if (!f->exception)
		return Py_NewRef(f->result ? f->result : Py_None);
	PyErr_SetObject((PyObject *)Py_TYPE(f->exception), f->exception);
	return NULL;
}

static PyObject *future_exception(PyObject *self, PyObject *args, PyObject *kwargs)
{
	struct pykw_future *f = (struct pykw_future *)self;
	uint64_t timeout_ns;

	if (!parse_timeout(args, kwargs, "|O:exception", &timeout_ns) ||
	    !wait_for_call(f, timeout_ns))
		return NULL;
	if (!is_over(f))
		return wait_in_python(self, "exception", timeout_ns);
	if (f->state != PYKW_FINISHED) {
		PyErr_SetNone(pykw_the.cancelled_error);
		return NULL;
	}
	return Py_NewRef(f->exception ? f->exception : Py_None);
}

/* ---- cancel, and what it says of itself ---- */

static PyObject *future_cancel(PyObject *self, PyObject *unused)
{
	struct pykw_future *f = (struct pykw_future *)self;
	PyObject *answer;

	(void)unused;
	if (f->state == PYKW_CANCELLED || f->state == PYKW_CANCELLED_AND_NOTIFIED)
		return Py_NewRef(Py_True);
	if (f->state != PYKW_PENDING)
		return Py_NewRef(Py_False);
	if (is_unwatched(f)) {
		f->state = PYKW_CANCELLED_AND_NOTIFIED;
		drop_call(f);
		return Py_NewRef(Py_True);
	}
	answer = PyObject_CallMethod(self, "_cancel_and_notify", NULL);
	if (answer && PyObject_IsTrue(answer) > 0)
		drop_call(f);
	return answer;
}

static PyObject *future_cancelled(PyObject *self, PyObject *unused)
{
	enum pykw_future_state state = ((struct pykw_future *)self)->state;

	(void)unused;
	return PyBool_FromLong(state == PYKW_CANCELLED || state == PYKW_CANCELLED_AND_NOTIFIED);
}

static PyObject *future_running(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(((struct pykw_future *)self)->state == PYKW_RUNNING);
}

static PyObject *future_done(PyObject *self, PyObject *unused)
{
	(void)unused;
	return PyBool_FromLong(is_over((struct pykw_future *)self));
}

/* ---- what the inherited methods look at ---- */

static PyObject *get_state(PyObject *self, void *unused)
{
	(void)unused;
	return Py_NewRef(state_objects[((struct pykw_future *)self)->state]);
}

static int set_state(PyObject *self, PyObject *value, void *unused)
{
	(void)unused;
	for (int i = 0; value && PyUnicode_Check(value) && i < STATES; i++) {
		if (value == state_objects[i] || !PyUnicode_Compare(value, state_objects[i])) {
			((struct pykw_future *)self)->state = (enum pykw_future_state)i;
			return 0;
		}
	}
	PyErr_SetString(PyExc_ValueError, "not a state of a future");
	return -1;
}

static PyObject **field(PyObject *self, void *offset)
{
	return (PyObject **)((char *)self + (size_t)offset);
}

static PyObject *get_field(PyObject *self, void *offset)
{
	PyObject *value = *field(self, offset);

	return Py_NewRef(value ? value : Py_None);
}

/* A list, made when it is asked for. */
static PyObject *get_list(PyObject *self, void *offset)
{
	if (!*field(self, offset))
		*field(self, offset) = PyList_New(0);
	return Py_XNewRef(*field(self, offset));
}

static PyObject *get_condition(PyObject *self, void *offset)
{
	if (!*field(self, offset)) {
		PyObject *made = PyObject_CallNoArgs(pykw_the.make_condition);

		if (!made)
			return NULL;
		/* Meanwhile another thread may have been here. */
		if (*field(self, offset))
			Py_DECREF(made);
		else
			*field(self, offset) = made;
	}
	return Py_NewRef(*field(self, offset));
}

static int set_field(PyObject *self, PyObject *value, void *offset)
{
	PyObject *before = *field(self, offset);

	*field(self, offset) = Py_XNewRef(value == Py_None ? NULL : value);
	Py_XDECREF(before);
	return 0;
}

#define AT(member) ((void *)offsetof(struct pykw_future, member))

static PyGetSetDef future_getset[] = {
	{ "_state", get_state, set_state, NULL, NULL },
	{ "_result", get_field, set_field, NULL, AT(result) },
	{ "_exception", get_field, set_field, NULL, AT(exception) },
	{ "_condition", get_condition, set_field, NULL, AT(condition) },
	{ "_waiters", get_list, set_field, NULL, AT(waiters) },
	{ "_done_callbacks", get_list, set_field, NULL, AT(callbacks) },
	{ NULL, NULL, NULL, NULL, NULL },
};

PyDoc_STRVAR(result_doc,
"result($self, /, timeout=None)\n"
"--\n"
"\n"
"Wait for the call, and return what it has returned, or raise what it has raised.\n"
"\n"
"From any thread; polls for a short time, then sleeps; Ctrl-C ends the wait, and it may be\n"
"called again. As concurrent.futures.Future.result.\n"
"\n"
":param timeout: seconds; None: no limit.\n"
":raises TimeoutError: it is not over in time.\n"
":raises concurrent.futures.CancelledError: it was cancelled.\n"
":raises DeadlockError: from a callback of its own worker, or of one that this worker waits\n"
"    for.\n"
":raises RuntimeError: in a forked child, for a call that was pending in the parent.\n"
"\n"
">>> with kw.Worker() as worker:\n"
"...     worker.submit(int, '12').result()\n"
"12");

PyDoc_STRVAR(exception_doc,
"exception($self, /, timeout=None)\n"
"--\n"
"\n"
"Wait for the call, and return what it has raised; None: nothing.\n"
"\n"
"Takes and raises as result().\n"
"\n"
">>> with kw.Worker() as worker:\n"
"...     worker.submit(int, 'twelve').exception()\n"
"ValueError(\"invalid literal for int() with base 10: 'twelve'\")");

PyDoc_STRVAR(cancel_doc,
"cancel($self, /)\n"
"--\n"
"\n"
"Take the call off the worker's list, if it has not begun.\n"
"\n"
"From any thread, and from callbacks; never waits.\n"
"\n"
":returns: True: it is cancelled, and its worker holds neither function nor arguments any\n"
"    more. False: it runs, or has run.\n"
"\n"
">>> with kw.Worker(start=False) as worker:\n"
"...     future = worker.submit(print, 'never')\n"
"...     future.cancel(), worker.stats()['pending']\n"
"(True, 0)");

PyDoc_STRVAR(cancelled_doc,
"cancelled($self, /)\n--\n\nReturn True if it was cancelled.\n"
"\n"
">>> with kw.Worker(start=False) as worker:\n"
"...     future = worker.submit(print)\n"
">>> future.cancelled()  # there was no thread to run it\n"
"True");
PyDoc_STRVAR(running_doc,
"running($self, /)\n--\n\nReturn True while the call runs.\n"
"\n"
">>> with kw.Worker(start=False) as worker:\n"
"...     worker.submit(print).running()\n"
"False");
PyDoc_STRVAR(done_doc,
"done($self, /)\n--\n\nReturn True if the call is over, or was cancelled.\n"
"\n"
">>> with kw.Worker() as worker:\n"
"...     future = worker.submit(print, 'done')\n"
"...     worker.flush()\n"
"...     future.done()\n"
"done\n"
"True");

static PyMethodDef future_methods[] = {
	{ "result", (PyCFunction)(void (*)(void))future_result, METH_VARARGS | METH_KEYWORDS,
	  result_doc },
	{ "exception", (PyCFunction)(void (*)(void))future_exception, METH_VARARGS | METH_KEYWORDS,
	  exception_doc },
	{ "cancel", future_cancel, METH_NOARGS, cancel_doc },
	{ "cancelled", future_cancelled, METH_NOARGS, cancelled_doc },
	{ "running", future_running, METH_NOARGS, running_doc },
	{ "done", future_done, METH_NOARGS, done_doc },
	{ NULL, NULL, 0, NULL },
};

/* ---- life ---- */

static PyObject *future_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	(void)args, (void)kwargs; /* for __init__ */
	return pykw_allocate(type);
}

static int future_traverse(PyObject *self, visitproc visit, void *arg)
{
	struct pykw_future *f = (struct pykw_future *)self;

	Py_VISIT(Py_TYPE(self));
	Py_VISIT(f->result);
	Py_VISIT(f->exception);
	Py_VISIT(f->condition);
	Py_VISIT(f->waiters);
	Py_VISIT(f->callbacks);
	Py_VISIT(f->call);
	return 0;
}

static int future_clear(PyObject *self)
{
	struct pykw_future *f = (struct pykw_future *)self;

	Py_CLEAR(f->result);
	Py_CLEAR(f->exception);
	Py_CLEAR(f->condition);
	Py_CLEAR(f->waiters);
	Py_CLEAR(f->callbacks);
	Py_CLEAR(f->call);
	return 0;
}

static void future_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	future_clear(self);
	pykw_free_object(self);
}

static PyType_Slot future_slots[] = {
	{ Py_tp_new, future_new },
	{ Py_tp_dealloc, future_dealloc },
	{ Py_tp_traverse, future_traverse },
	{ Py_tp_clear, future_clear },
	{ Py_tp_getset, future_getset },
	{ Py_tp_methods, future_methods },
	{ 0, NULL },
};

static PyType_Spec future_spec = {
	.name = "pykworker._native.FutureBase",
	.basicsize = sizeof(struct pykw_future),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = future_slots,
};

/* What a Work has, it has from there. */
static int call_traverse(PyObject *self, visitproc visit, void *arg)
{
	Py_VISIT(((struct pykw_call *)self)->future);
	return pykw_work_traverse(self, visit, arg);
}

static int call_clear(PyObject *self)
{
	struct pykw_call *call = (struct pykw_call *)self;

	unlink_call(call);
	Py_CLEAR(call->future);
	return pykw_work_clear(self);
}

static void call_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	call_clear(self);
	pykw_free_object(self);
}

static PyType_Slot call_slots[] = {
	{ Py_tp_dealloc, call_dealloc },
	{ Py_tp_traverse, call_traverse },
	{ Py_tp_clear, call_clear },
	{ 0, NULL },
};

static PyType_Spec call_spec = {
	.name = "pykworker._native.CallBase",
	.basicsize = sizeof(struct pykw_call),
	.flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_GC,
	.slots = call_slots,
};

int pykw_make_future_types(void)
{
	for (int i = 0; i < STATES; i++) {
		state_objects[i] = PyUnicode_InternFromString(state_names[i]);
		if (!state_objects[i])
			return -1;
	}
	pykw_future_type = (PyTypeObject *)PyType_FromSpec(&future_spec);
	pykw_call_type = (PyTypeObject *)PyType_FromSpecWithBases(&call_spec,
								  (PyObject *)pykw_work_type);
	return pykw_future_type && pykw_call_type ? 0 : -1;
}
