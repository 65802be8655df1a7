/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The device's side of virtual queues, as vhost has it: a guest, here a process of its own, and
 * the device share rings in memory, and two eventfds for each: the guest's kick, the device's
 * call. One worker serves all queues of all devices. A kick queues the queue's work, and the
 * work drains the ring. Both sides say in the ring how far the other may go without telling.
 *
 *	guest process                        device process
 *	fill descriptors, publish avail  ->  poller: a kick queues the queue's work
 *	kick, if avail_event asks            worker: drain avail, publish used
 *	reap used, check it              <-  call, if used_event asks
 *
 *	cc -O2 -Isrc -o virtqueue_backend examples/c/virtqueue_backend.c src/[a-z]*.c -pthread
 *
 * The pairs of ordered accesses. Both sides may be in different processes: the atomics are
 * free of locks, and so hold across them.
 *
 *	avail	fill-A publishes the avail index after the descriptors, fill-B reads it before
 *		them. Weaker, the device would serve an old descriptor.
 *	used	done-A and done-B, the same for what the device has written. Weaker, the guest
 *		would check an old answer.
 *	kick	The guest stores the avail index (kick-A) and then loads avail_event (kick-B); the
 *		device stores avail_event (kick-C) and then loads the avail index (kick-D). All
 *		four are sequentially consistent, so one side sees the other's store. Weaker, both
 *		could read the old value: the guest does not kick, the device does not look, and
 *		the request stays in the ring for ever.
 *	call	The same for the used index (call-A), used_event (call-B); and used_event
 *		(call-C), the used index (call-D). Weaker, the guest would sleep for ever.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kthread_worker.h"

#define DEVICES 2
#define QUEUES_EACH 2
#define QUEUES (DEVICES * QUEUES_EACH)
#define RING 128u			/* descriptors; a power of two, for the indices run free */
#define REQUESTS (RING / 2)		/* each is a chain of two: what is read, what is written */
#define PAYLOAD 128u
#define PUBLISH 16u			/* answers that one store publishes */
#define WEIGHT 256u			/* requests in a run, before other queues have their turn */
#define GUEST_PATIENCE_MS 20000

enum { DESC_NEXT = 1, DESC_WRITE = 2 };

struct desc {
	uint64_t at;			/* where, from the begin of the queue's buffers */
	uint32_t len;
	uint16_t flags;
	uint16_t next;
};

struct used {
	uint32_t head;
	uint32_t len;
};

struct request {
	uint64_t seq;
	uint32_t len;
	unsigned char payload[PAYLOAD];
};

struct answer {
	uint64_t seq;
	uint64_t checksum;
};

/* One queue, in memory that both see. */
struct ring {
	struct desc desc[RING];
	/* The guest's. */
	_Alignas(64) _Atomic uint16_t avail_idx;
	_Atomic uint16_t used_event;	/* call when the used index passes this */
	uint16_t avail[RING];
	/* The device's. */
	_Alignas(64) _Atomic uint16_t used_idx;
	_Atomic uint16_t avail_event;	/* kick when the avail index passes this */
	struct used used[RING];
	/* The buffers that descriptors are of. */
	_Alignas(64) struct {
		struct request request;
		struct answer answer;
	} buffers[REQUESTS];
};

struct shared {
	struct ring ring[QUEUES];
	/* What a round is, written before it begins and constant while it lasts. */
	uint64_t target;		/* requests for each queue */
	_Atomic int suppress;		/* else a kick and a call for each; atomic for stray runs */
	int over;			/* there is no further round */
	/* What the guest found. */
	uint64_t completed, kicks, calls_taken, errors;
	_Atomic int stop;		/* Ctrl-C: submit nothing more, take what is on its way */
};

/* The device's own view of one queue. */
struct queue {
	struct kthread_work work;	/* first, for the work's function */
	struct ring *ring;
	int kick, call;
	uint16_t last_avail;		/* worker's thread; others while the work is disabled */
	uint16_t signalled;		/* used index at the last look at used_event */
	uint64_t next_seq;
	_Atomic uint64_t served, runs, calls; /* others look, and a late kick may still run it */
	_Atomic bool broken;
};

