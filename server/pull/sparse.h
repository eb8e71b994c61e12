/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading a part of a blob that is not held, for who needs no more of it. The bytes are fetched by Range and go into
 * the blob's partial, like a flight's: what is there is not fetched again, neither for the next such read nor by the
 * flight that fetches the rest one day. They are unverified: no digest covers a part.
 *
 * One read of a blob runs at a time, since a partial has one owner; others wait for it. A flight that begins meanwhile
 * is its successor and opens the partial once it is closed.
 */
#pragma once

#include "server/pull/pull_internal.h"

struct sparse;

struct sparse_query {
	struct pull_upstream *upstream;
	const char *repository;
	const struct digest *digest;
	uint64_t size; /* of the blob */
	uint64_t offset;
	size_t len; /* within the blob */
};

/*
 * Reads exactly what is asked for. Blocks: not for threads that serve. ERR_BUSY: the whole is in flight.
 * ERR_UNSUPPORTED: the upstream does not give parts, has another size, or the partial has too many: fetch the whole.
 * ERR_OFFLINE, and the errors of a flight.
 */
int pull_read_sparse(struct pull *pull, const struct sparse_query *query, void *data, struct err *err);

/* For flight_start(), pull->lock is held: true when the flight has to wait for a read of this digest to close the
 * partial; its opening job is then submitted by that. */
bool sparse_precedes(struct pull *pull, struct flight *flight);
