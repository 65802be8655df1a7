/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * record.c - what the workers do, written down for pykworker.trace.
 *
 * The hooks of the core write events into a ring of records: no Python code, no lock and
 * no allocation, but for a name that was not seen before. A queueing is one record, written
 * by whatever thread queues, without the GIL and in signal handlers too; a run is one, written
 * when it has ended. Workers that are not recorded have no hooks, and so pay nothing.
 *
 * A callback's name is its function's __qualname__, which all closures of one "def" share. Those
 * are interned for as long as the recording goes on, and a record has the name's number: so
 * neither a function nor a work is held longer than without.
 *
 * A hook that is under way when the recording ends may still write. So the memory stays mapped,
 * for the next recording; its pages are given back.
 */
#include "binding.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif
#include <unistd.h>

#define CACHED 256 /* names that are found without a look into the dict; a power of two */

#define NAMES_BESIDES 1000 /* names that there is room for, beside one for each record */

/* In next: nothing is recorded. */
#define CLOSED (UINT64_C(1) << 63)

#define AFTER_NUMBER offsetof(struct pykw_record, begin_ns)

struct ring {
	struct pykw_record *records;	/* constant */
	uint64_t capacity;		/* records mapped; constant */
	uint64_t limit;			/* records used; under the GIL, while closed */
};

static _Atomic(struct ring *) ring; /* never freed; another one when it was too small */
static _Atomic(uint64_t) next = CLOSED;

/* Under the GIL. */
static PyObject *numbers;	/* dict: the number of each name; NULL: nothing is recorded */
static uint64_t most_names;
static PyObject *qualname;	/* "__qualname__" */
static struct {
	PyObject *name;		/* held by the dict */
	uint64_t number;
} cache[CACHED];

static _Thread_local uint32_t tid;

static uint32_t thread_id(void)
{
#ifdef SYS_gettid
	if (!tid)
		tid = (uint32_t)syscall(SYS_gettid);
#else
	if (!tid)
		tid = (uint32_t)(uintptr_t)pthread_self();
#endif
	return tid;
}

/* ---- records ---- */

