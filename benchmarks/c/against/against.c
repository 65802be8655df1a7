/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The core against what else there is in C and C++, and against the least that the machine
 * allows. See docs/benchmarks.md for what is measured and why it is fair.
 *
 * In each repetition every contestant measures once, each repetition begins with another one,
 * and ratios are taken within a repetition. Each measurement makes its own contestant anew.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <dirent.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "against.h"
#include "../bench.h"

#define CONTESTANTS_MAX 32
#define PRODUCERS_MAX 8
#define TRIPS 200
#define WORKERS 1000u
#define HOUR 3600000u	/* milliseconds */

struct tally tally;
struct timers timers = { .count = 10000 };
extern const struct contestant loses, repeats;

static const struct contestant *field[CONTESTANTS_MAX];
static unsigned int field_size;
static volatile sig_atomic_t interrupted;
static unsigned int patience = 30;
static const char *measuring = "";

static const char usage[] =
"against [--quick] [--case NAME] [--only TEXT] [--repeat N] [--works N] [--json FILE] [--csv]\n"
"        [--list] [--strict]\n"
"\n"
"  --case NAME   only the cases whose name begins so; --list shows them\n"
"  --only TEXT   only contestants whose name holds it, and this project's own\n"
"  --repeat N    repetitions that count (15)\n"
"  --works N     jobs in a burst (100000)\n"
"  --quick       3 repetitions, 20000 jobs, 2000 timers, idle for 2 s: for a look\n"
"  --json FILE   everything, each sample included; - is standard output\n"
"  --csv         lines for a program instead of the tables\n"
"  --strict      exit code 3 when a target was missed\n"
"  --patience N  seconds after which a job that has not run is lost (30)\n"
"  --broken X    lose or twice: enters a contestant that does; the run has to fail\n"
"\n"
"  --count N --case burst-1|round-trip --name NAME\n"
"                that one alone, N jobs, without a look at the clock: for tools that count\n"
"  --room N      with --count: makes room for so many jobs, whatever N is\n";

/* ---- what contestants call ---- */

void enter_contestant(const struct contestant *contestant)
{
	if (field_size < CONTESTANTS_MAX)
		field[field_size++] = contestant;
}

void die(const char *what)
{
	fprintf(stderr, "%s: %s failed\n", measuring, what);
	_exit(1);
}

void run_job(struct job *job)
{
	(void)job;
	tally_one();
}

void *zeroed(size_t size)
{
	void *memory = must(malloc(size ? size : 1));

	/* Written, so that no page of it is met for the first time while the clock runs. */
	memset(memory, 1, size);
	return memset(memory, 0, size);
}

struct job *job_array(unsigned int count)
{
	struct job *jobs = zeroed(count * sizeof(*jobs));

	for (unsigned int i = 0; i < count; i++)
		jobs[i].run = run_job;
	return jobs;
}

void timers_begin(void)
{
	timers.began = now_ns();
}

void timers_end(void)
{
	timers.ended = now_ns();
}

void timers_done(void)
{
	timers_end();
	sem_post(&tally.full);
}

/* ---- the count ---- */

static void tally_expect(unsigned long jobs)
{
	tally.ran = 0;
	tally.target = jobs;
}

static void tally_wait(void)
{
	struct timespec until;

	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += patience;
	while (sem_timedwait(&tally.full, &until)) {
		if (errno == EINTR)
			continue;
		if (!tally.target)
			die("cancelling all timers in time");
		fprintf(stderr, "%s: lost: %lu of %lu jobs ran within %u s\n", measuring, tally.ran,
			tally.target, patience);
		_exit(1);
	}
}

/* After the close: nobody runs anything any more. */
static void tally_check(unsigned long jobs)
{
	if (tally.ran == jobs)
		return;
	fprintf(stderr, "%s: %lu jobs ran where %lu were asked for\n", measuring, tally.ran, jobs);
	_exit(1);
}

/* ---- placement ---- */

static int cpus[2] = { -1, -1 };

static void pin_thread(pid_t tid, int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	/* A thread that has just ended is no fault. */
	if (sched_setaffinity(tid, sizeof(set), &set) && errno != ESRCH)
		die("sched_setaffinity");
}

