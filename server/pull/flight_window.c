/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A flight that is neither kept nor held whole: the disk takes no more, and the blob is larger than the memory for
 * that. It has a window, which moves on with the last of its readers. When the window is full the transfer ends, and
 * goes on, with a Range, once half of it is free: so the upstream goes as fast as the slowest of the readers, and no
 * thread waits for it. Who comes when the beginning is gone gets a flight of its own, aside of the table; and one that
 * nobody reads any more ends.
 */
#include "server/pull/flight_internal.h"

#include <utlist.h>

/* Where the last of those is for whom it is passed on; UINT64_MAX: there is none. The lock is held. */
static uint64_t last_reader(const struct flight *flight)
{
	const struct flight_reader *reader;
	uint64_t last = UINT64_MAX;

	DL_FOREACH (flight->readers, reader)
		if (!reader->bystander && reader->offset < last)
			last = reader->offset;
	return last;
}

bool flight_add_reader(struct flight *flight, struct flight_reader *reader)
{
	bool added;

	pthread_mutex_lock(&flight->lock);
	added = flight->state != FLIGHT_FAILED &&
		(!reader || flight->state == FLIGHT_STARTING || ingest_forgotten(flight->ingest) == 0);
	if (added && reader) {
		reader->offset = 0;
		DL_APPEND(flight->readers, reader);
	}
	pthread_mutex_unlock(&flight->lock);
	return added;
}

int flight_write(struct flight *flight, uint64_t offset, const void *data, size_t len, struct err *err)
{
	int code = ingest_write(flight->ingest, offset, data, len, err);
	uint64_t last;

	if (code != ERR_AGAIN)
		return code;
	/* Under the lock: a reader who comes meanwhile either holds the window at the beginning, or finds that gone. */
	pthread_mutex_lock(&flight->lock);
	last = last_reader(flight);
	if (last != UINT64_MAX)
		ingest_forget(flight->ingest, last);
	pthread_mutex_unlock(&flight->lock);
	if (last == UINT64_MAX)
		return err_set(err, ERR_NO_SPACE, "the store cannot keep it, and nobody reads it");
	code = ingest_write(flight->ingest, offset, data, len, err);
	if (code == ERR_AGAIN) {
		pthread_mutex_lock(&flight->lock);
		flight->window_full = true;
		pthread_mutex_unlock(&flight->lock);
	}
	return code;
}

static void window_job(struct work_job *job)
{
	struct flight *flight = (struct flight *)((char *)job - offsetof(struct flight, window_job));
	struct err err = {0};
	bool any;

	pthread_mutex_lock(&flight->lock);
	any = last_reader(flight) != UINT64_MAX;
	pthread_mutex_unlock(&flight->lock);
	if (!any) {
		err_set(&err, ERR_CANCELLED, "the store cannot keep it, and nobody reads it any more");
		flight_fail(flight, &err);
		return;
	}
	flight_ask_upstream(flight);
}

void flight_go_on(struct flight *flight)
{
	uint64_t last, start, end;
	bool goes_on = false;

	pthread_mutex_lock(&flight->lock);
	if (flight->paused) {
		last = last_reader(flight);
		goes_on = last == UINT64_MAX || !ingest_next_gap(flight->ingest, 0, &start, &end) ||
			  start + INGEST_WINDOW / 2 <= ingest_window_end(flight->ingest, last);
		flight->paused = !goes_on;
	}
	pthread_mutex_unlock(&flight->lock);
	if (!goes_on)
		return;
	flight->window_job.run = window_job;
	work_submit(flight->pull->work, &flight->window_job);
}

bool flight_pause(struct flight *flight, const struct err *err)
{
	bool pauses;

	/* Once it is paused, the last reader's leaving may end it on another thread. */
	pthread_mutex_lock(&flight->pull->lock);
	flight->refs++;
	pthread_mutex_unlock(&flight->pull->lock);
	pthread_mutex_lock(&flight->lock);
	pauses = flight->window_full && err->code != ERR_CANCELLED;
	flight->window_full = false;
	flight->paused = pauses;
	pthread_mutex_unlock(&flight->lock);
	if (pauses)
		flight_go_on(flight);
	flight_unref(flight);
	return pauses;
}
