/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * kthread_attr.c - what is set on a thread: its scheduling class, CPUs, cgroup, stack and
 * memory. See kthread.h.
 *
 * On Linux every part has a system call, or a file, that takes the id of a thread. Elsewhere
 * there is what POSIX has: the class and the priority of the calling thread.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include "kthread_internal.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/prctl.h>
#include <sys/syscall.h>
#endif
#ifdef __GLIBC__
#include <malloc.h>
#endif

#ifndef SCHED_DEADLINE
#define SCHED_DEADLINE 6
#endif
#ifndef SCHED_RESET_ON_FORK
#define SCHED_RESET_ON_FORK 0x40000000
#endif

/* ---- which part was refused ---- */

static _Thread_local const char *refused_attr;

const char *kthread_refused_attr(void)
{
	return refused_attr;
}

void kthread_note_refused(const char *field)
{
	refused_attr = field;
}

/* Returns @result; when it is an error, @field is what it was refused for. */
static int refused(const char *field, int result)
{
	if (result < 0)
		refused_attr = field;
	return result;
}

#ifdef __linux__

/* ---- class and priority ---- */

/* struct sched_attr of <linux/sched/types.h>, whose first version is all that is needed. */
struct scheduling {
	uint32_t size;
	uint32_t policy;
	uint64_t flags;
	int32_t nice;
	uint32_t priority;
	uint64_t runtime;
	uint64_t deadline;
	uint64_t period;
};

static int set_nice(int nice, pid_t tid)
{
	if (nice < -20 || nice > 19)
		return -EINVAL;
	return setpriority(PRIO_PROCESS, (id_t)tid, nice) < 0 ? -errno : 0;
}

static int get_nice(pid_t tid, int *nice)
{
	errno = 0;
	*nice = getpriority(PRIO_PROCESS, (id_t)tid);
	return *nice == -1 && errno ? -errno : 0;
}

static int set_scheduler(const struct kthread_attr *attr, pid_t tid)
{
	struct scheduling wanted = { .size = sizeof(wanted) };
	int nice = attr->nice, result;

	if (attr->policy == KTHREAD_INHERIT)
		return nice == KTHREAD_INHERIT ? 0 : refused("nice", set_nice(nice, tid));
	if (attr->policy < 0 || attr->priority < 0)
		return refused("policy", -EINVAL);
	if (nice == KTHREAD_INHERIT) {
		result = get_nice(tid, &nice);
		if (result)
			return refused("policy", result);
	} else if (nice < -20 || nice > 19) {
		return refused("nice", -EINVAL);
	}
	wanted.policy = (uint32_t)attr->policy;
	wanted.priority = (uint32_t)attr->priority;
	wanted.nice = nice;
	if (attr->policy == SCHED_DEADLINE) {
		wanted.runtime = attr->runtime_ns;
		wanted.deadline = attr->deadline_ns;
		wanted.period = attr->period_ns;
	}
	result = syscall(SYS_sched_setattr, tid, &wanted, 0u) < 0 ? -errno : 0;
	return refused("policy", result);
}

static int get_scheduler(struct kthread_attr *attr, pid_t tid)
{
	struct scheduling now = { 0 };

	if (syscall(SYS_sched_getattr, tid, &now, (unsigned int)sizeof(now), 0u) < 0)
		return -errno;
	attr->policy = (int)(now.policy & ~(uint32_t)SCHED_RESET_ON_FORK);
	attr->priority = (int)now.priority;
	attr->nice = now.nice;
	attr->runtime_ns = now.runtime;
	attr->deadline_ns = now.deadline;
	attr->period_ns = now.period;
	return 0;
}

/* ---- CPUs ---- */

static int parse_cpu(const char **at)
{
	unsigned long cpu;
	char *end;

	if (**at < '0' || **at > '9')
		return -EINVAL;
	errno = 0;
	cpu = strtoul(*at, &end, 10);
	if (errno || cpu >= CPU_SETSIZE)
		return -EINVAL;
	*at = end;
	return (int)cpu;
}

/* "0-3,6": a CPU list as the kernel writes it. */
static int parse_cpus(const char *at, cpu_set_t *set)
{
	CPU_ZERO(set);
	for (;;) {
		int first = parse_cpu(&at), last = first;

		if (first < 0)
			return first;
		if (*at == '-') {
			at++;
			last = parse_cpu(&at);
			if (last < first)
				return -EINVAL;
		}
		for (int cpu = first; cpu <= last; cpu++)
			CPU_SET(cpu, set);
		if (*at == '\0')
			return 0;
		if (*at++ != ',')
			return -EINVAL;
	}
}