/* From outside, once all run: no contestant need know how its threads are pinned. */
static void place(int own, int others)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	if (!dir)
		die("opendir /proc/self/task");
	while ((entry = readdir(dir))) {
		pid_t tid = atoi(entry->d_name);

		if (tid)
			pin_thread(tid, tid == getpid() ? own : others);
	}
	closedir(dir);
}

static void place_anywhere(void)
{
	static cpu_set_t all;
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	if (!CPU_COUNT(&all)) {
		sched_getaffinity(0, sizeof(all), &all);
		for (int cpu = 0, n = 0; cpu < CPU_SETSIZE && n < 2; cpu++)
			if (CPU_ISSET(cpu, &all))
				cpus[n++] = cpu;
	}
	while (dir && (entry = readdir(dir)))
		if (atoi(entry->d_name))
			sched_setaffinity(atoi(entry->d_name), sizeof(all), &all);
	if (dir)
		closedir(dir);
}

/* ---- the measurements; each gives nanoseconds a job ---- */

static void one_trip(const struct contestant *c, void *handle)
{
	if (c->trip) {
		c->trip(handle);
		return;
	}
	tally_expect(1);
	c->produce(handle, 0, 0, 1);
	tally_wait();
}

static void warm_up(const struct contestant *c, void *handle)
{
	tally_expect(0);
	for (int i = 0; i < 20; i++)
		one_trip(c, handle);
	/* A trip of its own may have posted. */
	while (!sem_trywait(&tally.full))
		;
}

struct producer {
	const struct contestant *c;
	void *handle;
	unsigned int number, first, count;
	pthread_barrier_t *begin, *end;
	pthread_t thread;
	uint64_t began;
};

static void *produce(void *data)
{
	struct producer *p = data;

	pthread_barrier_wait(p->begin);
	p->began = now_ns();
	p->c->produce(p->handle, p->number, p->first, p->count);
	if (p->number) {
		pthread_barrier_wait(p->end);
		if (p->c->drain)
			p->c->drain(p->handle, p->number);
	}
	return NULL;
}

static double burst(const struct contestant *c, unsigned int jobs, unsigned int producers)
{
	struct producer p[PRODUCERS_MAX];
	pthread_barrier_t begin, end;
	void *handle = c->open(jobs, producers);
	uint64_t began = UINT64_MAX, ended;

	warm_up(c, handle);
	pthread_barrier_init(&begin, NULL, producers);
	pthread_barrier_init(&end, NULL, producers);
	for (unsigned int i = 0; i < producers; i++)
		p[i] = (struct producer){
			.c = c, .handle = handle, .number = i, .first = jobs / producers * i,
			.count = jobs / producers, .begin = &begin, .end = &end,
		};
	jobs = jobs / producers * producers;
	tally_expect(jobs);
	for (unsigned int i = 1; i < producers; i++)
		if (pthread_create(&p[i].thread, NULL, produce, &p[i]))
			die("pthread_create");
	produce(&p[0]);
	tally_wait();
	ended = now_ns();
	pthread_barrier_wait(&end);
	if (c->drain)
		c->drain(handle, 0);
	for (unsigned int i = 0; i < producers; i++) {
		if (i)
			pthread_join(p[i].thread, NULL);
		began = p[i].began < began ? p[i].began : began;
	}
	c->close(handle);
	tally_check(jobs);
	pthread_barrier_destroy(&begin);
	pthread_barrier_destroy(&end);
	return (double)(ended - began) / jobs;
}

static double trips(const struct contestant *c, int own, int others)
{
	void *handle = c->open(1, 1);
	uint64_t began, ended;

	if (own >= 0)
		place(own, others);
	warm_up(c, handle);
	tally_expect(0);
	began = now_ns();
	for (int i = 0; i < TRIPS; i++)
		one_trip(c, handle);
	ended = now_ns();
	/* The generic trip counts each by itself: its expectation was met, or it had not ended. */
	if (c->trip && tally.ran != TRIPS)
		die("counting the trips");
	c->close(handle);
	place_anywhere();
	return (double)(ended - began) / TRIPS;
}

