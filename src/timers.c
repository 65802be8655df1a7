/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * timers.c - armed timers, the earliest first. See timers.h.
 */
#include "timers.h"

static bool is_before(const struct kthread_timer *a, const struct kthread_timer *b)
{
	return a->deadline != b->deadline ? a->deadline < b->deadline : a->order < b->order;
}

/*
 * The link that holds the n-th node, or will hold it; its parent is there already. Behind
 * its highest bit, n says from the root down where to turn: 0 left, 1 right.
 */
static struct kthread_timer **link_to(struct kthread_timers *timers, uint32_t n,
				      struct kthread_timer **parent)
{
	struct kthread_timer **link = &timers->root;

	*parent = NULL;
	for (uint32_t turn = (UINT32_C(1) << (31 - __builtin_clz(n))) >> 1; turn; turn >>= 1) {
		*parent = *link;
		link = n & turn ? &(*link)->right : &(*link)->left;
	}
	return link;
}

/* The link that holds the node. */
static struct kthread_timer **link_of(struct kthread_timers *timers, struct kthread_timer *node)
{
	struct kthread_timer *parent = node->parent;

	if (!parent)
		return &timers->root;
	return parent->left == node ? &parent->left : &parent->right;
}

/* Children know their parent by what is set here. */
static void adopt(struct kthread_timer *parent, struct kthread_timer *left,
		  struct kthread_timer *right)
{
	parent->left = left;
	parent->right = right;
	if (left)
		left->parent = parent;
	if (right)
		right->parent = parent;
}

/* Exchange a node with its parent. */
static void lift(struct kthread_timers *timers, struct kthread_timer *node)
{
	struct kthread_timer *parent = node->parent;
	struct kthread_timer *left = node->left, *right = node->right;

	*link_of(timers, parent) = node;
	node->parent = parent->parent;
	if (parent->left == node)
		adopt(node, parent, parent->right);
	else
		adopt(node, parent->left, parent);
	adopt(parent, left, right);
}

/* A node stands where it may be too early for its parent, or too late for its children. */
static void settle(struct kthread_timers *timers, struct kthread_timer *node)
{
	while (node->parent && is_before(node, node->parent))
		lift(timers, node);
	for (;;) {
		struct kthread_timer *child = node->left;

		/* The tree is complete: without a left child there is no right one. */
		if (child && node->right && is_before(node->right, child))
			child = node->right;
		if (!child || !is_before(child, node))
			break;
		lift(timers, child);
	}
}

void timers_arm(struct kthread_timers *timers, struct kthread_timer *timer)
{
	*link_to(timers, ++timers->count, &timer->parent) = timer;
	timer->left = NULL;
	timer->right = NULL;
	timer->order = timers->order++;
	settle(timers, timer);
}

/* The last node takes its place. */
void timers_disarm(struct kthread_timers *timers, struct kthread_timer *timer)
{
	struct kthread_timer *parent, **link = link_to(timers, timers->count--, &parent);
	struct kthread_timer *last = *link;

	*link = NULL;
	if (last == timer)
		return;
	*link_of(timers, timer) = last;
	last->parent = timer->parent;
	adopt(last, timer->left, timer->right);
	settle(timers, last);
}

struct kthread_timer *timers_nth(struct kthread_timers *timers, uint32_t n)
{
	struct kthread_timer *parent;

	return *link_to(timers, n, &parent);
}