struct device {
	struct queue queue[QUEUES_EACH];
};

static struct shared *shared;
static struct device devices[DEVICES];
static struct kthread_worker *worker;
static int poll_fd, leave_fd, begin_fd, end_fd;
static _Atomic uint64_t queued, kicks_read;	/* of the poller */
static int kick_fds[QUEUES], call_fds[QUEUES];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void notify(int fd)
{
	uint64_t one = 1;

	/* It cannot be full: the counter would have to reach 2^64 - 1. */
	if (write(fd, &one, sizeof(one)) != sizeof(one))
		die("write to an eventfd");
}

static uint64_t take(int fd)
{
	uint64_t count = 0;

	if (read(fd, &count, sizeof(count)) != sizeof(count)) {
		if (errno != EAGAIN && errno != EINTR)
			die("read from an eventfd");
		return 0;
	}
	return count;
}

static uint64_t checksum(uint64_t seq, const unsigned char *bytes, uint32_t len)
{
	uint64_t sum = seq * 0x9e3779b97f4a7c15u + 1;

	for (uint32_t i = 0; i < len; i++)
		sum = (sum ^ bytes[i]) * 0x100000001b3u;
	return sum;
}

/* Has an index on its way from @old to @new passed @event? All three run free, modulo 2^16. */
static bool passes(uint16_t event, uint16_t new, uint16_t old)
{
	return (uint16_t)(new - event - 1) < (uint16_t)(new - old);
}

/* ---- the device's side ---- */

/* What a descriptor is of, or NULL: what the guest writes is not to be trusted. */
static void *buffer(struct queue *q, const struct desc *desc, size_t len)
{
	if (desc->len != len || desc->at > sizeof(q->ring->buffers) - len)
		return NULL;
	return (char *)q->ring->buffers + desc->at;
}

static bool serve(struct queue *q, uint16_t head, uint16_t used_at)
{
	struct ring *ring = q->ring;
	struct request *request;
	struct answer *answer;
	struct desc in, out;

	if (head >= RING)
		return false;
	in = ring->desc[head];		/* copies: the guest could change them after the check */
	if (in.flags != DESC_NEXT || in.next >= RING)
		return false;
	out = ring->desc[in.next];
	if (out.flags != DESC_WRITE)
		return false;
	request = buffer(q, &in, sizeof(*request));
	answer = buffer(q, &out, sizeof(*answer));
	if (!request || !answer || request->len > PAYLOAD)
		return false;
	if (request->seq != q->next_seq)
		return false;		/* lost, or for the second time */
	q->next_seq++;
	answer->seq = request->seq;
	answer->checksum = checksum(request->seq, request->payload, request->len);
	ring->used[used_at % RING].head = head;
	ring->used[used_at % RING].len = sizeof(*answer);
	return true;
}

/* Publish the answers up to @idx, and call if the guest asks for it. */
static void publish(struct queue *q, uint16_t idx)
{
	uint16_t event;

	atomic_store_explicit(&q->ring->used_idx, idx, memory_order_seq_cst); /* done-A, call-A */
	event = atomic_load_explicit(&q->ring->used_event, memory_order_seq_cst); /* call-B */
	if (!shared->suppress || passes(event, idx, q->signalled)) {
		q->calls++;
		notify(q->call);
	}
	q->signalled = idx;
}