static double coalesce(const struct contestant *c, unsigned int requests, unsigned long *ran)
{
	void *handle;
	uint64_t began, ended;

	if (!c->coalesce) {
		double ns = burst(c, requests, 1);

		*ran = tally.ran;
		return ns;
	}
	handle = c->open(1, 1);
	warm_up(c, handle);
	tally_expect(0);
	began = now_ns();
	c->coalesce(handle, requests);
	ended = now_ns();
	c->close(handle);
	*ran = tally.ran;
	if (!tally.ran || tally.ran > requests)
		die("counting the runs");
	return (double)(ended - began) / requests;
}

static void scatter(uint32_t *order, uint32_t *moved)
{
	uint64_t random = 88172645463325252u;

	for (unsigned int i = 0; i < timers.count; i++)
		order[i] = moved[i] = i;
	for (unsigned int i = timers.count - 1; i; i--) {
		uint32_t *const lists[] = { order, moved };

		for (unsigned int k = 0; k < 2; k++) {
			unsigned int j = bench_random(&random) % (i + 1);
			uint32_t swap = lists[k][i];

			lists[k][i] = lists[k][j];
			lists[k][j] = swap;
		}
	}
}

/*
 * Armed in an order that is neither that of their deadlines nor that of their addresses, and
 * moved and cancelled in the same. Those that are to expire are due when the last is armed, so
 * that no waiting is in the figure: 1 ms ahead, it would be 100 ns a timer of 10,000 and 500 of
 * 2,000, which is half of what came out, and most of it.
 */
static double time_timers(const struct contestant *c, bool expire)
{
	uint32_t *order = zeroed(timers.count * sizeof(*order));
	uint32_t *ahead = zeroed(timers.count * sizeof(*ahead));
	uint32_t *moved = zeroed(timers.count * sizeof(*moved));
	void *handle = c->open(1, 1);

	if (c->trip || c->produce)
		warm_up(c, handle);
	scatter(order, moved);
	for (unsigned int i = 0; i < timers.count; i++) {
		ahead[i] = expire ? 0 : HOUR + i;
		moved[i] += HOUR;
	}
	timers.expire = expire;
	timers.order = order;
	timers.ahead = ahead;
	timers.moved = moved;
	/* Those that are cancelled must not run at all. */
	tally_expect(expire ? timers.count : 0);
	c->timers(handle);
	tally_wait();
	c->close(handle);
	tally_check(expire ? timers.count : 0);
	free(order);
	free(ahead);
	free(moved);
	return (double)(timers.ended - timers.began) / (expire ? timers.count : 3 * timers.count);
}

/* ---- memory and idleness: each contestant in a process of its own ---- */

static double resident(void)
{
	unsigned long size = 0, pages = 0;
	FILE *file = fopen("/proc/self/statm", "r");

	if (!file || fscanf(file, "%lu %lu", &size, &pages) != 2)
		die("reading /proc/self/statm");
	fclose(file);
	return (double)pages * (double)sysconf(_SC_PAGESIZE);
}

/* Nanoseconds that all threads but the calling one, the process's first, have run. */
static double others_ran(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;
	double sum = 0;

	if (!dir)
		die("opendir /proc/self/task");
	while ((entry = readdir(dir))) {
		char path[300];
		double ran = 0;
		FILE *file;

		if (!atoi(entry->d_name) || atoi(entry->d_name) == getpid())
			continue;
		snprintf(path, sizeof(path), "/proc/self/task/%s/schedstat", entry->d_name);
		file = fopen(path, "r");
		if (!file || fscanf(file, "%lf", &ran) != 1)
			die("reading schedstat of a thread");
		fclose(file);
		sum += ran;
	}
	closedir(dir);
	return sum;
}

/* Bytes that one more worker adds to what is resident; the allocator's included. */
static double memory_child(const struct contestant *c)
{
	void **handles = zeroed(WORKERS * sizeof(*handles));
	unsigned int n = c->single ? 1 : WORKERS;
	double before, after;

	before = resident();
	for (unsigned int i = 0; i < n; i++) {
		handles[i] = c->open(1, 1);
		one_trip(c, handles[i]);
	}
	after = resident();
	return (after - before) / n;
}

