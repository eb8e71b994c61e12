/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/client.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <arpa/inet.h>
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <gnutls/crypto.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>

#define DEADLINE_DEFAULT_MS 60000
#define CLIENT_HEAD_MAX     ((size_t)1 << 20)
#define READ_SIZE           ((size_t)64 << 10)

enum framing { FRAMING_NONE, FRAMING_LENGTH, FRAMING_CHUNKED, FRAMING_CLOSE };

struct client {
	int fd;
	gnutls_session_t session; /* NULL: plain TCP */
	gnutls_certificate_credentials_t trusted;
	uint64_t deadline_us;
	bool head_only;
	enum framing framing;
	uint64_t left; /* of the body, or of the chunk */
	bool chunk_open;
	char in[READ_SIZE];
	size_t in_at, in_len;
	char error[128];
};

static bool fail(struct client *client, const char *what)
{
	if (!client->error[0])
		snprintf(client->error, sizeof(client->error), "%s", what);
	return false;
}

static bool wait_for(struct client *client, short events)
{
	struct pollfd poll_fd = {.fd = client->fd, .events = events};
	for (;;) {
		uint64_t now_us = clock_us();
		if (now_us >= client->deadline_us)
			return fail(client, "deadline");
		int rc = poll(&poll_fd, 1, (int)((client->deadline_us - now_us + 999) / 1000));
		if (rc > 0)
			return true;
		if (rc < 0 && errno != EINTR)
			return fail(client, strerror(errno));
	}
}

