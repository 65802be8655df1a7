/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Not measured: contestants that lose a job or a timer, or run one twice, behind --broken. The
 * harness must notice both, and a timer that runs although it was cancelled.
 */
#include <pthread.h>
#include <stdlib.h>

#include "against.h"

/* There is no thread: who produces runs them, so that only the count is wrong. */
static void version(char *text, size_t size)
{
	(void)size;
	text[0] = '\0';
}

static void *open_nothing(unsigned int jobs, unsigned int producers)
{
	(void)producers;
	return job_array(jobs);
}

static void close_nothing(void *handle)
{
	free(handle);
}

static void lose(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	struct job *jobs = handle;

	(void)producer;
	for (unsigned int i = first; i < first + count; i++)
		if (i != 5)
			jobs[i].run(&jobs[i]);
}

static void twice(void *handle, unsigned int producer, unsigned int first, unsigned int count)
{
	struct job *jobs = handle;

	(void)producer;
	for (unsigned int i = first; i < first + count; i++)
		jobs[i].run(&jobs[i]);
	if (count > 1)
		jobs[first].run(&jobs[first]);
}

/* Of those that are cancelled, one is not. */
static void lose_timer(void *handle)
{
	(void)handle;
	timers_begin();
	for (unsigned int i = 0; i < timers.count; i++)
		if (timers.expire == (i != 5))
			timer_ran();
	if (!timers.expire)
		timers_done();
}

static void twice_timer(void *handle)
{
	(void)handle;
	timers_begin();
	for (unsigned int i = 0; i < timers.count && timers.expire; i++)
		timer_ran();
	if (timers.expire)
		timer_ran();
	else
		timers_done();
}

const struct contestant loses = {
	.name = "loses a job", .kind = BESIDE, .version = version, .open = open_nothing,
	.produce = lose, .timers = lose_timer, .close = close_nothing,
};

const struct contestant repeats = {
	.name = "runs a job twice", .kind = BESIDE, .version = version, .open = open_nothing,
	.produce = twice, .timers = twice_timer, .close = close_nothing,
};
