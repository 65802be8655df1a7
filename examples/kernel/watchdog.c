/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A watchdog whose hardware wants to be pinged more often than its user does: a delayed
 * work pings and arms itself again, as long as the user's own deadline has not passed. A
 * close stops it; a user who is silent lets the hardware bite.
 */
#include "kthread_compat.h"

#define HW_PING_MS 5

struct watchdog {
	struct mutex lock;
	struct kthread_worker *kworker;
	struct kthread_delayed_work work;
	unsigned long last_keepalive;	/* jiffies; under lock, as what follows */
	unsigned int timeout_ms;	/* how long its user may be silent */
	unsigned int hw_pings;
	bool active;
	struct completion bitten;
};

static bool user_is_alive(const struct watchdog *wdd)
{
	return time_before(jiffies, wdd->last_keepalive + msecs_to_jiffies(wdd->timeout_ms));
}

static void ping_work(struct kthread_work *work)
{
	struct watchdog *wdd = container_of(container_of(work, struct kthread_delayed_work, work),
					    struct watchdog, work);

	mutex_lock(&wdd->lock);
	if (wdd->active && user_is_alive(wdd)) {
		wdd->hw_pings++;
		kthread_queue_delayed_work(wdd->kworker, &wdd->work, msecs_to_jiffies(HW_PING_MS));
	} else if (wdd->active) {
		wdd->active = false;
		complete(&wdd->bitten);
	}
	mutex_unlock(&wdd->lock);
}

static void watchdog_ping(struct watchdog *wdd)
{
	mutex_lock(&wdd->lock);
	wdd->last_keepalive = jiffies;
	if (wdd->active)
		kthread_mod_delayed_work(wdd->kworker, &wdd->work, 0);
	mutex_unlock(&wdd->lock);
}

static void watchdog_open(struct watchdog *wdd, unsigned int timeout_ms)
{
	mutex_lock(&wdd->lock);
	wdd->timeout_ms = timeout_ms;
	wdd->active = true;
	mutex_unlock(&wdd->lock);
	watchdog_ping(wdd);
}

static void watchdog_close(struct watchdog *wdd)
{
	mutex_lock(&wdd->lock);
	wdd->active = false;
	mutex_unlock(&wdd->lock);
	/* Without the lock: the work takes it. It arms itself no more, and is not running. */
	kthread_cancel_delayed_work_sync(&wdd->work);
}

static unsigned int pings(struct watchdog *wdd)
{
	unsigned int n;

	mutex_lock(&wdd->lock);
	n = wdd->hw_pings;
	mutex_unlock(&wdd->lock);
	return n;
}

int main(void)
{
	static struct watchdog wdd;
	bool rearmed, closed, bitten;
	unsigned int before;

	mutex_init(&wdd.lock);
	init_completion(&wdd.bitten);
	wdd.kworker = kthread_run_worker(0, "watchdogd");
	if (IS_ERR(wdd.kworker)) {
		pr_err("no thread: %ld\n", PTR_ERR(wdd.kworker));
		return 1;
	}
	if (getenv("FIFO"))
		sched_set_fifo(wdd.kworker->task);
	kthread_init_delayed_work(&wdd.work, ping_work);

	watchdog_open(&wdd, 10000);
	while (pings(&wdd) < 10) { /* a user who is alive */
		watchdog_ping(&wdd);
		msleep(HW_PING_MS);
	}
	rearmed = pings(&wdd) >= 10;

	watchdog_close(&wdd);
	before = pings(&wdd);
	closed = !kthread_work_busy(&wdd.work.work) && !completion_done(&wdd.bitten);
	msleep(3 * HW_PING_MS);
	closed = closed && pings(&wdd) == before;

	watchdog_open(&wdd, 30); /* and then not a word */
	bitten = wait_for_completion_timeout(&wdd.bitten, 10 * HZ) != 0;
	kthread_destroy_worker(wdd.kworker);
	printf("pinged by itself: %s; quiet when closed: %s; bit a silent user: %s\n",
	       rearmed ? "yes" : "no", closed ? "yes" : "no", bitten ? "yes" : "no");
	return !(rearmed && closed && bitten);
}
