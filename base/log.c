/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two streams, diagnostics and access, each with two buffers and a thread: lines are put into one buffer under the
 * stream's lock while the thread writes the other without it. A reader who has stopped reading one stream thus holds up
 * neither the other nor any caller. Lines are formatted on the caller's stack, before the lock is taken.
 */
#include "base/log.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/err.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STREAM_HALF      ((size_t)256 << 10) /* four of them: 1 MiB in all */
#define LINE_BYTES       ((size_t)16 << 10)
#define VALUE_MAX        ((size_t)1024) /* escaped it is up to six times that, and two such fit a line */
#define MESSAGE_MAX      ((size_t)2048)
#define WRITE_CHUNK      ((size_t)4096) /* PIPE_BUF: a pipe that polls as writable takes it without blocking */
#define POLL_MS          100
#define STOP_WAIT_MS     2000     /* given to a reader who does not read, when the log ends */
#define ACCESS_LINGER_NS 10000000 /* gathers lines, so that under load not every one of them wakes the thread */

struct stream {
	int fd;
	const char *name;
	long linger_ns;
	bool to_journal; /* lines begin with their priority, which the journal takes off again */
	pthread_t thread;
	char *writing; /* the thread's own */
	atomic_bool stopping;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t wake;
	char *filling;
	size_t filled;
	uint64_t dropped;
	bool running;
	bool idle; /* the thread waits for a first line */
};

static struct stream diagnostics = {
	.fd = STDERR_FILENO,
	.name = "diagnostic",
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
};
static struct stream access_lines = {
	.fd = STDOUT_FILENO,
	.name = "access",
	.linger_ns = ACCESS_LINGER_NS,
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.wake = PTHREAD_COND_INITIALIZER,
};

static atomic_int wanted_level = LOG_INFO;
static atomic_int line_format = LOG_TEXT;

static const char *const level_names[] = {"error", "warn", "info", "debug"};

/* Writes all of it, or gives up on an error, or when `hurry` is set and the reader has let STOP_WAIT_MS pass. */
static bool write_out(int fd, const char *data, size_t len, const atomic_bool *hurry, int *waited_ms)
{
	struct stat found;
	/* A file never makes its writer wait for a reader. */
	size_t chunk = fstat(fd, &found) == 0 && S_ISREG(found.st_mode) ? STREAM_HALF : WRITE_CHUNK;

	while (len) {
		struct pollfd poll_fd = {.fd = fd, .events = POLLOUT};
		int ready = poll(&poll_fd, 1, POLL_MS);
		if (ready == 0) {
			if (atomic_load(hurry))
				*waited_ms += POLL_MS;
			if (*waited_ms >= STOP_WAIT_MS)
				return false;
			continue;
		}
		ssize_t written = write(fd, data, len < chunk ? len : chunk);
		if (written < 0) {
			if (errno == EINTR || errno == EAGAIN)
				continue;
			return false;
		}
		data += written;
		len -= (size_t)written;
	}
	return true;
}

/* False when there is no room. */
static bool offer_line(struct stream *stream, const char *text, size_t len)
{
	pthread_mutex_lock(&stream->lock);
	if (!stream->running) {
		pthread_mutex_unlock(&stream->lock);
		const atomic_bool hurry = true;
		int waited_ms = 0;
		write_out(stream->fd, text, len, &hurry, &waited_ms);
		return true;
	}
	bool fits = len <= STREAM_HALF - stream->filled;
	if (fits) {
		bool was_low = stream->filled < STREAM_HALF / 2;
		memcpy(stream->filling + stream->filled, text, len);
		stream->filled += len;
		if (stream->idle || (was_low && stream->filled >= STREAM_HALF / 2))
			pthread_cond_signal(&stream->wake);
		stream->idle = false;
	}
	pthread_mutex_unlock(&stream->lock);
	return fits;
}

static void add_dropped(struct stream *stream, uint64_t count)
{
	pthread_mutex_lock(&stream->lock);
	stream->dropped += count;
	pthread_mutex_unlock(&stream->lock);
}

static void put_line(struct stream *stream, const struct buf *line)
{
	if (!offer_line(stream, line->data, line->len))
		add_dropped(stream, 1);
}

static void append_number(struct buf *line, uint64_t number)
{
	char digits[20];
	size_t at = sizeof(digits);
	do {
		digits[--at] = (char)('0' + number % 10);
		number /= 10;
	} while (number);
	buf_append(line, digits + at, sizeof(digits) - at);
}

/* The length of the character at `text` when it may be shown as it is, else 0. Control characters act on terminals, and
 * so do those of U+0080 to U+009F. */
