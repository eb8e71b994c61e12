/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Makes from a trace what a power cut may leave of the folder: at any call of it, and with more or less of what had not
 * been synced by then. A file's bytes are safe once it was synced, and a name once its folder was; a rename happens
 * whole or not at all. What is not safe may be there or not, each for itself, a name that is there may lead to a file
 * without its bytes, and bytes come back in any order.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>

enum replay_loss {
	REPLAY_ALL_LOST,   /* of names and bytes, all that is not safe */
	REPLAY_BYTES_LOST, /* names and sizes are there, and zeros in place of bytes that are not safe */
	REPLAY_SOME_LOST,  /* each as the dice say */
	REPLAY_NONE_LOST,  /* as after kill -9 */
};

struct replay;

/* Reads a trace; NULL when it is none. */
struct replay *replay_open(const char *trace);
void replay_close(struct replay *replay);

/* The calls in it. */
size_t replay_length(const struct replay *replay);

/* Makes the folder `path`, which must not exist, as a power cut behind the first `calls` calls may leave it. */
bool replay_make(const struct replay *replay, size_t calls, enum replay_loss loss, unsigned seed, const char *path);
