/* SPDX-License-Identifier: Apache-2.0 */
#include "store/choose.h"

#include "base/clock.h"
#include "store/closure.h"
#include "store/pins.h"
#include "store/store_internal.h"

static bool take_root(void *arg, const struct index_root *root)
{
	*(struct index_root *)arg = *root;
	return false;
}

/* The first behind *after that may go. *after is moved over those that may not. */
static int next_root(const struct chooser *chooser, struct index_root *after, struct index_root *root, struct err *err)
{
	struct index *index = chooser->store->index;
	char pin[INDEX_PIN_NAME_MAX + 1];

	for (;;) {
		int code;

		root->digest.algorithm = 0;
		code = index_list_roots(index, after->digest.algorithm ? after : NULL, take_root, root, err);
		if (code || !root->digest.algorithm)
			return code ? code : ERR_NOT_FOUND;
		if (!chooser->gone || !closure_has(chooser->gone, &root->digest)) {
			code = pin_find(chooser->store, &root->digest, pin, err);
			if (code)
				return code == ERR_NOT_FOUND ? 0 : code;
		}
		*after = *root;
	}
}

struct question {
	struct room *room;
	bool named, dear;
};

/* One name that it can be had under again is enough. */
static bool ask_name(void *arg, const struct index_name *name)
{
	struct question *question = arg;

	question->named = true;
	question->dear = question->room->is_dear(question->room->dear_arg, &name->repository);
	return question->dear;
}

static bool is_dear(struct store *store, const struct digest *digest)
{
	struct question question = {.room = &store->room};

	pthread_mutex_lock(&store->room.dear_mutex);
	if (store->room.is_dear)
		(void)index_list_names(store->index, digest, ask_name, &question, NULL);
	pthread_mutex_unlock(&store->room.dear_mutex);
	return question.named && question.dear;
}

static int64_t alike_until(int64_t last_use)
{
	int64_t tenth = (clock_wall_s() - last_use) / 10;

	return last_use + (tenth > CHOOSE_ALIKE_S ? tenth : CHOOSE_ALIKE_S);
}

int choose_next(struct chooser *chooser, struct choice *choice, struct err *err)
{
	int code = next_root(chooser, &chooser->passed, &choice->root, err);
	struct index_root other;
	int64_t until;

	choice->ahead = false;
	if (code || chooser->looks >= CHOOSE_LOOKS_MAX || !is_dear(chooser->store, &choice->root.digest))
		return code;
	until = alike_until(choice->root.last_use);
	if (chooser->asked.last_use < choice->root.last_use)
		chooser->asked = choice->root;
	for (; chooser->looks < CHOOSE_LOOKS_MAX; chooser->looks++) {
		code = next_root(chooser, &chooser->asked, &other, err);
		if (code || other.last_use > until)
			break;
		chooser->asked = other;
		if (is_dear(chooser->store, &other.digest))
			continue;
		*choice = (struct choice){.root = other, .ahead = true};
		return 0;
	}
	return code == ERR_IO ? code : 0;
}

void choose_pass_over(struct chooser *chooser, const struct choice *choice)
{
	/* One that was ahead has been asked about, which is not done twice. */
	if (!choice->ahead)
		chooser->passed = choice->root;
}