static void drain(struct kthread_work *work)
{
	struct queue *q = (struct queue *)work;
	uint16_t used_idx = atomic_load_explicit(&q->ring->used_idx, memory_order_relaxed);
	uint16_t published = used_idx, avail_idx;
	unsigned int budget = WEIGHT;

	q->runs++;
	if (q->broken)
		return;
	for (;;) {
		avail_idx = atomic_load_explicit(&q->ring->avail_idx,
						 memory_order_acquire); /* fill-B */
		if (avail_idx == q->last_avail) {
			if (used_idx != published)
				publish(q, published = used_idx);
			/* Ask for the next kick, and look again: it may have come before. */
			atomic_store_explicit(&q->ring->avail_event, avail_idx,
					      memory_order_seq_cst); /* kick-C */
			if (atomic_load_explicit(&q->ring->avail_idx,
						 memory_order_seq_cst) == avail_idx) /* kick-D */
				return;
			continue;
		}
		if (!budget--) {
			/* Behind what else is pending; no kick is needed, nor asked for. */
			if (used_idx != published)
				publish(q, used_idx);
			kthread_queue_work(worker, &q->work);
			return;
		}
		if (!serve(q, q->ring->avail[q->last_avail % RING], used_idx)) {
			fprintf(stderr, "a request that is no such, or out of turn\n");
			q->broken = true;
			return;
		}
		q->last_avail++;
		used_idx++;
		q->served++;
		if (!shared->suppress || (uint16_t)(used_idx - published) == PUBLISH)
			publish(q, published = used_idx);
	}
}

/* What in the kernel is done where the guest kicks: there a wait queue calls, here epoll. */
static void *poller(void *unused)
{
	struct epoll_event events[QUEUES + 1];

	for (;;) {
		int n = epoll_wait(poll_fd, events, QUEUES + 1, -1);

		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct queue *q = events[i].data.ptr;

			if (!q)
				return unused;
			atomic_fetch_add_explicit(&kicks_read, take(q->kick), memory_order_relaxed);
			/* A detached queue's is refused, should the event be older than that. */
			if (kthread_queue_work(worker, &q->work))
				atomic_fetch_add_explicit(&queued, 1, memory_order_relaxed);
		}
	}
}

static void attach(struct device *device)
{
	for (int i = 0; i < QUEUES_EACH; i++) {
		struct queue *q = &device->queue[i];
		struct epoll_event event = { .events = EPOLLIN, .data.ptr = q };

		kthread_enable_work(&q->work);
		if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, q->kick, &event))
			die("epoll_ctl");
		/* The poller may have taken a kick whose work was refused: look once. */
		if (kthread_queue_work(worker, &q->work))
			atomic_fetch_add_explicit(&queued, 1, memory_order_relaxed);
	}
}

/* When it returns, no work of the device runs, and none will: its state may be looked at. */
static void detach(struct device *device)
{
	for (int i = 0; i < QUEUES_EACH; i++) {
		struct queue *q = &device->queue[i];

		if (epoll_ctl(poll_fd, EPOLL_CTL_DEL, q->kick, NULL))
			die("epoll_ctl");
		kthread_disable_work_sync(&q->work);
	}
}

/* Where a hierarchy of cgroups is mounted; @controllers: empty for v2. */
static bool mounted(const char *controllers, char *dir, size_t size)
{
	char type[32], at[256], options[256];
	FILE *mounts = fopen("/proc/self/mounts", "r");
	bool found = false;

	while (mounts && !found &&
	       fscanf(mounts, "%*s %255s %31s %255s %*d %*d", at, type, options) == 3) {
		const char *match = *controllers ? strstr(options, controllers) : NULL;

		found = *controllers ? !strcmp(type, "cgroup") && match && match[-1] == ',' &&
			strchr(",", match[strlen(controllers)]) : !strcmp(type, "cgroup2");
	}
	if (mounts)
		fclose(mounts);
	return found && snprintf(dir, size, "%s", at) < (int)size;
}

