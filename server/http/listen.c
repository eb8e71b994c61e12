/* SPDX-License-Identifier: Apache-2.0 */
/* Listeners, and the acceptor thread. It accepts for all serving threads, so that each connection goes to the one with
 * the fewest, and so that a burst of connections never depends on how the HTTP library waits for them. */
#include "server/http/http_internal.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define LISTEN_BACKLOG         4096
#define UNIX_PREFIX            "unix:"
#define PASSED_PREFIX          "fd:"
#define UNIX_MODE              0660
#define NO_DESCRIPTOR_PAUSE_NS 50000000L
#define REFUSAL_NOTE_MS        60000

/* "ADDR:PORT", "[V6]:PORT" -> host and port, in place. */
static int split_address(char *text, char **host, char **port)
{
	char *colon = strrchr(text, ':');

	if (!colon || !colon[1])
		return ERR_INVALID;
	*colon = '\0';
	*port = colon + 1;
	*host = text;
	if (text[0] == '[') {
		if (colon[-1] != ']')
			return ERR_INVALID;
		colon[-1] = '\0';
		*host = text + 1;
	}
	return 0;
}

static void name_listener(struct http_listener *listener)
{
	struct sockaddr_storage address = {0};
	socklen_t len = sizeof(address);
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (listener->path) {
		snprintf(listener->address, sizeof(listener->address), UNIX_PREFIX "%s", listener->path);
		return;
	}
	snprintf(listener->address, sizeof(listener->address), "a socket that was passed");
	if (getsockname(listener->fd, (struct sockaddr *)&address, &len) || address.ss_family == AF_UNIX ||
	    getnameinfo((struct sockaddr *)&address, len, host, sizeof(host), port, sizeof(port),
			NI_NUMERICHOST | NI_NUMERICSERV))
		return;
	snprintf(listener->address, sizeof(listener->address),
		 address.ss_family == AF_INET6 ? "[%.60s]:%.8s" : "%.60s:%.8s", host, port);
}

/* Unix sockets. */

/* Whether a socket lies there that nobody listens on: what a larder that was killed left. */
static bool is_abandoned(const struct sockaddr_un *address)
{
	struct stat found;
	bool refused;
	int fd;

	if (lstat(address->sun_path, &found) || !S_ISSOCK(found.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	refused = connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED;
	close(fd);
	return refused;
}

static int bind_unix(int fd, const struct sockaddr_un *address)
{
	/* Bound with this mode less what the umask takes, which chmod() then gives back: never wider in between. */
	if (fchmod(fd, UNIX_MODE) < 0)
		return -1;
	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return chmod(address->sun_path, UNIX_MODE);
	if (errno != EADDRINUSE)
		return -1;
	if (!is_abandoned(address)) {
		errno = EADDRINUSE;
		return -1;
	}
	if (unlink(address->sun_path) < 0 || bind(fd, (const struct sockaddr *)address, sizeof(*address)) < 0)
		return -1;
	return chmod(address->sun_path, UNIX_MODE);
}

static int listen_unix(struct http_listener *listener, const char *path, struct err *err)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};

	if (strlen(path) >= sizeof(address.sun_path))
		return err_set(err, ERR_INVALID, "cannot listen on %s: the path is too long for a socket", path);
	strcpy(address.sun_path, path);
	listener->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd < 0 || bind_unix(listener->fd, &address)) {
		if (errno == EADDRINUSE)
			return err_set(err, ERR_BUSY,
				       "cannot listen on %s: another program listens there, or it is no socket", path);
		return err_set_errno(err, ERR_IO, errno, "cannot listen on %s", path);
	}
	listener->path = mem_strdup(path);
	if (listen(listener->fd, LISTEN_BACKLOG))
		return err_set_errno(err, ERR_IO, errno, "cannot listen on %s", path);
	name_listener(listener);
	return 0;
}

/* A socket that whoever started us listens on already. */
static int listen_passed(struct http_listener *listener, const char *number, struct err *err)
{
	int fd = atoi(number), listens = 0, one = 1;
	socklen_t len = sizeof(listens);

	if (getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listens, &len) || !listens)
		return err_set(err, ERR_INVALID,
			       "descriptor %d, which the service manager passed, is no socket that listens", fd);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
		   sizeof(one)); /* refused by a unix socket, which has no need of it */
	listener->fd = fd;
	name_listener(listener);
	return 0;
}

