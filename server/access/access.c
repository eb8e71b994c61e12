/* SPDX-License-Identifier: Apache-2.0 */
#include "server/access/access.h"

#include "base/buf.h"
#include "base/clock.h"
#include "base/work.h"
#include "server/access/access_internal.h"
#include "server/access/guesses.h"
#include "server/access/htpasswd.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uthash.h>

#define CLIENT_MAX 64
#define GUESS_TEXT (2 * ACCESS_KEY_BYTES + 1)

enum state { VERIFYING, GOOD, BAD };

/* A name and password that somebody showed. */
struct credential {
	uint8_t key[ACCESS_KEY_BYTES]; /* a MAC of both */
	enum state state;
	uint64_t until_ms; /* GOOD, BAD: how long that is remembered */
	UT_hash_handle hh;
};

/* What the thread is to verify. */
struct verification {
	struct work_job job; /* first */
	struct access *access;
	struct htpasswd *users;
	uint8_t key[ACCESS_KEY_BYTES];
	char user[ACCESS_USER_MAX + 1];
	char password[ACCESS_PASSWORD_MAX + 1];
	char client[CLIENT_MAX];
	char shown[GUESS_TEXT]; /* what `guess` borrows, as `client` */
	struct guess guess;
};

struct access {
	struct work *work; /* one thread: hashes must not take the place of what pulls wait for */
	uint8_t mac_key[ACCESS_KEY_BYTES];
	uint8_t token_key[ACCESS_KEY_BYTES];
	pthread_mutex_t lock; /* guards all below */
	struct htpasswd *users;
	struct rules *rules;
	struct credential *credentials; /* the head is the oldest */
	unsigned verifying;
	struct waiter *waiters; /* for any of those that are being verified: all look again when one is */
	struct guesses *guesses;
	bool closed;
};

/* Life. */

int access_new(const struct access_options *options, struct access **out, struct err *err)
{
	struct access *access = mem_alloc(sizeof(*access));

	if (htpasswd_read(options->htpasswd, options->source, &access->users, err)) {
		free(access);
		return ERR_INVALID;
	}
	pthread_mutex_init(&access->lock, NULL);
	gnutls_rnd(GNUTLS_RND_KEY, access->mac_key, sizeof(access->mac_key));
	gnutls_rnd(GNUTLS_RND_KEY, access->token_key, sizeof(access->token_key));
	access->rules = rules_new(options);
	access->guesses = guesses_new();
	access->work = work_start(1);
	*out = access;
	return 0;
}

/* The lock is held. */
static void forget_credential(struct access *access, struct credential *credential)
{
	HASH_DEL(access->credentials, credential);
	free(credential);
}

/* The lock is held: what is being verified stays, its thread looks for it. */
static void forget_verified(struct access *access)
{
	struct credential *credential, *next;

	HASH_ITER (hh, access->credentials, credential, next) {
		if (credential->state != VERIFYING)
			forget_credential(access, credential);
	}
}

int access_reload(struct access *access, const struct access_options *options, struct err *err)
{
	struct htpasswd *users, *old_users;
	struct rules *old_rules;

	if (htpasswd_read(options->htpasswd, options->source, &users, err))
		return ERR_INVALID;
	pthread_mutex_lock(&access->lock);
	old_users = access->users;
	old_rules = access->rules;
	access->users = users;
	access->rules = rules_new(options);
	forget_verified(access);
	/* A token says who somebody was before. */
	gnutls_rnd(GNUTLS_RND_KEY, access->token_key, sizeof(access->token_key));
	pthread_mutex_unlock(&access->lock);
	htpasswd_release(old_users);
	rules_free(old_rules);
	return 0;
}

void access_close(struct access *access)
{
	pthread_mutex_lock(&access->lock);
	access->closed = true;
	waiter_wake_all(&access->waiters);
	pthread_mutex_unlock(&access->lock);
}

void access_free(struct access *access)
{
	if (!access)
		return;
	work_stop(access->work);
	while (access->credentials)
		forget_credential(access, access->credentials);
	guesses_free(access->guesses);
	rules_free(access->rules);
	htpasswd_release(access->users);
	pthread_mutex_destroy(&access->lock);
	explicit_bzero(access, sizeof(*access));
	free(access);
}

/* Verifying. */

