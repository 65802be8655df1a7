// SPDX-License-Identifier: GPL-2.0-only
// The worker's source, and the scenarios, which may call what is static in it.
#include "shim.hpp"

#include "kthread_worker.h"

#include "kthread_internal.h"

#include "worker_sources.h"

/* What a scenario itself does is no site of the core. */
static model::site own_site = { __FILE__, 0, "scenario", model::AS_WRITTEN, 0 };
#undef MODEL_SITE
#define MODEL_SITE(text) own_site

#include "model.hpp"
#include "scenarios.hpp"
