// SPDX-License-Identifier: GPL-2.0-only
// The program: lists its sites and scenarios, or runs one scenario, with a site weakened.
//
//	model sites				file:line:word, one a line
//	model scenarios				name, threads, bound
//	model run NAME [options]
//		--weaken FILE:LINE:WORD:ORDER	ORDER: relaxed, acquire, release, acq_rel, none
//		--trace				the execution that fails, step by step
//		--bound N			instead of the scenario's own; -1: exhaustive
//		--uses				the sites that were used, one a line
//
// Exit code 0: nothing found; 1: refuted, with the reason as the last line; 2: misuse.
#include "model.hpp"

#include <fstream>
#include <iostream>

#undef malloc
#undef free

extern model::site __start_model_sites[], __stop_model_sites[];
extern char __start_core_data[], __stop_core_data[];
extern char __start_core_bss[], __stop_core_bss[];

/* Static objects are made anew in each execution: their ends must not pile up. */
extern "C" int __cxa_atexit(void (*)(void *), void *, void *)
{
	return 0;
}

namespace model {

scenario *scenarios;

static bool wakes_in_vain, wants_trace;

bool may_wake_in_vain()
{
	return wakes_in_vain;
}

scenario::scenario(const char *name, int threads, int extra, int bound, body *(*make)(void *))
	: name(name), threads(threads), extra(extra), bound(bound), make(make), next(scenarios)
{
	scenarios = this;
}

static const scenario *running;

/* The test as Relacy takes it: one type for all scenarios with as many threads. */
template <int THREADS, int EXTRA>
struct suite : rl::test_suite<suite<THREADS, EXTRA>, THREADS> {
	static rl::thread_id_t const dynamic_thread_count = EXTRA;

	alignas(64) char room[ROOM];
	body *it;

