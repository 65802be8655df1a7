// SPDX-License-Identifier: GPL-2.0-only
// The thread's source; a unit of its own, since it has enumerators of the same names.
#include "shim.hpp"

#include "kthread_internal.h"

#include "kthread.c"

/* What a scenario itself does is no site of the core. */
static model::site own_site = { __FILE__, 0, "scenario", model::AS_WRITTEN, 0 };
#undef MODEL_SITE
#define MODEL_SITE(text) own_site

#include "model.hpp"
#include "thread_scenarios.hpp"
