/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/docker_config.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "upstream/url.h"

#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <jansson.h>
#include <string.h>
#include <strings.h>

#define HUB_SERVER "https://index.docker.io/v1/" /* the name docker knows its own registry by */
#define KEY_SHOWN  100

static void wipe(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}

void login_dispose(struct login *login)
{
	wipe(login->username);
	wipe(login->password);
	wipe(login->identity_token);
	*login = (struct login){0};
}

void docker_login_dispose(struct docker_login *found)
{
	login_dispose(&found->login);
	free(found->helper);
	free(found->server);
	*found = (struct docker_login){0};
}

/* Which registry a key means. */

static bool is_hub(const char *host)
{
	return strcasecmp(host, "docker.io") == 0 || strcasecmp(host, "index.docker.io") == 0 ||
	       strcasecmp(host, "registry-1.docker.io") == 0;
}

/* How well a key fits: 0 not at all; 1 by a longer path, as podman keeps for parts of a registry; 2 by host and port.
 */
static int key_rank(const char *key, const struct url *registry)
{
	bool with_scheme = strstr(key, "://") != NULL;
	_cleanup_free_ char *text = mem_printf("%s%s",
					       with_scheme       ? ""
					       : registry->https ? "https://"
								 : "http://",
					       key);
	struct url url;

	if (url_parse(text, &url))
		return 0;
	/* What was said to `https://` does not go out in plain text; docker itself writes no scheme for plain ones. */
	if (url.https != registry->https || url.port != registry->port)
		return 0;
	if (strcmp(url.host, registry->host) != 0 && !(url.https && is_hub(url.host) && is_hub(registry->host)))
		return 0;
	return url.path[strspn(url.path, "/")] == '\0' || strncmp(url.path, "/v1", 3) == 0 ||
			       strncmp(url.path, "/v2", 3) == 0
		       ? 2
		       : 1;
}

/* The best member of an object of registries; NULL when none fits. */
static const char *best_key(json_t *object, const struct url *registry)
{
	const char *key, *best = NULL;
	json_t *value;
	int best_rank = 0;

	json_object_foreach(object, key, value)
	{
		int rank = key_rank(key, registry);

		if (rank > best_rank) {
			best = key;
			best_rank = rank;
		}
	}
	return best;
}

/* Reading. */

struct document {
	const char *path;
	json_t *root;
	struct err *err;
};

static int complain(const struct document *document, const char *where, const char *key, const char *what)
{
	return err_set(document->err, ERR_INVALID, "%s: %s%s%.*s: %s", document->path, where, *where && *key ? "." : "",
		       KEY_SHOWN, key, what);
}

/* A member that must be text where there is one; empty text counts as none. */
static int text_member(const struct document *document, json_t *object, const char *where, const char *key,
		       const char **text)
{
	json_t *value = json_object_get(object, key);

	*text = NULL;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_string(value) || json_string_length(value) > LOGIN_MAX ||
	    strlen(json_string_value(value)) != json_string_length(value))
		return complain(document, where, key, "is not a text, or too long");
	*text = *json_string_value(value) ? json_string_value(value) : NULL;
	return 0;
}

static int object_member(const struct document *document, const char *key, json_t **object)
{
	json_t *value = json_object_get(document->root, key);

	*object = json_is_object(value) ? value : NULL;
	return *object || !value || json_is_null(value) ? 0 : complain(document, key, "", "is not an object");
}

/* "USER:PASSWORD" in base64. */
static int take_auth(const char *auth, struct login *login)
{
	gnutls_datum_t in = {.data = (unsigned char *)(uintptr_t)auth, .size = (unsigned)strlen(auth)};
	gnutls_datum_t out = {0};
	const char *colon;
	size_t len;
	int code = ERR_INVALID;

	if (gnutls_base64_decode2(&in, &out) < 0)
		return ERR_INVALID;
	len = out.size;
	while (len > 0 && out.data[len - 1] == '\0')
		len--; /* docker pads its passwords with them */
	colon = memchr(out.data, ':', len);
	if (colon && colon > (const char *)out.data && !memchr(out.data, '\0', len)) {
		size_t user = (size_t)(colon - (const char *)out.data);

		login->username = mem_strndup((const char *)out.data, user);
		login->password = mem_strndup(colon + 1, len - user - 1);
		code = 0;
	}
	gnutls_memset(out.data, 0, out.size);
	gnutls_free(out.data);
	return code;
}

