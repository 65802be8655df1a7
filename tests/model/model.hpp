/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * model.hpp - a scenario, and how it is run. See shim.hpp.
 *
 * A scenario is a struct with
 *
 *	static constexpr int threads	those that begin at once
 *	static constexpr int extra	those that the core may create; 0: none
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

/* Has an execution since the last call shown that more is shared? */
bool sharing_has_grown();

/* May a sleep end for no reason? */
bool may_wake_in_vain();

struct scenario {
	const char *name;
	int threads;
	int bound;
	bool (*run)(rl::test_params &params);
	scenario *next;

	scenario(const char *name, int threads, int bound, bool (*run)(rl::test_params &));
};

extern scenario *scenarios;

template <class S>
struct suite : rl::test_suite<suite<S>, S::threads> {
	static rl::thread_id_t const dynamic_thread_count = S::extra;

	struct beginning {
		beginning()
		{
			begin_execution();
		}
	} beginning_;
	S it;

	void before()
	{
		it.before();
		end_set_up();
	}
	void thread(unsigned index)
	{
		resumed();
		it.thread(index);
	}
	void after()
	{
		it.after();
		end_execution();
	}
};

struct defaults {
	static constexpr int threads = 2, extra = 0, bound = EXHAUSTIVE;

	void before()
	{
	}
	void after()
	{
	}
};

#define MODEL_JOIN_(a, b) a##b
#define MODEL_JOIN(a, b) MODEL_JOIN_(a, b)
#define DECLARE_SCENARIO(name, type)                                   \
	static model::scenario MODEL_JOIN(declared_, __LINE__)(        \
		name, type::threads + type::extra, type::bound,        \
		[](rl::test_params &params) {                          \
			return rl::simulate<model::suite<type>>(params); \
		})

#define CHECK(what)                                                                       \
	do {                                                                              \
		if (!(what))                                                              \
			model::fail("not true: " #what, rl::test_result_user_assert_failed); \
	} while (0)

} /* namespace model */

#endif /* MODEL_MODEL_HPP */
