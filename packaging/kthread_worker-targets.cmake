# SPDX-License-Identifier: GPL-2.0-only
# What "make install" puts where CMake would put a generated file: both libraries are there, and
# KTHREAD_WORKER_STATIC, set before find_package, chooses.
if(TARGET kthread_worker::kthread_worker)
  return()
endif()

get_filename_component(_kthread_worker_libdir "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
get_filename_component(_kthread_worker_includedir
                       "${CMAKE_CURRENT_LIST_DIR}/@INCLUDEDIR_FROM_HERE@" ABSOLUTE)

if(KTHREAD_WORKER_STATIC)
  add_library(kthread_worker::kthread_worker STATIC IMPORTED)
  set_target_properties(kthread_worker::kthread_worker PROPERTIES
    IMPORTED_LOCATION "${_kthread_worker_libdir}/libkthread_worker.a"
    IMPORTED_LINK_INTERFACE_LANGUAGES C)
else()
  add_library(kthread_worker::kthread_worker SHARED IMPORTED)
  set_target_properties(kthread_worker::kthread_worker PROPERTIES
    IMPORTED_LOCATION "${_kthread_worker_libdir}/libkthread_worker.so.@PROJECT_VERSION@"
    IMPORTED_SONAME "libkthread_worker.so.@ABI@")
endif()
set_target_properties(kthread_worker::kthread_worker PROPERTIES
  INTERFACE_INCLUDE_DIRECTORIES "${_kthread_worker_includedir}"
  INTERFACE_LINK_LIBRARIES Threads::Threads)

unset(_kthread_worker_libdir)
unset(_kthread_worker_includedir)