/* As vhost does for the process that owns the device: its worker's time is charged to that. */
static void join_cgroups_of(pid_t owner)
{
	char name[64], line[512], dir[1024], mount[256], refused[512] = "";
	int joined = 0, all = 0;
	FILE *file;

	snprintf(name, sizeof(name), "/proc/%d/cgroup", (int)owner);
	file = fopen(name, "r");
	while (file && fgets(line, sizeof(line), file)) {
		char *controllers = strchr(line, ':'), *path;
		int err;

		if (!controllers || !(path = strchr(++controllers, ':')))
			continue;
		*path++ = '\0';
		path[strcspn(path, "\n")] = '\0';
		if (!mounted(controllers, mount, sizeof(mount)))
			continue;
		all++;
		snprintf(dir, sizeof(dir), "%s%s", mount, path);
		err = kthread_set_cgroup(worker->task, dir);
		if (!err)
			joined++;
		else if (strlen(refused) < sizeof(refused) / 2)
			snprintf(refused + strlen(refused), sizeof(refused) - strlen(refused),
				 "; not %.64s: %s", *controllers ? controllers : "v2",
				 strerror(-err));
	}
	if (file)
		fclose(file);
	printf("cgroups: the worker joined its owner's in %d of %d hierarchies%s\n", joined, all,
	       refused);
}

/* ---- the guest's side: a process that knows only the rings and the eventfds ---- */

struct driver {
	struct ring *ring;
	uint16_t avail_idx, kicked, last_used;
	uint64_t submitted, reaped;
};

static void tell(struct driver *d, int kick)
{
	uint16_t event;

	atomic_store_explicit(&d->ring->avail_idx, d->avail_idx,
			      memory_order_seq_cst); /* fill-A, kick-A */
	event = atomic_load_explicit(&d->ring->avail_event, memory_order_seq_cst); /* kick-B */
	if (!shared->suppress || passes(event, d->avail_idx, d->kicked)) {
		shared->kicks++;
		notify(kick);
	}
	d->kicked = d->avail_idx;
}

/* Chain @slot is free: the device answers in order, so they are taken round robin. */
static void fill(struct driver *d)
{
	uint32_t slot = d->submitted % REQUESTS;
	uint16_t head = (uint16_t)(2 * slot);
	struct request *request = &d->ring->buffers[slot].request;
	uint64_t begin = (uintptr_t)&d->ring->buffers[slot] - (uintptr_t)d->ring->buffers;

	request->seq = d->submitted;
	request->len = 1 + (uint32_t)(d->submitted * 7 % PAYLOAD);
	memset(request->payload, (int)(d->submitted * 31 % 251), request->len);
	d->ring->buffers[slot].answer = (struct answer){ UINT64_MAX, 0 };
	d->ring->desc[head] = (struct desc){ begin, sizeof(*request), DESC_NEXT,
					     (uint16_t)(head + 1) };
	d->ring->desc[head + 1] = (struct desc){ begin + sizeof(*request), sizeof(struct answer),
						 DESC_WRITE, 0 };
	d->ring->avail[d->avail_idx % RING] = head;
	d->avail_idx++;
	d->submitted++;
}

static bool reap(struct driver *d)
{
	uint16_t idx = atomic_load_explicit(&d->ring->used_idx, memory_order_acquire); /* done-B */
	bool any = idx != d->last_used;

	for (; idx != d->last_used; d->last_used++, d->reaped++) {
		struct used *used = &d->ring->used[d->last_used % RING];
		uint32_t slot = d->reaped % REQUESTS;
		struct request *request = &d->ring->buffers[slot].request;
		struct answer *answer = &d->ring->buffers[slot].answer;

		if (used->head != 2 * slot || answer->seq != d->reaped ||
		    answer->checksum != checksum(d->reaped, request->payload, request->len))
			shared->errors++;
	}
	return any;
}

/* Ask for a call once three of four answers are there. Returns true if they are already. */
static bool ask(struct driver *d)
{
	uint16_t waits = (uint16_t)((d->submitted - d->reaped) * 3 / 4);
	uint16_t event = (uint16_t)(d->last_used + waits);

	if (d->submitted == d->reaped)
		return false;
	atomic_store_explicit(&d->ring->used_event, event, memory_order_seq_cst); /* call-C */
	return (uint16_t)(atomic_load_explicit(&d->ring->used_idx, memory_order_seq_cst) -
			  d->last_used) > (uint16_t)(event - d->last_used); /* call-D */
}

