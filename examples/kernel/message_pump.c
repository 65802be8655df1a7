/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A bus controller's message pump, as the SPI core has one: messages are listed under a
 * lock, one work sends them in order, one a run, and each ends by a completion or a
 * callback. The hardware is prepared for the first message and let go after the last.
 *
 *	message_pump [fifo]	the pump's thread with SCHED_FIFO
 */
#define pr_fmt(fmt) "pump: " fmt
#include "kthread_compat.h"

#define MESSAGES 50

struct message {
	struct list_head node;
	unsigned char tx[4], rx[4];
	int status;
	void (*complete)(void *context);
	void *context;
};

struct controller {
	spinlock_t lock;
	struct list_head queue;		/* under lock */
	struct message *current_message; /* under lock */
	bool running, busy;		/* under lock */
	bool prepared;			/* pump's thread only */
	struct kthread_worker *kworker;
	struct kthread_work pump_messages;
	unsigned int prepares, unprepares, sent;
};

/* The bus: what goes out comes back, turned over. */
static void transfer(struct message *msg)
{
	for (size_t i = 0; i < ARRAY_SIZE(msg->tx); i++)
		msg->rx[i] = (unsigned char)~msg->tx[i];
	msg->status = 0;
}

static void pump_messages(struct kthread_work *work)
{
	struct controller *ctlr = container_of(work, struct controller, pump_messages);
	struct message *msg;
	unsigned long flags;

	spin_lock_irqsave(&ctlr->lock, flags);
	if (list_empty(&ctlr->queue) || !ctlr->running) {
		ctlr->busy = false;
		spin_unlock_irqrestore(&ctlr->lock, flags);
		if (ctlr->prepared) {
			ctlr->prepared = false;
			ctlr->unprepares++;
		}
		return;
	}
	msg = list_first_entry(&ctlr->queue, struct message, node);
	list_del_init(&msg->node);
	ctlr->current_message = msg;
	ctlr->busy = true;
	spin_unlock_irqrestore(&ctlr->lock, flags);

	if (!ctlr->prepared) {
		ctlr->prepared = true;
		ctlr->prepares++;
	}
	transfer(msg);
	ctlr->sent++;

	spin_lock_irqsave(&ctlr->lock, flags);
	ctlr->current_message = NULL;
	spin_unlock_irqrestore(&ctlr->lock, flags);

	/* Once more, for the next message or to let the hardware go; then the message is not ours. */
	kthread_queue_work(ctlr->kworker, &ctlr->pump_messages);
	msg->complete(msg->context);
}

static int message_async(struct controller *ctlr, struct message *msg)
{
	unsigned long flags;

	spin_lock_irqsave(&ctlr->lock, flags);
	if (!ctlr->running) {
		spin_unlock_irqrestore(&ctlr->lock, flags);
		return -ESHUTDOWN;
	}
	msg->status = -EINPROGRESS;
	list_add_tail(&msg->node, &ctlr->queue);
	if (!ctlr->busy)
		kthread_queue_work(ctlr->kworker, &ctlr->pump_messages);
	spin_unlock_irqrestore(&ctlr->lock, flags);
	return 0;
}

static void wake_sender(void *context)
{
	complete(context);
}

static int message_sync(struct controller *ctlr, struct message *msg)
{
	DECLARE_COMPLETION_ONSTACK(done);
	int ret;

	msg->complete = wake_sender;
	msg->context = &done;
	ret = message_async(ctlr, msg);
	if (ret)
		return ret;
	if (!wait_for_completion_timeout(&done, secs_to_jiffies(10))) {
		pr_err("no end of a message\n");
		BUG(); /* done is on this stack */
	}
	return msg->status;
}

static void count_down(void *context)
{
	atomic_dec(context);
}

static int controller_start(struct controller *ctlr, bool rt)
{
	memset(ctlr, 0, sizeof(*ctlr));
	spin_lock_init(&ctlr->lock);
	INIT_LIST_HEAD(&ctlr->queue);
	ctlr->kworker = kthread_run_worker(0, "bus0");
	if (IS_ERR(ctlr->kworker)) {
		pr_err("no thread: %ld\n", PTR_ERR(ctlr->kworker));
		return PTR_ERR(ctlr->kworker);
	}
	kthread_init_work(&ctlr->pump_messages, pump_messages);
	if (rt)
		sched_set_fifo(ctlr->kworker->task);
	ctlr->running = true;
	return 0;
}

int main(int argc, char **argv)
{
	static struct message messages[MESSAGES];
	atomic_t left = ATOMIC_INIT(MESSAGES - 1);
	struct controller ctlr;
	unsigned int wrong = 0;
	bool ok;

	if (controller_start(&ctlr, argc > 1 && !strcmp(argv[1], "fifo")))
		return 1;
	for (unsigned int i = 0; i < MESSAGES; i++)
		messages[i].tx[0] = (unsigned char)i;
	for (int i = 0; i < MESSAGES - 1; i++) {
		messages[i].complete = count_down;
		messages[i].context = &left;
		if (message_async(&ctlr, &messages[i]))
			return 1;
	}
	/* The queue is in order: when the last is over, all are. */
	if (message_sync(&ctlr, &messages[MESSAGES - 1]))
		return 1;
	ok = atomic_read(&left) == 0;

	spin_lock(&ctlr.lock);
	ctlr.running = false;
	spin_unlock(&ctlr.lock);
	kthread_destroy_worker(ctlr.kworker);
	for (int i = 0; i < MESSAGES; i++)
		wrong += messages[i].status || messages[i].rx[0] != (unsigned char)~i;
	ok = ok && !wrong && ctlr.prepares >= 1 && ctlr.prepares == ctlr.unprepares &&
	     ctlr.sent == MESSAGES;
	printf("%u messages, %u wrong; prepared and let go as often: %s\n", ctlr.sent, wrong,
	       ctlr.prepares == ctlr.unprepares ? "yes" : "no");
	return !ok;
}
