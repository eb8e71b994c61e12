/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/client_login.h"

#include "base/buf.h"

#include <assert.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define MAC_BYTES 32

struct client_login {
	unsigned refs; /* atomic */
	char *basic;   /* NULL: nobody's */
	char key[CLIENT_LOGIN_KEY_MAX];
};

static uint8_t process_key[MAC_BYTES];
static pthread_once_t process_key_once = PTHREAD_ONCE_INIT;

static void make_process_key(void)
{
	int failed = gnutls_rnd(GNUTLS_RND_KEY, process_key, sizeof(process_key));

	assert(!failed);
}

static void make_key(const char *basic, char key[CLIENT_LOGIN_KEY_MAX])
{
	uint8_t mac[MAC_BYTES];
	gnutls_datum_t bytes = {.data = mac, .size = sizeof(mac)};
	size_t size = CLIENT_LOGIN_KEY_MAX;

	pthread_once(&process_key_once, make_process_key);
	gnutls_hmac_fast(GNUTLS_MAC_SHA256, process_key, sizeof(process_key), basic, strlen(basic), mac);
	gnutls_hex_encode(&bytes, key, &size);
}

/* What is inside, when it is a name and a password and nothing that could not be either. */
static bool is_pair(const gnutls_datum_t *text)
{
	for (unsigned i = 0; i < text->size; i++)
		if (text->data[i] < ' ' || text->data[i] == 0x7f)
			return false;
	return memchr(text->data, ':', text->size) != NULL;
}

int client_login_read(const char *authorization, struct client_login **out)
{
	const char *encoded = authorization ? authorization + 5 : NULL;
	gnutls_datum_t in, pair = {0};
	struct client_login *login;
	bool nobody = !authorization;

	*out = NULL;
	if (authorization) {
		if (strlen(authorization) > CLIENT_LOGIN_BYTES_MAX || strncasecmp(authorization, "Basic ", 6) != 0)
			return ERR_INVALID;
		encoded += strspn(encoded, " ");
		in = (gnutls_datum_t){.data = (unsigned char *)encoded, .size = (unsigned)strlen(encoded)};
		if (in.size == 0 || gnutls_base64_decode2(&in, &pair) < 0)
			return ERR_INVALID;
		nobody = pair.size == 1 && pair.data[0] == ':';
		if (!is_pair(&pair)) {
			gnutls_memset(pair.data, 0, pair.size);
			gnutls_free(pair.data);
			return ERR_INVALID;
		}
		gnutls_memset(pair.data, 0, pair.size);
		gnutls_free(pair.data);
	}
	login = mem_alloc(sizeof(*login));
	login->refs = 1;
	login->basic = nobody ? NULL : mem_printf("Basic %s", encoded);
	make_key(nobody ? "" : login->basic, login->key);
	*out = login;
	return 0;
}

struct client_login *client_login_hold(struct client_login *login)
{
	if (login)
		__atomic_add_fetch(&login->refs, 1, __ATOMIC_RELAXED);
	return login;
}

void client_login_release(struct client_login *login)
{
	if (!login || __atomic_sub_fetch(&login->refs, 1, __ATOMIC_ACQ_REL) > 0)
		return;
	if (login->basic)
		explicit_bzero(login->basic, strlen(login->basic));
	free(login->basic);
	free(login);
}

const char *client_login_basic(const struct client_login *login)
{
	return login->basic;
}

const char *client_login_key(const struct client_login *login)
{
	return login ? login->key : "";
}
