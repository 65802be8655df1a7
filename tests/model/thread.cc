// SPDX-License-Identifier: GPL-2.0-only
// The thread's source; a unit of its own, since it has enumerators of the same names.
#include "shim.hpp"

#include "kthread_internal.h"

#include "kthread.c"

#include "model.hpp"
