// SPDX-License-Identifier: GPL-2.0-only
// The thread's source; a unit of its own, since it has enumerators of the same names.
#include "shim.hpp"

#include "kthread_internal.h"

#include "kthread.c"

/* A thread's attributes are the system's: here there are none. */
int kthread_apply_attr(const struct kthread_attr *) { return 0; }
int kthread_apply_stack_size(const struct kthread_attr *, pthread_attr_t *) { return 0; }
void kthread_note_refused(const char *) {}
const char *kthread_refused_attr(void) { return NULL; }

/* What a scenario itself does is no site of the core. */
static model::site own_site = { __FILE__, 0, "scenario", model::AS_WRITTEN, 0 };
#undef MODEL_SITE
#define MODEL_SITE(text) own_site

#include "model.hpp"
#include "thread_scenarios.hpp"
