/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What does a plain work cost? A burst: queue many, flush the last. A round trip: queue
 * one, flush it. The baseline, measured in the same run, is a list under a mutex with a
 * condition variable: what one writes without a library. And the processor time of both
 * sides in one thread, which no scheduling disturbs.
 *
 *	bench_burst [--works N] [--rounds N] [--cpus A,B] [--csv]
 *	bench_burst --count N
 *
 * --cpus pins the caller to A and the worker to B. --count queues N works and runs them in
 * the calling thread, and measures nothing: for tools that count instructions, the same
 * ones at each run.
 *
 * It uses nothing but plain works, so that it can be compiled against any state of the core.
 */
#include "bench.h"

#define CASES 5

static const char *const names[CASES] = {
	"burst", "burst with mutex and condition",
	"round trip", "round trip with mutex and condition",
	"queue and run in one thread",
};

static atomic_uint ran;
static int worker_cpu = -1;

static void nothing(struct kthread_work *work)
{
	(void)work;
	atomic_store_explicit(&ran, atomic_load_explicit(&ran, memory_order_relaxed) + 1,
			      memory_order_relaxed);
}

static void pin_worker(struct kthread_work *work)
{
	(void)work;
	if (worker_cpu >= 0)
		pin_to(worker_cpu);
}

/* ---- the baseline ---- */

struct job {
	struct job *next;
	void (*run)(struct job *job);
	bool done;
};

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t filled, finished;
	struct job *first, **last;
	bool stop;
} queue = { PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, PTHREAD_COND_INITIALIZER,
	    NULL, &queue.first, false };

static void run_nothing(struct job *job)
{
	(void)job;
	nothing(NULL);
}

static void *serve_queue(void *unused)
{
	(void)unused;
	pin_worker(NULL);
	pthread_mutex_lock(&queue.mutex);
	while (queue.first || !queue.stop) {
		struct job *job = queue.first;

		if (!job) {
			pthread_cond_wait(&queue.filled, &queue.mutex);
			continue;
		}
		queue.first = job->next;
		if (!queue.first)
			queue.last = &queue.first;
		pthread_mutex_unlock(&queue.mutex);
		job->run(job);
		pthread_mutex_lock(&queue.mutex);
		job->done = true;
		if (!queue.first)
			pthread_cond_broadcast(&queue.finished);
	}
	pthread_mutex_unlock(&queue.mutex);
	return NULL;
}

static void put_job(struct job *job)
{
	pthread_mutex_lock(&queue.mutex);
	job->next = NULL;
	job->done = false;
	*queue.last = job;
	queue.last = &job->next;
	pthread_cond_signal(&queue.filled);
	pthread_mutex_unlock(&queue.mutex);
}

static void wait_for_job(struct job *job)
{
	pthread_mutex_lock(&queue.mutex);
	while (!job->done)
		pthread_cond_wait(&queue.finished, &queue.mutex);
	pthread_mutex_unlock(&queue.mutex);
}

/* ---- measure ---- */

static double burst(struct kthread_worker *worker, struct kthread_work *works, unsigned int n)
{
	uint64_t begin = now_ns();

	for (unsigned int i = 0; i < n; i++)
		kthread_queue_work(worker, &works[i]);
	kthread_flush_work(&works[n - 1]);
	return (double)(now_ns() - begin) / n;
}

static double burst_of_jobs(struct job *jobs, unsigned int n)
{
	uint64_t begin = now_ns();

	for (unsigned int i = 0; i < n; i++)
		put_job(&jobs[i]);
	wait_for_job(&jobs[n - 1]);
	return (double)(now_ns() - begin) / n;
}

#define TRIPS 200

static double round_trip(struct kthread_worker *worker, struct kthread_work *work)
{
	uint64_t begin = now_ns();

	for (int i = 0; i < TRIPS; i++) {
		kthread_queue_work(worker, work);
		kthread_flush_work(work);
	}
	return (double)(now_ns() - begin) / TRIPS;
}

static double round_trip_of_job(struct job *job)
{
	uint64_t begin = now_ns();

	for (int i = 0; i < TRIPS; i++) {
		put_job(job);
		wait_for_job(job);
	}
	return (double)(now_ns() - begin) / TRIPS;
}