/* The lock is held. */
static void settle(struct verification *verification, bool right)
{
	struct access *access = verification->access;
	struct credential *credential;
	/* Users that came while this was verified may know better: it is then forgotten at once, and asked again. */
	bool outdated = verification->users != access->users;

	access->verifying--;
	HASH_FIND(hh, access->credentials, verification->key, ACCESS_KEY_BYTES, credential);
	assert(credential); /* what is being verified is not forgotten */
	credential->state = right ? GOOD : BAD;
	credential->until_ms = outdated ? 0 : clock_ms() + (right ? ACCESS_GOOD_TTL_MS : ACCESS_BAD_TTL_MS);
	verification->guess.now_ms = clock_ms();
	guesses_end(access->guesses, &verification->guess, right ? GUESS_RIGHT : GUESS_WRONG);
	waiter_wake_all(&access->waiters);
}

static void verify(struct work_job *job)
{
	struct verification *verification = (struct verification *)job;
	struct access *access = verification->access;
	bool right, closed;

	/* Many may wait for their hash, and larder's end waits for nobody's. */
	pthread_mutex_lock(&access->lock);
	closed = access->closed;
	pthread_mutex_unlock(&access->lock);
	right = !closed && htpasswd_verify(verification->users, verification->user, verification->password);
	pthread_mutex_lock(&access->lock);
	settle(verification, right);
	pthread_mutex_unlock(&access->lock);
	htpasswd_release(verification->users);
	explicit_bzero(verification, sizeof(*verification));
	free(verification);
}

/* The lock is held. Whoever comes first makes room by the oldest that is not being verified. */
static void remember(struct access *access, const uint8_t key[ACCESS_KEY_BYTES])
{
	struct credential *credential, *next;

	HASH_ITER (hh, access->credentials, credential, next) {
		if (HASH_COUNT(access->credentials) < ACCESS_REMEMBERED_MAX)
			break;
		if (credential->state != VERIFYING)
			forget_credential(access, credential);
	}
	credential = mem_alloc(sizeof(*credential));
	memcpy(credential->key, key, ACCESS_KEY_BYTES);
	HASH_ADD(hh, access->credentials, key, ACCESS_KEY_BYTES, credential);
}

/* What a client shows. */
struct shown {
	char user[ACCESS_USER_MAX + 1];
	char password[ACCESS_PASSWORD_MAX + 1];
};

/* The lock is held. */
static void start_verifying(struct access *access, const struct shown *shown, const struct guess *guess,
			    const uint8_t key[ACCESS_KEY_BYTES], struct waiter *waiter)
{
	struct verification *verification = mem_alloc(sizeof(*verification));

	remember(access, key);
	verification->job.run = verify;
	verification->access = access;
	verification->users = htpasswd_hold(access->users);
	memcpy(verification->key, key, ACCESS_KEY_BYTES);
	strcpy(verification->user, shown->user);
	strcpy(verification->password, shown->password);
	strncpy(verification->client, guess->client, CLIENT_MAX - 1);
	strcpy(verification->shown, guess->shown);
	verification->guess = *guess;
	verification->guess.client = verification->client;
	verification->guess.shown = verification->shown;
	access->verifying++;
	waiter_register(&access->waiters, waiter);
	work_submit(access->work, &verification->job);
}

/* The lock is held: whether the password is right. */
static enum access_verdict check_password(struct access *access, const struct shown *shown, const char *client,
					  struct waiter *waiter, int *retry_after_s)
{
	uint8_t key[ACCESS_KEY_BYTES];
	gnutls_datum_t key_bytes = {.data = key, .size = sizeof(key)};
	char key_text[GUESS_TEXT];
	size_t key_text_size = sizeof(key_text);
	struct guess guess = {.client = client, .shown = key_text, .now_ms = clock_ms()};
	struct credential *credential;

	/* Both buffers are zeroed behind their texts: no name and password run into each other. */
	gnutls_hmac_fast(GNUTLS_MAC_SHA256, access->mac_key, ACCESS_KEY_BYTES, shown, sizeof(*shown), key);
	gnutls_hex_encode(&key_bytes, key_text, &key_text_size);
	HASH_FIND(hh, access->credentials, key, ACCESS_KEY_BYTES, credential);
	if (credential && credential->state == VERIFYING) {
		waiter_register(&access->waiters, waiter);
		return ACCESS_WAIT;
	}
	if (credential && guess.now_ms >= credential->until_ms) {
		forget_credential(access, credential);
		credential = NULL;
	}
	if (credential && credential->state == BAD)
		return ACCESS_LOGIN;
	/* An address that must wait is not told that somebody else is right with the same. */
	*retry_after_s = guesses_begin(access->guesses, &guess);
	if (*retry_after_s > 0)
		return ACCESS_SLOW_DOWN;
	if (credential) {
		guesses_end(access->guesses, &guess, GUESS_RIGHT);
		return ACCESS_ALLOWED;
	}
	if (access->verifying >= ACCESS_WAITING_MAX) {
		guesses_end(access->guesses, &guess, GUESS_OPEN);
		*retry_after_s = 1;
		return ACCESS_SLOW_DOWN;
	}
	start_verifying(access, shown, &guess, key, waiter);
	return ACCESS_WAIT;
}