/* Processor time of all threads but the one that waits here. */
static double idle_child(const struct contestant *c, unsigned int seconds)
{
	struct timespec settle = { 0, 200000000 }, rest = { (time_t)seconds, 0 };
	void *handle = c->open(1, 1);
	double before;

	one_trip(c, handle);
	nanosleep(&settle, NULL);
	before = others_ran();
	nanosleep(&rest, NULL);
	return others_ran() - before;
}

/* The child answers with one double and leaves without undoing anything. */
struct child {
	pid_t pid;
	int fd;
};

static struct child ask_child(const struct contestant *c, unsigned int idle_seconds)
{
	struct child child;
	int ends[2];

	fflush(NULL);
	if (pipe(ends) || (child.pid = fork()) < 0)
		die("fork");
	if (!child.pid) {
		double answer;

		measuring = c->name;
		answer = idle_seconds ? idle_child(c, idle_seconds) : memory_child(c);
		_exit(write(ends[1], &answer, sizeof(answer)) != sizeof(answer));
	}
	close(ends[1]);
	child.fd = ends[0];
	return child;
}

static double answer_of(struct child child)
{
	double answer;
	ssize_t got;
	int status;

	do
		got = read(child.fd, &answer, sizeof(answer));
	while (got < 0 && errno == EINTR);
	close(child.fd);
	waitpid(child.pid, &status, 0);
	if (got != sizeof(answer) && interrupted)
		return 0;
	if (got != sizeof(answer))
		die("a child that measures");
	return answer;
}

/* ---- cases ---- */

enum what { BURST, TRIP, COALESCE, TIMERS, EXPIRE, MEMORY, IDLE };

static const struct test {
	const char *name;
	const char *unit;
	enum what what;
	unsigned int producers;
	int own, others; /* indices into cpus; -1: not pinned */
} tests[] = {
	{ "memory", "bytes resident a worker", MEMORY, 0, 0, 0 },
	{ "idle", "ns of processor time", IDLE, 0, 0, 0 },
	{ "burst-1", "ns a job", BURST, 1, 0, 0 },
	{ "burst-2", "ns a job", BURST, 2, 0, 0 },
	{ "burst-4", "ns a job", BURST, 4, 0, 0 },
	{ "burst-8", "ns a job", BURST, 8, 0, 0 },
	{ "round-trip", "ns", TRIP, 0, -1, -1 },
	{ "round-trip-one-cpu", "ns", TRIP, 0, 0, 0 },
	{ "round-trip-two-cpus", "ns", TRIP, 0, 0, 1 },
	{ "coalescing", "ns a request", COALESCE, 1, 0, 0 },
	{ "timers", "ns an operation", TIMERS, 0, 0, 0 },
	{ "timers-expire", "ns a timer", EXPIRE, 0, 0, 0 },
};

#define TESTS (sizeof(tests) / sizeof(tests[0]))

static struct {
	struct samples samples; /* in the order in which they were taken */
	struct samples runs;
} results[TESTS][CONTESTANTS_MAX];

static bool takes_part(const struct test *test, const struct contestant *c)
{
	switch (test->what) {
	case BURST:
	case COALESCE:
		return c->produce && (test->what == BURST || !strstr(c->name, "batch"));
	case TRIP:
		/* Not pinned, both may be put on one CPU as well. */
		return (c->trip || c->produce) &&
		       !(c->one_cpu_never && test->own == test->others) &&
		       !strstr(c->name, "batch") && !strstr(c->name, "bulk in");
	case TIMERS:
	case EXPIRE:
		return c->timers;
	default:
		return c->produce && c->kind != LIMIT && !strstr(c->name, "batch") &&
		       !strstr(c->name, "bulk in");
	}
}

static struct samples sorted(const struct samples *s)
{
	struct samples copy = { NULL, 0 };

	for (unsigned int i = 0; i < s->count; i++)
		samples_add(&copy, s->ns[i]);
	return copy;
}

/* 1, 2, 3: a quartile of the samples; their order is kept. */
static double quarter(const struct samples *s, unsigned int which)
{
	struct samples copy = sorted(s);
	double value = copy.count ? quartile(&copy, which) : 0;

	free(copy.ns);
	return value;
}