static void print(bool csv, const char *what, struct samples *s)
{
	if (csv)
		printf("%s,%.1f,%.1f,%.1f\n", what, quartile(s, 1), quartile(s, 2), quartile(s, 3));
	else
		printf("%-38s %10.1f %10.1f %10.1f\n", what, quartile(s, 1), quartile(s, 2),
		       quartile(s, 3));
}

static void stop_here(struct kthread_work *work)
{
	(void)work;
	kthread_stop_worker(kthread_current_worker());
}

/* Queued, then run, by the caller: what the core does, without the traffic between threads. */
static double in_one_thread(struct kthread_worker *worker, struct kthread_work *works,
			    unsigned int n)
{
	struct kthread_work stop;
	uint64_t begin = cpu_ns();

	for (unsigned int i = 0; i < n; i++)
		kthread_queue_work(worker, &works[i]);
	kthread_init_work(&stop, stop_here);
	kthread_queue_work(worker, &stop);
	kthread_worker_fn(worker);
	return (double)(cpu_ns() - begin) / n;
}

/* ---- count ---- */

static int count(unsigned int n)
{
	struct kthread_worker *worker = must(kthread_create_worker(0, "count"));
	struct kthread_work *works = must(calloc(n + 1, sizeof(*works)));

	for (unsigned int i = 0; i < n; i++)
		kthread_init_work(&works[i], nothing);
	in_one_thread(worker, works, n);
	kthread_destroy_worker(worker);
	free(works);
	printf("%u ran\n", atomic_load(&ran));
	return 0;
}

int main(int argc, char **argv)
{
	unsigned int n = number(argc, argv, "--works", 10000);
	unsigned int rounds = number(argc, argv, "--rounds", 50);
	const char *cpus = option(argc, argv, "--cpus");
	bool csv = option(argc, argv, "--csv");
	struct samples samples[CASES] = { { NULL, 0 } };
	struct kthread_worker *worker, *idle;
	struct kthread_work *works, pin;
	struct job *jobs;
	pthread_t thread;
	int own_cpu;

	if (option(argc, argv, "--count"))
		return count(number(argc, argv, "--count", 0));
	if (!n || !rounds) {
		fprintf(stderr, "nothing to measure\n");
		return 2;
	}
	if (cpus && sscanf(cpus, "%d,%d", &own_cpu, &worker_cpu) == 2)
		pin_to(own_cpu);
	works = must(calloc(n, sizeof(*works)));
	jobs = must(calloc(n, sizeof(*jobs)));
	for (unsigned int i = 0; i < n; i++) {
		kthread_init_work(&works[i], nothing);
		jobs[i].run = run_nothing;
	}
	worker = must(kthread_run_worker(0, "bench"));
	idle = must(kthread_create_worker(0, "idle"));
	kthread_init_work(&pin, pin_worker);
	kthread_queue_work(worker, &pin);
	kthread_flush_work(&pin);
	if (pthread_create(&thread, NULL, serve_queue, NULL))
		must(NULL);

	/* In turns, so that what the machine does besides meets all alike; the first is to warm up. */
	for (unsigned int i = 0; i <= rounds; i++) {
		double ns[CASES] = { burst(worker, works, n), burst_of_jobs(jobs, n),
				 round_trip(worker, works), round_trip_of_job(jobs),
				 in_one_thread(idle, works, n) };

		for (int j = 0; i && j < CASES; j++)
			samples_add(&samples[j], ns[j]);
	}
	if (!csv) {
		print_machine();
		printf("%u works a burst, %u rounds; caller and worker %s%s\n\n", n, rounds,
		       cpus ? "pinned to " : "not pinned", cpus ? cpus : "");
	}
	if (csv)
		printf("what,q1_ns,median_ns,q3_ns\n");
	else
		printf("%-38s %10s %10s %10s\n", "nanoseconds a work", "1/4", "median", "3/4");
	for (int i = 0; i < CASES; i++)
		print(csv, names[i], &samples[i]);

	kthread_destroy_worker(worker);
	kthread_destroy_worker(idle);
	pthread_mutex_lock(&queue.mutex);
	queue.stop = true;
	pthread_cond_signal(&queue.filled);
	pthread_mutex_unlock(&queue.mutex);
	pthread_join(thread, NULL);
	for (int i = 0; i < CASES; i++)
		free(samples[i].ns);
	free(works);
	free(jobs);
	return 0;
}