/* Reading the header. */

/* "Basic base64(user:password)" (RFC 7617). False when it is malformed, or longer than anybody's. */
static bool read_basic(const char *encoded, struct shown *shown)
{
	gnutls_datum_t in = {.data = (unsigned char *)encoded, .size = (unsigned)strlen(encoded)}, out = {0};
	const char *colon;
	size_t user_len, password_len;
	bool fits;

	memset(shown, 0, sizeof(*shown));
	if (in.size > 2 * (ACCESS_USER_MAX + ACCESS_PASSWORD_MAX) || gnutls_base64_decode2(&in, &out) < 0)
		return false;
	colon = memchr(out.data, ':', out.size);
	user_len = colon ? (size_t)(colon - (const char *)out.data) : 0;
	password_len = colon ? out.size - user_len - 1 : 0;
	fits = colon && user_len <= ACCESS_USER_MAX && password_len <= ACCESS_PASSWORD_MAX &&
	       !memchr(out.data, '\0', out.size);
	if (fits) {
		memcpy(shown->user, out.data, user_len);
		memcpy(shown->password, colon + 1, password_len);
	}
	gnutls_memset(out.data, 0, out.size);
	gnutls_free(out.data);
	return fits;
}

static const char *after_scheme(const char *header, const char *scheme)
{
	size_t len = strlen(scheme);

	if (!header || strncasecmp(header, scheme, len) != 0 || header[len] != ' ')
		return NULL;
	return header + len + strspn(header + len, " ");
}

/* The lock is held: who asks. ACCESS_ALLOWED, with `user` "" for nobody. */
static enum access_verdict identify(struct access *access, const char *authorization, const char *client,
				    struct waiter *waiter, struct access_answer *answer)
{
	const char *token = after_scheme(authorization, "Bearer"), *basic = after_scheme(authorization, "Basic");
	enum access_verdict verdict;
	struct shown shown;

	if (token)
		return token_read(access->token_key, token, clock_wall_s(), answer->user) ? ACCESS_ALLOWED
											  : ACCESS_LOGIN;
	if (!basic)
		return authorization ? ACCESS_LOGIN : ACCESS_ALLOWED;
	verdict = read_basic(basic, &shown) ? ACCESS_ALLOWED : ACCESS_LOGIN;
	/* Some clients log in as nobody, with no password, where they were given none. */
	if (verdict == ACCESS_ALLOWED && shown.user[0])
		verdict = check_password(access, &shown, client, waiter, &answer->retry_after_s);
	if (verdict == ACCESS_ALLOWED)
		strcpy(answer->user, shown.user);
	explicit_bzero(&shown, sizeof(shown));
	return verdict;
}

enum access_verdict access_ask(struct access *access, const char *authorization, const char *client, const char *name,
			       struct waiter *waiter, struct access_answer *answer)
{
	enum access_verdict verdict = ACCESS_LOGIN;

	memset(answer, 0, sizeof(*answer));
	pthread_mutex_lock(&access->lock);
	if (!access->closed)
		verdict = identify(access, authorization, client, waiter, answer);
	if (verdict == ACCESS_ALLOWED && name && !rules_allow(access->rules, answer->user, name))
		verdict = answer->user[0] ? ACCESS_DENIED : ACCESS_LOGIN;
	/* Where some may stay anonymous, a client learns by asking without a token that it needs one. */
	if (verdict == ACCESS_ALLOWED && !name && !answer->user[0] && !after_scheme(authorization, "Bearer"))
		verdict = ACCESS_LOGIN;
	pthread_mutex_unlock(&access->lock);
	return verdict;
}

void access_forget(struct access *access, struct waiter *waiter)
{
	pthread_mutex_lock(&access->lock);
	waiter_forget(&access->waiters, waiter);
	pthread_mutex_unlock(&access->lock);
}

bool access_allows(struct access *access, const char *user, const char *name)
{
	bool allowed;

	pthread_mutex_lock(&access->lock);
	allowed = rules_allow(access->rules, user, name);
	pthread_mutex_unlock(&access->lock);
	return allowed;
}

bool access_has_anonymous(struct access *access)
{
	bool has;

	pthread_mutex_lock(&access->lock);
	has = rules_have_anonymous(access->rules);
	pthread_mutex_unlock(&access->lock);
	return has;
}

void access_make_token(struct access *access, const char *user, char token[ACCESS_TOKEN_MAX])
{
	pthread_mutex_lock(&access->lock);
	token_make(access->token_key, user, clock_wall_s(), token);
	pthread_mutex_unlock(&access->lock);
}