static bool round_goes_on(struct driver *drivers, uint64_t goal)
{
	for (int i = 0; i < QUEUES; i++)
		if (drivers[i].reaped != drivers[i].submitted || drivers[i].submitted < goal)
			return true;
	return false;
}

static void guest_round(struct driver *drivers)
{
	uint64_t goal = drivers[0].submitted + shared->target;
	struct pollfd fds[QUEUES];

	for (int i = 0; i < QUEUES; i++)
		fds[i] = (struct pollfd){ .fd = call_fds[i], .events = POLLIN };
	for (;;) {
		bool progress = false;

		/* Then it waits for what is on its way, and for nothing else. */
		if (atomic_load(&shared->stop))
			goal = 0;
		if (!round_goes_on(drivers, goal))
			break;
		for (int i = 0; i < QUEUES; i++) {
			struct driver *d = &drivers[i];
			uint64_t before = d->submitted;

			progress |= reap(d);
			while (d->submitted < goal && d->submitted - d->reaped < REQUESTS) {
				fill(d);
				if (!shared->suppress)
					tell(d, kick_fds[i]);
			}
			if (d->submitted != before) {
				progress = true;
				if (shared->suppress)
					tell(d, kick_fds[i]);
			}
		}
		if (progress)
			continue;
		for (int i = 0; i < QUEUES; i++)
			progress |= ask(&drivers[i]);
		if (progress)
			continue;
		switch (poll(fds, QUEUES, GUEST_PATIENCE_MS)) {
		case 0:
			fprintf(stderr, "the guest waits for an answer that does not come\n");
			shared->errors++;
			return;
		case -1:
			if (errno != EINTR)
				die("poll");
			break;
		default:
			for (int i = 0; i < QUEUES; i++)
				if (fds[i].revents)
					shared->calls_taken += take(call_fds[i]);
		}
	}
}

static void *guest(void *unused)
{
	static struct driver drivers[QUEUES];
	struct pollfd begin = { .fd = begin_fd, .events = POLLIN };

	for (int i = 0; i < QUEUES; i++)
		drivers[i].ring = &shared->ring[i];
	for (;;) {
		uint64_t before = 0, after = 0;

		while (!take(begin_fd))
			poll(&begin, 1, -1);
		if (shared->over)
			return unused;
		for (int i = 0; i < QUEUES; i++)
			before += drivers[i].reaped;
		guest_round(drivers);
		for (int i = 0; i < QUEUES; i++)
			after += drivers[i].reaped;
		shared->completed = after - before;
		notify(end_fd);
	}
}

/* ---- the program ---- */

struct result {
	uint64_t ns, requests, kicks, queued, runs, calls;
	unsigned int moves;		/* detached and attached */
};

static void on_interrupt(int sig)
{
	(void)sig;
	atomic_store(&shared->stop, 1);
}

static struct queue *queue_at(int i)
{
	return &devices[i / QUEUES_EACH].queue[i % QUEUES_EACH];
}

static void count(struct result *result, bool begin)
{
	uint64_t runs = 0, calls = 0;

	for (int i = 0; i < QUEUES; i++) {
		runs += queue_at(i)->runs;
		calls += queue_at(i)->calls;
	}
	result->ns = begin ? now_ns() : now_ns() - result->ns;
	result->runs = begin ? runs : runs - result->runs;
	result->calls = begin ? calls : calls - result->calls;
	result->queued = begin ? atomic_load(&queued) : atomic_load(&queued) - result->queued;
}

