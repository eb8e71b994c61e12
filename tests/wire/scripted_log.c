/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/scripted_internal.h"

#include <assert.h>
#include <errno.h>
#include <string.h>
#include <time.h>

static double ms_since_start(const struct scripted *scripted)
{
	return (double)(clock_us() - scripted->started_us) / 1000.0;
}

double scripted_now_ms(struct scripted *scripted)
{
	return ms_since_start(scripted);
}

static void record_dispose(struct scripted_record *record)
{
	free(record->method);
	free(record->target);
	free(record->authority);
	free(record->body);
	if (record->headers)
		headers_dispose(record->headers);
	free(record->headers);
}

static void record_copy(struct scripted_record *to, const struct scripted_record *from)
{
	*to = *from;
	to->method = mem_strdup(from->method);
	to->target = mem_strdup(from->target);
	to->authority = mem_strdup(from->authority);
	to->body = mem_strdup(from->body);
	to->headers = mem_alloc(sizeof(*to->headers));
	headers_copy(to->headers, from->headers);
}

static void note_running(struct scripted_stats *stats)
{
	stats->requests++;
	if (++stats->running > stats->running_max)
		stats->running_max = stats->running;
}

void log_note_request(struct exchange *exchange)
{
	struct connection *connection = exchange->connection;
	struct scripted *scripted = connection->scripted;
	const struct request *request = &exchange->request;
	struct headers headers = request->headers;
	struct scripted_record seen = {
		.number = ++scripted->requests_seen,
		.listener = connection->listener->id,
		.connection = connection->id,
		.stream = exchange->stream,
		.protocol = connection->protocol,
		.method = request->method,
		.target = request->target,
		.authority = request->authority ? request->authority : (char *)"",
		.headers = &headers,
		.body = request->body.data ? request->body.data : (char *)"",
		.at_ms = ms_since_start(scripted),
		.outcome = SCRIPTED_RUNNING,
	};
	assert(scripted->record_count < RECORDS_MAX);
	if (scripted->record_count == scripted->record_room) {
		scripted->record_room = scripted->record_room ? 2 * scripted->record_room : 64;
		scripted->records = mem_realloc(scripted->records, scripted->record_room * sizeof(*scripted->records));
	}
	exchange->record = mem_alloc(sizeof(*exchange->record));
	record_copy(exchange->record, &seen);
	scripted->records[scripted->record_count++] = exchange->record;
	note_running(&scripted->stats);
	note_running(&connection->listener->stats);
	pthread_cond_broadcast(&scripted->changed);
}

void log_note_end(struct exchange *exchange, enum scripted_outcome outcome)
{
	struct scripted *scripted = exchange->connection->scripted;
	exchange->record->outcome = outcome;
	exchange->record->end_ms = ms_since_start(scripted);
	scripted->stats.running--;
	exchange->connection->listener->stats.running--;
	pthread_cond_broadcast(&scripted->changed);
}

void log_note_body(struct exchange *exchange, uint64_t bytes)
{
	struct scripted *scripted = exchange->connection->scripted;
	exchange->record->body_sent += bytes;
	scripted->stats.body_sent += bytes;
	exchange->connection->listener->stats.body_sent += bytes;
	pthread_cond_broadcast(&scripted->changed);
}

void log_note_limited(struct exchange *exchange)
{
	exchange->connection->scripted->stats.limited++;
	exchange->connection->listener->stats.limited++;
}

static void note_connection(struct scripted_stats *stats, bool opened)
{
	if (!opened) {
		stats->open--;
		return;
	}
	stats->accepted++;
	if (++stats->open > stats->open_max)
		stats->open_max = stats->open;
}

void log_note_connection(struct listener *listener, bool opened)
{
	note_connection(&listener->stats, opened);
	note_connection(&listener->scripted->stats, opened);
	pthread_cond_broadcast(&listener->scripted->changed);
}

static bool record_matches(const struct scripted_record *record, const char *method, const char *pattern)
{
	return (!method || strcmp(method, record->method) == 0) && pattern_matches(pattern, record->target);
}

struct scripted_record *scripted_records(struct scripted *scripted, const char *method, const char *pattern,
					 size_t *count)
{
	scripted_lock(scripted);
	struct scripted_record *copies = mem_alloc((scripted->record_count + 1) * sizeof(*copies));
	*count = 0;
	for (size_t i = 0; i < scripted->record_count; i++) {
		if (record_matches(scripted->records[i], method, pattern))
			record_copy(&copies[(*count)++], scripted->records[i]);
	}
	scripted_unlock(scripted);
	return copies;
}

