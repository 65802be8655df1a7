/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The heap of timers against a sorted array: shape, order, first come first served among
 * equal deadlines. STRESS_ROUNDS, STRESS_SEED.
 */
#include "harness.h"

#include "timers.h"

#define MANY 100000u

/* A timer, and when the model saw it armed. */
struct node {
	struct kthread_timer timer;
	uint64_t armed;		/* 1, 2, 3 ... of its last arming; 0: it is not */
};

/* The nodes armed, the earliest first. */
struct model {
	struct node **sorted;
	uint32_t count;
	uint64_t armings;
};

static bool node_before(const struct node *a, const struct node *b)
{
	return a->timer.deadline != b->timer.deadline ? a->timer.deadline < b->timer.deadline :
							a->armed < b->armed;
}

/* Where the node stands, or would stand. */
static uint32_t model_place(const struct model *model, const struct node *node)
{
	uint32_t low = 0, high = model->count;

	while (low < high) {
		uint32_t middle = low + (high - low) / 2;

		if (node_before(model->sorted[middle], node))
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static void model_arm(struct model *model, struct node *node)
{
	uint32_t place;

	node->armed = ++model->armings;
	place = model_place(model, node);
	memmove(&model->sorted[place + 1], &model->sorted[place],
		(model->count - place) * sizeof(struct node *));
	model->sorted[place] = node;
	model->count++;
}

static void model_disarm(struct model *model, struct node *node)
{
	uint32_t place = model_place(model, node);

	CHECK(model->sorted[place] == node);
	model->count--;
	memmove(&model->sorted[place], &model->sorted[place + 1],
		(model->count - place) * sizeof(struct node *));
	node->armed = 0;
}

/* Each node below its parent, linked both ways, and later than it. Returns how many. */
static uint32_t check_subtree(const struct kthread_timer *node, const struct kthread_timer *parent,
			      unsigned int depth)
{
	if (!node)
		return 0;
	CHECK(depth < 32);
	CHECK(node->parent == parent);
	if (parent)
		CHECK(node_before((const struct node *)parent, (const struct node *)node));
	return 1 + check_subtree(node->left, node, depth + 1) +
	       check_subtree(node->right, node, depth + 1);
}

/* Complete: the n-th place, counted level by level, is taken for every n up to count. */
static void check_shape(struct kthread_timers *timers)
{
	CHECK_EQ(check_subtree(timers->root, NULL, 0), timers->count);
	for (uint32_t n = 1; n <= timers->count; n++) {
		struct kthread_timer *node = timers_nth(timers, n);

		CHECK(node);
		if (n > 1) {
			struct kthread_timer *parent = timers_nth(timers, n / 2);

			CHECK(node->parent == parent);
			CHECK((n & 1 ? parent->right : parent->left) == node);
		}
	}
}

static void arm(struct kthread_timers *timers, struct model *model, struct node *node,
		uint64_t deadline)
{
	node->timer.deadline = deadline;
	timers_arm(timers, &node->timer);
	model_arm(model, node);
}

static void disarm(struct kthread_timers *timers, struct model *model, struct node *node)
{
	timers_disarm(timers, &node->timer);
	model_disarm(model, node);
}

static void check_earliest(struct kthread_timers *timers, const struct model *model)
{
	CHECK_EQ(timers->count, model->count);
	CHECK(timers_earliest(timers) == (model->count ? &model->sorted[0]->timer : NULL));
}

/* Deadlines of a range: the smaller it is, the more are equal. */
static void play(unsigned int nodes, uint64_t range, unsigned int steps, uint64_t *random)
{
	struct kthread_timers timers = { NULL, 0, 0 };
	struct node *node = calloc(nodes, sizeof(*node));
	struct model model = { calloc(nodes + 1, sizeof(struct node *)), 0, 0 };

	CHECK(node && model.sorted);
	for (unsigned int i = 0; i < steps; i++) {
		struct node *one = &node[stress_random(random) % nodes];
		uint64_t deadline = stress_random(random) % range;

		switch (stress_random(random) % 8) {
		case 0:
			if (model.count)
				disarm(&timers, &model, model.sorted[0]);
			break;
		case 1:
			if (model.count)
				disarm(&timers, &model, model.sorted[model.count - 1]);
			break;
		case 2:
			deadline = UINT64_MAX - stress_random(random) % range;
			/* fall through */
		default:
			if (one->armed)
				disarm(&timers, &model, one);
			else
				arm(&timers, &model, one, deadline);
			break;
		case 7:
			if (one->armed)
				disarm(&timers, &model, one);
			arm(&timers, &model, one, deadline);
		}
		check_earliest(&timers, &model);
		if (nodes < 100 || i % 64 == 0)
			check_shape(&timers);
	}
	while (model.count) {
		check_earliest(&timers, &model);
		disarm(&timers, &model, model.sorted[0]);
	}
	check_earliest(&timers, &model);
	free(model.sorted);
	free(node);
}

TEST(empty_heap_has_no_earliest)
{
	struct kthread_timers timers = { NULL, 0, 0 };

	CHECK(!timers_earliest(&timers));
}

TEST(one_timer_is_the_earliest_until_disarmed)
{
	struct kthread_timers timers = { NULL, 0, 0 };
	struct kthread_timer timer = { .deadline = UINT64_MAX };

	for (int i = 0; i < 3; i++) {
		timers_arm(&timers, &timer);
		CHECK(timers_earliest(&timers) == &timer);
		CHECK(!timer.parent && !timer.left && !timer.right);
		timers_disarm(&timers, &timer);
		CHECK(!timers_earliest(&timers));
		CHECK_EQ(timers.count, 0);
	}
}

TEST(random_arm_disarm_agrees_with_a_sorted_array)
{
	unsigned int rounds = stress_rounds(200);
	uint64_t random = stress_seed();

	test_needs_seconds(50);
	for (unsigned int i = 0; i < rounds; i++) {
		play(1 + stress_random(&random) % 12, 4, 400, &random);
		play(60, 1000, 400, &random);
		play(700, UINT32_MAX, 2000, &random);
		play(700, 3, 2000, &random);
	}
}

/* Also when the one before was put off and is back. */
TEST(equal_deadlines_go_by_arming)
{
	struct kthread_timers timers = { NULL, 0, 0 };
	struct node *node = calloc(1000, sizeof(*node));
	struct model model = { calloc(1001, sizeof(struct node *)), 0, 0 };
	uint64_t random = stress_seed();

	CHECK(node && model.sorted);
	for (unsigned int i = 0; i < 1000; i++)
		arm(&timers, &model, &node[i], 5);
	for (unsigned int i = 0; i < 3000; i++) {
		struct node *one = &node[stress_random(&random) % 1000];

		disarm(&timers, &model, one);
		arm(&timers, &model, one, 5);
		CHECK(model.sorted[999] == one);
	}
	check_shape(&timers);
	for (uint64_t last = 0; model.count;) {
		struct node *first = (struct node *)timers_earliest(&timers);

		CHECK(first->armed > last);
		last = first->armed;
		disarm(&timers, &model, first);
	}
	free(model.sorted);
	free(node);
}

static int compare(const void *a, const void *b)
{
	const struct node *x = *(struct node *const *)a, *y = *(struct node *const *)b;

	return node_before(x, y) ? -1 : node_before(y, x);
}

/* The model's array would be O(n) a step: here it is sorted once. */
TEST(hundred_thousand_timers)
{
	struct kthread_timers timers = { NULL, 0, 0 };
	struct node *node = calloc(MANY, sizeof(*node)), **sorted = calloc(MANY, sizeof(*sorted));
	uint64_t random = stress_seed(), armings = 0;
	uint32_t count = 0;

	CHECK(node && sorted);
	test_needs_seconds(50);
	for (uint32_t i = 0; i < MANY; i++) {
		node[i].timer.deadline = stress_random(&random) % MANY;
		node[i].armed = ++armings;
		timers_arm(&timers, &node[i].timer);
	}
	CHECK_EQ(timers.count, MANY);
	check_shape(&timers);
	for (uint32_t i = 0; i < MANY; i++) {
		struct node *one = &node[stress_random(&random) % MANY];

		if (one->armed)
			timers_disarm(&timers, &one->timer);
		one->armed = 0;
		if (i % 3 == 0)
			continue;
		one->timer.deadline = stress_random(&random) % MANY;
		one->armed = ++armings;
		timers_arm(&timers, &one->timer);
	}
	check_shape(&timers);
	for (uint32_t i = 0; i < MANY; i++)
		if (node[i].armed)
			sorted[count++] = &node[i];
	CHECK_EQ(timers.count, count);
	qsort(sorted, count, sizeof(*sorted), compare);
	for (uint32_t i = 0; i < count; i++) {
		CHECK(timers_earliest(&timers) == &sorted[i]->timer);
		timers_disarm(&timers, &sorted[i]->timer);
		if (i % 16384 == 0)
			check_shape(&timers);
	}
	CHECK_EQ(timers.count, 0);
	free(sorted);
	free(node);
}
