/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How many requests each user has under way, from all addresses together: connections are bounded by address, and one
 * who has many addresses must not take all that there is. Any thread.
 */
#pragma once

#include <stdbool.h>

#define CROWD_USER_MAX 65 /* with the NUL */

struct crowd;

/* `each`: requests of one user at once. */
struct crowd *crowd_new(unsigned each);
/* Takes NULL. */
void crowd_free(struct crowd *crowd);

/* From now on; what is under way goes on. */
void crowd_set_each(struct crowd *crowd, unsigned each);

/* One more of this user's (a name, or what tells a login apart). False: there are as many as there may be; else
 * crowd_leave() follows. */
bool crowd_enter(struct crowd *crowd, const char *user);
void crowd_leave(struct crowd *crowd, const char *user);
