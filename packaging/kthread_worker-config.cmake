# SPDX-License-Identifier: GPL-2.0-only
# find_package(kthread_worker) defines kthread_worker::kthread_worker.
include(CMakeFindDependencyMacro)
set(THREADS_PREFER_PTHREAD_FLAG ON)
find_dependency(Threads)
include("${CMAKE_CURRENT_LIST_DIR}/kthread_worker-targets.cmake")