	static void nobody(rl::atomic_data *data)
	{
		auto *d = static_cast<rl::atomic_data_impl<THREADS + EXTRA> *>(data);

		for (auto &record : d->history_)
			for (auto &order : record.first_seen_order_)
				order = (rl::timestamp_t)-1;
	}
	suite()
	{
		seen_by_nobody = nobody;
		begin_execution();
		it = running->make(room);
	}
	~suite()
	{
		it->~body();
	}
	void before()
	{
		it->before();
		end_set_up();
	}
	void thread(unsigned index)
	{
		resumed();
		it->thread(index);
	}
	void after()
	{
		it->after();
		end_execution();
	}
};

template <int THREADS, int EXTRA> bool simulate(rl::test_params &params)
{
	using test = suite<THREADS, EXTRA>;
	constexpr int all = THREADS + EXTRA;
	bool exhaustive = params.search_type == rl::fair_full_search_scheduler_type;
	rl::ostringstream state, again;
	rl::test_result_e result;

	params.initial_state = "";
	result = exhaustive ?
			 rl::run_test<test, rl::full_search_scheduler<all>>(params, state, false) :
			 rl::run_test<test, rl::context_bound_scheduler<all>>(params, state, false);
	if (result == rl::test_result_success || !wants_trace)
		return result == rl::test_result_success;
	params.initial_state = state.str();
	params.collect_history = true;
	if (exhaustive)
		rl::run_test<test, rl::full_search_scheduler<all>>(params, again, true);
	else
		rl::run_test<test, rl::context_bound_scheduler<all>>(params, again, true);
	return false;
}

static bool simulate(rl::test_params &params)
{
	switch (running->threads * 10 + running->extra) {
	case 11:
		return simulate<1, 1>(params);
	case 20:
		return simulate<2, 0>(params);
	case 21:
		return simulate<2, 1>(params);
	case 30:
		return simulate<3, 0>(params);
	default:
		fprintf(stderr, "model: no scenario has so many threads yet\n");
		abort();
	}
}

static char *fresh_data, *fresh_bss;

void restore_statics()
{
	memcpy(__start_core_data, fresh_data, (size_t)(__stop_core_data - __start_core_data));
	memcpy(__start_core_bss, fresh_bss, (size_t)(__stop_core_bss - __start_core_bss));
}

static char *copy(const char *begin, const char *end)
{
	char *p = (char *)malloc((size_t)(end - begin) + 1);

	memcpy(p, begin, (size_t)(end - begin));
	return p;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static int order_of(const char *name)
{
	static const struct {
		const char *name;
		int order;
	} orders[] = {
		{ "relaxed", rl::mo_relaxed }, { "acquire", rl::mo_acquire },
		{ "release", rl::mo_release }, { "acq_rel", rl::mo_acq_rel },
		{ "none", NO_FENCE },
	};

	for (const auto &o : orders)
		if (!strcmp(o.name, name))
			return o.order;
	return AS_WRITTEN;
}

static bool weaken(const char *text)
{
	const char *last = strrchr(text, ':');
	bool found = false;

	for (site *s = __start_model_sites; s != __stop_model_sites; s++) {
		char name[256];

		snprintf(name, sizeof(name), "%s:%d:%s", base_name(s->file), s->line, s->word);
		if (last && strlen(name) == (size_t)(last - text) &&
		    !strncmp(name, text, strlen(name)) && order_of(last + 1) != AS_WRITTEN) {
			s->weaker = order_of(last + 1);
			found = true;
		}
	}
	return found;
}

static void print_sites(bool used_only)
{
	for (site *s = __start_model_sites; s != __stop_model_sites; s++)
		if (!used_only || s->uses)
			printf("%s:%d:%s\n", base_name(s->file), s->line, s->word);
}

static rl::test_params parameters(int bound, std::ostream &out)
{
	rl::test_params params;

	params.search_type = bound == EXHAUSTIVE ? rl::fair_full_search_scheduler_type :
						   rl::fair_context_bound_scheduler_type;
	params.context_bound = (unsigned)bound;
	params.execution_depth_limit = 5000;
	params.output_stream = &out;
	params.progress_stream = &out;
	return params;
}

/* Until no execution shows more that is shared than was known at its beginning. */
static int simulate_all(int bound)
{
	uint64_t executions = 0;
	int rounds = 0;

	do {
		rl::ostringstream text;
		rl::test_params params = parameters(bound, text);
		bool good;

		good = simulate(params);
		executions += params.stop_iteration;
		rounds++;
		if (!good) {
			if (wants_trace)
				std::cout << text.str().c_str();
			printf("%s after %llu executions\n",
			       rl::test_result_str(params.test_result),
			       (unsigned long long)executions);
			return 1;
		}
	} while (sharing_has_grown());
	printf("passes; %llu executions in %d rounds\n", (unsigned long long)executions, rounds);
	return 0;
}

static int misuse()
{
	fprintf(stderr, "usage: model sites | scenarios | run NAME [--weaken SITE:ORDER] "
			"[--bound N] [--vain] [--trace] [--uses]\n");
	return 2;
}

static int run(int argc, char **argv)
{
	bool uses = false;
	const scenario *s;
	int bound, result;

	for (s = scenarios; s && strcmp(s->name, argv[0]); s = s->next)
		;
	if (!s)
		return misuse();
	running = s;
	bound = s->bound;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--weaken") && i + 1 < argc) {
			if (!weaken(argv[++i]))
				return misuse();
		} else if (!strcmp(argv[i], "--bound") && i + 1 < argc) {
			bound = atoi(argv[++i]);
		} else if (!strcmp(argv[i], "--trace")) {
			wants_trace = true;
		} else if (!strcmp(argv[i], "--vain")) {
			wakes_in_vain = true;
		} else if (!strcmp(argv[i], "--uses")) {
			uses = true;
		} else {
			return misuse();
		}
	}
	result = simulate_all(bound);
	if (uses)
		print_sites(true);
	return result;
}

} /* namespace model */

int main(int argc, char **argv)
{
	using namespace model;

	fresh_data = copy(__start_core_data, __stop_core_data);
	fresh_bss = copy(__start_core_bss, __stop_core_bss);
	if (argc == 2 && !strcmp(argv[1], "sites")) {
		print_sites(false);
		return 0;
	}
	if (argc == 2 && !strcmp(argv[1], "scenarios")) {
		for (const scenario *s = scenarios; s; s = s->next)
			printf("%s %d %d\n", s->name, s->threads + s->extra, s->bound);
		return 0;
	}
	if (argc >= 3 && !strcmp(argv[1], "run"))
		return run(argc - 2, argv + 2);
	return misuse();
}
