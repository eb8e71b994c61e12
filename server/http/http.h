/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP/1.1 downstream: connections on one side, requests and replies on the other. Knows no registry.
 *
 * One acceptor thread takes connections from all listeners and hands each to the serving thread that has the fewest; a
 * serving thread drives a libmicrohttpd daemon of its own from its own epoll loop. All calls of a handler for one
 * request come on that request's thread, and must not block. A request's life:
 *
 *   begin()   sees its head, and says what is to happen to its body; without begin(), bodies are thrown away
 *   take()    gets the body piece by piece where begin() wanted it so, and may pause
 *   handle()  once the request is read to its end: replies at once, or pauses it (through its waiter) and returns;
 *             after a wake-up it is called again
 *   read()    gives the reply's body where that is a stream, and may pause; else it is sent from memory, or from a
 *             file by sendfile
 *   ended()   exactly once after begin() or handle(), when the reply was sent or the connection failed
 */
#pragma once

#include "base/err.h"
#include "base/waiter.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define HTTP_TARGET_MAX      8192
#define HTTP_ID_MAX          64                /* with the NUL */
#define HTTP_COLLECT_MAX     ((size_t)1 << 20) /* of a body that is kept whole */
#define HTTP_CLIENT_TEXT_MAX 64

enum http_method { HTTP_GET, HTTP_HEAD, HTTP_POST, HTTP_PUT, HTTP_PATCH, HTTP_DELETE, HTTP_OTHER };

struct http_request {
	enum http_method method;
	const char *method_text;
	const char *path;       /* as sent, without scheme and host, up to the '?' */
	const char *query;      /* behind it, as sent; "" when there is none */
	const char *client;     /* address without port; "unix" behind a unix socket */
	char id[HTTP_ID_MAX];   /* what X-Request-Id said, if that is sane, or one of ours; every reply says it, unless
				 * it is a prepared one to who did not say any */
	uint64_t began_us;      /* clock_us() */
	uint64_t first_byte_us; /* likewise: when the reply's first byte was there to be sent; 0 before */
	void *state;            /* the handler's own; freed by its ended() */
	struct waiter waiter;
	const char *body; /* what was sent with it, when begin() wanted it whole; a NUL is behind it */
	size_t body_len;
	bool body_too_large;                  /* it had more than HTTP_COLLECT_MAX bytes: none is kept */
	uint64_t body_bytes;                  /* of the reply's body that were handed to the connection */
	int status;                           /* of the reply, 0 before there is one */
	const struct http_prepared *prepared; /* the reply, when it was one of these */
};

/* What happens to a request's body. */
enum http_upload {
	HTTP_UPLOAD_DROP,    /* read and thrown away */
	HTTP_UPLOAD_COLLECT, /* kept whole, for handle() */
	HTTP_UPLOAD_TAKE,    /* handed to take() */
};

/* What the reply says, and how long it lives: all strings and bytes are copied by http_reply(). */
struct http_header {
	const char *name;
	const char *value;
};

enum http_body_kind { HTTP_BODY_MEMORY, HTTP_BODY_FILE, HTTP_BODY_STREAM };

#define HTTP_LENGTH_UNKNOWN UINT64_MAX
#define HTTP_READ_END       ((ssize_t)-1000) /* no error codes, these */
#define HTTP_SEND_FULL      ((ssize_t)-1001)

struct http_body {
	enum http_body_kind kind;
	/* What Content-Length says; of a HEAD's reply too, which carries no body. HTTP_LENGTH_UNKNOWN, STREAM alone:
	 * as long as read() gives something, in chunks, or up to the connection's end for HTTP/1.0. */
	uint64_t len;
	const void *data; /* MEMORY; NULL is allowed for HEAD and for a 304 */
	int fd;           /* FILE: taken over, closed by the reply */
	uint64_t offset;  /* FILE */
	/* STREAM: gives up to `max` bytes from `position` of this body: the count; 0 after pausing the request's
	 * waiter; HTTP_READ_END at the end of one of unknown length; another negative number to cut the connection.
	 * `arg` is the handler's, alive until ended(). */
	ssize_t (*read)(void *arg, uint64_t position, void *data, size_t max);
	/* STREAM of known length, may be absent: as read(), but sends the bytes on this socket, which does not block;
	 * HTTP_SEND_FULL when that takes none now. read() is still asked for the last byte. */
	ssize_t (*send)(void *arg, uint64_t position, int socket, size_t max);
	/* FILE, may be absent: these bytes of the file could not be read, or perhaps could not; the connection is cut
	 * for it behind this. */
	void (*unread)(void *arg, uint64_t offset, uint64_t len);
	void *arg;
};

