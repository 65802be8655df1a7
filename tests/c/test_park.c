/* SPDX-License-Identifier: GPL-2.0-only */
/* The primitives below all sleeping: wait on a word, wake it, the clock. */
#include "harness.h"

#include "park.h"

TEST(changed_word_does_not_sleep)
{
	_Atomic(uint32_t) word = 5;

	CHECK_EQ(park_wait(&word, 4, UINT64_MAX), 0);
	CHECK_EQ(park_wait(&word, 4, park_clock_ns() + MS(1000000)), 0);
}

TEST(passed_deadline_times_out)
{
	_Atomic(uint32_t) word = 5;
	uint64_t deadline;

	CHECK_EQ(park_wait(&word, 5, 0), -ETIMEDOUT);
	CHECK_EQ(park_wait(&word, 5, park_clock_ns()), -ETIMEDOUT);
	deadline = park_clock_ns() + MS(3);
	while (park_wait(&word, 5, deadline) != -ETIMEDOUT)
		CHECK_EQ(atomic_load(&word), 5);
	CHECK(park_clock_ns() >= deadline);	/* never early */
}

TEST(clock_goes_on)
{
	uint64_t before = park_clock_ns();

	for (int i = 0; i < 100000; i++) {
		uint64_t now = park_clock_ns();

		CHECK(now >= before);
		before = now;
	}
	WAIT_UNTIL(park_clock_ns() > before);
}

TEST(name_is_told)
{
	CHECK(park_name()[0]);
}

TEST(deadline_saturates)
{
	uint64_t now = park_clock_ns();

	CHECK(park_deadline(0) >= now);
	CHECK(park_deadline(MS(1)) >= now + MS(1));
	CHECK(park_deadline(UINT64_MAX) == UINT64_MAX);
	CHECK(park_deadline(UINT64_MAX - 1) == UINT64_MAX);
	CHECK(park_deadline(UINT64_MAX - now / 2) == UINT64_MAX);
}

struct sleeper {
	struct side side;
	_Atomic(uint32_t) *word;
	uint64_t deadline;
};

/* As all callers do: sleep while the word says so. */
static int sleep_while_zero(void *arg)
{
	struct sleeper *s = arg;

	while (!atomic_load(s->word))
		park_wait(s->word, 0, s->deadline);
	return 0;
}

static void many_sleepers(int n, uint64_t timeout)
{
	_Atomic(uint32_t) word = 0;
	struct sleeper sleepers[16];

	for (int i = 0; i < n; i++) {
		sleepers[i].word = &word;
		sleepers[i].deadline = park_deadline(timeout);
		side_start(&sleepers[i].side, sleep_while_zero, &sleepers[i]);
	}
	for (int i = 0; i < n; i++)
		side_settle(&sleepers[i].side);
	atomic_store(&word, 1);
	errno = 4711;
	if (n == 1)
		park_wake_one(&word);
	else
		park_wake_all(&word);
	CHECK_EQ(errno, 4711);
	for (int i = 0; i < n; i++)
		CHECK_EQ(side_join(&sleepers[i].side), 0);
}

TEST(wake_one_wakes_the_sleeper)
{
	for (int i = 0; i < 50; i++)
		many_sleepers(1, i % 2 ? UINT64_MAX : MS(3600000));
}

TEST(wake_all_wakes_all)
{
	for (int i = 0; i < 10; i++)
		many_sleepers(16, i % 2 ? UINT64_MAX : MS(3600000));
}

/* One wake each, and each wakes somebody who has not been woken yet. */
static _Atomic(uint32_t) turn_word;
static atomic_int turns;

static int take_a_turn(void *unused)
{
	(void)unused;
	while (!atomic_load(&turn_word))
		park_wait(&turn_word, 0, UINT64_MAX);
	atomic_fetch_add(&turns, 1);
	return 0;
}

TEST(wake_one_repeated_wakes_each)
{
	struct side sides[8];

	atomic_store(&turn_word, 0);
	atomic_store(&turns, 0);
	for (int i = 0; i < 8; i++)
		side_start(&sides[i], take_a_turn, NULL);
	for (int i = 0; i < 8; i++)
		side_settle(&sides[i]);
	atomic_store(&turn_word, 1);
	for (int i = 0; i < 8; i++)
		park_wake_one(&turn_word);
	for (int i = 0; i < 8; i++)
		CHECK_EQ(side_join(&sides[i]), 0);
	CHECK_EQ(atomic_load(&turns), 8);
}

