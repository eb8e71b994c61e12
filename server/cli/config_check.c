/* SPDX-License-Identifier: Apache-2.0 */
/* What is concluded from a configuration, and what must hold for all of it together. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config_keys.h"
#include "server/cli/config_text.h"
#include "server/prefetch/spec.h"
#include "store/manifest.h"
#include "upstream/docker_config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* Where the problems go. */
struct teller {
	config_report_fn *report;
	void *context;
};

/* Reports a problem of one key of an upstream, or of the upstream itself where `key` is NULL. */
__attribute__((format(printf, 4, 5))) static void tell(const struct teller *teller, const char *upstream,
						       const char *key, const char *format, ...)
{
	char text[ERR_TEXT_MAX];
	_cleanup_free_ char *path =
		upstream ? mem_printf("upstreams.%s%s%s", upstream, key ? "." : "", key ? key : "") : mem_strdup(key);
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	teller->report(teller->context, path, text);
}

char *config_password_variable(const char *upstream_name)
{
	char *variable = mem_printf("LARDER_PASSWORD_%s", upstream_name);
	for (char *at = variable; *at; at++)
		*at = isalnum((unsigned char)*at) ? (char)toupper((unsigned char)*at) : '_';
	return variable;
}

int config_check_file(const char *path, struct err *err)
{
	struct stat status;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	char shown[TEXT_SHOWN_MAX];
	if (fd < 0 || fstat(fd, &status) < 0) {
		int code = errno;
		if (code != EACCES && code != EPERM)
			return err_set_errno(err, ERR_INVALID, code, "'%s' cannot be read", text_show(path, shown));
		const struct passwd *user = getpwuid(geteuid());
		return err_set(err, ERR_INVALID, "'%s' cannot be read: %s; let the user %s read it",
			       text_show(path, shown), strerror(code), user ? user->pw_name : "that larder runs as");
	}
	if (!S_ISREG(status.st_mode))
		return err_set(err, ERR_INVALID, "'%s' is not a file; name a regular file", text_show(path, shown));
	return 0;
}

/* Reads a secret from a file, without the line end that editors and `echo` leave. The caller wipes and frees. */
static char *read_secret(const char *path, struct err *err)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
	if (fd < 0) {
		err_set_errno(err, ERR_INVALID, errno, "cannot be read");
		return NULL;
	}
	char *secret = mem_alloc(CONFIG_SECRET_MAX + 2);
	size_t len = 0;
	ssize_t got = 0;
	do {
		got = read(fd, secret + len, CONFIG_SECRET_MAX + 1 - len);
		if (got > 0)
			len += (size_t)got;
	} while ((got > 0 && len <= CONFIG_SECRET_MAX) || (got < 0 && errno == EINTR));
	int read_errno = errno;
	bool too_long = len > CONFIG_SECRET_MAX;
	bool binary = memchr(secret, '\0', len) != NULL;
	if (len > 0 && secret[len - 1] == '\n')
		secret[--len] = '\0';
	if (len > 0 && secret[len - 1] == '\r')
		secret[--len] = '\0';
	if (got >= 0 && len > 0 && !too_long && !binary)
		return secret;
	if (got < 0)
		err_set_errno(err, ERR_INVALID, read_errno, "cannot be read");
	else
		err_set(err, ERR_INVALID, "%s; the file must hold the password and nothing else",
			too_long ? "is too long"
			: binary ? "holds a NUL byte"
				 : "is empty");
	explicit_bzero(secret, len);
	free(secret);
	return NULL;
}

/* Only whether it can be understood: helpers are asked once they are needed. */
static void check_docker_config(const struct config_upstream *upstream, const struct teller *teller)
{
	struct docker_login found;
	struct err err = {0};
	if (upstream->docker_config && docker_config_find(upstream->docker_config, upstream->url, &found, &err))
		tell(teller, upstream->name, "docker_config", "%s", err.text);
	else if (upstream->docker_config)
		docker_login_dispose(&found);
}

static void complete_password(struct config_upstream *upstream, const struct teller *teller)
{
	if (upstream->password_file && upstream->password_variable) {
		tell(teller, upstream->name, "password", "is beside password_file; leave out one of the two");
		return;
	}
	if (upstream->password_file) {
		struct err err = {0};
		upstream->password = read_secret(upstream->password_file, &err);
		if (!upstream->password)
			tell(teller, upstream->name, "password_file", "%s", err.text);
		return;
	}
	_cleanup_free_ char *standard = config_password_variable(upstream->name);
	const char *variable = upstream->password_variable ? upstream->password_variable : standard;
	const char *password = getenv(variable);
	if (upstream->password_variable && (!password || !*password))
		tell(teller, upstream->name, "password", "the environment variable %s is not set", variable);
	/* Without a user name the variable is no business of this configuration: it may be meant for another. */
	if (upstream->username && password && *password)
		upstream->password = mem_strdup(password);
}