/* One device after the other leaves and comes back while the guest goes on. */
static bool move_a_device(struct result *result)
{
	struct device *device = &devices[result->moves % DEVICES];
	struct timespec pause = { .tv_nsec = 200000 };
	uint64_t served[QUEUES_EACH];
	bool rested = true;

	detach(device);
	for (int i = 0; i < QUEUES_EACH; i++)
		served[i] = device->queue[i].served;
	nanosleep(&pause, NULL);
	for (int i = 0; i < QUEUES_EACH; i++)
		rested &= served[i] == device->queue[i].served;
	attach(device);
	nanosleep(&pause, NULL);
	result->moves++;
	return rested;
}

/* Returns false when something is wrong. */
static bool play(uint64_t requests, bool suppress, bool moving, pid_t guest_pid,
		 struct result *result)
{
	struct pollfd end = { .fd = end_fd, .events = POLLIN };
	bool good = true;
	int status;

	shared->target = requests;
	shared->suppress = suppress;
	shared->completed = shared->kicks = shared->calls_taken = 0;
	count(result, true);
	notify(begin_fd);	/* a system call: what is above is seen before */
	while (!take(end_fd)) {
		if (moving)
			good &= move_a_device(result);
		else
			poll(&end, 1, 100);
		if (guest_pid && waitpid(guest_pid, &status, WNOHANG) == guest_pid) {
			fprintf(stderr, "the guest has ended early\n");
			return false;
		}
		for (int i = 0; i < QUEUES; i++)
			if (queue_at(i)->broken)
				return false;
	}
	count(result, false);
	result->requests = shared->completed;
	result->kicks = shared->kicks;
	if (!good)
		fprintf(stderr, "a detached device went on\n");
	return good && !shared->errors;
}

static void add(struct result *sum, const struct result *part)
{
	sum->ns += part->ns;
	sum->requests += part->requests;
	sum->kicks += part->kicks;
	sum->queued += part->queued;
	sum->runs += part->runs;
	sum->calls += part->calls;
	sum->moves += part->moves;
}

static void show(const char *name, const struct result *r)
{
	double all = 2.0 * (double)r->requests;

	if (!r->requests)
		return;
	printf("%-22s %9.0f requests/s; %llu requests: %llu kicks, %llu works queued, %llu run, "
	       "%llu calls; %.1f %% of notifications saved\n", name,
	       (double)r->requests * 1e9 / (double)(r->ns ? r->ns : 1),
	       (unsigned long long)r->requests, (unsigned long long)r->kicks,
	       (unsigned long long)r->queued, (unsigned long long)r->runs,
	       (unsigned long long)r->calls, 100 * (1 - (double)(r->kicks + r->calls) / all));
}

static void set_up(void)
{
	int fd = memfd_create("rings", MFD_CLOEXEC);

	if (fd < 0 || ftruncate(fd, sizeof(*shared)))
		die("memfd_create");
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (shared == MAP_FAILED)
		die("mmap");
	close(fd);
	for (int i = 0; i < QUEUES; i++) {
		kick_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		call_fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		if (kick_fds[i] < 0 || call_fds[i] < 0)
			die("eventfd");
	}
	begin_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	end_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	leave_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	poll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (begin_fd < 0 || end_fd < 0 || leave_fd < 0 || poll_fd < 0)
		die("eventfd");
}