/* The quartile of the ratios, each of one repetition. */
static double ratio_quarter(const struct samples *of, const struct samples *to, unsigned int which)
{
	struct samples ratios = { NULL, 0 };
	double value;

	for (unsigned int i = 0; i < of->count && i < to->count; i++)
		samples_add(&ratios, of->ns[i] / to->ns[i]);
	value = ratios.count ? quartile(&ratios, which) : 0;
	free(ratios.ns);
	return value;
}

static double measure(const struct test *test, const struct contestant *c, unsigned int works,
		      unsigned int requests, unsigned long *ran)
{
	measuring = c->name;
	switch (test->what) {
	case BURST:
		return burst(c, works, test->producers);
	case TRIP:
		return trips(c, test->own < 0 ? -1 : cpus[test->own],
			     test->others < 0 ? -1 : cpus[test->others]);
	case TIMERS:
	case EXPIRE:
		return time_timers(c, test->what == EXPIRE);
	default:
		return coalesce(c, requests, ran);
	}
}

static bool run_test(unsigned int t, unsigned int repeat, unsigned int works,
		     unsigned int requests, unsigned int idle_seconds)
{
	const struct test *test = &tests[t];
	struct child children[CONTESTANTS_MAX];

	if (test->what == MEMORY || test->what == IDLE) {
		for (unsigned int i = 0; i < field_size; i++) {
			if (!takes_part(test, field[i]))
				continue;
			children[i] = ask_child(field[i], test->what == IDLE ? idle_seconds : 0);
			if (test->what == MEMORY)
				samples_add(&results[t][i].samples, answer_of(children[i]));
		}
		for (unsigned int i = 0; i < field_size && test->what == IDLE; i++)
			if (takes_part(test, field[i]))
				samples_add(&results[t][i].samples, answer_of(children[i]));
		return !interrupted;
	}
	if (test->what == COALESCE && repeat > 5)
		repeat = 5;
	/* The first is to warm up. */
	for (unsigned int r = 0; r <= repeat; r++) {
		for (unsigned int k = 0; k < field_size; k++) {
			unsigned int i = (k + r) % field_size;
			unsigned long ran = 0;
			double ns;

			if (!takes_part(test, field[i]))
				continue;
			if (interrupted)
				return false;
			ns = measure(test, field[i], works, requests, &ran);
			if (!r)
				continue;
			samples_add(&results[t][i].samples, ns);
			samples_add(&results[t][i].runs, (double)ran);
		}
		fprintf(stderr, "\r%-20s %u/%u ", test->name, r, repeat);
	}
	fprintf(stderr, "\r%-30s\r", "");
	return true;
}

/* ---- what is said of it ---- */

static int find(const char *name)
{
	for (unsigned int i = 0; i < field_size; i++)
		if (!strcmp(field[i]->name, name))
			return (int)i;
	return -1;
}

/* By the median, the quickest of a kind in a test. */
static int quickest(unsigned int t, enum kind kind)
{
	int best = -1;

	for (unsigned int i = 0; i < field_size; i++)
		if (field[i]->kind == kind && results[t][i].samples.count &&
		    (best < 0 || quarter(&results[t][i].samples, 2) <
				 quarter(&results[t][best].samples, 2)))
			best = (int)i;
	return best;
}

struct verdict {
	const char *test;
	const char *of, *to;
	double value, low, high, must;
	bool met;
};

static struct verdict verdicts[32];
static unsigned int verdict_count;

static void judge(unsigned int t, const char *of_name, const char *to_name, double must_be)
{
	int of = find(of_name), to = to_name ? find(to_name) : quickest(t, OPPONENT);
	struct verdict *v = &verdicts[verdict_count];

	if (of < 0 || to < 0 || !results[t][of].samples.count || !results[t][to].samples.count)
		return;
	v->test = tests[t].name;
	v->of = field[of]->name;
	v->to = field[to]->name;
	v->value = ratio_quarter(&results[t][of].samples, &results[t][to].samples, 2);
	v->low = ratio_quarter(&results[t][of].samples, &results[t][to].samples, 1);
	v->high = ratio_quarter(&results[t][of].samples, &results[t][to].samples, 3);
	v->must = must_be;
	v->met = v->value <= must_be;
	verdict_count++;
}

