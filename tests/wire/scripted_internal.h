/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the scripted upstream. Nouns: a listener accepts connections; a connection speaks HTTP/1.1 (one exchange at
 * a time) or HTTP/2 (many); an exchange is one request, the answer planned for it and how far that got; a record is
 * what stays of it in the log. A request is planned once, when its header (and body) is complete: rules first, then the
 * registry.
 *
 * The instance's thread holds `lock` whenever it does not sleep in epoll_wait(), so everything here is under that lock
 * unless said otherwise. Whoever wants the lock takes `turn` first and lets it go once the lock is had: without that,
 * the busy thread would take a free lock again before any waiter wakes.
 *
 * A connection is driven by connection_run(), which goes as far as it can and says in `wake_us` when time alone may
 * take it further. Connections die by becoming CONNECTION_DEAD and are freed at the end of the loop's round, because
 * events of the same round may still point to them.
 */
#pragma once

#include "tests/wire/scripted.h"
#include "tests/wire/scripted_log.h"
#include "tests/wire/scripted_rule.h"

#include "base/buf.h"
#include "base/clock.h"

#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/types.h>

#define NEVER        UINT64_MAX
#define OUT_SIZE     ((size_t)256 << 10)
#define HEAD_MAX     ((size_t)64 << 10)
#define BODY_MAX     ((size_t)1 << 20)
#define ARRIVALS_MAX ((size_t)1 << 20)
#define RECORDS_MAX  ((size_t)1 << 20)
#define TOKENS_MAX   4096

/* ---- scripted_headers.c */
struct header {
	char *name;
	char *value;
};

struct headers {
	struct header *items;
	size_t count;
};

void headers_add(struct headers *headers, const char *name, size_t name_len, const char *value, size_t value_len);
/* Replaces the header of that name, or adds it; an empty value removes it. */
void headers_set(struct headers *headers, const char *name, const char *value);
/* headers_set() for each "Name: value" line. */
void headers_set_lines(struct headers *headers, const char *lines);
const char *headers_get(const struct headers *headers, const char *name);
void headers_copy(struct headers *to, const struct headers *from);
void headers_dispose(struct headers *headers);

/* A parameter of a query string or form, percent-decoded, for the caller to free; NULL when absent. `nth` counts
 * repeated ones. */
char *query_get(const char *query, const char *name, unsigned nth);

/* ---- scripted_pace.c */
struct bucket {
	uint64_t rate; /* a second; 0: without limit */
	double tokens;
	double most;
	uint64_t filled_us;
};

/* Starts anew unless the rate stays: with `burst` saved up, which is also the most it saves; or, when that is 0, empty.
 */
void bucket_set(struct bucket *bucket, uint64_t rate, uint64_t burst, uint64_t now_us);
/* Whether `want` may be had now. If not, *wake_us is put off to when it will be. */
bool bucket_offers(struct bucket *bucket, uint64_t want, uint64_t now_us, uint64_t *wake_us);
void bucket_take(struct bucket *bucket, uint64_t amount);
/* What may be had now, at most `want`. */
uint64_t bucket_available(struct bucket *bucket, uint64_t want, uint64_t now_us);

/* ---- scripted_content.c */
struct content {
	struct content *next;
	char *media_type;
	char digest[SCRIPTED_DIGEST_MAX];
	uint64_t size;
	char *bytes; /* NULL: synthetic */
	uint64_t seed;
};

struct holding {
	char *key;
	struct content **variants;
	char **labels; /* of referrers: the artifact types */
	size_t count;
};

enum holding_kind {
	HOLDING_BLOB = 'b',
	HOLDING_MANIFEST = 'm',
	HOLDING_TAG = 't',
	HOLDING_REFERRERS = 'r',
	HOLDING_FILE = 'f'
};

/* The holding of that kind, repository (NULL: every one) and name, or NULL. */
struct holding *content_find(struct scripted *scripted, enum holding_kind kind, const char *repository,
			     const char *name);
/* Calls back for each holding of a kind in a repository, in order of name. */
void content_each(struct scripted *scripted, enum holding_kind kind, const char *repository,
		  void (*each)(const char *name, const struct holding *holding, void *context), void *context);
bool content_has_repository(struct scripted *scripted, const char *repository);
void content_read(const struct content *content, uint64_t offset, void *data, size_t len);
void content_free_all(struct scripted *scripted);

/* ---- scripted_rules.c */
struct rule {
	struct rule *next;
	int id;
	struct scripted_rule script; /* strings owned */
	unsigned matched;
	unsigned applied;
	bool removed;
	bool released;
};

