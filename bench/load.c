/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The benchmark's client: keep-alive HTTP/1.1 over many connections, GET or HEAD, as fast as they are answered. Bodies
 * are thrown away in the kernel (MSG_TRUNC), so that the client costs as little as a client can. Prints what it
 * measured as lines "name value". Exit status 1 when any answer was wrong: not 200, short, or cut.
 *
 * Each thread drives its share of the connections from an epoll loop of its own and shares nothing while it runs. All
 * times count from the moment a request could first be sent; that of a connection's first request is when it begins to
 * connect, so a burst of connections is measured as its clients feel it.
 */
#include "base/buf.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define THREADS_MAX     16
#define CONNECTIONS_MAX 60000
#define HEAD_MAX        8192
#define EVENTS_MAX      256
#define DISCARD_BYTES   ((size_t)8 << 20)  /* in one call */
#define TURN_BYTES      ((size_t)32 << 20) /* then it is others' turn */

static const char usage[] =
	"usage: load [options] http://ADDRESS:PORT/PATH\n"
	"  -c N          connections (1)\n"
	"  -j N          threads (1)\n"
	"  -n N          requests of each connection (1, unless -t is given)\n"
	"  -t SECONDS    go on for so long instead\n"
	"  -r RATE       requests a second over each connection, instead of as fast as they are answered\n"
	"  -T SECONDS    give up after so long: what is missing then is an error (300)\n"
	"  -X METHOD     GET or HEAD (GET)\n"
	"  -H HEADER     sent with each request; repeatable\n"
	"  -u FILE       paths, one a line, asked for instead of the URL's: dealt out to the connections\n"
	"  -v            say each connection's whole time, and time to its first byte, in microseconds\n";

struct options {
	struct sockaddr_in address;
	unsigned connections, threads, seconds, limit;
	unsigned rate; /* 0: as fast as it goes */
	uint64_t requests;
	bool head, verbose;
	char **texts; /* whole requests, one a path */
	size_t text_count;
};

/* Times in microseconds, in the order in which they were taken. */
struct samples {
	uint32_t *items;
	size_t count, cap;
};

enum phase { CONNECTING, HEADERS, BODY, RESTING, FINISHED };

struct connection {
	struct worker *worker;
	int fd;
	enum phase phase;
	uint64_t began_us; /* of this request */
	uint64_t due_us;   /* by the rate: when it is, or was, its turn */
	uint64_t left;     /* of this answer's body */
	uint64_t done;     /* requests */
	size_t next_text;
	size_t head_len;
	bool first_seen; /* the first byte of this answer's body */
	bool closes;     /* the server does, behind this answer */
	char head[HEAD_MAX];
};

struct worker {
	const struct options *options;
	pthread_t thread;
	int epoll_fd;
	struct connection **connections;
	unsigned connection_count, finished;
	uint64_t began_us, ended_us, deadline_us;
	bool stopping;
	struct samples whole, first;
	uint64_t bytes, errors;
	char error[128]; /* the first one */
};

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "load: %s\n", what);
	exit(2);
}

static void samples_add(struct samples *samples, uint64_t value)
{
	if (samples->count == samples->cap) {
		samples->cap = samples->cap ? samples->cap * 2 : 1024;
		samples->items = mem_realloc(samples->items, samples->cap * sizeof(*samples->items));
	}
	samples->items[samples->count++] = value > UINT32_MAX ? UINT32_MAX : (uint32_t)value;
}

/* One connection. */

static void connection_open(struct connection *connection);

static void note_error(struct worker *worker, const char *what, int detail)
{
	if (worker->errors++ == 0)
		snprintf(worker->error, sizeof(worker->error), "%s (%d)", what, detail);
}

static void connection_finish(struct connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	connection->fd = -1;
	connection->phase = FINISHED;
	connection->worker->finished++;
}

static bool has_more(const struct connection *connection)
{
	const struct options *options = connection->worker->options;

	return !connection->worker->stopping && (options->requests == 0 || connection->done < options->requests);
}

static void connection_reopen(struct connection *connection)
{
	close(connection->fd);
	connection->fd = -1;
	connection_open(connection);
}

/* A request that went wrong counts as done: a server that refuses all must not keep us for ever. */
static void connection_fail(struct connection *connection, const char *what, int detail)
{
	note_error(connection->worker, what, detail);
	connection->done++;
	if (!has_more(connection) || connection->worker->errors > 1000)
		connection_finish(connection);
	else
		connection_reopen(connection);
}

static void connection_ask(struct connection *connection)
{
	const struct options *options = connection->worker->options;
	const char *text = options->texts[connection->next_text % options->text_count];
	size_t len = strlen(text);

	connection->next_text += options->connections;
	connection->phase = HEADERS;
	connection->head_len = 0;
	connection->first_seen = false;
	/* Requests are far smaller than any send buffer. */
	if (send(connection->fd, text, len, MSG_NOSIGNAL) != (ssize_t)len)
		connection_fail(connection, "cannot send", errno);
}