int main(int argc, char **argv)
{
	struct result with = { 0 }, without = { 0 }, moved = { 0 }, part;
	struct sigaction action = { .sa_handler = on_interrupt };
	struct epoll_event leave = { .events = EPOLLIN };
	uint64_t requests = 40000;
	bool as_thread = false, only_without = false, good = true, lost = false;
	pthread_t guest_thread, poller_thread;
	pid_t guest_pid = 0;
	int rounds = 3, status = 0;

	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--quick")) {
			requests = 2000;
			rounds = 2;
		} else if (!strcmp(argv[i], "--guest-thread")) {
			as_thread = true;	/* where a sanitizer is to see both sides */
		} else if (!strcmp(argv[i], "--no-suppression")) {
			only_without = true;
		} else {
			printf("usage: %s [--quick] [--guest-thread] [--no-suppression]\n"
			       "  --quick           %d requests a queue, rather than %d\n"
			       "  --guest-thread    the guest is a thread, not a process\n"
			       "  --no-suppression  a kick and a call for each request, alone\n",
			       argv[0], 2000, 40000);
			return strcmp(argv[i], "--help") ? 2 : 0;
		}
	}
	setvbuf(stdout, NULL, _IOLBF, 0);
	set_up();
	sigaction(SIGINT, &action, NULL);
	if (!as_thread) {
		pid_t parent = getpid();

		guest_pid = fork();	/* before there is a thread, or a worker */
		if (guest_pid < 0)
			die("fork");
		if (!guest_pid) {
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			if (getppid() == parent)
				guest(NULL);
			_exit(0);
		}
	}
	worker = kthread_run_worker(0, "vq-backend");
	if (!worker)
		die("kthread_run_worker");
	leave.data.ptr = NULL;
	if (epoll_ctl(poll_fd, EPOLL_CTL_ADD, leave_fd, &leave))
		die("epoll_ctl");
	for (int i = 0; i < QUEUES; i++) {
		struct queue *q = queue_at(i);

		kthread_init_work(&q->work, drain);
		kthread_disable_work_sync(&q->work);	/* attach enables it */
		q->ring = &shared->ring[i];
		q->kick = kick_fds[i];
		q->call = call_fds[i];
	}
	for (int i = 0; i < DEVICES; i++)
		attach(&devices[i]);
	if ((errno = pthread_create(&poller_thread, NULL, poller, NULL)) ||
	    (as_thread && (errno = pthread_create(&guest_thread, NULL, guest, NULL))))
		die("pthread_create");
	join_cgroups_of(as_thread ? getpid() : guest_pid);

	for (int i = 0; i < rounds && good && !atomic_load(&shared->stop); i++) {
		for (int variant = only_without ? 0 : 1;
		     variant >= 0 && good && !atomic_load(&shared->stop); variant--) {
			memset(&part, 0, sizeof(part));
			good = play(requests, variant, false, guest_pid, &part);
			lost |= !atomic_load(&shared->stop) && part.requests != requests * QUEUES;
			add(variant ? &with : &without, &part);
		}
	}
	if (good && !only_without && !atomic_load(&shared->stop)) {
		good = play(requests, true, true, guest_pid, &moved);
		lost |= !atomic_load(&shared->stop) && moved.requests != requests * QUEUES;
	}

	shared->over = 1;
	notify(begin_fd);
	if (as_thread)
		pthread_join(guest_thread, NULL);
	else {
		if (!good)
			kill(guest_pid, SIGKILL);
		while (waitpid(guest_pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	for (int i = 0; i < DEVICES; i++)
		detach(&devices[i]);
	notify(leave_fd);
	pthread_join(poller_thread, NULL);
	kthread_destroy_worker(worker);

	printf("%d devices of %d queues on one worker, %d descriptors a ring\n", DEVICES,
	       QUEUES_EACH, (int)RING);
	if (!only_without)
		show("event index", &with);
	show("a kick, a call for each", &without);
	if (!only_without) {
		show("detached, attached", &moved);
		printf("moved %u times while the guest went on\n", moved.moves);
	}
	if (with.requests && without.requests && !atomic_load(&shared->stop))
		printf("the event index makes it %.2f times as fast\n",
		       (double)with.requests / (double)with.ns /
		       ((double)without.requests / (double)without.ns));
	for (int i = 0; i < QUEUES; i++)
		good &= !queue_at(i)->broken;
	if (!good || lost || status || shared->errors) {
		printf("FAILED: lost, twice, out of order or damaged: %llu found by the guest\n",
		       (unsigned long long)shared->errors);
		return 1;
	}
	if (atomic_load(&shared->stop)) {
		puts("interrupted; until then nothing lost, nothing twice, every checksum right");
		return 130;
	}
	puts("nothing lost, nothing twice, every checksum right");
	return 0;
}