struct http_handler {
	void (*handle)(void *arg, struct http_request *request);
	void (*ended)(void *arg, struct http_request *request, bool complete);
	void *arg;
	/* Both may be absent. A reply from begin() spares a client that asked (Expect: 100-continue) the sending of a
	 * body that is not wanted; the connection is closed behind it. */
	enum http_upload (*begin)(void *arg, struct http_request *request);
	/* How many of `len` bytes were taken: fewer only after pausing the waiter, the rest is offered again; negative:
	 * no more is wanted, and what still comes is thrown away. */
	ssize_t (*take)(void *arg, struct http_request *request, const void *data, size_t len);
};

/* What clients may take, of connections and of time. */
struct http_limits {
	unsigned connections;        /* in all … */
	unsigned client_connections; /* … and of one client address, unless 0; behind a unix socket there is none */
	uint64_t request_timeout_ms; /* from when one may come to the end of its head; 0: a minute */
	uint64_t client_min_rate;    /* bytes a second, as a mean over … */
	uint64_t client_patience_ms; /* … this time: a client that takes less of an answer is cut */
};

struct http_options {
	const char *const
		*listen; /* "127.0.0.1:5000", "[::1]:0", "unix:/PATH"; "fd:3", a socket that listens already */
	size_t listen_count;
	const char *option;   /* of the command line, that says where to listen: for messages; NULL: --listen */
	unsigned threads;     /* 0: one a core */
	const char *tls_cert; /* PEM text: certificate chain and key; NULL: plain HTTP */
	const char *tls_key;
	const char *
		tls_client_ca; /* clients must show a certificate that one of these signed; NULL: any client may come */
	struct http_limits limits;
	struct http_handler handler;
};

struct http_server;

/* Binds, listens, starts the threads. ERR_BUSY when an address is in use (the text names it), ERR_INVALID, ERR_IO. A
 * unix socket gets mode 0660; one that a killed process left is replaced, and ours is removed at the end. */
int http_start(const struct http_options *options, struct http_server **out, struct err *err);

/* New connections have this certificate, and must show one of that authority (NULL: need not), from now on; those that
 * are open go on. Only for a server that was started with TLS. Any thread. ERR_INVALID: all stays as it was. */
int http_reload_tls(struct http_server *server, const char *cert, const char *key, const char *client_ca,
		    struct err *err);

/* These hold from now on. Connections that are open go on, also where there are more of them than may be; what they
 * have waited already counts. Any thread. */
void http_set_limits(struct http_server *server, const struct http_limits *limits);

/* The address that listener `i` got: "127.0.0.1:40123". */
const char *http_address(const struct http_server *server, size_t i);

/* Whether the acceptor and every serving thread come when they are called, within that time. Not from one of them. */
bool http_is_alive(struct http_server *server, uint64_t within_ms);

/* Takes no more connections, closes idle ones, lets running replies go on for up to `grace_ms`, then cuts what is left,
 * and frees all. What still waits then is woken by the caller: `wake_all` is called when the time is over and must wake
 * every paused request. */
void http_stop(struct http_server *server, uint64_t grace_ms, void (*wake_all)(void *arg), void *arg);

/* A request's header; several of one name are joined by ", " where that may be a list. NULL when absent. Valid until
 * ended(); one that was joined, until the next is. */
const char *http_request_header(struct http_request *request, const char *name);

/* Replies. Once a request, from handle() or begin(). */
void http_reply(struct http_request *request, int status, const struct http_header *headers, size_t header_count,
		const struct http_body *body);

/*
 * A reply made once and given many times, by any thread: its headers and its body, in memory, are not put together
 * again. It belongs to all who hold a reference, and dies with the last one.
 */
struct http_prepared;

/* As http_reply(); the body is MEMORY, and without data it can only answer HEAD. `dispose(arg)` is called as it dies.
 */
struct http_prepared *http_prepare(int status, const struct http_header *headers, size_t header_count,
				   const struct http_body *body, void *arg, void (*dispose)(void *arg));
void *http_prepared_arg(const struct http_prepared *prepared);
struct http_prepared *http_prepared_ref(struct http_prepared *prepared);
/* Takes NULL. */
void http_prepared_unref(struct http_prepared *prepared);
/* Takes over a reference, which lives on until after ended(). False, taking nothing, while the server is ending:
 * replies then say that the connection closes, and this one does not. */
bool http_reply_prepared(struct http_request *request, struct http_prepared *prepared);

/* Reads a parameter of the query, percent-decoded, into `value`. ERR_NOT_FOUND; ERR_INVALID (bad escapes, control
 * characters or too long). */
int http_query_value(const char *query, const char *name, char *value, size_t size);
/* The same of what is no text but bytes, a file's name: all are taken but NUL. */
int http_query_bytes(const char *query, const char *name, char *value, size_t size);
/* The query behind the first parameter of this name, where its next value may be; NULL when there is none. */
const char *http_query_behind(const char *query, const char *name);
/* Percent-decodes a path into `out`. ERR_INVALID (bad escapes, control characters or too long). */
int http_path_decode(const char *path, char *out, size_t size);
