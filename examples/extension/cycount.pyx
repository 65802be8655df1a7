# SPDX-License-Identifier: GPL-2.0-only
# cython: language_level=3
"""The same way in Cython: a work in C on a worker of Python's."""

from libc.stdint cimport uint32_t
from libc.stdlib cimport calloc, free


cdef extern from "pykworker.h":
    # What is used here of the table, and how each treats exceptions and the GIL.
    struct kthread_worker:
        pass
    struct kthread_work:
        pass
    ctypedef void (*kthread_work_func_t)(kthread_work *) noexcept nogil
    struct pykworker_api:
        kthread_worker *(*hold_worker)(object) except NULL
        void (*release_worker)(kthread_worker *) noexcept
        int (*queue_object)(object, object) except -1
        void (*init_work)(kthread_work *, kthread_work_func_t) noexcept nogil
        int (*queue_work_status)(kthread_worker *, kthread_work *) noexcept nogil
        int (*flush_work)(kthread_work *) noexcept nogil
        int (*cancel_work_sync_timeout)(kthread_work *, unsigned long long) noexcept nogil
    const pykworker_api *pykworker_import_api(uint32_t) except NULL
    const unsigned long long KTHREAD_FOREVER


cdef const pykworker_api *api = pykworker_import_api(1)


cdef struct counting:
    kthread_work work  # first: count_one gets its address
    long n


cdef void count_one(kthread_work *work) noexcept nogil:
    (<counting *>work).n += 1


cdef class Counter:
    """Counts on the worker's thread."""

    cdef counting *counting
    cdef kthread_worker *held
    cdef object worker

    def __cinit__(self, worker):
        self.counting = <counting *>calloc(1, sizeof(counting))
        if self.counting == NULL:
            raise MemoryError
        self.held = api.hold_worker(worker)
        self.worker = worker
        api.init_work(&self.counting.work, count_one)

    def __dealloc__(self):
        cdef int result = 0
        if self.held != NULL:
            with nogil:
                result = api.cancel_work_sync_timeout(&self.counting.work, KTHREAD_FOREVER)
        if result < 0:
            return  # not idle, see accumulate.c
        if self.held != NULL:
            api.release_worker(self.held)
        free(self.counting)

    def count(self):
        """Have it counted; True, or False when a count is pending already."""
        cdef int result = api.queue_work_status(self.held, &self.counting.work)
        if result < 0:
            raise OSError(-result, "the worker refused")
        return bool(result)

    def then(self, work):
        """Queue a work of Python behind it."""
        return bool(api.queue_object(self.worker, work))

    def flush(self):
        """Wait until it is counted."""
        cdef int result
        with nogil:
            result = api.flush_work(&self.counting.work)
        if result < 0:
            raise OSError(-result, "it did not run")

    @property
    def n(self):
        return self.counting.n