void config_complete(struct config *config, config_report_fn *report, void *context)
{
	const struct teller teller = {report, context};
	for (size_t i = 0; i < config->upstream_count; i++) {
		struct config_upstream *upstream = &config->upstreams[i];
		if (!upstream->url)
			upstream->url = mem_printf("https://%s", upstream->name);
		complete_password(upstream, &teller);
		check_docker_config(upstream, &teller);
	}
}

static bool beyond_loopback(const char *address)
{
	return strcmp(address, "off") != 0 && strncmp(address, "unix:", 5) != 0 && strncmp(address, "127.", 4) != 0 &&
	       strncmp(address, "[::1]:", 6) != 0;
}

/* Port 0 is another one each time. */
static bool takes_free_port(const char *address)
{
	return !strcmp(strrchr(address, ':'), ":0");
}

static void check_listen(const struct config *config, const struct teller *teller)
{
	for (size_t i = 0; i < config->listen.count; i++) {
		const char *address = config->listen.items[i];
		_cleanup_free_ char *key = mem_printf("listen[%zu]", i);
		if (takes_free_port(address))
			continue;
		if (!strcmp(address, config->admin.listen))
			tell(teller, NULL, key, "'%s' is admin.listen, too; choose another port for one of the two",
			     address);
		for (size_t j = 0; j < i; j++)
			if (!strcmp(address, config->listen.items[j]))
				tell(teller, NULL, key, "'%s' stands there twice; leave out one", address);
	}
}

static void check_server(const struct config *config, const struct teller *teller)
{
	check_listen(config, teller);
	if (config->tls.cert && !config->tls.key)
		tell(teller, NULL, "tls.cert", "has no private key; set tls.key too");
	if (config->tls.key && !config->tls.cert)
		tell(teller, NULL, "tls.key", "has no certificate; set tls.cert too");
	if (config->tls.client_ca && !config->tls.cert)
		tell(teller, NULL, "tls.client_ca", "works with HTTPS only; set tls.cert and tls.key too");
	if (beyond_loopback(config->admin.listen) && !config->admin.token_file)
		tell(teller, NULL, "admin.listen", "is beyond loopback without a token; set admin.token_file too");
	const struct config_upstream *upstream = config_find_upstream(config, config->default_upstream);
	char shown[TEXT_SHOWN_MAX];
	text_show(config->default_upstream, shown);
	if (!upstream)
		tell(teller, NULL, "default_upstream", "'%s' is not an upstream; write one of upstreams", shown);
	else if (strcmp(upstream->name, config->default_upstream) != 0)
		tell(teller, NULL, "default_upstream", "'%s' is an alias; write %s", shown, upstream->name);
}

static void check_upstream(const struct config_upstream *upstream, const struct teller *teller)
{
	if (upstream->username && !upstream->password && !upstream->password_file && !upstream->password_variable) {
		_cleanup_free_ char *variable = config_password_variable(upstream->name);
		tell(teller, upstream->name, "username", "has no password; set password_file or the variable %s",
		     variable);
	}
	if ((upstream->password_file || upstream->password_variable) && !upstream->username)
		tell(teller, upstream->name, upstream->password_file ? "password_file" : "password",
		     "has no user name; set username too");
	if (upstream->client_cert && !upstream->client_key)
		tell(teller, upstream->name, "client_cert", "has no private key; set client_key too");
	if (upstream->client_key && !upstream->client_cert)
		tell(teller, upstream->name, "client_key", "has no certificate; set client_cert too");
}

/* Rules that nobody looks at would let in whoever they were to keep out. */
static void check_access(const struct config *config, const struct teller *teller)
{
	static const char *const why = "does nothing without access.htpasswd: whoever reaches the port may pull; set "
				       "access.htpasswd too";
	if (!config->access.htpasswd && config->access.anonymous.count)
		tell(teller, NULL, "access.anonymous", "%s", why);
	if (!config->access.htpasswd && config->access.rules.count)
		tell(teller, NULL, "access.rules", "%s", why);
	for (size_t i = 0; i < config->access.rules.count; i++) {
		const char *who = config->access.rules.items[i].name;
		bool known = who[0] != '@';
		char shown[TEXT_SHOWN_MAX];
		for (size_t j = 0; !known && j < config->access.groups.count; j++)
			known = !strcmp(who + 1, config->access.groups.items[j].name);
		_cleanup_free_ char *key = mem_printf("access.rules.%s", who);
		if (!known)
			tell(teller, NULL, key, "'%s' is no group; name it in access.groups", text_show(who, shown));
	}
}

