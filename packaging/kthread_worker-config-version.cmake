# SPDX-License-Identifier: GPL-2.0-only
# Compatible is a later version of the same major one; before 1.0, of the same minor one.
set(PACKAGE_VERSION "@PROJECT_VERSION@")

if(PACKAGE_FIND_VERSION_RANGE)
  set(_kthread_worker_asked "${PACKAGE_FIND_VERSION_MIN}")
else()
  set(_kthread_worker_asked "${PACKAGE_FIND_VERSION}")
endif()

string(REGEX MATCH "^(0\\.[0-9]+|[0-9]+)" _kthread_worker_series "${PACKAGE_VERSION}")
string(REGEX MATCH "^(0\\.[0-9]+|[0-9]+)" _kthread_worker_wanted "${_kthread_worker_asked}")

set(PACKAGE_VERSION_COMPATIBLE FALSE)
if(_kthread_worker_asked STREQUAL "" OR
   (_kthread_worker_wanted STREQUAL _kthread_worker_series AND
    NOT PACKAGE_VERSION VERSION_LESS _kthread_worker_asked))
  set(PACKAGE_VERSION_COMPATIBLE TRUE)
endif()
if(PACKAGE_VERSION VERSION_EQUAL "${_kthread_worker_asked}")
  set(PACKAGE_VERSION_EXACT TRUE)
endif()

# Built for addresses of another size, as a library of the 32-bit system beside this one.
if(CMAKE_SIZEOF_VOID_P AND NOT CMAKE_SIZEOF_VOID_P EQUAL "@POINTER_SIZE@")
  set(PACKAGE_VERSION "${PACKAGE_VERSION} (of another word size)")
  set(PACKAGE_VERSION_UNSUITABLE TRUE)
endif()
