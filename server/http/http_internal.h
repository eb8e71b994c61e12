/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of http/ share: the acceptor (listen.c) hands connections to serving threads (serve.c). */
#pragma once

#include "base/buf.h"
#include "server/http/http.h"
#include "server/http/tls.h"
#include "server/http/tls_input.h"

#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <uthash.h>

#define HTTP_ADDRESS_MAX        128
#define HTTP_CONNECTION_MEMORY  (20 << 10) /* per connection: request line, headers, reply headers */
#define HTTP_REQUEST_TIMEOUT_MS 60000
#define HTTP_UNREAD_MAX         (16 << 20) /* of a request's body where nobody ever asks for one: so much is read */
#define HTTP_LOOK_MS            1000       /* how often a thread looks for clients that are too slow */
#define HTTP_DRAIN_LOOK_MS      50         /* how often a draining thread looks for clients that have left */
#define HTTP_BUSY_TURNS         8          /* of a serving thread, between two looks for new connections */
#define HTTP_STREAM_BLOCK       (32 << 10) /* one for each reply that is read from a stream */
#define HTTP_SEND_MIN           (16 << 20) /* a shorter body the library sends alone */
#define HTTP_SEND_TURN          (2 << 20)  /* of one body, before others get their turn */
#define HTTP_EVENTS             32
#define HTTP_TLS_BLOCK          (256 << 10) /* of a body that the library sends alone */
#define HTTP_TLS_TURN           (512 << 10) /* HTTP_SEND_TURN, where encrypting takes its time */
#define HTTP_TLS_READ           (64 << 10)  /* read at once, to be encrypted */

struct MHD_Connection;

/* Connections are counted by it. */
struct http_client_key {
	uint16_t family;
	uint8_t address[16];
};

struct http_client {
	struct http_client_key key;
	unsigned connections;
	UT_hash_handle hh;
};

struct http_accepted {
	int fd;
	struct http_client_key key;
	socklen_t address_len;
	struct sockaddr_storage address;
};

struct exchange;

/* One of a serving thread, which alone uses it, but for `paused`. */
struct http_connection {
	int fd;
	gnutls_session_t session;          /* the library's; NULL: plain HTTP */
	struct http_tls_input input;       /* of that session */
	char client[HTTP_CLIENT_TEXT_MAX]; /* the address as text */
	struct http_client_key key;
	bool asked;              /* the head of a request was read, and its reply is not yet sent */
	bool paused;             /* atomic: the client waits for us */
	bool cut;                /* it was shut down, and is about to end */
	bool unread;             /* it was answered before the request's body, which may still come */
	uint64_t waits_since_ms; /* while nothing is asked: since when */
	uint64_t pace_since_ms;  /* since when its pace is measured; 0: it is not … */
	uint64_t pace_bytes;     /* … and what had moved by then */
	struct exchange *sends;  /* whose body the library sends out of a file; NULL: none */
	/* At the last look, when all of that which the library had sent was with the client: whose, and how many bytes
	 * had moved in all. */
	const struct exchange *still_since;
	uint64_t still_bytes;
	struct http_connection *prev, *next;
};

/* A body that we send ourselves (send.c). */
enum http_sending {
	HTTP_SENDING_NOT,
	HTTP_SENDING, /* all but its last byte, which the library asks for at the end */
	HTTP_SENT,
	HTTP_SENDING_FAILED,
};

/* A request as the library and we see it. */
struct exchange {
	struct http_request request; /* first: handlers get this */
	struct http_server_thread *thread;
	struct MHD_Connection *connection;
	struct http_connection *own; /* what we know of the connection */
	const char *target_end;      /* in the library's buffer */
	char *target;                /* path NUL query NUL */
	const char *wrong;           /* with the target */
	bool announced;              /* the library has read the head */
	bool chunked;                /* its body is */
	bool begun;                  /* it is in order, and handlers know of it */
	bool id_given;               /* the client named it */
	bool replied;
	struct http_body body;
	struct http_prepared *prepared; /* a reference */
	bool librarys_file;             /* the library sends the body, out of a file that is its own */
	bool is_sender;                 /* we send the body, by: */
	enum http_sending sending;
	bool awaits_last;                           /* the library was told to wait for the last byte */
	uint64_t position;                          /* sending: so many bytes went out */
	bool record_waits;                          /* sending by TLS: a record is encrypted, and not yet out */
	bool suspended;                             /* sending: the library leaves the connection to us */
	int watched;                                /* sending: the events that we wait for; -1: we do not */
	struct exchange *prev_sender, *next_sender; /* the thread's, while suspended */
	struct exchange *next_woken;
	bool woken;          /* on the list of those; under the thread's lock, as is the list */
	char *joined_header; /* what http_request_header() put together */
	enum http_upload upload;
	uint64_t dropped;     /* HTTP_UPLOAD_DROP: so many bytes */
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