void scripted_records_free(struct scripted_record *records, size_t count)
{
	for (size_t i = 0; records && i < count; i++)
		record_dispose(&records[i]);
	free(records);
}

const char *scripted_record_header(const struct scripted_record *record, const char *name)
{
	return headers_get(record->headers, name);
}

struct tally {
	unsigned count;
	uint64_t bytes;
};

static struct tally tally_records(const struct scripted *scripted, const char *method, const char *pattern)
{
	struct tally tally = {0};
	for (size_t i = 0; i < scripted->record_count; i++) {
		if (!record_matches(scripted->records[i], method, pattern))
			continue;
		tally.count++;
		tally.bytes += scripted->records[i]->body_sent;
	}
	return tally;
}

unsigned scripted_count(struct scripted *scripted, const char *method, const char *pattern)
{
	scripted_lock(scripted);
	struct tally tally = tally_records(scripted, method, pattern);
	scripted_unlock(scripted);
	return tally.count;
}

uint64_t scripted_body_sent(struct scripted *scripted, const char *method, const char *pattern)
{
	scripted_lock(scripted);
	struct tally tally = tally_records(scripted, method, pattern);
	scripted_unlock(scripted);
	return tally.bytes;
}

void scripted_get_stats(struct scripted *scripted, int listener, struct scripted_stats *stats)
{
	scripted_lock(scripted);
	assert(listener >= 0 && listener <= scripted->listener_count);
	*stats = listener ? scripted->listeners[listener - 1]->stats : scripted->stats;
	scripted_unlock(scripted);
}

/* Sleeps until something changed or the deadline; false at the deadline. Under the lock. */
static bool wait_change(struct scripted *scripted, uint64_t deadline_us)
{
	struct timespec until = {.tv_sec = (time_t)(deadline_us / 1000000),
				 .tv_nsec = (long)(deadline_us % 1000000) * 1000};
	return pthread_cond_timedwait(&scripted->changed, &scripted->lock, &until) != ETIMEDOUT;
}

static bool wait_tally(struct scripted *scripted, const char *method, const char *pattern, struct tally want,
		       unsigned deadline_ms)
{
	uint64_t deadline_us = clock_us() + (uint64_t)deadline_ms * 1000;
	bool reached = false;
	bool waits = true;
	scripted_lock(scripted);
	while (!reached && waits) {
		struct tally tally = tally_records(scripted, method, pattern);
		reached = tally.count >= want.count && tally.bytes >= want.bytes;
		waits = reached || wait_change(scripted, deadline_us);
	}
	scripted_unlock(scripted);
	return reached;
}

bool scripted_wait_count(struct scripted *scripted, const char *method, const char *pattern, unsigned count,
			 unsigned deadline_ms)
{
	return wait_tally(scripted, method, pattern, (struct tally){.count = count}, deadline_ms);
}

bool scripted_wait_body(struct scripted *scripted, const char *method, const char *pattern, uint64_t bytes,
			unsigned deadline_ms)
{
	return wait_tally(scripted, method, pattern, (struct tally){.bytes = bytes}, deadline_ms);
}

bool scripted_wait_idle(struct scripted *scripted, bool closed, unsigned deadline_ms)
{
	uint64_t deadline_us = clock_us() + (uint64_t)deadline_ms * 1000;
	bool reached = false;
	bool waits = true;
	scripted_lock(scripted);
	while (!reached && waits) {
		reached = scripted->stats.running == 0 && (!closed || scripted->stats.open == 0);
		waits = reached || wait_change(scripted, deadline_us);
	}
	scripted_unlock(scripted);
	return reached;
}

static void stats_clear(struct scripted_stats *stats)
{
	*stats = (struct scripted_stats){
		.open = stats->open, .open_max = stats->open, .running = stats->running, .running_max = stats->running};
}

void scripted_clear_log(struct scripted *scripted)
{
	scripted_lock(scripted);
	size_t kept = 0;
	for (size_t i = 0; i < scripted->record_count; i++) {
		struct scripted_record *record = scripted->records[i];
		if (record->outcome == SCRIPTED_RUNNING) {
			scripted->records[kept++] = record;
		} else {
			record_dispose(record);
			free(record);
		}
	}
	scripted->record_count = kept;
	stats_clear(&scripted->stats);
	for (int i = 0; i < scripted->listener_count; i++)
		stats_clear(&scripted->listeners[i]->stats);
	scripted_unlock(scripted);
}

void log_free_all(struct scripted *scripted)
{
	for (size_t i = 0; i < scripted->record_count; i++) {
		record_dispose(scripted->records[i]);
		free(scripted->records[i]);
	}
	free(scripted->records);
}