static void judge_value(const char *test, const char *what, double value, double must_be)
{
	verdicts[verdict_count++] = (struct verdict){
		test, what, NULL, value, value, value, must_be, value <= must_be };
}

#define OURS_NAME "kthread_worker"
#define NO_POLL_NAME "kthread_worker, no polling"

static void judge_all(unsigned int idle_seconds)
{
	int ours_index = find(OURS_NAME);

	for (unsigned int t = 0; t < TESTS; t++) {
		const struct samples *s;

		if (ours_index < 0 || !results[t][ours_index].samples.count)
			continue;
		s = &results[t][ours_index].samples;
		switch (tests[t].what) {
		case BURST:
			judge(t, OURS_NAME, NULL, tests[t].producers == 1 ? 0.7 : 1.0);
			break;
		case TRIP:
			judge(t, NO_POLL_NAME, "futex ping-pong", 1.2);
			judge(t, OURS_NAME, "cache-line ping-pong", 4);
			break;
		case MEMORY:
			judge_value("memory", "sizeof(struct kthread_work), bytes",
				    sizeof(struct kthread_work), 48);
			judge_value("memory", "1,000 workers, MiB resident",
				    s->ns[0] * WORKERS / 1048576, 64);
			break;
		case IDLE:
			/* No measurable time: less than a ten-thousandth part of one processor. */
			judge_value("idle", "processor time of an idle worker, 1/10,000",
				    s->ns[0] / (idle_seconds * 1e5), 1);
			break;
		default:
			break;
		}
	}
}

static void print_test(unsigned int t, bool csv)
{
	int base = find(OURS_NAME);

	if (base < 0 || !results[t][base].samples.count)
		base = quickest(t, OURS);
	if (!csv)
		printf("\n%s, %s\n%-32s %12s %12s %12s %10s%s\n", tests[t].name, tests[t].unit, "",
		       "median", "1/4", "3/4", "to ours",
		       tests[t].what == COALESCE ? "       runs" : "");
	for (unsigned int i = 0; i < field_size; i++) {
		const struct samples *s = &results[t][i].samples;

		if (!s->count)
			continue;
		if (csv) {
			printf("%s,\"%s\",%.1f,%.1f,%.1f\n", tests[t].name, field[i]->name,
			       quarter(s, 2), quarter(s, 1), quarter(s, 3));
			continue;
		}
		printf("%-32s %12.1f %12.1f %12.1f", field[i]->name, quarter(s, 2), quarter(s, 1),
		       quarter(s, 3));
		if (base >= 0 && tests[t].what != IDLE)
			printf(" %9.2fx", ratio_quarter(s, &results[t][base].samples, 2));
		if (tests[t].what == COALESCE)
			printf(" %10.0f", quarter(&results[t][i].runs, 2));
		putchar('\n');
	}
}

static void print_verdicts(void)
{
	if (verdict_count)
		printf("\nTargets\n");
	for (unsigned int i = 0; i < verdict_count; i++) {
		const struct verdict *v = &verdicts[i];
		char line[160];

		snprintf(line, sizeof(line), "%s: %s%s%s", v->test, v->of, v->to ? " / " : "",
			 v->to ? v->to : "");
		printf("%-72s %7.2f  at most %5.2f  %s\n", line, v->value, v->must,
		       v->met ? "met" : "NOT MET");
	}
}

