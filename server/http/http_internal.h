/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of http/ share: the acceptor (listen.c) hands connections to serving threads (serve.c). */
#pragma once

#include "base/buf.h"
#include "server/http/http.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>

#define HTTP_ADDRESS_MAX       128
#define HTTP_IDLE_SECONDS      60 /* without a byte, before a request is complete or while a reply makes no way */
#define HTTP_CONNECTION_MEMORY (20 << 10) /* per connection: request line, headers, reply headers */
#define HTTP_DRAIN_LOOK_MS     50         /* how often a draining thread looks for clients that have left */
#define HTTP_BUSY_TURNS        8          /* of a serving thread, between two looks for new connections */
#define HTTP_STREAM_BLOCK      (32 << 10) /* one for each reply that is read from a stream */
#define HTTP_TLS_BLOCK         (256 << 10)

struct http_accepted {
	int fd;
	socklen_t address_len;
	struct sockaddr_storage address;
};

/* A request as the library and we see it. */
struct exchange {
	struct http_request request; /* first: handlers get this */
	struct http_server_thread *thread;
	struct MHD_Connection *connection;
	char *target;   /* path NUL query NUL */
	bool announced; /* the library has read the head */
	bool begun;     /* it was read to its end, and handle() called */
	bool replied;
	bool paused;                  /* atomic */
	struct exchange *prev, *next; /* begun ones, the thread's own list */
	struct http_body body;
	char *joined_header; /* what http_request_header() put together */
	enum http_upload upload;
	struct buf collected; /* HTTP_UPLOAD_COLLECT */
};

static inline struct exchange *exchange_of(struct http_request *request)
{
	return (struct exchange *)request;
}

/* A serving thread. */
struct http_server_thread {
	struct http_server *server;
	struct MHD_Daemon *daemon;
	pthread_t thread;
	int epoll_fd;
	int wake_fd;

	pthread_mutex_t lock; /* guards `accepted` and `stopping` */
	struct http_accepted *accepted;
	size_t accepted_len, accepted_cap;
	enum { HTTP_RUNNING, HTTP_DRAINING, HTTP_STOPPING } phase;

	unsigned connections; /* atomic: those handed over and not yet closed */
	unsigned requests;    /* atomic: begun and not yet ended */
	unsigned abandoned;   /* atomic: of those, paused ones whose client has left; counted while draining */
	struct exchange *begun;
	bool connection_started; /* the thread's own: the library has announced the one being added */
};

struct http_listener {
	int fd;
	char *path;         /* of a unix socket, once it is bound; else NULL */
	const char *option; /* of the command line, that says where to listen: for messages */
	char address[HTTP_ADDRESS_MAX];
};

struct http_server {
	struct http_options options;
	struct http_listener *listeners;
	size_t listener_count;
	struct http_server_thread *threads;
	unsigned thread_count;
	unsigned client_connections_max; /* of one address, at one thread: all threads' together are half of
					    connections_max */
	pthread_t acceptor;
	int stop_fd; /* eventfd: the acceptor is to end */
	bool accepting;
};

int http_listen(struct http_server *server, struct err *err);
void http_listen_close(struct http_server *server);
int http_accept_start(struct http_server *server, struct err *err);
void http_accept_stop(struct http_server *server);

int http_thread_start(struct http_server *server, struct http_server_thread *thread, struct err *err);
/* From the acceptor: the connection is the thread's from here on. */
void http_thread_give(struct http_server_thread *thread, const struct http_accepted *accepted);
void http_thread_set_phase(struct http_server_thread *thread, int phase);
void http_thread_join(struct http_server_thread *thread);
