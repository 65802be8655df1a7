/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One job over several workers, as RCU starts its expedited grace periods: a tree's nodes
 * have a worker and a work each; all are queued, then each is flushed, then the results
 * are added up. The work is initialised anew for each round, when it is idle.
 */
#include "kthread_compat.h"

#define NODES 4
#define ROUNDS 25
#define LEAVES 1000u

struct node {
	struct kthread_worker *worker;
	struct kthread_work work;
	unsigned int first, last;
	u64 sum;
};

static void sum_leaves(struct kthread_work *work)
{
	struct node *node = container_of(work, struct node, work);

	node->sum = 0;
	for (unsigned int i = node->first; i < node->last; i++)
		node->sum += i;
}

static u64 sum_all(struct node *nodes)
{
	u64 sum = 0;

	for (int i = 0; i < NODES; i++) {
		kthread_init_work(&nodes[i].work, sum_leaves);
		kthread_queue_work(nodes[i].worker, &nodes[i].work);
	}
	/* In whatever order they end, the flushes together take as long as the slowest. */
	for (int i = 0; i < NODES; i++) {
		kthread_flush_work(&nodes[i].work);
		sum += nodes[i].sum;
	}
	return sum;
}

int main(void)
{
	static struct node nodes[NODES];
	unsigned int wrong = 0;
	int i, ret = 0;

	for (i = 0; i < NODES; i++) {
		nodes[i].first = i * LEAVES / NODES;
		nodes[i].last = (i + 1) * LEAVES / NODES;
		/* Its thread exists, and sleeps: what it shall be is said before it runs. */
		nodes[i].worker = kthread_create_worker(0, "node/%d", i);
		if (IS_ERR(nodes[i].worker)) {
			ret = PTR_ERR(nodes[i].worker);
			pr_err("node/%d has no thread: %s\n", i, strerror(-ret));
			break;
		}
		if (getenv("FIFO"))
			sched_set_fifo_low(nodes[i].worker->task);
		wake_up_process(nodes[i].worker->task);
	}
	for (int round = 0; !ret && round < ROUNDS; round++)
		wrong += sum_all(nodes) != (u64)LEAVES * (LEAVES - 1) / 2;
	while (i--)
		kthread_destroy_worker(nodes[i].worker);
	printf("%d rounds over %d workers, %u wrong\n", ROUNDS, NODES, wrong);
	return ret || wrong;
}