static void connection_next(struct connection *connection)
{
	connection->done++;
	samples_add(&connection->worker->whole, clock_us() - connection->began_us);
	if (!has_more(connection)) {
		connection_finish(connection);
		return;
	}
	if (connection->closes) {
		connection_reopen(connection);
		return;
	}
	connection->began_us = clock_us();
	if (connection->worker->options->rate > 0) {
		connection->due_us += 1000000 / connection->worker->options->rate;
		if (connection->began_us < connection->due_us) {
			connection->phase = RESTING;
			return;
		}
		/* That the one before took so long is what this one's sender felt, too. */
		connection->began_us = connection->due_us;
	}
	connection_ask(connection);
}

static void note_first(struct connection *connection)
{
	if (!connection->first_seen)
		samples_add(&connection->worker->first, clock_us() - connection->began_us);
	connection->first_seen = true;
}

/* Splits what was read into head and body. False: the head is not whole yet, or the connection failed. */
static bool take_head(struct connection *connection)
{
	char *end, *length;
	size_t beyond;

	connection->head[connection->head_len] = '\0';
	end = strstr(connection->head, "\r\n\r\n");
	if (!end && connection->head_len == HEAD_MAX - 1)
		connection_fail(connection, "a head without end", 0);
	if (!end)
		return false;
	beyond = connection->head_len - (size_t)(end + 4 - connection->head);
	end[2] = '\0';
	if (strncmp(connection->head, "HTTP/1.1 200", 12) != 0) {
		connection_fail(connection, "an answer other than 200", atoi(connection->head + 9));
		return false;
	}
	length = strcasestr(connection->head, "\r\nContent-Length:");
	if (!length) {
		connection_fail(connection, "an answer without Content-Length", 0);
		return false;
	}
	connection->left = connection->worker->options->head ? 0 : strtoull(length + 17, NULL, 10);
	connection->closes = strcasestr(connection->head, "\r\nConnection: close") != NULL;
	if (beyond > connection->left) {
		connection_fail(connection, "more bytes than were announced", (int)beyond);
		return false;
	}
	if (beyond > 0 || connection->left == 0)
		note_first(connection);
	connection->left -= beyond;
	connection->worker->bytes += beyond;
	connection->phase = BODY;
	return true;
}

static ssize_t receive(struct connection *connection)
{
	size_t left;

	if (connection->phase == HEADERS)
		return recv(connection->fd, connection->head + connection->head_len,
			    HEAD_MAX - 1 - connection->head_len, 0);
	left = connection->left < DISCARD_BYTES ? (size_t)connection->left : DISCARD_BYTES;
	/* cppcheck-suppress nullPointer ; nothing is written there */
	return recv(connection->fd, NULL, left, MSG_TRUNC);
}

/* Reads what is there, within one answer. */
static void connection_read(struct connection *connection)
{
	size_t turn = 0;

	while (turn < TURN_BYTES) {
		ssize_t got = receive(connection);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0 && errno == EAGAIN)
			return;
		if (got <= 0) {
			connection_fail(connection, "the connection was cut", got < 0 ? errno : 0);
			return;
		}
		turn += (size_t)got;
		if (connection->phase == BODY) {
			note_first(connection);
			connection->left -= (uint64_t)got;
			connection->worker->bytes += (uint64_t)got;
		} else {
			connection->head_len += (size_t)got;
			if (!take_head(connection))
				return;
		}
		if (connection->left == 0) {
			connection_next(connection);
			return;
		}
	}
}

static void connection_connected(struct connection *connection)
{
	struct epoll_event event = {.events = EPOLLIN, .data.ptr = connection};
	socklen_t len = sizeof(int);
	int failed = 0;

	getsockopt(connection->fd, SOL_SOCKET, SO_ERROR, &failed, &len);
	if (failed) {
		connection_fail(connection, "cannot connect", failed);
		return;
	}
	epoll_ctl(connection->worker->epoll_fd, EPOLL_CTL_MOD, connection->fd, &event);
	connection_ask(connection);
}