/* Names and versions hold neither quotes nor backslashes. */
static bool write_json(FILE *file, bool partial, bool quick, unsigned int works,
		       unsigned int requests)
{
	char version[120];
	const char *comma = "";
	struct utsname uts;
	double load = 0;
	time_t now = time(NULL);
	char day[32];

	strftime(day, sizeof(day), "%Y-%m-%d", gmtime(&now));
	uname(&uts);
	if (getloadavg(&load, 1) != 1)
		load = -1;
	fprintf(file, "{\n \"date\": \"%s\", \"machine\": \"%s\", \"system\": \"%s %s\",\n"
		" \"compiler\": \"%s\", \"load\": %.2f, \"partial\": %s, \"quick\": %s,\n"
		" \"works\": %u, \"requests\": %u, \"work_bytes\": %zu,\n \"contestants\": [",
		day, machine_model(), uts.sysname, uts.release, __VERSION__, load,
		partial ? "true" : "false", quick ? "true" : "false", works, requests,
		sizeof(struct kthread_work));
	for (unsigned int i = 0; i < field_size; i++) {
		static const char *const kinds[] = { "ours", "opponent", "beside", "limit" };

		field[i]->version(version, sizeof(version));
		fprintf(file, "%s\n  {\"name\": \"%s\", \"kind\": \"%s\", \"version\": \"%s\", "
			"\"item_bytes\": %zu}", comma, field[i]->name, kinds[field[i]->kind],
			version, field[i]->item_bytes);
		comma = ",";
	}
	fprintf(file, "],\n \"cases\": [");
	comma = "";
	for (unsigned int t = 0; t < TESTS; t++)
		for (unsigned int i = 0; i < field_size; i++) {
			const struct samples *s = &results[t][i].samples;

			if (!s->count)
				continue;
			fprintf(file, "%s\n  {\"case\": \"%s\", \"unit\": \"%s\", "
				"\"name\": \"%s\", "
				"\"median\": %.1f, \"quartiles\": [%.1f, %.1f], \"samples\": [",
				comma, tests[t].name, tests[t].unit, field[i]->name, quarter(s, 2),
				quarter(s, 1), quarter(s, 3));
			for (unsigned int k = 0; k < s->count; k++)
				fprintf(file, "%s%.1f", k ? ", " : "", s->ns[k]);
			fprintf(file, "]}");
			comma = ",";
		}
	fprintf(file, "],\n \"targets\": [");
	for (unsigned int i = 0; i < verdict_count; i++) {
		const struct verdict *v = &verdicts[i];

		fprintf(file, "%s\n  {\"case\": \"%s\", \"of\": \"%s\", \"to\": \"%s\", "
			"\"value\": %.3f, \"quartiles\": [%.3f, %.3f], "
			"\"must\": %.2f, \"met\": %s}",
			i ? "," : "", v->test, v->of, v->to ? v->to : "", v->value, v->low, v->high,
			v->must, v->met ? "true" : "false");
	}
	fprintf(file, "]\n}\n");
	return !fflush(file) && !ferror(file);
}

/* ---- for tools that count ---- */

static int count(const char *name, const char *test, unsigned int n, unsigned int room)
{
	int i = find(name);
	struct rusage before, after;
	void *handle;

	if (i < 0 || !test || (strcmp(test, "burst-1") && strcmp(test, "round-trip"))) {
		fputs(usage, stderr);
		return 2;
	}
	measuring = name;
	if (!field[i]->produce && (!field[i]->trip || !strcmp(test, "burst-1"))) {
		fprintf(stderr, "%s takes no part in %s\n", name, test);
		return 2;
	}
	getrusage(RUSAGE_SELF, &before);
	if (!strcmp(test, "burst-1")) {
		handle = field[i]->open(room > n ? room : n + 1, 1);
		if (n) {
			tally_expect(n);
			field[i]->produce(handle, 0, 0, n);
			tally_wait();
		}
		if (field[i]->drain)
			field[i]->drain(handle, 0);
	} else {
		handle = field[i]->open(1, 1);
		for (unsigned int k = 0; k < n; k++)
			one_trip(field[i], handle);
	}
	getrusage(RUSAGE_SELF, &after);
	field[i]->close(handle);
	printf("voluntary %ld involuntary %ld\n", after.ru_nvcsw - before.ru_nvcsw,
	       after.ru_nivcsw - before.ru_nivcsw);
	return 0;
}

static void interrupt(int number)
{
	(void)number;
	interrupted = 1;
}

/* In the order of the tables: ours, opponents, those beside, limits. */
static int by_kind(const void *a, const void *b)
{
	const struct contestant *x = *(const struct contestant *const *)a;
	const struct contestant *y = *(const struct contestant *const *)b;

	return x->kind != y->kind ? (int)x->kind - (int)y->kind : strcmp(x->name, y->name);
}

static void choose(const char *only)
{
	unsigned int kept = 0;

	for (unsigned int i = 0; only && i < field_size; i++)
		if (field[i]->kind == OURS || strstr(field[i]->name, only))
			field[kept++] = field[i];
	if (only)
		field_size = kept;
}