static size_t shown_length(const char *text)
{
	unsigned char first = (unsigned char)text[0];
	if (first < 0x20 || first == 0x7f || (first == 0xc2 && (unsigned char)text[1] < 0xa0))
		return 0;
	return buf_utf8_length(text);
}

static int append_escaped(struct buf *line, const char *text, bool quoted)
{
	int rc = 0;
	while (*text && !rc) {
		size_t len = 0;
		while (text[len] && !(quoted && (text[len] == '"' || text[len] == '\\'))) {
			size_t shown = shown_length(text + len);
			if (!shown)
				break;
			len += shown;
		}
		rc = buf_append(line, text, len);
		text += len;
		if (!*text || rc)
			break;
		if (*text == '"' || *text == '\\')
			rc = buf_printf(line, "\\%c", *text);
		else
			rc = buf_printf(line, "\\x%02x", (unsigned)(unsigned char)*text);
		text++;
	}
	return rc;
}

static bool needs_quotes(const char *text)
{
	if (!*text)
		return true;
	for (; *text; text++) {
		unsigned char byte = (unsigned char)*text;
		if (byte <= ' ' || byte >= 0x7f || byte == '"' || byte == '\\')
			return true;
	}
	return false;
}

static _Thread_local const char *request_id;

void log_set_request(const char *id)
{
	request_id = id && *id ? id : NULL;
}

const char *log_request_id(void)
{
	return request_id ? request_id : "";
}

/* sd-daemon(3): what begins with "<N>" has that priority, of syslog(3). */
static void append_priority(struct buf *line, const struct stream *stream, enum log_level level)
{
	static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
	if (stream->to_journal)
		buf_append_text(line, priorities[level]);
}

static void append_message(struct buf *line, enum log_level level, const char *message)
{
	char time[CLOCK_LOG_MAX];
	clock_format_log(time);
	append_priority(line, &diagnostics, level);
	if (atomic_load(&line_format) == LOG_JSON) {
		buf_printf(line, "{\"time\":\"%s\",\"level\":\"%s\",\"message\":\"", time, level_names[level]);
		buf_append_json(line, message);
		if (request_id)
			buf_printf(line, "\",\"request\":\"%s", request_id);
		buf_append_text(line, "\"}\n");
	} else {
		buf_printf(line, "%s %s ", time, level_names[level]);
		append_escaped(line, message, false);
		if (request_id)
			buf_printf(line, " request=%s", request_id);
		buf_append_text(line, "\n");
	}
}

/* Says how many lines were lost. Keeps the count when there is no room for saying so either. */
static void report_dropped(struct stream *stream)
{
	pthread_mutex_lock(&stream->lock);
	uint64_t dropped = stream->dropped;
	stream->dropped = 0;
	pthread_mutex_unlock(&stream->lock);
	if (!dropped)
		return;
	char memory[512];
	char message[128];
	struct buf line = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory) - 1};
	snprintf(message, sizeof(message), "log: %" PRIu64 " %s lines dropped, because nobody reads them fast enough",
		 dropped, stream->name);
	append_message(&line, LOG_WARN, message);
	if (!offer_line(&diagnostics, line.data, line.len))
		add_dropped(stream, dropped);
}

/* Called under the lock. */
static void wait_for_lines(struct stream *stream)
{
	while (!stream->filled && !atomic_load(&stream->stopping)) {
		stream->idle = true;
		pthread_cond_wait(&stream->wake, &stream->lock);
	}
	stream->idle = false;
	if (!stream->linger_ns || stream->filled >= STREAM_HALF / 2 || atomic_load(&stream->stopping))
		return;
	struct timespec until;
	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_nsec += stream->linger_ns;
	if (until.tv_nsec >= 1000000000) {
		until.tv_nsec -= 1000000000;
		until.tv_sec++;
	}
	pthread_cond_clockwait(&stream->wake, &stream->lock, CLOCK_MONOTONIC, &until);
}

static uint64_t count_lines(const char *text, size_t len)
{
	uint64_t count = 0;
	for (size_t i = 0; i < len; i++)
		count += text[i] == '\n';
	return count;
}

static void *write_stream(void *argument)
{
	struct stream *stream = argument;
	int waited_ms = 0;
	pthread_mutex_lock(&stream->lock);
	for (;;) {
		wait_for_lines(stream);
		if (!stream->filled)
			break;
		char *full = stream->filling;
		size_t len = stream->filled;
		stream->filling = stream->writing;
		stream->writing = full;
		stream->filled = 0;
		pthread_mutex_unlock(&stream->lock);
		if (write_out(stream->fd, full, len, &stream->stopping, &waited_ms))
			report_dropped(stream);
		else
			add_dropped(stream, count_lines(full, len));
		pthread_mutex_lock(&stream->lock);
	}
	/* Under the same lock as the last look, so that no line falls between the thread's end and direct writing. */
	stream->running = false;
	pthread_mutex_unlock(&stream->lock);
	return NULL;
}

