/* SPDX-License-Identifier: Apache-2.0 */
#include "server/access/crowd.h"

#include "base/buf.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

/* A user who has requests under way. */
struct member {
	char user[CROWD_USER_MAX];
	unsigned requests;
	UT_hash_handle hh;
};

struct crowd {
	pthread_mutex_t lock;
	struct member *members;
	unsigned each;
};

struct crowd *crowd_new(unsigned each)
{
	struct crowd *crowd = mem_alloc(sizeof(*crowd));

	pthread_mutex_init(&crowd->lock, NULL);
	crowd->each = each;
	return crowd;
}

void crowd_free(struct crowd *crowd)
{
	if (!crowd)
		return;
	assert(!crowd->members); /* each request ends */
	pthread_mutex_destroy(&crowd->lock);
	free(crowd);
}

void crowd_set_each(struct crowd *crowd, unsigned each)
{
	pthread_mutex_lock(&crowd->lock);
	crowd->each = each;
	pthread_mutex_unlock(&crowd->lock);
}

bool crowd_enter(struct crowd *crowd, const char *user)
{
	struct member *member;
	bool room;

	pthread_mutex_lock(&crowd->lock);
	HASH_FIND_STR(crowd->members, user, member);
	if (!member) {
		member = mem_alloc(sizeof(*member));
		assert(strlen(user) < sizeof(member->user));
		strcpy(member->user, user);
		HASH_ADD_STR(crowd->members, user, member);
	}
	room = member->requests < crowd->each;
	member->requests += room;
	pthread_mutex_unlock(&crowd->lock);
	return room;
}

void crowd_leave(struct crowd *crowd, const char *user)
{
	struct member *member;

	pthread_mutex_lock(&crowd->lock);
	HASH_FIND_STR(crowd->members, user, member);
	assert(member && member->requests > 0);
	if (--member->requests == 0) {
		HASH_DEL(crowd->members, member);
		free(member);
	}
	pthread_mutex_unlock(&crowd->lock);
}
