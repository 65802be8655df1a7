// SPDX-License-Identifier: GPL-2.0-only
// The table of objects, threads, mutexes, the futex and the clock; see shim.hpp.
#include "shim.hpp"
#include "model.hpp"

#undef malloc
#undef free
#undef aligned_alloc
#undef strdup

#include "park.h"

extern char __start_model_thread_local[], __stop_model_thread_local[];

namespace model {

namespace {

constexpr uint32_t SLOTS = 1 << 12, OBJECTS = 2048, THREADS = 4, GUARDS = 32;

object objects[OBJECTS];
uint32_t objects_used;
uint16_t slots[SLOTS]; /* index + 1 */
uint32_t used_slots[OBJECTS], used_slots_count;
uint32_t execution;
uint32_t lazily[THREADS + 1]; /* how many objects a thread has made itself */
bool setting_up;

/* Constructed before the threads began: made known to Relacy before they do. */
struct constructed {
	void *address;
	uint32_t size;
};
constructed statics[64], members[OBJECTS];
uint32_t statics_count, members_count;

struct guarded {
	char *begin;
	size_t size;
	bool freed;
};
guarded guards[GUARDS];
uint32_t guards_count;

/* Who has ever touched the object of an id. Kept over executions. */
struct sharing {
	uint8_t readers, writers;
};
sharing shared_now[1 << 13], shared_before[1 << 13];

char thread_locals[THREADS][256], thread_locals_fresh[256];
int thread_locals_of = -1;

struct sleeper {
	const void *word;
	int thread;
};
sleeper sleepers[THREADS];
uint32_t sleepers_count;
bool looked_in_vain[THREADS];
uint64_t now;

/* Nothing in it is given back before the next execution. */
alignas(64) char pool[1 << 16];
size_t pool_used;

int current()
{
	return rl::ctx().threadx_->index_;
}

uint32_t slot_of(uintptr_t address, kind what)
{
	return (uint32_t)((address * 11400714819323198485ull) >> 40) + what * 977;
}

object *lookup(uintptr_t address, kind what, uint32_t *free_slot)
{
	for (uint32_t i = slot_of(address, what);; i++) {
		uint16_t n = slots[i % SLOTS];

		if (!n) {
			*free_slot = i % SLOTS;
			return NULL;
		}
		if (objects[n - 1].address == address && objects[n - 1].what == what)
			return &objects[n - 1];
	}
}

void destroy_impl(object *o)
{
	if (!o->impl)
		return;
	switch (o->what) {
	case ATOMIC:
		if (o->size == 4)
			o->a32->~generic_atomic();
		else
			o->a64->~generic_atomic();
		break;
	case PLAIN:
	case GUARD:
		rl::ctx().var_dtor(o->var);
		break;
	case MUTEX:
		rl::ctx().mutex_dtor(o->mutex);
		break;
	default:
		break;
	}
	o->impl = NULL;
}

/* Relacy gives an atomic no initial value but zero; so it is put in. */
template <auto Member, int which> struct opened {
	friend auto member_of(std::integral_constant<int, which>)
	{
		return Member;
	}
};
auto member_of(std::integral_constant<int, 0>);
auto member_of(std::integral_constant<int, 1>);
auto member_of(std::integral_constant<int, 2>);
auto member_of(std::integral_constant<int, 3>);
auto member_of(std::integral_constant<int, 4>);
auto member_of(std::integral_constant<int, 5>);
auto member_of(std::integral_constant<int, 6>);
auto member_of(std::integral_constant<int, 7>);
template struct opened<&atomic32::value_, 0>;
template struct opened<&atomic32::history_, 1>;
template struct opened<&atomic32::last_index_, 2>;
template struct opened<&atomic32::impl_, 3>;
template struct opened<&atomic64::value_, 4>;
template struct opened<&atomic64::history_, 5>;
template struct opened<&atomic64::last_index_, 6>;
template struct opened<&atomic64::impl_, 7>;

template <class A, class V> A *begun_with(void *place, V value)
{
	constexpr int of = sizeof(V) == 4 ? 0 : 4;
	A *a = new (place) A;

	a->*member_of(std::integral_constant<int, of>()) = value;
	(a->*member_of(std::integral_constant<int, of + 1>()))
		[a->*member_of(std::integral_constant<int, of + 2>())] = value;
	seen_by_nobody(a->*member_of(std::integral_constant<int, of + 3>()));
	return a;
}

/* Room for the atomics of one execution; given anew in the next. */
alignas(16) char room[OBJECTS][sizeof(atomic64)];

void make_impl(object *o)
{
	rl::context &c = rl::ctx();
	void *place = room[o - objects];

	c.disable_preemption();
	switch (o->what) {
	case ATOMIC:
		if (o->size == 4)
			o->a32 = begun_with<atomic32>(place, *(uint32_t *)o->address);
		else
			o->a64 = begun_with<atomic64>(place, *(uint64_t *)o->address);
		break;
	case PLAIN:
	case GUARD:
		o->var = c.var_ctor(); /* what it was at first, all may read */
		break;
	case MUTEX:
		o->mutex = c.mutex_ctor(false, false, false, false);
		break;
	default:
		o->impl = NULL;
		break;
	}
	c.enable_preemption();
}

object *guard_of(uintptr_t address)
{
	for (uint32_t i = 0; i < guards_count; i++)
		if (address - (uintptr_t)guards[i].begin < guards[i].size)
			return find(guards[i].begin, GUARD, 0);
	return NULL;
}

bool is_shared(const sharing &s)
{
	uint8_t all = s.readers | s.writers;

	return s.writers && (all & (all - 1));
}

void forget_object(uintptr_t address, kind what)
{
	uint32_t slot;
	object *o = lookup(address, what, &slot);

	if (o) {
		destroy_impl(o);
		o->address = 1; /* the slot stays taken */
	}
}

} /* namespace */

object *find(const void *address, kind what, uint32_t size)
{
	uint32_t slot;
	object *o = lookup((uintptr_t)address, what, &slot);

