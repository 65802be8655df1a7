/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Not measured: contestants that lose a job, or run one twice, behind --broken. The harness
 * must notice both.
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

const struct contestant loses = {
	.name = "loses a job", .kind = BESIDE, .version = version, .open = open_nothing,
	.produce = lose, .close = close_nothing,
};

const struct contestant repeats = {
	.name = "runs a job twice", .kind = BESIDE, .version = version, .open = open_nothing,
	.produce = twice, .close = close_nothing,
};