struct exchange;
/* Counts the request on every rule that matches and returns the one that decides, or NULL. */
struct rule *rules_match(struct scripted *scripted, const struct exchange *exchange);
void rules_free_all(struct scripted *scripted);
bool pattern_matches(const char *pattern, const char *target);

/* ---- scripted_exchange.c */
struct request {
	char *method;
	char *target;
	char *path;
	const char *query; /* inside target; "" when none */
	char *authority;
	struct headers headers;
	struct buf body;
};

struct answer {
	int status;
	struct headers headers;
	struct content *owned;         /* freed with the exchange */
	const struct content *content; /* NULL: no body */
	uint64_t from;                 /* the part of it that is sent */
	uint64_t length;
	int64_t length_said; /* -1: no Content-Length */
};

struct exchange {
	struct exchange *next;
	struct connection *connection;
	struct request request;
	struct answer answer;
	struct rule *rule; /* NULL: none */
	struct scripted_record *record;
	bool planned;   /* the request was complete */
	bool head_only; /* HEAD */
	bool head_sent;
	bool ended;
	uint64_t head_at_us;
	uint64_t sent;
	uint64_t stalled_until_us; /* 0: not come to the stall yet */
	struct bucket rate;
	/* HTTP/2 */
	int32_t stream;
	bool deferred;
	uint64_t wake_us;
};

struct exchange *exchange_new(struct connection *connection, int32_t stream);
/* The request is complete: logs it, matches rules, and plans the answer. */
void exchange_plan(struct exchange *exchange, uint64_t now_us);
/* Whether the head may be sent now; else *wake_us is brought forward to when it may. */
bool exchange_head_due(struct exchange *exchange, uint64_t now_us, uint64_t *wake_us);
/* The head goes out now. */
void exchange_note_head(struct exchange *exchange);

enum step { STEP_BYTES, STEP_WAIT, STEP_END, STEP_CUT };
/* The next body bytes, at most `cap`. STEP_WAIT sets *wake_us (NEVER: until something changes). */
enum step exchange_step(struct exchange *exchange, uint64_t now_us, char *data, size_t cap, size_t *len,
			uint64_t *wake_us);
/* Makes a header field of an endless header, paced as a body is; as exchange_step(). */
enum step exchange_step_header(struct exchange *exchange, uint64_t now_us, size_t cap, uint64_t *wake_us);

/* Ends it in the log and takes it off its connection. */
void exchange_end(struct exchange *exchange, enum scripted_outcome outcome);

static inline const struct scripted_rule *exchange_script(const struct exchange *exchange)
{
	static const struct scripted_rule good;
	return exchange->rule ? &exchange->rule->script : &good;
}

/* ---- scripted_registry.c, scripted_token.c */
/* What a good registry says: fills exchange->answer. */
void registry_answer(struct exchange *exchange, uint64_t now_us);
void answer_text(struct exchange *exchange, int status, const char *media_type, const char *text);
/* A registry error document. */
void answer_error(struct exchange *exchange, int status, const char *code, const char *message);
/* The part of `content` that Range and If-Range ask for, with the headers that go with it. */
void answer_content(struct exchange *exchange, const struct content *content, bool ranges);

struct token {
	struct token *next;
	char *text;
	char *scope;
	uint64_t expires_us;
};

/* Answers the request itself when it may not pass, and returns false. `repository` may be NULL. */
bool token_admits(struct exchange *exchange, const char *repository, uint64_t now_us);
/* The token service. */
void token_answer(struct exchange *exchange, uint64_t now_us);
void token_free_all(struct scripted *scripted);

/* ---- scripted_connection.c */
enum source_kind { SOURCE_WAKE, SOURCE_LISTENER, SOURCE_CONNECTION };

struct listener {
	enum source_kind kind;
	struct scripted *scripted;
	int id;
	int fd;     /* -1 while down */
	int keeper; /* bound and never listening: keeps the port while down */
	enum scripted_state state;
	char *address;
	uint16_t port;
	char *url;
	const struct scripted_tls *tls;
	bool h2, open, client_certificate;
	struct scripted_stats stats;
};

enum connection_state {
	CONNECTION_MUTE,      /* never read */
	CONNECTION_HANDSHAKE, /* TLS is being agreed on */
	CONNECTION_OPEN,      /* requests and answers */
	CONNECTION_ENDING,    /* what is in `out` still goes, then it ends as `ending` says */
	CONNECTION_LINGER,    /* our side is shut; input is thrown away until the peer closes too */
	CONNECTION_DEAD,      /* closed; freed at the end of the round */
};