static int set_cpus(const char *cpus, pid_t tid)
{
	cpu_set_t set;

	if (parse_cpus(cpus, &set) < 0)
		return -EINVAL;
	return sched_setaffinity(tid, sizeof(set), &set) < 0 ? -errno : 0;
}

/* Write the list that parse_cpus reads. Returns its length, or -ERANGE. */
static int format_cpus(const cpu_set_t *set, char *list, size_t size)
{
	size_t length = 0;

	for (int first = 0; first < CPU_SETSIZE; first++) {
		int last = first, n;

		if (!CPU_ISSET(first, set))
			continue;
		while (last + 1 < CPU_SETSIZE && CPU_ISSET(last + 1, set))
			last++;
		n = snprintf(list + length, size - length, last > first ? "%s%d-%d" : "%s%d",
			     length ? "," : "", first, last);
		if (n < 0 || (size_t)n >= size - length)
			return -ERANGE;
		length += (size_t)n;
		first = last;
	}
	return (int)length;
}

static int get_cpus(pid_t tid, char *list, size_t size)
{
	cpu_set_t set;

	if (sched_getaffinity(tid, sizeof(set), &set) < 0)
		return -errno;
	return format_cpus(&set, list, size);
}

/* ---- cgroup ---- */

static int join_cgroup(const char *directory, pid_t tid)
{
	static const char *const files[] = { "cgroup.threads", "tasks" };
	char path[PATH_MAX], text[24];
	int fd = -1, result, length;

	for (int i = 0; i < 2 && fd < 0; i++) {
		if (snprintf(path, sizeof(path), "%s/%s", directory, files[i]) >=
		    (int)sizeof(path))
			return -ENAMETOOLONG;
		fd = open(path, O_WRONLY | O_CLOEXEC);
		if (fd < 0 && errno != ENOENT)
			return -errno;
	}
	if (fd < 0)
		return -ENOENT;
	length = snprintf(text, sizeof(text), "%d", (int)tid);
	errno = EIO; /* for a write that is short */
	result = write(fd, text, (size_t)length) == length ? 0 : -errno;
	close(fd);
	return result;
}

/* Is @controller one of the comma-separated @names? NULL: are there none, as in v2? */
static bool is_named(const char *names, const char *controller)
{
	size_t length;

	if (!controller)
		return *names == '\0';
	length = strlen(controller);
	while (*names) {
		size_t n = strcspn(names, ",");

		if (n == length && !strncmp(names, controller, n))
			return true;
		names += n + (names[n] == ',');
	}
	return false;
}

/* A line is "number:controllers:path". */
static int get_cgroup(pid_t tid, const char *controller, char *path, size_t size)
{
	char file[48], *line = NULL;
	size_t room = 0;
	int result = -ENOENT;
	FILE *lines;

	snprintf(file, sizeof(file), "/proc/self/task/%d/cgroup", (int)tid);
	lines = fopen(file, "re");
	if (!lines)
		return -errno;
	while (result == -ENOENT && getline(&line, &room, lines) > 0) {
		char *names = strchr(line, ':'), *found = names ? strchr(names + 1, ':') : NULL;

		if (!found)
			continue;
		*found++ = '\0';
		found[strcspn(found, "\n")] = '\0';
		if (!is_named(names + 1, controller))
			continue;
		result = (int)strlen(found);
		if ((size_t)result < size)
			memcpy(path, found, (size_t)result + 1);
		else
			result = -ERANGE;
	}
	free(line);
	fclose(lines);
	return result;
}

/* ---- memory and timers, of the calling thread ---- */

/* Touch its stack, of which the part below the present frame was not used yet. */
static void touch_stack(void)
{
	char here;
	uintptr_t low, at = (uintptr_t)&here;
	pthread_attr_t attr;
	size_t size, page = (size_t)sysconf(_SC_PAGESIZE);
	void *bottom;

	if (pthread_getattr_np(pthread_self(), &attr))
		return;
	if (!pthread_attr_getstack(&attr, &bottom, &size)) {
		low = (uintptr_t)bottom;
		/* The present frame, and those of the calls made here, are left alone. */
		for (at -= 2 * page; at >= low + page && at > page; at -= page)
			*(volatile char *)at = 0;
	}
	pthread_attr_destroy(&attr);
}

static int set_timer_slack(uint64_t ns)
{
	if (ns > LONG_MAX)
		return -EINVAL;
	return prctl(PR_SET_TIMERSLACK, (unsigned long)ns, 0, 0, 0) < 0 ? -errno : 0;
}

#else

