/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Objects that may not be freed where the last reference goes: the work that frees one lies
 * in the object itself, and its callback frees the memory it was called with. A flush of the
 * worker at the exit waits for all of them.
 */
#define KTHREAD_COMPAT_MAIN
#include "kthread_compat.h"

#define OBJECTS 1000

struct object {
	struct kref ref;
	struct kthread_work free_work;
	char *payload;
};

static struct kthread_worker *reaper;
static unsigned int made, freed;	/* freed: the reaper's thread only */

static void object_free(struct kthread_work *work)
{
	struct object *object = container_of(work, struct object, free_work);

	kfree(object->payload);
	kfree(object); /* the worker does not touch it after this call began */
	freed++;
}

static void object_release(struct kref *ref)
{
	struct object *object = container_of(ref, struct object, ref);

	kthread_init_work(&object->free_work, object_free);
	kthread_queue_work(reaper, &object->free_work);
}

static struct object *object_alloc(int number)
{
	struct object *object = kzalloc(sizeof(*object), GFP_KERNEL);
	char text[32];

	if (!object)
		return NULL;
	snprintf(text, sizeof(text), "object %d", number);
	object->payload = kstrdup(text, GFP_KERNEL);
	if (!object->payload) {
		kfree(object);
		return NULL;
	}
	kref_init(&object->ref);
	made++;
	return object;
}

static int __init reaper_init(void)
{
	reaper = kthread_run_worker(0, "reaper");
	if (IS_ERR(reaper))
		return PTR_ERR(reaper);
	for (int i = 0; i < OBJECTS; i++) {
		struct object *object = object_alloc(i);

		if (!object) {
			kthread_destroy_worker(reaper);
			return -ENOMEM;
		}
		kref_get(&object->ref);
		kref_put(&object->ref, object_release);
		kref_put(&object->ref, object_release); /* the last */
	}
	return 0;
}

static void __exit reaper_exit(void)
{
	kthread_flush_worker(reaper);
	printf("%u made, %u freed\n", made, freed);
	kthread_destroy_worker(reaper);
	if (WARN(made != OBJECTS || freed != made, "%u objects are lost\n", made - freed))
		exit(1);
}

module_init(reaper_init);
module_exit(reaper_exit);
MODULE_LICENSE("GPL");
