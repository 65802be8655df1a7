/* SPDX-License-Identifier: GPL-2.0-only */
/* says: ARRAY_SIZE wants an array, not a pointer */
#include "kthread_compat.h"

size_t count(int *list);

size_t count(int *list)
{
	int array[3] = { 0 };

	(void)list;
#ifdef WRONG
	return ARRAY_SIZE(list) + ARRAY_SIZE(array);
#else
	return ARRAY_SIZE(array);
#endif
}