static int set_scheduler(const struct kthread_attr *attr, pid_t tid)
{
	struct sched_param param = { .sched_priority = attr->priority };

	(void)tid;
	if (attr->nice != KTHREAD_INHERIT)
		return refused("nice", -ENOTSUP);
	if (attr->policy == KTHREAD_INHERIT)
		return 0;
	return refused("policy", -pthread_setschedparam(pthread_self(), attr->policy, &param));
}

static int get_scheduler(struct kthread_attr *attr, pid_t tid)
{
	(void)attr, (void)tid;
	return -ENOTSUP;
}

static int set_cpus(const char *cpus, pid_t tid)
{
	(void)cpus, (void)tid;
	return -ENOTSUP;
}

static int get_cpus(pid_t tid, char *list, size_t size)
{
	(void)tid, (void)list, (void)size;
	return -ENOTSUP;
}

static int join_cgroup(const char *directory, pid_t tid)
{
	(void)directory, (void)tid;
	return -ENOTSUP;
}

static int get_cgroup(pid_t tid, const char *controller, char *path, size_t size)
{
	(void)tid, (void)controller, (void)path, (void)size;
	return -ENOTSUP;
}

static void touch_stack(void)
{
}

static int set_timer_slack(uint64_t ns)
{
	(void)ns;
	return -ENOTSUP;
}

#endif

int kthread_lock_memory(void)
{
	if (mlockall(MCL_CURRENT | MCL_FUTURE) < 0)
		return -errno;
#ifdef __GLIBC__
	/* What is freed is kept, and not got anew from the system. */
	mallopt(M_TRIM_THRESHOLD, -1);
	mallopt(M_MMAP_MAX, 0);
#endif
	return 0;
}

/* ---- a thread to come ---- */

int kthread_apply_stack_size(const struct kthread_attr *attr, pthread_attr_t *pthread)
{
	size_t size = attr->stack_size, page = (size_t)sysconf(_SC_PAGESIZE);
	int err;

	if (!size)
		return 0;
	if (size > SIZE_MAX - page)
		err = EINVAL;
	else
		err = pthread_attr_setstacksize(pthread, (size + page - 1) / page * page);
	refused("stack_size", -err);
	return err;
}

int kthread_apply_attr(const struct kthread_attr *attr)
{
	pid_t self = kthread_current()->tid;
	int result = 0;

	/* The cgroup before the class: v1's may have no time for real-time threads, and then refuses one. */
	if (attr->timer_slack_ns)
		result = refused("timer_slack_ns", set_timer_slack(attr->timer_slack_ns));
	if (!result && attr->cgroup)
		result = refused("cgroup", join_cgroup(attr->cgroup, self));
	if (!result && attr->cpus)
		result = refused("cpus", set_cpus(attr->cpus, self));
	if (!result)
		result = set_scheduler(attr, self);
	/* Last: all else ends with the thread, if it is refused. */
	if (!result && attr->lock_memory) {
		result = refused("lock_memory", kthread_lock_memory());
		if (!result)
			touch_stack();
	}
	return result;
}

/* ---- a living thread ---- */

static int check_alive(const struct kthread *k)
{
	if (!k)
		return -EINVAL;
	return kthread_orphaned(k) || kthread_has_ended(k) ? -ESRCH : 0;
}

int kthread_set_scheduler(struct kthread *k, const struct kthread_attr *attr)
{
	int result = check_alive(k);

	if (!result && !attr)
		result = -EINVAL;
	kthread_note_refused(NULL);
	return result ? result : set_scheduler(attr, k->tid);
}

int kthread_get_scheduler(const struct kthread *k, struct kthread_attr *attr)
{
	int result = check_alive(k);

	return result ? result : get_scheduler(attr, k->tid);
}

int kthread_set_cpus(struct kthread *k, const char *cpus)
{
	int result = check_alive(k);

	if (!result && !cpus)
		result = -EINVAL;
	return result ? result : set_cpus(cpus, k->tid);
}

int kthread_get_cpus(const struct kthread *k, char *list, size_t size)
{
	int result = check_alive(k);

	return result ? result : get_cpus(k->tid, list, size);
}

int kthread_set_cgroup(struct kthread *k, const char *directory)
{
	int result = check_alive(k);

	if (!result && !directory)
		result = -EINVAL;
	return result ? result : join_cgroup(directory, k->tid);
}

int kthread_get_cgroup(const struct kthread *k, const char *controller, char *path, size_t size)
{
	int result = check_alive(k);

	return result ? result : get_cgroup(k->tid, controller, path, size);
}

int kthread_bind(struct kthread *k, unsigned int cpu)
{
	char list[16];

	snprintf(list, sizeof(list), "%u", cpu);
	return kthread_set_cpus(k, list);
}