	if (o)
		return o;
	if (objects_used == OBJECTS) {
		fprintf(stderr, "model: too many objects\n");
		abort();
	}
	o = &objects[objects_used++];
	slots[slot] = (uint16_t)objects_used;
	used_slots[used_slots_count++] = slot;
	o->address = (uintptr_t)address;
	o->what = what;
	o->size = size;
	o->dead = false;
	o->guard = NULL;
	if (setting_up) {
		o->id = lazily[THREADS]++;
	} else {
		int thread = current();

		o->id = 1024 + thread * 1024 + lazily[thread]++ % 1024;
	}
	o->id %= 1 << 13;
	make_impl(o);
	if (what == ATOMIC || what == PLAIN || what == MUTEX)
		o->guard = guard_of((uintptr_t)address);
	return o;
}

turn::turn(object *o, bool writes)
{
	sharing &s = shared_now[o->id];
	uint8_t me = setting_up ? 0 : (uint8_t)(1 << current());

	if (o->guard)
		race_check(o->guard, false);
	if (writes)
		s.writers |= me;
	else
		s.readers |= me;
	quiet = !is_shared(shared_before[o->id]);
	if (quiet)
		rl::ctx().disable_preemption();
}

turn::~turn()
{
	if (quiet)
		rl::ctx().enable_preemption();
}

void fail(const char *what, rl::test_result_e result)
{
	rl::ctx().fail_test(what, result, rl::debug_info("", "", 0));
}

void race_check(object *o, bool writes)
{
	rl::context &c = rl::ctx();

	if (o->guard && o->what != GUARD)
		race_check(o->guard, false);
	if (o->dead)
		fail("freed memory", rl::test_result_access_to_freed_memory);
	if (!(writes ? o->var->store(*c.threadx_) : o->var->load(*c.threadx_)))
		fail(o->what == GUARD ? "memory is used while it is freed" : "plain member",
		     rl::test_result_data_race);
}

void register_static(void *address, uint32_t size)
{
	if (!rl::is_ctx() || execution == 0) {
		statics[statics_count++] = { address, size };
		if (statics_count == 64)
			abort();
	} else if (setting_up) {
		members[members_count++] = { address, size };
	} else {
		forget_object((uintptr_t)address, ATOMIC);
		find(address, ATOMIC, size);
	}
}

void forget(void *address, uint32_t)
{
	if (!rl::is_ctx() || setting_up)
		return;
	forget_object((uintptr_t)address, ATOMIC);
	forget_object((uintptr_t)address, PLAIN);
}

/* ---- one execution ---- */

void begin_execution()
{
	static bool fresh_known;
	size_t size = (size_t)(__stop_model_thread_local - __start_model_thread_local);

	if (size > sizeof(thread_locals_fresh))
		abort();
	if (!fresh_known) {
		memcpy(thread_locals_fresh, __start_model_thread_local, size);
		fresh_known = true;
	}
	memcpy(__start_model_thread_local, thread_locals_fresh, size);
	for (auto &locals : thread_locals)
		memcpy(locals, thread_locals_fresh, size);
	thread_locals_of = -1;
	while (used_slots_count)
		slots[used_slots[--used_slots_count]] = 0;
	objects_used = 0;
	guards_count = 0;
	members_count = 0;
	sleepers_count = 0;
	pool_used = 0;
	now = 1;
	memset(lazily, 0, sizeof(lazily));
	memset(looked_in_vain, 0, sizeof(looked_in_vain));
	restore_statics();
	execution++;
	setting_up = true;
}

void end_set_up()
{
	for (uint32_t i = 0; i < statics_count; i++)
		find(statics[i].address, ATOMIC, statics[i].size);
	for (uint32_t i = 0; i < members_count; i++)
		find(members[i].address, ATOMIC, members[i].size);
	setting_up = false;
}

void end_execution()
{
	rl::ctx().disable_preemption();
	for (uint32_t i = 0; i < objects_used; i++)
		destroy_impl(&objects[i]);
	rl::ctx().enable_preemption();
	setting_up = true; /* what is destroyed now is the suite */
}

bool sharing_has_grown()
{
	bool grown = false;

	for (size_t i = 0; i < sizeof(shared_now) / sizeof(shared_now[0]); i++) {
		grown = grown || (is_shared(shared_now[i]) && !is_shared(shared_before[i]));
		shared_before[i].readers |= shared_now[i].readers;
		shared_before[i].writers |= shared_now[i].writers;
	}
	return grown;
}

void resumed()
{
	size_t size = (size_t)(__stop_model_thread_local - __start_model_thread_local);
	int me = current();

	if (me == thread_locals_of || setting_up)
		return;
	if (thread_locals_of >= 0)
		memcpy(thread_locals[thread_locals_of], __start_model_thread_local, size);
	memcpy(__start_model_thread_local, thread_locals[me], size);
	thread_locals_of = me;
}

void (*seen_by_nobody)(rl::atomic_data *data);

int this_thread()
{
	return setting_up ? 0 : current();
}

void pass_time(uint64_t ns)
{
	now += ns;
}

void fence(rl::memory_order mo, site &s)
{
	if (s.weaker == NO_FENCE) {
		s.uses++;
		return;
	}
	mo = order(s, mo);
	if (mo == rl::mo_seq_cst) {
		turn mine(find(&execution, FENCES, 0), true);

		rl::atomic_thread_fence(mo, MODEL_HERE(s));
		resumed();
	} else {
		rl::atomic_thread_fence(mo, MODEL_HERE(s));
	}
}

/* ---- memory ---- */

void guard_memory(void *address, size_t size)
{
	if (guards_count == GUARDS)
		abort();
	guards[guards_count++] = { (char *)address, size, false };
	find(address, GUARD, 0);
}

void release_memory(void *address)
{
	object *o;

	if (!address)
		return;
	for (uint32_t i = 0; i < guards_count; i++) {
		if (guards[i].begin != address)
			continue;
		o = find(address, GUARD, 0);
		race_check(o, true);
		o->dead = true;
		return;
	}
}

void write_memory(void *address)
{
	race_check(find(address, GUARD, 0), true);
}

void *allocate(size_t size)
{
	char *p;

	p = pool + pool_used;
	size = (size + 63) & ~(size_t)63;
	if (pool_used + size > sizeof(pool))
		abort();
	pool_used += size;
	guard_memory(p, size);
	return p;
}

char *copy_string(const char *text)
{
	char *copy = (char *)allocate(strlen(text) + 1);

	strcpy(copy, text);
	return copy;
}

/* ---- mutex, thread ---- */

int mutex_init(mutex *m, const void *)
{
	m->made = 1;
	return 0;
}

int mutex_lock(mutex *m)
{
	object *o = find(&m->byte, MUTEX, 0);

	{
		turn mine(o, true);
		o->mutex->lock_exclusive(false, rl::debug_info("lock", "", 0));
		resumed();
	}
	if (!m->made)
		fail("a mutex is locked before it is made",
		     rl::test_result_usage_of_non_initialized_mutex);
	return 0;
}

/* No switch of threads before it: what others do meanwhile they could as well do later. */
int mutex_unlock(mutex *m)
{
	object *o = find(&m->byte, MUTEX, 0);

	if (o->guard)
		race_check(o->guard, false);
	rl::ctx().disable_preemption();
	o->mutex->unlock_exclusive(rl::debug_info("unlock", "", 0));
	rl::ctx().enable_preemption();
	return 0;
}

int once(int *control, void (*fn)(void))
{
	if (!*control) {
		*control = 1;
		fn();
	}
	return 0;
}

static struct {
	void *(*fn)(void *);
	void *arg;
	pthread_t handle;
} created; /* one thread at a time is about to begin */

static pthread_t handles[THREADS];

pthread_t self()
{
	return handles[current()];
}

static void *begin_thread(void *)
{
	resumed();
	handles[current()] = created.handle;
	return created.fn(created.arg);
}

int create(pthread_t *thread, void *(*fn)(void *), void *arg)
{
	created.fn = fn;
	created.arg = arg;
	created.handle = (pthread_t)rl::ctx().create_thread(begin_thread, NULL);
	*thread = created.handle;
	return 0;
}

int join(pthread_t thread)
{
	((rl::win_waitable_object *)thread)->wait(false, false, rl::debug_info("join", "", 0));
	resumed();
	return 0;
}

} /* namespace model */

