/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing a connection whose client still sends what nobody wants. Closed at once, it would be reset, and the reset
 * would take from the client the answer that it has not read yet (RFC 9112, section 9.6). So our end is shut down for
 * sending alone, and what comes is thrown away until the client has seen it, or has had enough of time and bytes.
 *
 * The library closes its descriptor when it likes: ours is another of the same socket. On the serving thread.
 */
#include "server/http/http_internal.h"

#include "base/buf.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>
#include <utlist.h>

#define LINGER_MS    10000
#define LINGER_BYTES (UINT64_C(64) << 20)
#define LINGER_MAX   64 /* of a thread; others are closed at once */
#define LINGER_READ  (16 << 10)

struct http_linger {
	int fd;
	uint64_t until_ms;
	uint64_t bytes; /* more of them are borne */
	struct http_linger *prev, *next;
};

static void end(struct http_server_thread *thread, struct http_linger *linger)
{
	DL_DELETE(thread->lingering, linger);
	if (linger->fd >= 0) {
		/* Closing would not do while a child that is being spawned has a copy. */
		epoll_ctl(thread->epoll_fd, EPOLL_CTL_DEL, linger->fd, NULL);
		close(linger->fd);
	}
	free(linger);
}

void http_linger_begin(struct http_server_thread *thread, int socket)
{
	struct epoll_event event = {.events = EPOLLIN};
	struct http_linger *linger;
	int count;

	DL_COUNT(thread->lingering, linger, count);
	if (count >= LINGER_MAX)
		return;
	linger = mem_alloc(sizeof(*linger));
	*linger = (struct http_linger){
		.fd = fcntl(socket, F_DUPFD_CLOEXEC, 0), .until_ms = clock_ms() + LINGER_MS, .bytes = LINGER_BYTES};
	DL_APPEND(thread->lingering, linger);
	event.data.ptr = linger;
	if (linger->fd < 0 || shutdown(linger->fd, SHUT_WR) < 0 ||
	    epoll_ctl(thread->epoll_fd, EPOLL_CTL_ADD, linger->fd, &event) < 0)
		end(thread, linger);
}

static void throw_away(struct http_server_thread *thread, struct http_linger *linger)
{
	char thrown[LINGER_READ];
	ssize_t got = recv(linger->fd, thrown, sizeof(thrown), MSG_DONTWAIT);

	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (got <= 0 || (uint64_t)got >= linger->bytes)
		end(thread, linger);
	else
		linger->bytes -= (uint64_t)got;
}

bool http_linger_event(struct http_server_thread *thread, const void *what)
{
	struct http_linger *linger;

	DL_FOREACH (thread->lingering, linger)
		if (linger == what) {
			throw_away(thread, linger);
			return true;
		}
	return false;
}

void http_linger_look(struct http_server_thread *thread, bool all)
{
	uint64_t now = clock_ms();
	struct http_linger *linger, *next;

	DL_FOREACH_SAFE (thread->lingering, linger, next)
		if (all || now >= linger->until_ms)
			end(thread, linger);
}