static int listen_on(struct http_listener *listener, const char *text, struct err *err)
{
	struct addrinfo hints = {
		.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE | AI_NUMERICSERV};
	struct addrinfo *found = NULL;
	char *copy = mem_strdup(text), *host, *port;
	int one = 1, code = 0;

	listener->fd = -1;
	if (strncmp(text, UNIX_PREFIX, strlen(UNIX_PREFIX)) == 0) {
		free(copy);
		return listen_unix(listener, text + strlen(UNIX_PREFIX), err);
	}
	if (strncmp(text, PASSED_PREFIX, strlen(PASSED_PREFIX)) == 0) {
		free(copy);
		return listen_passed(listener, text + strlen(PASSED_PREFIX), err);
	}
	if (split_address(copy, &host, &port) || getaddrinfo(host[0] ? host : NULL, port, &hints, &found)) {
		free(copy);
		return err_set(err, ERR_INVALID, "cannot listen on \"%s\": it is not ADDRESS:PORT", text);
	}
	free(copy);
	listener->fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (listener->fd >= 0) {
		setsockopt(listener->fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		/* Accepted sockets inherit it. */
		setsockopt(listener->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	}
	if (listener->fd < 0 || bind(listener->fd, found->ai_addr, found->ai_addrlen) ||
	    listen(listener->fd, LISTEN_BACKLOG)) {
		code = errno == EADDRINUSE ? ERR_BUSY : ERR_IO;
		if (code == ERR_BUSY)
			err_set(err, code,
				"cannot listen on %s: the port is in use by another program; stop it or choose another "
				"with %s",
				text, listener->option);
		else
			err_set_errno(err, code, errno, "cannot listen on %s", text);
	}
	freeaddrinfo(found);
	name_listener(listener);
	return code;
}

int http_listen(struct http_server *server, struct err *err)
{
	server->listeners = mem_alloc(server->options.listen_count * sizeof(*server->listeners));
	for (size_t i = 0; i < server->options.listen_count; i++) {
		int code;

		server->listener_count = i + 1;
		server->listeners[i].option = server->options.option ? server->options.option : "--listen";
		code = listen_on(&server->listeners[i], server->options.listen[i], err);
		if (code)
			return code;
	}
	return 0;
}

void http_listen_close(struct http_server *server)
{
	for (size_t i = 0; i < server->listener_count; i++) {
		struct http_listener *listener = &server->listeners[i];

		/* While we listen nobody takes its place, so it is ours to remove. */
		if (listener->path)
			unlink(listener->path);
		free(listener->path);
		if (listener->fd >= 0)
			close(listener->fd);
	}
	free(server->listeners);
	server->listeners = NULL;
	server->listener_count = 0;
}

static struct http_server_thread *least_busy(struct http_server *server, unsigned *total)
{
	struct http_server_thread *least = &server->threads[0];

	*total = 0;
	for (unsigned i = 0; i < server->thread_count; i++) {
		struct http_server_thread *thread = &server->threads[i];

		*total += __atomic_load_n(&thread->connections, __ATOMIC_RELAXED);
		if (__atomic_load_n(&thread->connections, __ATOMIC_RELAXED) <
		    __atomic_load_n(&least->connections, __ATOMIC_RELAXED))
			least = thread;
	}
	return least;
}

/* Once a minute: who comes that often is not to fill the log as well. */
static void note_refusal(struct http_server *server, const struct http_limits *limits, unsigned total)
{
	uint64_t now = clock_ms();

	if (server->refused_ms && now - server->refused_ms < REFUSAL_NOTE_MS)
		return;
	server->refused_ms = now;
	log_warn("refused a connection: %u are open, of %u at most, and %u of one client", total, limits->connections,
		 limits->client_connections);
}

static void accept_all(struct http_server *server, int listen_fd)
{
	for (;;) {
		struct http_accepted accepted = {.address_len = sizeof(accepted.address)};
		struct http_server_thread *thread;
		struct http_limits limits;
		unsigned total;

		accepted.fd = accept4(listen_fd, (struct sockaddr *)&accepted.address, &accepted.address_len,
				      SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (accepted.fd < 0) {
			if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
				/* The connection stays in the backlog, and the listener readable: wait a little instead
				 * of spinning. */
				nanosleep(&(struct timespec){.tv_nsec = NO_DESCRIPTOR_PAUSE_NS}, NULL);
			}
			if (errno != EINTR && errno != ECONNABORTED)
				return;
			continue;
		}
		thread = least_busy(server, &total);
		limits = http_limits_now(server);
		if (total >= limits.connections || !http_client_enter(server, &accepted)) {
			note_refusal(server, &limits, total);
			close(accepted.fd);
			continue;
		}
		http_thread_give(thread, &accepted);
	}
}

static void *acceptor_main(void *arg)
{
	struct http_server *server = arg;
	size_t count = server->listener_count;
	struct pollfd *polled = mem_alloc((count + 1) * sizeof(*polled));

	pthread_setname_np(pthread_self(), "accept");
	for (size_t i = 0; i < count; i++)
		polled[i] = (struct pollfd){.fd = server->listeners[i].fd, .events = POLLIN};
	polled[count] = (struct pollfd){.fd = server->stop_fd, .events = POLLIN};
	for (;;) {
		uint64_t counter;

		if (poll(polled, count + 1, -1) < 0)
			continue;
		if (__atomic_load_n(&server->stopping, __ATOMIC_ACQUIRE))
			break;
		if (polled[count].revents && read(server->stop_fd, &counter, sizeof(counter)) > 0)
			__atomic_store_n(&server->acceptor_alive, true, __ATOMIC_RELAXED);
		for (size_t i = 0; i < count; i++)
			if (polled[i].revents)
				accept_all(server, polled[i].fd);
	}
	free(polled);
	return NULL;
}

int http_accept_start(struct http_server *server, struct err *err)
{
	int failed;

	server->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (server->stop_fd < 0)
		return err_set_errno(err, ERR_IO, errno, "cannot start the acceptor");
	failed = pthread_create(&server->acceptor, NULL, acceptor_main, server);
	if (failed)
		return err_set_errno(err, ERR_IO, failed, "cannot start the acceptor");
	server->accepting = true;
	return 0;
}

void http_accept_stop(struct http_server *server)
{
	uint64_t one = 1;

	if (server->accepting) {
		__atomic_store_n(&server->stopping, true, __ATOMIC_RELEASE);
		(void)!write(server->stop_fd, &one, sizeof(one));
		pthread_join(server->acceptor, NULL);
		server->accepting = false;
	}
	if (server->stop_fd >= 0)
		close(server->stop_fd);
	server->stop_fd = -1;
	http_listen_close(server);
}
