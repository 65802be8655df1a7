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

static bool wakes_in_vain;

bool may_wake_in_vain()
{
	return wakes_in_vain;
}

scenario::scenario(const char *name, int threads, int bound, bool (*run)(rl::test_params &))
	: name(name), threads(threads), bound(bound), run(run), next(scenarios)
{
	scenarios = this;
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

static rl::test_params parameters(const scenario *s, int bound, std::ostream &out)
{
	rl::test_params params;

	params.search_type = bound == EXHAUSTIVE ? rl::fair_full_search_scheduler_type :
						   rl::fair_context_bound_scheduler_type;
	params.context_bound = (unsigned)bound;
	params.execution_depth_limit = 5000;
	params.output_stream = &out;
	params.progress_stream = &out;
	(void)s;
	return params;
}

/* Until no execution shows more that is shared than was known at its beginning. */
static int simulate_all(const scenario *s, int bound, bool trace)
{
	uint64_t executions = 0;
	int rounds = 0;

	do {
		rl::ostringstream text;
		rl::test_params params = parameters(s, bound, text);
		bool good;

		params.collect_history = false;
		good = s->run(params);
		executions += params.stop_iteration;
		rounds++;
		if (!good) {
			if (trace)
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
	bool trace = false, uses = false;
	const scenario *s;
	int bound, result;

	for (s = scenarios; s && strcmp(s->name, argv[0]); s = s->next)
		;
	if (!s)
		return misuse();
	bound = s->bound;
	for (int i = 1; i < argc; i++) {
		if (!strcmp(argv[i], "--weaken") && i + 1 < argc) {
			if (!weaken(argv[++i]))
				return misuse();
		} else if (!strcmp(argv[i], "--bound") && i + 1 < argc) {
			bound = atoi(argv[++i]);
		} else if (!strcmp(argv[i], "--trace")) {
			trace = true;
		} else if (!strcmp(argv[i], "--vain")) {
			wakes_in_vain = true;
		} else if (!strcmp(argv[i], "--uses")) {
			uses = true;
		} else {
			return misuse();
		}
	}
	result = simulate_all(s, bound, trace);
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
			printf("%s %d %d\n", s->name, s->threads, s->bound);
		return 0;
	}
	if (argc >= 3 && !strcmp(argv[1], "run"))
		return run(argc - 2, argv + 2);
	return misuse();
}