/* systemd.exec(5), JOURNAL_STREAM: device and inode of what the service manager has connected to the journal; ours may
 * have been led elsewhere since. */
static bool is_journal(int fd)
{
	const char *said = getenv("JOURNAL_STREAM");
	struct stat found;
	uintmax_t device, inode;

	return said && sscanf(said, "%ju:%ju", &device, &inode) == 2 && fstat(fd, &found) == 0 &&
	       found.st_dev == device && found.st_ino == inode;
}

static void start_stream(struct stream *stream)
{
	stream->to_journal = is_journal(stream->fd);
	stream->filling = mem_alloc(STREAM_HALF);
	stream->writing = mem_alloc(STREAM_HALF);
	atomic_store(&stream->stopping, false);
	stream->running = true;
	/* Without a thread lines are written at once, as before the start. */
	if (pthread_create(&stream->thread, NULL, write_stream, stream))
		stream->running = false;
}

static void stop_stream(struct stream *stream)
{
	pthread_mutex_lock(&stream->lock);
	bool running = stream->running;
	atomic_store(&stream->stopping, true);
	pthread_cond_signal(&stream->wake);
	pthread_mutex_unlock(&stream->lock);
	if (running)
		pthread_join(stream->thread, NULL);
	free(stream->filling);
	free(stream->writing);
	stream->filling = NULL;
	stream->writing = NULL;
}

void log_start(enum log_level level, enum log_format format)
{
	atomic_store(&wanted_level, (int)level);
	atomic_store(&line_format, (int)format);
	start_stream(&diagnostics);
	start_stream(&access_lines);
}

void log_stop(void)
{
	stop_stream(&access_lines);
	report_dropped(&access_lines);
	stop_stream(&diagnostics);
}

void log_set_level(enum log_level level)
{
	atomic_store(&wanted_level, (int)level);
}

bool log_wants(enum log_level level)
{
	return (int)level <= atomic_load_explicit(&wanted_level, memory_order_relaxed);
}

void log_message(enum log_level level, const char *format, ...)
{
	if (!log_wants(level))
		return;
	char message[MESSAGE_MAX];
	va_list args;
	va_start(args, format);
	int len = vsnprintf(message, sizeof(message), format, args);
	va_end(args);
	if (len >= (int)sizeof(message))
		memcpy(message + sizeof(message) - 4, "...", 4);
	char memory[LINE_BYTES];
	struct buf line = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory) - 1};
	append_message(&line, level, len < 0 ? "" : message);
	put_line(&diagnostics, &line);
}

static int append_value(struct buf *line, const struct log_field *field, bool json)
{
	if (field->is_number) {
		append_number(line, field->number);
		return 0;
	}
	const char *text = field->text ? field->text : "-";
	char cut[VALUE_MAX + 1];
	if (strnlen(text, VALUE_MAX + 1) > VALUE_MAX) {
		memcpy(cut, text, VALUE_MAX - 3);
		memcpy(cut + VALUE_MAX - 3, "...", 4);
		text = cut;
	}
	if (!json && !needs_quotes(text))
		return buf_append_text(line, text);
	int rc = buf_append_text(line, "\"");
	if (!rc)
		rc = json ? buf_append_json(line, text) : append_escaped(line, text, true);
	return rc ? rc : buf_append_text(line, "\"");
}

void log_access(const struct log_field *fields, size_t count)
{
	bool json = atomic_load_explicit(&line_format, memory_order_relaxed) == LOG_JSON;
	char time[CLOCK_LOG_MAX];
	char memory[LINE_BYTES];
	/* Two bytes are kept for the end of the line. */
	struct buf line = {.data = memory, .cap = sizeof(memory), .max = sizeof(memory) - 3};
	append_priority(&line, &access_lines, LOG_INFO);
	buf_append_text(&line, json ? "{\"time\":\"" : "");
	buf_append_text(&line, clock_format_log(time));
	buf_append_text(&line, json ? "\"" : "");
	for (size_t i = 0; i < count; i++) {
		size_t start = line.len;
		buf_append_text(&line, json ? ",\"" : " ");
		buf_append_text(&line, fields[i].name);
		int rc = buf_append_text(&line, json ? "\":" : "=");
		if (!rc)
			rc = append_value(&line, &fields[i], json);
		/* A field that does not fit is left out whole, so that the line stays readable for programs. */
		if (rc)
			line.len = start;
	}
	line.max = sizeof(memory) - 1;
	buf_append_text(&line, json ? "}\n" : "\n");
	put_line(&access_lines, &line);
}