	pthread_mutex_t lock; /* guards `accepted` and `woken` */
	struct http_accepted *accepted;
	struct exchange *woken; /* those who send and have more to send now */
	size_t accepted_len, accepted_cap;
	enum { HTTP_RUNNING, HTTP_DRAINING, HTTP_STOPPING } phase;

	unsigned connections; /* atomic: those handed over and not yet closed */
	unsigned requests;    /* atomic: begun and not yet ended */
	unsigned abandoned;   /* atomic: of those, paused ones whose client has left; counted while draining */
	bool library_called;  /* atomic: it was told something, and forgets to watch for that */
	bool alive;           /* atomic: it was woken, and came */
	/* The thread's own: */
	bool library_due; /* the library has something to do */
	struct exchange *senders;
	struct http_connection *open;
	struct http_linger *lingering; /* those that are closed, but for what still comes */
	uint64_t looked_ms;            /* when it last looked for slow clients */
	struct http_accepted *adding;  /* that the library has not announced yet */
	char *plain;                   /* HTTP_TLS_READ, on their way to be encrypted; NULL before the first */
};

struct http_listener {
	int fd;
	char *path;         /* of a unix socket, once it is bound; else NULL */
	const char *option; /* of the command line, that says where to listen: for messages */
	char address[HTTP_ADDRESS_MAX];
};

struct http_server {
	struct http_options options; /* but for its limits: */
	struct http_tls *tls;        /* NULL: plain HTTP */
	struct http_listener *listeners;
	size_t listener_count;
	struct http_server_thread *threads;
	unsigned thread_count;
	pthread_mutex_t clients_lock; /* guards `limits` and `clients` */
	struct http_limits limits;
	struct http_client *clients; /* those who have connections */
	pthread_t acceptor;
	uint64_t refused_ms; /* the acceptor's own: when it last said that it refused a connection */
	int stop_fd;         /* eventfd: the acceptor is to end, or to show that it lives */
	bool accepting;
	bool stopping, acceptor_alive; /* atomic */
};

int http_listen(struct http_server *server, struct err *err);
void http_listen_close(struct http_server *server);
int http_accept_start(struct http_server *server, struct err *err);
void http_accept_stop(struct http_server *server);

/* Those that hold now. */
struct http_limits http_limits_now(struct http_server *server);
/* Counts a connection of a client, and sets its key. False: it has as many as it may have. */
bool http_client_enter(struct http_server *server, struct http_accepted *accepted);
void http_client_leave(struct http_server *server, const struct http_client_key *key);

/* On the serving thread. */
struct http_connection *http_connection_new(struct http_server_thread *thread, const struct http_accepted *accepted);
void http_connection_free(struct http_server_thread *thread, struct http_connection *connection);
/* Cuts those whose clients keep it waiting for too long. Looks at most once every HTTP_LOOK_MS. */
void http_connections_look(struct http_server_thread *thread);

void http_thread_wake(struct http_server_thread *thread);

/* linger.c. From here on the socket is read and what comes is thrown away; the descriptor stays the caller's. */
void http_linger_begin(struct http_server_thread *thread, int socket);
/* What epoll said. False: it is about something else. */
bool http_linger_event(struct http_server_thread *thread, const void *what);
/* Ends those whose time is over, or all. */
void http_linger_look(struct http_server_thread *thread, bool all);

/* Bytes from `position` of the body on that its file did not give: said before the connection is cut for it. */
static inline void exchange_tell_unread(const struct exchange *exchange, uint64_t position, uint64_t len)
{
	const struct http_body *body = &exchange->body;

	if (body->unread)
		body->unread(body->arg, body->offset + position, len);
}

/* send.c. What answers a request by a body that we send, all but its last byte; NULL: the library has to. */
struct MHD_Response *http_send_response(struct exchange *exchange);
/* Any thread: there is more to send. */
void http_send_wake(struct exchange *exchange);
/* On the serving thread: what epoll said of the socket; those that were woken; all give up. */
void http_send_event(struct exchange *exchange, uint32_t events);
void http_send_woken(struct http_server_thread *thread);
void http_send_give_up(struct http_server_thread *thread);
/* The request has ended. */
void http_send_forget(struct exchange *exchange);

/* Where the path begins: behind "http://HOST", which is what a client sends that takes us for a proxy; a server must
 * take it too (RFC 9112, section 3.2.2). Whom it names does not matter here. */
const char *http_target_path(const char *target);

/* As the library has it in its buffer. */
struct http_request_line {
	const char *method;
	const char *target_end; /* its NUL, before anything was decoded */
	const char *version;
};

/* Why a request is refused; NULL: it is not. */
const char *http_check_target(const char *target);
const char *http_check_head(struct MHD_Connection *connection, const struct http_request_line *line, bool *chunked);

int http_thread_start(struct http_server *server, struct http_server_thread *thread, struct err *err);
/* From the acceptor: the connection is the thread's from here on. */
void http_thread_give(struct http_server_thread *thread, const struct http_accepted *accepted);
void http_thread_set_phase(struct http_server_thread *thread, int phase);
void http_thread_join(struct http_server_thread *thread);
