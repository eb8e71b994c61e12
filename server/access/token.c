/* SPDX-License-Identifier: Apache-2.0 */
/* "EXPIRY.USER.MAC", the user and the MAC in hex: RFC 6750's token68 holds all of it, and nothing needs escaping. */
#include "server/access/access_internal.h"

#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAC_BYTES  32
#define HEX(bytes) ((bytes)*2 + 1)

static void write_hex(const void *data, size_t len, char *hex)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < len; i++)
		sprintf(hex + 2 * i, "%02x", bytes[i]);
	hex[2 * len] = '\0';
}

static void write_mac(const uint8_t key[ACCESS_KEY_BYTES], const char *text, size_t len, char hex[HEX(MAC_BYTES)])
{
	uint8_t mac[MAC_BYTES];

	gnutls_hmac_fast(GNUTLS_MAC_SHA256, key, ACCESS_KEY_BYTES, text, len, mac);
	write_hex(mac, sizeof(mac), hex);
}

void token_make(const uint8_t key[ACCESS_KEY_BYTES], const char *user, int64_t now_s, char token[ACCESS_TOKEN_MAX])
{
	char user_hex[HEX(ACCESS_USER_MAX)], mac[HEX(MAC_BYTES)];
	int len;

	write_hex(user, strlen(user), user_hex);
	len = snprintf(token, ACCESS_TOKEN_MAX, "%lld.%s", (long long)now_s + ACCESS_TOKEN_TTL_S, user_hex);
	write_mac(key, token, (size_t)len, mac);
	snprintf(token + len, ACCESS_TOKEN_MAX - (size_t)len, ".%s", mac);
}

/* What the MAC vouches for was written by token_make(): it only has to be read back. */
static void read_user(const char *hex, size_t len, char user[ACCESS_USER_MAX + 1])
{
	size_t count = len / 2 < ACCESS_USER_MAX ? len / 2 : ACCESS_USER_MAX;

	for (size_t i = 0; i < count; i++) {
		unsigned byte = 0;

		sscanf(hex + 2 * i, "%2x", &byte);
		user[i] = (char)byte;
	}
	user[count] = '\0';
}

bool token_read(const uint8_t key[ACCESS_KEY_BYTES], const char *token, int64_t now_s, char user[ACCESS_USER_MAX + 1])
{
	const char *mac = strrchr(token, '.'), *dot = strchr(token, '.');
	char right[HEX(MAC_BYTES)];

	if (!mac || mac == dot || strlen(mac + 1) != 2 * MAC_BYTES || strlen(token) >= ACCESS_TOKEN_MAX)
		return false;
	write_mac(key, token, (size_t)(mac - token), right);
	if (gnutls_memcmp(right, mac + 1, 2 * MAC_BYTES) != 0 || strtoll(token, NULL, 10) < now_s)
		return false;
	read_user(dot + 1, (size_t)(mac - dot - 1), user);
	return true;
}