/* A request has one Authorization header. */
static void check_auth(const struct config *config, const struct teller *teller)
{
	for (size_t i = 0; i < config->upstream_count; i++)
		if (config->upstreams[i].auth == CONFIG_AUTH_CLIENT && config->access.htpasswd)
			tell(teller, config->upstreams[i].name, "auth",
			     "'client' passes on what clients log in with, which access.htpasswd wants for larder "
			     "itself; "
			     "leave out one of the two");
}

/* One name or alias; sorted, equal ones lie side by side. */
struct claim {
	const char *name;
	size_t upstream;
	size_t alias; /* its place in the aliases, counted from one; 0: the upstream's own name */
};

static int compare_claims(const void *left, const void *right)
{
	const struct claim *a = left;
	const struct claim *b = right;
	int order = strcmp(a->name, b->name);
	if (order)
		return order;
	/* Names come before aliases, so that it is an alias that is refused. */
	if (!a->alias != !b->alias)
		return a->alias ? 1 : -1;
	if (a->upstream != b->upstream)
		return a->upstream < b->upstream ? -1 : 1;
	return (a->alias > b->alias) - (a->alias < b->alias);
}

/* All of them were taken by config_take_name() and are in lower case. */
static void check_names(const struct config *config, const struct teller *teller)
{
	size_t count = 0;
	for (size_t i = 0; i < config->upstream_count; i++)
		count += 1 + config->upstreams[i].aliases.count;
	_cleanup_free_ struct claim *claims = mem_alloc(count * sizeof(*claims));
	size_t filled = 0;
	for (size_t i = 0; i < config->upstream_count; i++) {
		const struct config_upstream *upstream = &config->upstreams[i];
		claims[filled++] = (struct claim){upstream->name, i, 0};
		for (size_t j = 0; j < upstream->aliases.count; j++)
			claims[filled++] = (struct claim){upstream->aliases.items[j], i, j + 1};
	}
	qsort(claims, count, sizeof(*claims), compare_claims);
	for (size_t i = 1; i < count; i++) {
		const struct claim *claim = &claims[i];
		const struct claim *other = &claims[i - 1];
		if (strcmp(claim->name, other->name) != 0)
			continue;
		char key[40];
		char shown[TEXT_SHOWN_MAX];
		snprintf(key, sizeof(key), "aliases[%zu]", claim->alias - 1);
		const char *owner = config->upstreams[other->upstream].name;
		tell(teller, config->upstreams[claim->upstream].name, claim->alias ? key : NULL,
		     "'%s' already means the upstream %s; leave out one of the two", text_show(claim->name, shown),
		     owner);
	}
}

/* The registry that an image is of must be an upstream, as the job would say each time. */
static void check_image(const struct config *config, const char *image, const char *key, const struct teller *teller)
{
	struct spec spec;
	char shown[TEXT_SHOWN_MAX];
	if (spec_parse(image, &spec, NULL))
		return;
	_cleanup_free_ char *host =
		spec.kind == SPEC_QUAY ? mem_strdup(spec.upstream) : mem_strndup(spec.ref.name, spec.ref.host_len);
	if (*host && !config_find_upstream(config, host))
		tell(teller, NULL, key, "'%s' is not an upstream; write one of upstreams", text_show(host, shown));
}

static void check_prefetch(const struct config *config, size_t nth, const struct teller *teller)
{
	const struct config_prefetch *prefetch = &config->prefetches[nth];
	_cleanup_free_ char *set = mem_printf("prefetch[%zu]", nth), *platforms = mem_printf("%s.platforms", set);
	char shown[TEXT_SHOWN_MAX];
	if (prefetch->images.count == 0)
		tell(teller, NULL, set, "has no images; list at least one");
	for (size_t i = 0; i < prefetch->images.count; i++) {
		_cleanup_free_ char *key = mem_printf("%s.images[%zu]", set, i);
		check_image(config, prefetch->images.items[i], key, teller);
	}
	for (size_t i = 0; i < prefetch->platforms.count; i++)
		if (!manifest_platform_valid(prefetch->platforms.items[i]))
			tell(teller, NULL, platforms, "'%s' is no platform; write OS/ARCH or OS/ARCH/VARIANT",
			     text_show(prefetch->platforms.items[i], shown));
}

void config_check(const struct config *config, config_report_fn *report, void *context)
{
	const struct teller teller = {report, context};
	check_server(config, &teller);
	for (size_t i = 0; i < config->prefetch_count; i++)
		check_prefetch(config, i, &teller);
	for (size_t i = 0; i < config->upstream_count; i++)
		check_upstream(&config->upstreams[i], &teller);
	check_access(config, &teller);
	check_auth(config, &teller);
	check_names(config, &teller);
}