static void list(void)
{
	char version[120];

	for (unsigned int t = 0; t < TESTS; t++)
		printf("case %s\n", tests[t].name);
	for (unsigned int i = 0; i < field_size; i++) {
		field[i]->version(version, sizeof(version));
		printf("%s: %s\n", field[i]->name, version);
	}
}

int main(int argc, char **argv)
{
	bool quick = option(argc, argv, "--quick"), csv = option(argc, argv, "--csv");
	unsigned int works = number(argc, argv, "--works", quick ? 20000 : 100000);
	unsigned int repeat = number(argc, argv, "--repeat", quick ? 3 : 15);
	unsigned int requests = quick ? 100000 : 1000000, idle_seconds = quick ? 2 : 10;
	const char *only_case = option(argc, argv, "--case"), *json = option(argc, argv, "--json");
	const char *broken = option(argc, argv, "--broken");
	struct sigaction action = { .sa_handler = interrupt, .sa_flags = (int)SA_RESETHAND };
	bool partial = false, missed = false, any = false;
	FILE *file = NULL;
	double load = 0;

	if (option(argc, argv, "--help")) {
		fputs(usage, stdout);
		return 0;
	}
	patience = number(argc, argv, "--patience", patience);
	if (quick)
		timers.count = 2000;
	sem_init(&tally.full, 0, 0);
	if (broken)
		enter_contestant(!strcmp(broken, "lose") ? &loses : &repeats);
	choose(option(argc, argv, "--only"));
	qsort(field, field_size, sizeof(field[0]), by_kind);
	place_anywhere();
	if (option(argc, argv, "--list")) {
		list();
		return 0;
	}
	if (option(argc, argv, "--count"))
		return count(option(argc, argv, "--name") ? option(argc, argv, "--name") : "",
			     only_case, number(argc, argv, "--count", 0),
			     number(argc, argv, "--room", 0));
	for (unsigned int t = 0; t < TESTS; t++)
		any |= !only_case || !strncmp(tests[t].name, only_case, strlen(only_case));
	if (!any || !repeat || works < PRODUCERS_MAX) {
		fprintf(stderr, "nothing to measure; --list shows the cases\n");
		return 2;
	}
	if (json) {
		/* Before the run: a minute of measuring must not end in a name mistyped. */
		file = strcmp(json, "-") ? fopen(json, "w") : stdout;
		if (!file) {
			perror(json);
			return 2;
		}
		if (file == stdout) {
			int copy = dup(STDOUT_FILENO);

			file = copy < 0 ? NULL : fdopen(copy, "w");
			if (!file || dup2(STDERR_FILENO, STDOUT_FILENO) < 0) {
				perror("standard output");
				return 2;
			}
		}
	}
	sigaction(SIGINT, &action, NULL);
	if (getloadavg(&load, 1) != 1)
		load = -1;
	if (!csv) {
		print_machine();
		printf("load %.2f%s; %u jobs a burst, %u repetitions%s\n", load,
		       load > (double)sysconf(_SC_NPROCESSORS_ONLN) / 2 ?
		       " (BUSY: distrust it)" : "",
		       works, repeat, quick ? "; QUICK, for a look and not for a quotation" : "");
	} else {
		printf("case,name,median,q1,q3\n");
	}
	for (unsigned int t = 0; t < TESTS && !partial; t++) {
		if (only_case && strncmp(tests[t].name, only_case, strlen(only_case)))
			continue;
		if (tests[t].what == TRIP && tests[t].own != tests[t].others && cpus[1] < 0) {
			fprintf(stderr, "%s is left out: one processor only\n", tests[t].name);
			continue;
		}
		partial = !run_test(t, repeat, works, requests, idle_seconds);
		print_test(t, csv);
		fflush(stdout);
	}
	judge_all(idle_seconds);
	if (!csv)
		print_verdicts();
	if (partial)
		fprintf(stderr, "ended by Ctrl-C: what is shown is partial\n");
	for (unsigned int i = 0; i < verdict_count; i++)
		missed |= !verdicts[i].met;
	if (file && !write_json(file, partial, quick, works, requests)) {
		perror(json);
		return 1;
	}
	if (partial)
		return 130;
	return missed && option(argc, argv, "--strict") ? 3 : 0;
}