static void write_record(const struct pykw_record *record)
{
	uint64_t i = atomic_fetch_add_explicit(&next, 1, memory_order_acquire);
	const struct ring *r = atomic_load_explicit(&ring, memory_order_acquire);
	struct pykw_record *slot;

	if (i & CLOSED)
		return;
	slot = &r->records[i % r->limit];
	/* While it has no number it is not complete. */
	__atomic_store_n(&slot->number, 0, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	memcpy((char *)slot + AFTER_NUMBER, (const char *)record + AFTER_NUMBER,
	       sizeof(*slot) - AFTER_NUMBER);
	__atomic_store_n(&slot->number, i + 1, __ATOMIC_RELEASE);
}

/* ---- names ---- */

/* What has no __qualname__ is called as its type. */
static PyObject *name_of(PyObject *fn)
{
	PyObject *name = PyObject_GetAttr(fn, qualname), *function;

	if (name && PyUnicode_CheckExact(name))
		return name;
	Py_CLEAR(name);
	PyErr_Clear();
	if (PyObject_TypeCheck(fn, (PyTypeObject *)pykw_the.partial)) {
		function = PyObject_GetAttrString(fn, "func");
		name = function ? PyObject_GetAttr(function, qualname) : NULL;
		Py_XDECREF(function);
		if (name && PyUnicode_CheckExact(name))
			return name;
		Py_CLEAR(name);
		PyErr_Clear();
	}
	return PyType_GetQualName(Py_TYPE(fn));
}

/* The number of a name, given to it now if it has none; 0: no memory. */
static uint64_t number_of(PyObject *name)
{
	size_t i = ((uintptr_t)name >> 4) % CACHED;
	PyObject *number;
	uint64_t n;

	if (!numbers)
		return 0; /* to find the name has ended it */
	if (cache[i].name == name)
		return cache[i].number;
	number = PyDict_GetItemWithError(numbers, name);
	if (number)
		return PyLong_AsUnsignedLongLong(number);
	n = (uint64_t)PyDict_Size(numbers) + 1;
	if (n > most_names)
		return 0; /* names that are made as they are needed have an end as well */
	number = PyLong_FromUnsignedLongLong(n);
	if (!number || PyDict_SetItem(numbers, name, number) < 0) {
		PyErr_Clear();
		n = 0;
	} else {
		cache[i].name = name; /* the dict's key is this object */
		cache[i].number = n;
	}
	Py_XDECREF(number);
	return n;
}

static uint64_t callback_number(struct pykw_work *w)
{
	PyObject *name;
	uint64_t n;

	if (!numbers || !w->fn)
		return 0;
	name = name_of(w->fn);
	if (!name) {
		PyErr_Clear();
		return 0;
	}
	n = number_of(name);
	Py_DECREF(name);
	return n;
}

/* ---- the core's hooks ---- */

static void on_queue(const struct kthread_trace *trace, struct kthread_worker *worker,
		     struct kthread_work *work)
{
	const struct pykw_worker *pw = kthread_worker_data(worker);
	const struct pykw_worker *server = pykw_worker_of(kthread_current_worker());
	struct pykw_record record = {
		.begin_ns = gil_clock_ns(),
		.work = (uintptr_t)work,
		.worker = pw->recorded_as,
		.server = server ? server->recorded_as : 0,
		.thread = thread_id(),
		.kind = PYKW_QUEUED,
	};

	(void)trace;
	write_record(&record);
}

static void on_start(const struct kthread_trace *trace, struct kthread_worker *worker,
		     struct kthread_work *work)
{
	struct pykw_worker *pw = kthread_worker_data(worker);
	struct pykw_record *run = &pw->run;

	(void)trace;
	run->work = (uintptr_t)work;
	run->worker = pw->recorded_as;
	run->thread = thread_id();
	if (!pykw_is_own(work->func)) {
		run->kind = PYKW_NATIVE;
		run->name = (uintptr_t)work->func;
		run->taken_ns = 0;
	} else if (pykw_object_of(work)->extra && pykw_object_of(work)->extra->native) {
		run->kind = PYKW_NATIVE;
		run->name = (uintptr_t)pykw_object_of(work)->extra->native->function;
		run->taken_ns = 0;
	} else {
		run->kind = PYKW_CALLED;
		run->taken_ns = pw->keeps_gil ? 0 : gil_clock_ns();
		gil_keep(pw); /* which the run is about to do */
		run->name = callback_number(pykw_object_of(work));
	}
	__atomic_store_n(&run->begin_ns, gil_clock_ns(), __ATOMIC_RELEASE);
}

/* The work may be freed by now. */
static void on_end(const struct kthread_trace *trace, struct kthread_worker *worker,
		   const void *work, kthread_work_func_t func)
{
	struct pykw_worker *pw = kthread_worker_data(worker);
	struct pykw_record *run = &pw->run;

	(void)trace, (void)work, (void)func;
	if (!run->begin_ns)
		return; /* it had begun before the recording */
	run->end_ns = gil_clock_ns();
	write_record(run);
	__atomic_store_n(&run->begin_ns, 0, __ATOMIC_RELAXED);
}

static const struct kthread_trace hooks = {
	.queue = on_queue,
	.execute_start = on_start,
	.execute_end = on_end,
};

/* ---- for Python ---- */

static struct ring *make_ring(uint64_t records)
{
	struct ring *r = calloc(1, sizeof(*r));

	if (!r || records > SIZE_MAX / sizeof(*r->records))
		goto no_memory;
	r->records = mmap(NULL, records * sizeof(*r->records), PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (r->records == MAP_FAILED)
		goto no_memory;
	r->capacity = records;
	return r;

no_memory:
	free(r);
	return NULL;
}

/* Begin, with the dict empty. Returns 0; -EBUSY: one goes on; -ENOMEM. */
int pykw_record_begin(uint64_t records, uintptr_t id_numbers)
{
	struct ring *r = atomic_load(&ring);

	if (numbers)
		return -EBUSY;
	if (!qualname)
		qualname = PyUnicode_InternFromString("__qualname__");
	if (!qualname) {
		PyErr_Clear();
		return -ENOMEM;
	}
	if (!r || records > r->capacity)
		r = make_ring(records);
	if (!r)
		return -ENOMEM;
	r->limit = records;
	most_names = records + NAMES_BESIDES;
	atomic_store(&ring, r);
	memset(cache, 0, sizeof(cache));
	numbers = Py_NewRef((PyObject *)id_numbers);
	atomic_store(&next, 0);
	return 0;
}

/* Have a worker recorded, under a number that is not 0; 0: no more. */
void pykw_record_worker(uintptr_t worker, uint32_t number)
{
	struct pykw_worker *pw = (struct pykw_worker *)worker;

	if (!number) {
		kthread_worker_set_trace(pw->worker, NULL);
		return;
	}
	__atomic_store_n(&pw->run.begin_ns, 0, __ATOMIC_RELAXED);
	pw->recorded_as = number;
	kthread_worker_set_trace(pw->worker, &hooks);
}

/* The run that goes on; returns false: none does. */
bool pykw_record_running(uintptr_t worker, struct pykw_record *record)
{
	*record = ((struct pykw_worker *)worker)->run;
	record->end_ns = 0;
	return record->begin_ns != 0;
}

/* End it. Returns how many records there were, those included that were overwritten. */
uint64_t pykw_record_end(void)
{
	uint64_t n = atomic_fetch_or(&next, CLOSED);

	Py_CLEAR(numbers);
	return n & CLOSED ? 0 : n;
}

/* In a forked child: nothing of it is recorded. */
void pykw_record_after_fork(void)
{
	tid = 0;
	pykw_record_end();
}

/* To be read after that. */
const struct pykw_record *pykw_record_ring(void)
{
	return atomic_load(&ring)->records;
}

/* It was read. */
void pykw_record_forget(void)
{
	struct ring *r = atomic_load(&ring);

	madvise(r->records, r->capacity * sizeof(*r->records), MADV_DONTNEED);
}