/* ---- park.h ---- */

using namespace model;

/*
 * The system looks at the word and begins to sleep in one step. Nobody is promised any
 * order by it, so that none is modelled: not between a wake and what the woken does. But
 * it takes time: a value that was outdated before the call is not read for ever after it.
 */
static void time_goes_by()
{
	rl::thread_info_base *me = rl::ctx().threadx_;

	me->last_yield_ = me->own_acq_rel_order_;
}

int park_wait(atomic<uint32_t> *word, uint32_t expected, uint64_t deadline_ns)
{
	rl::context &c = rl::ctx();
	object *o = find(word, ATOMIC, 4), *queue = find(word, SLEEPERS, 0);
	bool timed = deadline_ns != UINT64_MAX;
	rl::unpark_reason reason;
	int me;

	{
		turn mine(o, false);
		c.sched();
		resumed();
	}
	turn mine(queue, true);
	me = current();
	time_goes_by();
	if (o->a32->debug_value() != expected)
		return 0;
	/* For no reason, once: the rest of what may happen then is as if it slept for long. */
	if (!looked_in_vain[me] && may_wake_in_vain() && rl::rand(2)) {
		looked_in_vain[me] = true;
		return 0;
	}
	sleepers[sleepers_count++] = { word, me };
	reason = c.park_current_thread(timed, false, false, rl::debug_info("sleep", "", 0));
	resumed();
	if (reason != rl::unpark_reason_timeout)
		return 0;
	for (uint32_t i = 0; i < sleepers_count; i++)
		if (sleepers[i].thread == me)
			sleepers[i--] = sleepers[--sleepers_count];
	if (now < deadline_ns)
		now = deadline_ns;
	return -ETIMEDOUT;
}

static void wake(atomic<uint32_t> *word, uint32_t count)
{
	rl::context &c = rl::ctx();
	object *queue = find(word, SLEEPERS, 0);
	turn mine(queue, true);

	c.sched();
	resumed();
	for (uint32_t i = 0; i < sleepers_count && count;) {
		if (sleepers[i].word != word) {
			i++;
			continue;
		}
		count--;
		int thread = sleepers[i].thread;
		for (uint32_t j = i + 1; j < sleepers_count; j++)
			sleepers[j - 1] = sleepers[j];
		sleepers_count--;
		c.unpark_thread(thread, false, rl::debug_info("wake", "", 0));
	}
}

void park_wake_one(atomic<uint32_t> *word)
{
	wake(word, 1);
}

void park_wake_all(atomic<uint32_t> *word)
{
	wake(word, UINT32_MAX);
}

/* Time passes only for those who sleep until a deadline. */
uint64_t park_clock_ns(void)
{
	return now;
}

uint64_t park_deadline(uint64_t timeout_ns)
{
	return timeout_ns == UINT64_MAX ? UINT64_MAX : now + timeout_ns;
}

struct timespec park_timespec(uint64_t ns)
{
	return { (time_t)(ns / 1000000000), (long)(ns % 1000000000) };
}
