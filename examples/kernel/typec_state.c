/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A port's state machine, as for USB Type-C: everything happens on one worker. Events queue
 * a work; each state may set a timeout, after which the port goes to another, and an event in
 * time moves that one timer. A contact that chatters is believed once it has been still.
 */
#include "kthread_compat.h"

enum state { UNATTACHED, ATTACH_WAIT, ATTACHED, NEGOTIATE, READY, HARD_RESET, STATES };

static const char *const names[STATES] = {
	"unattached", "attach-wait", "attached", "negotiate", "ready", "hard-reset",
};

#define EVENT_CC BIT(0)			/* the contact has changed */
#define EVENT_ACCEPT BIT(1)		/* the partner agrees */
#define EVENT_STOP BIT(2)

#define T_CC_DEBOUNCE 20		/* ms */
#define T_RESPONSE 30
#define T_RECOVER 10

struct port {
	struct mutex lock;
	struct kthread_worker *wq;
	struct kthread_work event_work;
	struct kthread_delayed_work state_machine;
	spinlock_t event_lock;
	unsigned long events;		/* under event_lock */
	bool cc;			/* under event_lock: is something plugged in? */
	enum state state, delayed_state; /* under lock, as what follows */
	unsigned int entered[STATES], resets;
	struct completion settled;	/* ready, or unattached again */
	bool partner_answers;		/* constant while attached */
	char path[256];
};

static void post(struct port *port, unsigned long events)
{
	unsigned long flags;

	spin_lock_irqsave(&port->event_lock, flags);
	port->events |= events;
	spin_unlock_irqrestore(&port->event_lock, flags);
	kthread_queue_work(port->wq, &port->event_work);
}

/* At once, or after a while unless something comes between. */
static void set_state(struct port *port, enum state state, unsigned int delay_ms)
{
	port->delayed_state = state;
	kthread_mod_delayed_work(port->wq, &port->state_machine, msecs_to_jiffies(delay_ms));
}

static void run_state_machine(struct port *port)
{
	size_t used = strlen(port->path);

	port->entered[port->state]++;
	snprintf(port->path + used, sizeof(port->path) - used, " %s", names[port->state]);
	switch (port->state) {
	case UNATTACHED:
		kthread_cancel_delayed_work_sync(&port->state_machine);
		complete(&port->settled);
		break;
	case ATTACH_WAIT:
		set_state(port, ATTACHED, T_CC_DEBOUNCE);
		break;
	case ATTACHED:
		set_state(port, NEGOTIATE, 0);
		break;
	case NEGOTIATE:
		set_state(port, HARD_RESET, T_RESPONSE);
		if (port->partner_answers)
			post(port, EVENT_ACCEPT);
		break;
	case READY:
		kthread_cancel_delayed_work_sync(&port->state_machine);
		complete(&port->settled);
		break;
	case HARD_RESET:
		/* Twice in vain, and the partner is given up. */
		set_state(port, ++port->resets < 2 ? NEGOTIATE : UNATTACHED, T_RECOVER);
		break;
	default:
		WARN_ON_ONCE(1);
	}
}

static void state_machine_work(struct kthread_work *work)
{
	struct kthread_delayed_work *dwork = container_of(work, struct kthread_delayed_work, work);
	struct port *port = container_of(dwork, struct port, state_machine);

	mutex_lock(&port->lock);
	port->state = port->delayed_state;
	run_state_machine(port);
	mutex_unlock(&port->lock);
}

static void event_handler(struct kthread_work *work)
{
	struct port *port = container_of(work, struct port, event_work);
	unsigned long events;
	bool cc;

	spin_lock_irq(&port->event_lock);
	events = port->events;
	port->events = 0;
	cc = port->cc;
	spin_unlock_irq(&port->event_lock);

	mutex_lock(&port->lock);
	if (events & EVENT_CC) {
		if (!cc && port->state != UNATTACHED) {
			port->state = UNATTACHED;
			run_state_machine(port);
		} else if (cc && port->state == UNATTACHED) {
			port->state = ATTACH_WAIT;
			run_state_machine(port);
		} else if (cc && port->state == ATTACH_WAIT) {
			set_state(port, ATTACHED, T_CC_DEBOUNCE); /* chatter: wait anew */
		}
	}
	if (events & EVENT_ACCEPT && port->state == NEGOTIATE) {
		port->state = READY;
		run_state_machine(port);
	}
	mutex_unlock(&port->lock);
}

static void plug(struct port *port, bool in)
{
	spin_lock(&port->event_lock);
	port->cc = in;
	spin_unlock(&port->event_lock);
	post(port, EVENT_CC);
}

static bool settle(struct port *port, enum state state, const char *path)
{
	bool ok;

	if (!wait_for_completion_timeout(&port->settled, 10 * HZ)) {
		pr_err("the port does not settle\n");
		return false;
	}
	mutex_lock(&port->lock);
	printf("%s:%s\n", names[state], port->path);
	ok = port->state == state && !strcmp(port->path, path);
	port->path[0] = 0;
	mutex_unlock(&port->lock);
	return ok;
}

int main(void)
{
	static struct port port;
	bool ok;

	mutex_init(&port.lock);
	spin_lock_init(&port.event_lock);
	init_completion(&port.settled);
	port.wq = kthread_run_worker(0, "port0");
	if (IS_ERR(port.wq)) {
		pr_err("no thread: %ld\n", PTR_ERR(port.wq));
		return 1;
	}
	sched_set_normal(port.wq->task, 0);
	kthread_init_work(&port.event_work, event_handler);
	kthread_init_delayed_work(&port.state_machine, state_machine_work);

	port.partner_answers = true;
	for (int i = 0; i < 5; i++) /* it chatters */
		plug(&port, true);
	ok = settle(&port, READY, " attach-wait attached negotiate ready");
	plug(&port, false);
	ok = settle(&port, UNATTACHED, " unattached") && ok;

	port.partner_answers = false;
	plug(&port, true);
	ok = settle(&port, UNATTACHED, " attach-wait attached negotiate hard-reset"
				       " negotiate hard-reset unattached") && ok;
	kthread_destroy_worker(port.wq);
	return !ok;
}