struct arrival {
	struct arrival *next;
	uint64_t due_us;
	size_t len, at;
	char data[];
};

struct connection {
	enum source_kind kind;
	struct connection *next;
	struct scripted *scripted;
	struct listener *listener;
	unsigned id;
	int fd;
	enum connection_state state;
	enum scripted_cut ending; /* FIN or RST; NONE is a polite end, with a TLS goodbye */
	uint64_t ending_deadline_us;
	uint64_t ready_us; /* accepted, and one round trip later */
	uint64_t wake_us;
	uint32_t events;
	bool peer_ended;
	bool blocked; /* the socket takes no more for now */
	gnutls_session_t tls;
	enum scripted_protocol protocol; /* 0 until known */
	struct arrival *arrivals, **arrivals_tail;
	size_t arrivals_size;
	bool arrivals_end;
	struct bucket rate;
	char *out;
	size_t out_at, out_len;
	struct buf in; /* HTTP/1.1, and the first bytes of a plain connection */
	struct exchange *exchanges;
	struct http2 *http2;
};

void connection_accept(struct listener *listener, uint64_t now_us);
void connection_run(struct connection *connection, uint64_t now_us);
void connection_free(struct connection *connection);
/* Closes at once, by reset. */
void connection_reset(struct connection *connection);
/* Stops reading and ends as `how` says once `out` is gone. */
void connection_finish(struct connection *connection, enum scripted_cut how);
/* Brings the next run forward. */
void connection_wake_at(struct connection *connection, uint64_t at_us);
/* Sends `out`. True when it is empty. */
bool connection_flush(struct connection *connection);
/* Room at the end of `out`. */
char *connection_room(struct connection *connection, size_t *cap);
void connection_put(struct connection *connection, const void *data, size_t len);
/* As recv() on a non-blocking socket: bytes, 0 at the end, or -1 with errno. */
ssize_t connection_receive(struct connection *connection, void *data, size_t len, uint64_t now_us);

/* ---- scripted_arrival.c: the delay line between socket and protocol */
ssize_t arrival_pull(struct connection *connection, void *data, size_t len, uint64_t now_us);
void arrival_free_all(struct connection *connection);

/* ---- scripted_http1.c, scripted_http2.c */
void http1_run(struct connection *connection, uint64_t now_us);
void http2_start(struct connection *connection);
void http2_run(struct connection *connection, uint64_t now_us);
void http2_free(struct connection *connection);

/* ---- scripted_tls.c */
gnutls_session_t scripted_tls_session(const struct listener *listener);
/* Whether the peer's certificate is what the listener demands. */
bool scripted_tls_admits(const struct listener *listener, gnutls_session_t session);

/* ---- scripted.c */
struct scripted {
	enum source_kind kind; /* SOURCE_WAKE: epoll points here for the wake-up descriptor */
	pthread_mutex_t turn, lock;
	pthread_cond_t changed; /* whatever scripted_wait_* look at */
	pthread_t thread;
	int epoll, wake;
	bool stopping;
	bool poked; /* run every connection in the next round */
	uint64_t started_us;
	uint64_t now_us;                 /* of this round */
	struct scripted_options options; /* strings owned */
	struct listener *listeners[SCRIPTED_LISTENERS_MAX];
	int listener_count;
	struct connection *connections;
	unsigned connection_count;
	struct scripted_stats stats; /* of all listeners together */
	struct bucket rate, requests;
	struct content *contents;
	void *holdings; /* tsearch() tree of struct holding */
	struct rule *rules;
	int rule_count;
	struct token *tokens;
	unsigned token_count, tokens_given;
	struct scripted_record **records;
	size_t record_count, record_room;
	unsigned requests_seen;
};

void scripted_lock(struct scripted *scripted);
void scripted_unlock(struct scripted *scripted);
/* Makes the thread look at everything again. Under the lock. */
void scripted_poke(struct scripted *scripted);

/* ---- scripted_log.c */
/* The request is complete: a record, and it counts as running. */
void log_note_request(struct exchange *exchange);
void log_note_end(struct exchange *exchange, enum scripted_outcome outcome);
void log_note_body(struct exchange *exchange, uint64_t bytes);
void log_note_limited(struct exchange *exchange);
void log_note_connection(struct listener *listener, bool opened);
void log_free_all(struct scripted *scripted);