static struct client *connect_from(const char *from, const char *address, uint16_t port, unsigned deadline_ms)
{
	struct sockaddr_in own = {.sin_family = AF_INET};
	struct client *client = mem_alloc(sizeof(*client));
	struct sockaddr_in name = {.sin_family = AF_INET, .sin_port = htons(port)};
	int one = 1;
	int error = 0;
	socklen_t len = sizeof(error);
	client->deadline_us = clock_us() + (uint64_t)(deadline_ms ? deadline_ms : DEADLINE_DEFAULT_MS) * 1000;
	client->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert(client->fd >= 0 && inet_pton(AF_INET, address ? address : "127.0.0.1", &name.sin_addr) == 1);
	setsockopt(client->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	assert(!from || (inet_pton(AF_INET, from, &own.sin_addr) == 1 &&
			 bind(client->fd, (struct sockaddr *)&own, sizeof(own)) == 0));
	if (connect(client->fd, (struct sockaddr *)&name, sizeof(name)) != 0) {
		if (errno != EINPROGRESS)
			fail(client, strerror(errno));
		else if (wait_for(client, POLLOUT) && getsockopt(client->fd, SOL_SOCKET, SO_ERROR, &error, &len) == 0 &&
			 error)
			fail(client, strerror(error));
	}
	return client;
}

struct client *client_connect(const char *address, uint16_t port, unsigned deadline_ms)
{
	return connect_from(NULL, address, port, deadline_ms);
}

/* As send() and recv() would have it. */
static ssize_t result_of(ssize_t n)
{
	if (n == GNUTLS_E_PREMATURE_TERMINATION)
		return 0;
	errno = n == GNUTLS_E_AGAIN || n == GNUTLS_E_INTERRUPTED ? EAGAIN : EPROTO;
	return n < 0 ? -1 : n;
}

static ssize_t send_some(struct client *client, const char *data, size_t len)
{
	return client->session ? result_of(gnutls_record_send(client->session, data, len))
			       : send(client->fd, data, len, MSG_NOSIGNAL);
}

static ssize_t receive_some(struct client *client)
{
	return client->session ? result_of(gnutls_record_recv(client->session, client->in, sizeof(client->in)))
			       : recv(client->fd, client->in, sizeof(client->in), 0);
}

bool client_secure(struct client *client, const char *ca)
{
	int rc;
	if (client->error[0])
		return false;
	rc = gnutls_certificate_allocate_credentials(&client->trusted);
	assert(rc == 0);
	if (gnutls_certificate_set_x509_trust_file(client->trusted, ca, GNUTLS_X509_FMT_PEM) <= 0)
		return fail(client, "no certificate to trust");
	rc = gnutls_init(&client->session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);
	assert(rc == 0);
	gnutls_set_default_priority(client->session);
	gnutls_credentials_set(client->session, GNUTLS_CRD_CERTIFICATE, client->trusted);
	gnutls_session_set_verify_cert(client->session, "localhost", 0);
	gnutls_transport_set_int(client->session, client->fd);
	while ((rc = gnutls_handshake(client->session)) < 0)
		if (gnutls_error_is_fatal(rc))
			return fail(client, gnutls_strerror(rc));
		else if (!wait_for(client, gnutls_record_get_direction(client->session) ? POLLOUT : POLLIN))
			return false;
	return true;
}

static bool send_all(struct client *client, const char *data, size_t len)
{
	while (len > 0) {
		ssize_t n = send_some(client, data, len);
		if (n < 0 && errno != EAGAIN && errno != EINTR)
			return fail(client, strerror(errno));
		if (n < 0 && !wait_for(client, POLLOUT))
			return false;
		if (n > 0) {
			data += n;
			len -= (size_t)n;
		}
	}
	return true;
}

bool client_send(struct client *client, const struct client_request *request)
{
	const char *method = request->method ? request->method : "GET";
	_cleanup_free_ char *length =
		request->body ? mem_printf("Content-Length: %zu\r\n", request->body_len) : mem_strdup("");
	_cleanup_free_ char *head = mem_printf("%s %s HTTP/1.1\r\nHost: %s:%u\r\n%s%s\r\n", method, request->target,
					       request->address ? request->address : "127.0.0.1", request->port,
					       request->headers ? request->headers : "", length);
	client->head_only = strcmp(method, "HEAD") == 0;
	if (client->error[0])
		return false;
	return send_all(client, head, strlen(head)) && send_all(client, request->body, request->body_len);
}

/* At least one byte into `in`. 1; 0 at the end of the stream; -1 failed. */
static int fill(struct client *client)
{
	while (client->in_at == client->in_len) {
		ssize_t n = receive_some(client);
		if (n == 0)
			return 0;
		if (n < 0 && errno != EAGAIN && errno != EINTR) {
			fail(client, strerror(errno));
			return -1;
		}
		if (n < 0 && !wait_for(client, POLLIN))
			return -1;
		client->in_at = 0;
		client->in_len = n > 0 ? (size_t)n : 0;
	}
	return 1;
}

/* A line without its end, appended to `line`. */
static bool read_line(struct client *client, struct buf *line)
{
	for (;;) {
		int rc = fill(client);
		if (rc <= 0)
			return rc < 0 ? false : fail(client, "closed inside a line");
		const char *from = client->in + client->in_at;
		const char *end = memchr(from, '\n', client->in_len - client->in_at);
		size_t len = end ? (size_t)(end - from) + 1 : client->in_len - client->in_at;
		client->in_at += len;
		if (buf_append(line, from, len) != 0)
			return fail(client, "line too long");
		if (end)
			return true;
	}
}

static char *field_value(const char *head, const char *name)
{
	size_t name_len = strlen(name);
	for (const char *line = strchr(head, '\n'); line; line = strchr(line, '\n')) {
		line++;
		if (strncasecmp(line, name, name_len) != 0 || line[name_len] != ':')
			continue;
		const char *value = line + name_len + 1;
		value += strspn(value, " \t");
		return mem_strndup(value, strcspn(value, "\r\n"));
	}
	return NULL;
}

static void set_framing(struct client *client, const struct client_reply *reply)
{
	_cleanup_free_ char *coding = field_value(reply->head, "Transfer-Encoding");
	_cleanup_free_ char *length = field_value(reply->head, "Content-Length");
	client->left = 0;
	client->chunk_open = false;
	if (client->head_only || reply->status == 204 || reply->status == 304) {
		client->framing = FRAMING_NONE;
	} else if (coding && strcasecmp(coding, "chunked") == 0) {
		client->framing = FRAMING_CHUNKED;
	} else if (length) {
		client->framing = FRAMING_LENGTH;
		client->left = strtoull(length, NULL, 10);
	} else {
		client->framing = FRAMING_CLOSE;
	}
}

bool client_read_head(struct client *client, struct client_reply *reply)
{
	_cleanup_(buf_dispose) struct buf head = {.max = CLIENT_HEAD_MAX};
	if (client->error[0])
		return false;
	for (;;) {
		size_t before = head.len;
		if (!read_line(client, &head))
			return false;
		if (before > 0 && head.len - before <= 2)
			break;
	}
	if (sscanf(head.data, "HTTP/1.%*d %d", &reply->status) != 1)
		return fail(client, "not a status line");
	free(reply->head);
	reply->head = mem_strdup(head.data);
	/* An interim answer (RFC 9110, section 15.2) is followed by the real one. */
	if (reply->status / 100 == 1)
		return client_read_head(client, reply);
	set_framing(client, reply);
	return true;
}

/* Opens the next chunk. False at the last one, or when it failed. */
static bool next_chunk(struct client *client)
{
	_cleanup_(buf_dispose) struct buf line = {.max = 1024};
	if (client->chunk_open && !read_line(client, &line))
		return false;
	buf_clear(&line);
	if (!read_line(client, &line))
		return false;
	if (!line.data || !isxdigit((unsigned char)line.data[0]))
		return fail(client, "malformed chunk");
	client->left = strtoull(line.data, NULL, 16);
	client->chunk_open = true;
	if (client->left > 0)
		return true;
	client->framing = FRAMING_NONE;
	buf_clear(&line);
	read_line(client, &line);
	return false;
}

ssize_t client_read_body(struct client *client, void *data, size_t len)
{
	if (client->error[0])
		return -1;
	if (client->framing == FRAMING_CHUNKED && client->left == 0 && !next_chunk(client))
		return client->error[0] ? -1 : 0;
	if (client->framing == FRAMING_NONE || (client->framing == FRAMING_LENGTH && client->left == 0))
		return 0;
	int rc = fill(client);
	if (rc == 0 && client->framing == FRAMING_CLOSE)
		return 0;
	if (rc == 0)
		fail(client, "closed inside the body");
	if (rc <= 0)
		return -1;
	size_t n = client->in_len - client->in_at < len ? client->in_len - client->in_at : len;
	if (client->framing != FRAMING_CLOSE && client->left < n)
		n = (size_t)client->left;
	memcpy(data, client->in + client->in_at, n);
	client->in_at += n;
	if (client->framing != FRAMING_CLOSE)
		client->left -= n;
	return (ssize_t)n;
}

const char *client_error(const struct client *client)
{
	return client->error;
}

void client_close(struct client *client)
{
	if (!client)
		return;
	if (client->session)
		gnutls_deinit(client->session);
	if (client->trusted)
		gnutls_certificate_free_credentials(client->trusted);
	close(client->fd);
	free(client);
}

static void pace(const struct client_request *request, uint64_t started_us, uint64_t bytes)
{
	if (!request->rate)
		return;
	uint64_t due_us = started_us + (uint64_t)((double)bytes / (double)request->rate * 1e6);
	uint64_t now_us = clock_us();
	if (due_us <= now_us)
		return;
	struct timespec left = {.tv_sec = (time_t)((due_us - now_us) / 1000000),
				.tv_nsec = (long)((due_us - now_us) % 1000000) * 1000};
	nanosleep(&left, NULL);
}

static double ms_since(uint64_t from_us)
{
	return (double)(clock_us() - from_us) / 1000.0;
}

static void read_whole_body(struct client *client, const struct client_request *request, uint64_t sent_us,
			    struct client_reply *reply)
{
	_cleanup_(buf_dispose) struct buf kept = {.max = CLIENT_KEPT_MAX};
	_cleanup_free_ char *block = mem_alloc(READ_SIZE);
	size_t keep = request->keep && request->keep < CLIENT_KEPT_MAX ? request->keep : CLIENT_KEPT_MAX;
	gnutls_hash_hd_t hash;
	unsigned char out[32];
	int rc = gnutls_hash_init(&hash, GNUTLS_DIG_SHA256);
	assert(rc == 0);
	for (;;) {
		size_t want = READ_SIZE;
		if (request->leave_after && request->leave_after - reply->body_bytes < want)
			want = (size_t)(request->leave_after - reply->body_bytes);
		ssize_t n = want > 0 ? client_read_body(client, block, want) : -1;
		reply->complete = n == 0;
		if (n <= 0)
			break;
		if (reply->body_bytes == 0)
			reply->first_ms = ms_since(sent_us);
		gnutls_hash(hash, block, (size_t)n);
		size_t take = keep - kept.len < (size_t)n ? keep - kept.len : (size_t)n;
		rc = buf_append(&kept, block, take);
		assert(rc == 0);
		reply->body_bytes += (uint64_t)n;
		pace(request, sent_us, reply->body_bytes);
	}
	gnutls_hash_deinit(hash, out);
	strcpy(reply->digest, "sha256:");
	for (int i = 0; i < 32; i++)
		sprintf(reply->digest + 7 + 2 * i, "%02x", out[i]);
	reply->body_len = kept.len;
	reply->body = take_pointer(kept.data);
}

bool client_fetch(const struct client_request *request, struct client_reply *reply)
{
	struct client *client = connect_from(request->from, request->address, request->port, request->deadline_ms);
	uint64_t sent_us = clock_us();
	*reply = (struct client_reply){0};
	if ((!request->ca || client_secure(client, request->ca)) && client_send(client, request) &&
	    client_read_head(client, reply)) {
		reply->head_ms = ms_since(sent_us);
		read_whole_body(client, request, sent_us, reply);
	}
	reply->total_ms = ms_since(sent_us);
	if (!reply->body)
		reply->body = mem_strdup("");
	if (!reply->head)
		reply->head = mem_strdup("");
	snprintf(reply->error, sizeof(reply->error), "%s", client->error);
	client_close(client);
	return reply->complete;
}

struct runner {
	pthread_t thread;
	pthread_barrier_t *start;
	const struct client_request *request;
	struct client_reply *reply;
	bool whole;
};

static void *run(void *argument)
{
	struct runner *runner = argument;
	pthread_barrier_wait(runner->start);
	runner->whole = client_fetch(runner->request, runner->reply);
	return NULL;
}

bool client_fetch_many(const struct client_request *requests, struct client_reply *replies, size_t count)
{
	_cleanup_free_ struct runner *runners = mem_alloc(count * sizeof(*runners));
	pthread_barrier_t start;
	pthread_attr_t attributes;
	bool whole = true;
	pthread_attr_init(&attributes);
	pthread_attr_setstacksize(&attributes, (size_t)1 << 20);
	pthread_barrier_init(&start, NULL, (unsigned)count);
	for (size_t i = 0; i < count; i++) {
		runners[i] = (struct runner){.start = &start, .request = &requests[i], .reply = &replies[i]};
		int rc = pthread_create(&runners[i].thread, &attributes, run, &runners[i]);
		assert(rc == 0);
	}
	for (size_t i = 0; i < count; i++) {
		pthread_join(runners[i].thread, NULL);
		whole &= runners[i].whole;
	}
	pthread_barrier_destroy(&start);
	pthread_attr_destroy(&attributes);
	return whole;
}

bool client_get(uint16_t port, const char *target, struct client_reply *reply)
{
	struct client_request request = {.port = port, .target = target};
	return client_fetch(&request, reply);
}

char *client_reply_header(const struct client_reply *reply, const char *name)
{
	return reply->head ? field_value(reply->head, name) : NULL;
}

void client_reply_dispose(struct client_reply *reply)
{
	free(reply->head);
	free(reply->body);
	*reply = (struct client_reply){0};
}

void client_replies_dispose(struct client_reply *replies, size_t count)
{
	for (size_t i = 0; i < count; i++)
		client_reply_dispose(&replies[i]);
}