static int take_entry(const struct document *document, json_t *entry, const char *key, struct login *login)
{
	_cleanup_free_ char *where = mem_printf("auths.%.*s", KEY_SHOWN, key);
	const char *auth, *username, *password, *identity;
	int code;

	if (!json_is_object(entry))
		return complain(document, where, "", "is not an object");
	if ((code = text_member(document, entry, where, "auth", &auth)) ||
	    (code = text_member(document, entry, where, "username", &username)) ||
	    (code = text_member(document, entry, where, "password", &password)) ||
	    (code = text_member(document, entry, where, "identitytoken", &identity)))
		return code;
	if (auth && take_auth(auth, login))
		return complain(document, where, "auth", "is not base64 of USER:PASSWORD");
	if (!auth && username && strchr(username, ':'))
		return complain(document, where, "username", "holds a colon");
	if (!auth && username && password) {
		login->username = mem_strdup(username);
		login->password = mem_strdup(password);
	}
	login->identity_token = mem_strdup(identity);
	/* With an identity token goes a user name that stands for none, and no password. */
	if (login->password && !*login->password) {
		free(take_pointer(login->password));
		free(take_pointer(login->username));
	}
	return 0;
}

static int helper_name_check(const struct document *document, const char *where, const char *key, const char *name)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-";

	if (name[strspn(name, letters)] || strlen(name) > DOCKER_HELPER_NAME)
		return complain(document, where, key, "is not a helper's name; it has letters, digits, '_' and '-'");
	return 0;
}

static int find_in(const struct document *document, const struct url *registry, struct docker_login *found)
{
	json_t *auths, *helpers;
	const char *auth_key, *helper_key, *own = NULL, *store;
	int code;

	if ((code = object_member(document, "auths", &auths)) ||
	    (code = object_member(document, "credHelpers", &helpers)) ||
	    (code = text_member(document, document->root, "", "credsStore", &store)))
		return code;
	auth_key = best_key(auths, registry);
	helper_key = best_key(helpers, registry);
	if (helper_key && (code = text_member(document, helpers, "credHelpers", helper_key, &own)))
		return code;
	if (own && (code = helper_name_check(document, "credHelpers", helper_key, own)))
		return code;
	if (!own && store && (code = helper_name_check(document, "credsStore", "", store)))
		return code;
	if (own || store) {
		found->helper = mem_strdup(own ? own : store);
		found->helper_decides = own != NULL;
		if (is_hub(registry->host))
			found->server = mem_strdup(HUB_SERVER);
		else if (own || auth_key)
			found->server = mem_strdup(own ? helper_key : auth_key);
		else if (registry->port == (registry->https ? 443 : 80))
			found->server = mem_strdup(registry->host);
		else
			found->server = mem_printf("%s:%u", registry->host, registry->port);
	}
	return auth_key && !own ? take_entry(document, json_object_get(auths, auth_key), auth_key, &found->login) : 0;
}

/* Opens without waiting: a pipe's other end may never come. */
static int read_file(const char *path, char **text, size_t *len, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	ssize_t got = -1;

	*len = 0;
	*text = mem_alloc(DOCKER_CONFIG_MAX + 1);
	while (fd >= 0 && *len <= DOCKER_CONFIG_MAX) {
		got = read(fd, *text + *len, DOCKER_CONFIG_MAX + 1 - *len);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			break;
		*len += (size_t)got;
	}
	if (got < 0)
		return err_set_errno(err, ERR_IO, errno, "%s: cannot be read", path);
	if (*len > DOCKER_CONFIG_MAX)
		return err_set(err, ERR_INVALID, "%s: is larger than %zu bytes", path, DOCKER_CONFIG_MAX);
	return 0;
}

int docker_config_find(const char *path, const char *registry_url, struct docker_login *found, struct err *err)
{
	struct document document = {.path = path, .err = err};
	json_error_t where;
	struct url registry;
	char *text = NULL;
	size_t len;
	int code;

	*found = (struct docker_login){0};
	if (url_parse(registry_url, &registry))
		return err_set(err, ERR_INVALID, "the registry has no usable URL");
	code = read_file(path, &text, &len, err);
	if (code == 0) {
		document.root = json_loadb(text, len, 0, &where);
		/* The parser's own words may quote the file. */
		if (!json_is_object(document.root))
			code = err_set(err, ERR_INVALID, "%s:%d: is not a JSON object", path,
				       document.root ? 1 : where.line);
	}
	explicit_bzero(text, DOCKER_CONFIG_MAX + 1);
	free(text);
	if (code == 0)
		code = find_in(&document, &registry, found);
	json_decref(document.root);
	if (code)
		docker_login_dispose(found);
	return code;
}
