/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * model.hpp - a scenario, and how it is run. See shim.hpp.
 *
 * A scenario is derived from body, and has
 *
 *	static constexpr int threads	those that begin at once; 2
 *	static constexpr int extra	those that the core may create; 0
 *	static constexpr int bound	switches of a thread that could go on; EXHAUSTIVE: any number
 *	void before()			single-threaded
 *	void thread(unsigned)		of each thread
 *	void after()			when all have ended
 *
 * and DECLARE_SCENARIO("name", struct). Its members are made anew in each execution.
 */
#ifndef MODEL_MODEL_HPP
#define MODEL_MODEL_HPP

#include "shim.hpp"

namespace model {

constexpr int EXHAUSTIVE = -1;

void begin_execution();
void end_set_up();
void end_execution();
void restore_statics();

/* Mark a value as one that no thread has read. */
extern void (*seen_by_nobody)(rl::atomic_data *data);

/* Has an execution since the last call shown that more is shared? */
bool sharing_has_grown();

/* May a sleep end for no reason? */
bool may_wake_in_vain();

struct body {
	static constexpr int threads = 2, extra = 0, bound = EXHAUSTIVE;

	virtual ~body()
	{
	}
	virtual void before()
	{
	}
	virtual void thread(unsigned index) = 0;
	virtual void after()
	{
	}
};

constexpr size_t ROOM = 8192; /* for a scenario's members */

struct scenario {
	const char *name;
	int threads;
	int extra;
	int bound;
	body *(*make)(void *room);
	scenario *next;

	scenario(const char *name, int threads, int extra, int bound, body *(*make)(void *));
};

extern scenario *scenarios;

template <class S> body *make_in(void *room)
{
	static_assert(sizeof(S) <= ROOM);
	return new (room) S;
}

#define MODEL_JOIN_(a, b) a##b
#define MODEL_JOIN(a, b) MODEL_JOIN_(a, b)
#define DECLARE_SCENARIO(name, type)                                                   \
	static model::scenario MODEL_JOIN(declared_, __LINE__)(                        \
		name, type::threads, type::extra, type::bound, model::make_in<type>)

#define CHECK(what)                                                                       \
	do {                                                                              \
		if (!(what))                                                              \
			model::fail("not true: " #what, rl::test_result_user_assert_failed); \
	} while (0)

} /* namespace model */

#endif /* MODEL_MODEL_HPP */