static void connection_open(struct connection *connection)
{
	const struct options *options = connection->worker->options;
	struct epoll_event event = {.events = EPOLLOUT, .data.ptr = connection};
	int one = 1;

	connection->phase = CONNECTING;
	connection->began_us = connection->due_us = clock_us();
	connection->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (connection->fd < 0)
		die("cannot make a socket: raise the limit of open files (ulimit -n)");
	setsockopt(connection->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	epoll_ctl(connection->worker->epoll_fd, EPOLL_CTL_ADD, connection->fd, &event);
	if (connect(connection->fd, (const struct sockaddr *)&options->address, sizeof(options->address)) &&
	    errno != EINPROGRESS) {
		note_error(connection->worker, "cannot connect", errno);
		connection_finish(connection);
	}
}

/* One thread. */

static void worker_give_up(struct worker *worker)
{
	for (unsigned i = 0; i < worker->connection_count; i++) {
		if (worker->connections[i]->phase == FINISHED)
			continue;
		if (!worker->stopping)
			note_error(worker, "unfinished when the time was over", (int)worker->connections[i]->done);
		connection_finish(worker->connections[i]);
	}
}

/* Asks where it is time to, and says when it will be next. */
static uint64_t worker_ask_due(struct worker *worker, uint64_t now)
{
	uint64_t next = worker->deadline_us;

	for (unsigned i = 0; worker->options->rate > 0 && i < worker->connection_count; i++) {
		struct connection *connection = worker->connections[i];

		if (connection->phase == RESTING && connection->due_us <= now) {
			connection->began_us = now;
			connection_ask(connection);
		} else if (connection->phase == RESTING && connection->due_us < next) {
			next = connection->due_us;
		}
	}
	return next;
}

static void *worker_main(void *arg)
{
	struct worker *worker = arg;
	struct epoll_event events[EVENTS_MAX];

	for (unsigned i = 0; i < worker->connection_count; i++)
		connection_open(worker->connections[i]);
	while (worker->finished < worker->connection_count) {
		uint64_t now = clock_us(), next = worker_ask_due(worker, now);
		int count;

		if (now >= worker->deadline_us) {
			worker->stopping = worker->options->seconds > 0;
			break;
		}
		count = epoll_wait(worker->epoll_fd, events, EVENTS_MAX, (int)((next - now) / 1000) + 1);
		for (int i = 0; i < count; i++) {
			struct connection *connection = events[i].data.ptr;

			if (connection->phase == CONNECTING)
				connection_connected(connection);
			else if (connection->phase == RESTING)
				connection_fail(connection, "the connection was cut between requests", 0);
			else if (connection->phase != FINISHED)
				connection_read(connection);
		}
	}
	worker->ended_us = clock_us();
	worker_give_up(worker);
	return NULL;
}

static void worker_init(struct worker *worker, const struct options *options, unsigned number)
{
	unsigned share = options->connections / options->threads;

	if (number < options->connections % options->threads)
		share++;
	worker->options = options;
	worker->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	worker->connection_count = share;
	worker->connections = mem_alloc((share + 1) * sizeof(*worker->connections));
	for (unsigned i = 0; i < share; i++) {
		worker->connections[i] = mem_alloc(sizeof(struct connection));
		worker->connections[i]->worker = worker;
		worker->connections[i]->next_text = number + i * options->threads;
	}
	worker->began_us = clock_us();
	worker->deadline_us =
		worker->began_us + (options->seconds ? options->seconds : options->limit) * (uint64_t)1000000;
}

/* Results. */

static int compare_times(const void *a, const void *b)
{
	uint32_t left = *(const uint32_t *)a, right = *(const uint32_t *)b;

	return left < right ? -1 : left > right;
}

static void samples_merge(struct samples *to, const struct samples *from)
{
	for (size_t i = 0; i < from->count; i++)
		samples_add(to, from->items[i]);
}

static uint32_t percentile(const struct samples *samples, unsigned per_thousand)
{
	if (samples->count == 0)
		return 0;
	return samples->items[(samples->count - 1) * per_thousand / 1000];
}

static void print_samples(const char *name, struct samples *samples)
{
	if (samples->count > 0)
		qsort(samples->items, samples->count, sizeof(*samples->items), compare_times);
	printf("%s_p50_us %u\n%s_p99_us %u\n%s_max_us %u\n", name, percentile(samples, 500), name,
	       percentile(samples, 990), name, percentile(samples, 1000));
}

static int print_results(const struct worker *workers, const struct options *options)
{
	struct samples whole = {0}, first = {0};
	uint64_t bytes = 0, errors = 0, began = UINT64_MAX, ended = 0;

	for (unsigned i = 0; i < options->threads; i++) {
		const struct worker *worker = &workers[i];

		samples_merge(&whole, &worker->whole);
		samples_merge(&first, &worker->first);
		bytes += worker->bytes;
		errors += worker->errors;
		began = worker->began_us < began ? worker->began_us : began;
		ended = worker->ended_us > ended ? worker->ended_us : ended;
		if (worker->errors > 0)
			fprintf(stderr, "load: %s\n", worker->error);
	}
	for (size_t i = 0; options->verbose && i < whole.count; i++)
		printf("answer %u\n", whole.items[i]);
	printf("requests %zu\nerrors %" PRIu64 "\nseconds %.6f\nbytes %" PRIu64 "\n", whole.count, errors,
	       (double)(ended - began) / 1e6, bytes);
	printf("rate %.1f\n", (double)whole.count * 1e6 / (double)(ended - began));
	print_samples("whole", &whole);
	print_samples("first", &first);
	free(whole.items);
	free(first.items);
	return errors > 0 || whole.count == 0;
}

/* Options. */

static unsigned number(const char *text, unsigned most)
{
	char *end;
	unsigned long value = strtoul(text, &end, 10);

	if (end == text || *end || value == 0 || value > most)
		die(usage);
	return (unsigned)value;
}

/* "http://127.0.0.1:5000/path": the address into `options`; returns the path. */
static const char *parse_url(const char *url, struct options *options)
{
	char host[64];
	unsigned port;
	int end = 0;

	if (sscanf(url, "http://%63[0-9.]:%u%n", host, &port, &end) != 2 || url[end] != '/')
		die(usage);
	options->address.sin_family = AF_INET;
	options->address.sin_port = htons((uint16_t)port);
	if (inet_pton(AF_INET, host, &options->address.sin_addr) != 1)
		die(usage);
	return url + end;
}

static void add_request(struct options *options, const char *path, const char *headers)
{
	char host[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &options->address.sin_addr, host, sizeof(host));
	if ((options->text_count & (options->text_count - 1)) == 0)
		options->texts = mem_realloc(options->texts, (options->text_count * 2 + 1) * sizeof(char *));
	options->texts[options->text_count++] =
		mem_printf("%s %s HTTP/1.1\r\nHost: %s:%u\r\nUser-Agent: bench\r\n%s\r\n",
			   options->head ? "HEAD" : "GET", path, host, ntohs(options->address.sin_port), headers);
}

static void read_paths(struct options *options, const char *name, const char *headers)
{
	FILE *file = fopen(name, "re");
	char line[1024];

	if (!file)
		die("cannot open the file of paths");
	while (fgets(line, sizeof(line), file)) {
		line[strcspn(line, "\r\n")] = '\0';
		if (line[0] == '/')
			add_request(options, line, headers);
	}
	fclose(file);
	if (options->text_count == 0)
		die("the file holds no paths");
}

static void parse(int argc, char **argv, struct options *options)
{
	struct buf headers = {0};
	const char *paths = NULL, *path;
	int option;

	*options = (struct options){.connections = 1, .threads = 1, .limit = 300};
	buf_append_text(&headers, "");
	while ((option = getopt(argc, argv, "c:j:n:t:r:T:X:H:u:v")) != -1) {
		switch (option) {
		case 'c':
			options->connections = number(optarg, CONNECTIONS_MAX);
			break;
		case 'j':
			options->threads = number(optarg, THREADS_MAX);
			break;
		case 'n':
			options->requests = number(optarg, UINT32_MAX);
			break;
		case 't':
			options->seconds = number(optarg, 86400);
			break;
		case 'r':
			options->rate = number(optarg, 1000000);
			break;
		case 'T':
			options->limit = number(optarg, 86400);
			break;
		case 'X':
			options->head = strcmp(optarg, "HEAD") == 0;
			break;
		case 'H':
			buf_printf(&headers, "%s\r\n", optarg);
			break;
		case 'u':
			paths = optarg;
			break;
		case 'v':
			options->verbose = true;
			break;
		default:
			die(usage);
		}
	}
	if (optind + 1 != argc)
		die(usage);
	if (options->requests == 0 && options->seconds == 0)
		options->requests = 1;
	path = parse_url(argv[optind], options);
	if (paths)
		read_paths(options, paths, headers.data ? headers.data : "");
	else
		add_request(options, path, headers.data ? headers.data : "");
	buf_dispose(&headers);
}

int main(int argc, char **argv)
{
	static struct options options;
	static struct worker workers[THREADS_MAX];
	int status;

	parse(argc, argv, &options);
	for (unsigned i = 0; i < options.threads; i++)
		worker_init(&workers[i], &options, i);
	for (unsigned i = 0; i < options.threads; i++)
		if (pthread_create(&workers[i].thread, NULL, worker_main, &workers[i]))
			die("cannot start a thread");
	for (unsigned i = 0; i < options.threads; i++)
		pthread_join(workers[i].thread, NULL);
	status = print_results(workers, &options);
	for (unsigned i = 0; i < options.threads; i++) {
		for (unsigned j = 0; j < workers[i].connection_count; j++)
			free(workers[i].connections[j]);
		free(workers[i].connections);
		free(workers[i].whole.items);
		free(workers[i].first.items);
		close(workers[i].epoll_fd);
	}
	for (size_t i = 0; i < options.text_count; i++)
		free(options.texts[i]);
	free(options.texts);
	return status;
}
