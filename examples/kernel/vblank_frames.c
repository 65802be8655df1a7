/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Frames before a deadline, as DRM's vblank works: each vertical blank queues the works that
 * wait for its number, on a worker with SCHED_FIFO; one that runs when its blank is over is
 * late, and counted. A change of mode cancels those that still wait, and flushes the rest.
 */
#include "kthread_compat.h"

#define FRAMES 20
#define SLOW_FRAME 7
#define BLANK_MS 4

struct crtc;

struct vblank_work {
	struct kthread_work base;
	struct crtc *crtc;
	struct list_head node;		/* under lock; empty: not waiting */
	u64 count;			/* the blank that it wants */
	bool ran, late;
};

struct crtc {
	spinlock_t lock;
	u64 count;			/* of blanks; under lock */
	struct list_head pending;	/* under lock */
	struct kthread_worker *worker;
	struct kthread_delayed_work blank; /* stands for the hardware's interrupt */
	struct kthread_worker *hardware;
	struct completion reached;
	u64 target;
};

static void blank_irq(struct kthread_work *work)
{
	struct kthread_delayed_work *dwork = container_of(work, struct kthread_delayed_work, work);
	struct crtc *crtc = container_of(dwork, struct crtc, blank);
	struct vblank_work *frame, *next;
	unsigned long flags;
	u64 count;

	spin_lock_irqsave(&crtc->lock, flags);
	count = ++crtc->count;
	list_for_each_entry_safe(frame, next, &crtc->pending, node) {
		if (frame->count > count)
			continue;
		list_del_init(&frame->node);
		kthread_queue_work(crtc->worker, &frame->base);
	}
	spin_unlock_irqrestore(&crtc->lock, flags);
	if (count == crtc->target)
		complete(&crtc->reached);
	kthread_queue_delayed_work(crtc->hardware, &crtc->blank, msecs_to_jiffies(BLANK_MS));
}

static u64 vblank_count(struct crtc *crtc)
{
	u64 count;

	spin_lock(&crtc->lock);
	count = crtc->count;
	spin_unlock(&crtc->lock);
	return count;
}

static void flip(struct kthread_work *work)
{
	struct vblank_work *frame = container_of(work, struct vblank_work, base);

	/* One is drawn so slowly that its blank is over for sure. */
	if (frame->count == SLOW_FRAME)
		while (vblank_count(frame->crtc) == frame->count)
			usleep_range(500, 1000);
	frame->late = vblank_count(frame->crtc) != frame->count;
	frame->ran = true;
}

static void vblank_work_schedule(struct crtc *crtc, struct vblank_work *frame, u64 count)
{
	unsigned long flags;

	kthread_init_work(&frame->base, flip);
	frame->crtc = crtc;
	spin_lock_irqsave(&crtc->lock, flags);
	frame->count = count;
	if (crtc->count >= count) {
		INIT_LIST_HEAD(&frame->node);
		kthread_queue_work(crtc->worker, &frame->base);
	} else {
		list_add_tail(&frame->node, &crtc->pending);
	}
	spin_unlock_irqrestore(&crtc->lock, flags);
}

/* What still waits for its blank is dropped; what was queued has run at the return. */
static unsigned int modeset_flush(struct crtc *crtc)
{
	struct vblank_work *frame, *next;
	unsigned int dropped = 0;

	spin_lock_irq(&crtc->lock);
	list_for_each_entry_safe(frame, next, &crtc->pending, node) {
		list_del_init(&frame->node);
		dropped++;
	}
	spin_unlock_irq(&crtc->lock);
	kthread_flush_worker(crtc->worker);
	return dropped;
}

int main(void)
{
	static struct vblank_work frames[FRAMES];
	static struct crtc crtc;
	unsigned int ran = 0, late = 0, dropped;
	bool slow_was_late;

	spin_lock_init(&crtc.lock);
	INIT_LIST_HEAD(&crtc.pending);
	init_completion(&crtc.reached);
	crtc.target = FRAMES / 2;
	kthread_init_delayed_work(&crtc.blank, blank_irq);
	crtc.worker = kthread_run_worker(0, "crtc-0");
	crtc.hardware = kthread_run_worker(0, "blanks");
	if (IS_ERR(crtc.worker) || IS_ERR(crtc.hardware)) {
		pr_err("no threads\n");
		return 1;
	}
	if (getenv("FIFO")) /* says so itself, where it may not */
		sched_set_fifo(crtc.worker->task);

	/* The second half waits for blanks that do not come before the mode changes. */
	for (u64 i = 0; i < FRAMES; i++)
		vblank_work_schedule(&crtc, &frames[i], i < FRAMES / 2 ? i + 1 : 1000000 + i);
	kthread_queue_delayed_work(crtc.hardware, &crtc.blank, msecs_to_jiffies(BLANK_MS));
	wait_for_completion(&crtc.reached);
	dropped = modeset_flush(&crtc);
	kthread_cancel_delayed_work_sync(&crtc.blank);

	slow_was_late = frames[SLOW_FRAME - 1].late;
	for (int i = 0; i < FRAMES; i++) {
		ran += frames[i].ran;
		late += frames[i].late;
	}
	kthread_destroy_worker(crtc.hardware);
	kthread_destroy_worker(crtc.worker);
	printf("%u frames ran, %u dropped by the change of mode; the slow one was late: %s\n", ran,
	       dropped, slow_was_late ? "yes" : "no");
	pr_debug("%u late\n", late);
	return !(ran == FRAMES / 2 && dropped == FRAMES / 2 && slow_was_late && late >= 1);
}