/* Words that share a table's slot: the wake of one may not eat that of another. */
TEST(wake_one_finds_its_own_word_among_many)
{
	static _Atomic(uint32_t) words[1024];
	struct sleeper sleepers[64];

	for (int round = 0; round < 4; round++) {
		for (int i = 0; i < 64; i++) {
			atomic_store(&words[16 * i + round], 0);
			sleepers[i].word = &words[16 * i + round];
			sleepers[i].deadline = UINT64_MAX;
			side_start(&sleepers[i].side, sleep_while_zero, &sleepers[i]);
		}
		for (int i = 0; i < 64; i++)
			side_settle(&sleepers[i].side);
		for (int i = 63; i >= 0; i--) {
			atomic_store(sleepers[i].word, 1);
			park_wake_one(sleepers[i].word);
			CHECK_EQ(side_join(&sleepers[i].side), 0);
		}
	}
}

static atomic_int signals;

static void on_usr1(int number)
{
	(void)number;
	atomic_fetch_add(&signals, 1);
}

static int sleep_once(void *word)
{
	return park_wait(word, 0, UINT64_MAX);
}

TEST(signal_handler_ends_the_sleep)
{
	_Atomic(uint32_t) word = 0;
	struct sigaction action;
	struct side side;

	memset(&action, 0, sizeof(action));
	action.sa_handler = on_usr1;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	for (int i = 0; i < 20; i++) {
		side_start(&side, sleep_once, &word);
		side_settle(&side);
		if (i == 0 && atomic_load(&side.returned))
			printf("returned for no reason\n");
		while (!atomic_load(&side.returned)) {
			pthread_kill(side.thread, SIGUSR1);
			nap();
		}
		int result = side_join(&side);

		CHECK(result == -EINTR || result == 0);
	}
	CHECK(atomic_load(&signals) > 0);
}

/* Ping-pong: each wake comes in the last instant before the sleep, or the first in it. */
static _Atomic(uint32_t) ball;

static int odd_player(void *rounds)
{
	unsigned int n = *(unsigned int *)rounds;

	for (unsigned int i = 0; i < n; i++) {
		uint32_t seen;

		while (!((seen = atomic_load(&ball)) & 1))
			park_wait(&ball, seen, UINT64_MAX);
		atomic_fetch_add(&ball, 1);
		park_wake_one(&ball);
	}
	return 0;
}

TEST(no_wake_is_lost)
{
	unsigned int rounds = stress_rounds(50000);
	struct side side;

	test_needs_seconds(120);
	atomic_store(&ball, 0);
	side_start(&side, odd_player, &rounds);
	for (unsigned int i = 0; i < rounds; i++) {
		uint32_t seen;

		while ((seen = atomic_load(&ball)) & 1)
			park_wait(&ball, seen, UINT64_MAX);
		atomic_fetch_add(&ball, 1);
		park_wake_one(&ball);
	}
	CHECK_EQ(side_join(&side), 0);
}

/* A handler wakes, and so queues, at any place of its thread's own sleeping and waking. */
static _Atomic(uint32_t) handler_word;

static void wake_in_handler(int number)
{
	int before = errno;

	(void)number;
	atomic_fetch_add(&handler_word, 1);
	park_wake_one(&handler_word);
	park_wake_all(&handler_word);
	if (errno != before)
		abort();
	atomic_fetch_add(&signals, 1);
}

static atomic_bool enough;

static int sleep_and_wake(void *unused)
{
	(void)unused;
	while (!atomic_load(&enough)) {
		park_wait(&handler_word, atomic_load(&handler_word), park_deadline(1000));
		park_wake_all(&handler_word);
		park_wake_one(&handler_word);
	}
	return 0;
}

TEST(handler_wakes_amid_its_threads_own_sleep_and_wake)
{
	int wanted = (int)stress_rounds(3000);
	struct sigaction action;
	struct side side;

	memset(&action, 0, sizeof(action));
	action.sa_handler = wake_in_handler;
	CHECK_EQ(sigaction(SIGUSR1, &action, NULL), 0);
	atomic_store(&signals, 0);
	atomic_store(&enough, false);
	side_start(&side, sleep_and_wake, NULL);
	while (atomic_load(&signals) < wanted) {
		int before = atomic_load(&signals);

		pthread_kill(side.thread, SIGUSR1);
		for (int i = 0; i < 1000 && atomic_load(&signals) == before; i++)
			sched_yield();
	}
	atomic_store(&enough, true);
	CHECK_EQ(side_join(&side), 0);
}
