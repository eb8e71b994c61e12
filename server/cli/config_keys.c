/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/config_keys.h"

#include <assert.h>
#include <string.h>

#define SECOND UINT64_C(1000)
#define HOUR   (3600 * SECOND)
#define DAY    (24 * HOUR)

static const char *const level_names[] = {"error", "warn", "info", "debug", NULL};
static const char *const format_names[] = {"text", "json", NULL};
_Static_assert(LOG_ERROR == 0 && LOG_WARN == 1 && LOG_INFO == 2 && LOG_DEBUG == 3,
	       "level_names follows enum log_level");
_Static_assert(LOG_TEXT == 0 && LOG_JSON == 1, "format_names follows enum log_format");
_Static_assert(sizeof(enum log_level) == sizeof(unsigned) && sizeof(enum log_format) == sizeof(unsigned),
	       "a choice is stored as an unsigned");

#define AT(field)          .offset = offsetof(struct config, field)
#define AT_UPSTREAM(field) .offset = offsetof(struct config_upstream, field)
#define AT_PREFETCH(field) .offset = offsetof(struct config_prefetch, field)

static const struct config_key tls_keys[] = {
	{"cert", CONFIG_STRING, AT(tls.cert), .take = config_take_path, .file = true,
	 .help = "Certificate chain (PEM) to serve HTTPS with; without it, larder serves plain HTTP."},
	{"key", CONFIG_STRING, AT(tls.key), .take = config_take_path, .file = true,
	 .help = "Private key (PEM) of the certificate."},
	{"client_ca", CONFIG_STRING, AT(tls.client_ca), .take = config_take_path, .file = true,
	 .help = "CA bundle (PEM); when given, clients must show a certificate that it signed."},
	{NULL},
};

static const struct config_key admin_keys[] = {
	{"listen", CONFIG_STRING, AT(admin.listen), .min = 1, .take = config_take_admin, .standard = "127.0.0.1:5001",
	 .given = offsetof(struct config, admin.listen_given),
	 .help = "Where the admin API answers: ADDR:PORT, unix:PATH or off. Beyond loopback it needs token_file."},
	{"token_file", CONFIG_STRING, AT(admin.token_file), .take = config_take_path, .file = true,
	 .help = "File with the bearer token that admin requests must carry."},
	{NULL},
};

static const struct config_key store_keys[] = {
	{"path", CONFIG_STRING, AT(store.path), .min = 1, .take = config_take_path,
	 .standard_words = "/var/lib/larder for root, else $XDG_DATA_HOME/larder or ~/.local/share/larder",
	 .help = "Directory of the store."},
	{"max_size", CONFIG_SIZE, AT(store.max_size), .standard = "200GiB",
	 .help = "How much the store may hold; 0 sets no limit."},
	{"min_free", CONFIG_SIZE, AT(store.min_free), .standard = "5GiB",
	 .help = "How much of the file system is left free for others."},
	{"scrub_rate", CONFIG_SIZE, AT(store.scrub_rate), .standard = "4MiB",
	 .help = "How much of the store is read over in a second, to notice damage early and fetch anew; 0 reads "
		 "nothing over."},
	{"scrub_every", CONFIG_DURATION, AT(store.scrub_every_ms), .min = SECOND, .max = 3650 * DAY, .standard = "7d",
	 .help = "From the beginning of one such pass over all blobs to that of the next."},
	{NULL},
};

static const char *const index_names[] = {"on_need", "while_filling", "off", NULL};
_Static_assert(CONFIG_INDEX_ON_NEED == 0 && CONFIG_INDEX_WHILE_FILLING == 1 && CONFIG_INDEX_OFF == 2 &&
		       sizeof(enum config_index) == sizeof(unsigned),
	       "index_names follows enum config_index");

static const struct config_key layers_keys[] = {
	{"index", CONFIG_CHOICE, AT(layers.index), .choices = index_names, .standard = "on_need",
	 .help = "When the files in a layer are indexed: when somebody looks into it, while it is fetched, or never."},
	{"checkpoint", CONFIG_SIZE, AT(layers.checkpoint), .min = 1 << 20, .max = 8 << 20, .standard = "2MiB",
	 .help = "How far checkpoints are apart: what reading a file may have to decompress besides."},
	{NULL},
};

static const struct config_key access_keys[] = {
	{"htpasswd", CONFIG_STRING, AT(access.htpasswd), .take = config_take_path, .file = true,
	 .help = "File of users and bcrypt hashes who may pull; without it, whoever reaches the port may."},
	{"anonymous", CONFIG_LIST, AT(access.anonymous), .take = config_take_glob,
	 .help = "Globs on UPSTREAM/REPOSITORY that may be pulled without a login."},
	{"rules", CONFIG_LISTS, AT(access.rules), .take = config_take_glob,
	 .help = "By user, @group, or * for every user: globs on UPSTREAM/REPOSITORY that they may pull; no rules "
		 "allow all."},
	{"groups", CONFIG_LISTS, AT(access.groups), .take = config_take_text,
	 .help = "By name of a group: the users in it."},
	{NULL},
};

static const struct config_key import_keys[] = {
	{"verify_key", CONFIG_STRING, AT(import.verify_key), .take = config_take_path, .file = true,
	 .help = "Public Ed25519 key (PEM) that must have signed every bundle that is imported."},
	{NULL},
};

static const struct config_key clients_keys[] = {
	{"max_connections", CONFIG_UINT, AT(clients.max_connections), .min = 1, .max = 65536, .standard = "8192",
	 .help = "How many connections of clients are open at once; fewer where the system allows few open files."},
	{"max_connections_each", CONFIG_UINT, AT(clients.max_connections_each), .max = 65536, .standard = "0",
	 .help = "How many of them one client (an IPv4 address, or an IPv6 /64) may have; 0 is half of all."},
	{"max_requests_each", CONFIG_UINT, AT(clients.max_requests_each), .max = 65536, .standard = "0",
	 .help = "How many requests of one user, who logged in, are under way at once, from all addresses together; 0 "
		 "is "
		 "half of max_connections."},
	{"request_timeout", CONFIG_DURATION, AT(clients.request_timeout_ms), .min = SECOND, .max = HOUR,
	 .standard = "1m", .help = "How long a connection may go without a whole request, idle or slow."},
	{"min_rate", CONFIG_SIZE, AT(clients.min_rate), .standard = "1KiB",
	 .help = "How many bytes a second a client must take of an answer, as a mean over patience; 0 sets no limit."},
	{"patience", CONFIG_DURATION, AT(clients.patience_ms), .min = SECOND, .max = DAY, .standard = "5m",
	 .help = "How long a client may pause in the middle of an answer, or take less than min_rate, before it is "
		 "cut."},
	{NULL},
};

static const struct config_key log_keys[] = {
	{"level", CONFIG_CHOICE, AT(log.level), .choices = level_names, .standard = "info",
	 .help = "The least important lines that are logged."},
	{"format", CONFIG_CHOICE, AT(log.format), .choices = format_names, .standard = "text",
	 .help = "Log lines as words or as JSON objects."},
	{NULL},
};

static const char *const auth_names[] = {"configured", "client", NULL};
_Static_assert(CONFIG_AUTH_CONFIGURED == 0 && CONFIG_AUTH_CLIENT == 1 && sizeof(enum config_auth) == sizeof(unsigned),
	       "auth_names follows enum config_auth");

const struct config_key config_upstream_keys[] = {
	{"url", CONFIG_STRING, AT_UPSTREAM(url), .min = 1, .take = config_take_url, .standard_words = "https://NAME",
	 .help = "Where the registry's API is, without the /v2/."},
	{"mirrors", CONFIG_LIST, AT_UPSTREAM(mirrors), .take = config_take_url,
	 .help = "URLs of other registries with the same content, asked when the url cannot be."},
	{"aliases", CONFIG_LIST, AT_UPSTREAM(aliases), .take = config_take_name,
	 .help = "Other names that clients may use for this upstream."},
	{"username", CONFIG_STRING, AT_UPSTREAM(username), .take = config_take_text,
	 .help = "Who to log in as; needs a password."},
	{"password_file", CONFIG_STRING, AT_UPSTREAM(password_file), .take = config_take_path, .file = true,
	 .standard_words = "environment variable LARDER_PASSWORD_NAME",
	 .help = "File with the password or access token; a line end at its end does not count."},
	{"password", CONFIG_SECRET, AT_UPSTREAM(password_variable),
	 .help = "The environment variable that has the password, written ${NAME}; a password itself is refused here."},
	{"docker_config", CONFIG_STRING, AT_UPSTREAM(docker_config), .take = config_take_path, .file = true,
	 .help = "A config.json as docker login writes it, for the registry and its mirrors; username goes before it."},
	{"token_services", CONFIG_LIST, AT_UPSTREAM(token_services), .take = config_take_name,
	 .help = "HOST or HOST:PORT of token services that may get the credentials, besides the registry's own host."},
	{"auth", CONFIG_CHOICE, AT_UPSTREAM(auth), .choices = auth_names, .standard = "configured",
	 .help = "Whose credentials decide what may be pulled: those configured here, for all clients, or each "
		 "client's "
		 "own, which the registry is asked about."},
	{"auth_ttl", CONFIG_DURATION, AT_UPSTREAM(auth_ttl_ms), .max = DAY, .standard = "5m",
	 .help = "With auth: client, how long the registry's yes to a client holds for a repository."},
	{"auth_grace", CONFIG_DURATION, AT_UPSTREAM(auth_grace_ms), .max = 365 * DAY, .standard = "1h",
	 .help = "With auth: client, how much longer it holds while the registry cannot be asked."},
	{"ca", CONFIG_STRING, AT_UPSTREAM(ca), .take = config_take_path, .file = true,
	 .help = "CA bundle (PEM) to trust beside the system's."},
	{"client_cert", CONFIG_STRING, AT_UPSTREAM(client_cert), .take = config_take_path, .file = true,
	 .help = "Certificate (PEM) to show to the registry; needs client_key."},
	{"client_key", CONFIG_STRING, AT_UPSTREAM(client_key), .take = config_take_path, .file = true,
	 .help = "Private key (PEM) of client_cert."},
	{"insecure", CONFIG_BOOL, AT_UPSTREAM(insecure), .standard = "false",
	 .help = "Do not check the registry's certificate."},
	{"tag_ttl", CONFIG_DURATION, AT_UPSTREAM(tag_ttl_ms), .max = UNITS_FOREVER, .standard = "60s",
	 .help = "A tag checked less than this long ago is served without asking the registry."},
	{"immutable_tags", CONFIG_LIST, AT_UPSTREAM(immutable_tags), .take = config_take_glob,
	 .help = "Globs of tags that never move and are never asked about again."},
	{"stale_for", CONFIG_DURATION, AT_UPSTREAM(stale_for_ms), .max = UNITS_FOREVER, .standard = "forever",
	 .help = "How long past tag_ttl a tag is still served while the registry cannot be asked."},
	{"missing_ttl", CONFIG_DURATION, AT_UPSTREAM(missing_ttl_ms), .max = DAY, .standard = "10s",
	 .help = "How long it is remembered that the registry does not have something."},
	{"allow", CONFIG_LIST, AT_UPSTREAM(allow), .take = config_take_glob,
	 .help = "Globs of repositories that may be pulled; an empty list allows all."},
	{"deny", CONFIG_LIST, AT_UPSTREAM(deny), .take = config_take_glob,
	 .help = "Globs of repositories that may not be pulled, whatever allow says."},
	{"rate_limit", CONFIG_RATE, AT_UPSTREAM(rate_limit), .standard = "unlimited",
	 .help = "How many requests larder makes at most, such as 20/s or 100/6h."},
	{"max_connections", CONFIG_UINT, AT_UPSTREAM(max_connections), .min = 1, .max = 256, .standard = "8",
	 .help = "How many connections are open at once at most."},
	{"retries", CONFIG_UINT, AT_UPSTREAM(retries), .max = 100, .standard = "3",
	 .help = "How often a failed request is tried again."},
	{"connect_timeout", CONFIG_DURATION, AT_UPSTREAM(connect_timeout_ms), .min = 1, .max = HOUR, .standard = "10s",
	 .help = "How long to wait for a connection."},
	{"idle_timeout", CONFIG_DURATION, AT_UPSTREAM(idle_timeout_ms), .min = 1, .max = DAY, .standard = "30s",
	 .help = "When no byte arrives for this long, the transfer is given up and resumed."},
	{"proxy", CONFIG_STRING, AT_UPSTREAM(proxy), .take = config_take_proxy,
	 .standard_words = "environment variables http_proxy, https_proxy, all_proxy, no_proxy",
	 .help = "HTTP or SOCKS5 proxy without a login to reach the registry through."},
	{NULL},
};

const struct config_key config_prefetch_keys[] = {
	{"every", CONFIG_DURATION, AT_PREFETCH(every_ms), .min = 60 * SECOND, .max = 366 * DAY, .standard = "24h",
	 .help = "How long after the start of one run the next begins; the first begins with larder."},
	{"images", CONFIG_LIST, AT_PREFETCH(images), .min = 1, .take = config_take_image,
	 .help = "References, as `larder prefetch` takes them: tags, digests, globs of tags, quay://ORG/GLOB:TAG."},
	{"platforms", CONFIG_LIST, AT_PREFETCH(platforms), .take = config_take_text,
	 .help = "OS/ARCH or OS/ARCH/VARIANT, of which alone images are fetched; an empty list is all."},
	{"pin", CONFIG_STRING, AT_PREFETCH(pin), .take = config_take_pin,
	 .help = "Name of a pin that the images are added to, so that they are not evicted."},
	{"referrers", CONFIG_BOOL, AT_PREFETCH(referrers), .standard = "true",
	 .help = "Fetch signatures, attestations and SBOMs along."},
	{NULL},
};

const struct config_key config_keys[] = {
	{"listen", CONFIG_LIST, AT(listen), .min = 1, .take = config_take_listen, .standard = "127.0.0.1:5000",
	 .help = "Address and port to serve clients on, or a list of them; IPv6 in brackets, port 0 takes a free one."},
	{"tls", CONFIG_MAP, .children = tls_keys},
	{"admin", CONFIG_MAP, .children = admin_keys},
	{"store", CONFIG_MAP, .children = store_keys},
	{"layers", CONFIG_MAP, .children = layers_keys},
	{"access", CONFIG_MAP, .children = access_keys},
	{"import", CONFIG_MAP, .children = import_keys},
	{"clients", CONFIG_MAP, .children = clients_keys},
	{"log", CONFIG_MAP, .children = log_keys},
	{"offline", CONFIG_BOOL, AT(offline), .standard = "false",
	 .help = "Serve what is held and never ask a registry."},
	{"sandbox", CONFIG_BOOL, AT(sandbox), .standard = "true",
	 .help = "Give up, at start, the files and system calls that larder has no need of (Landlock, seccomp)."},
	{"default_upstream", CONFIG_STRING, AT(default_upstream), .min = 1, .take = config_take_name,
	 .standard = "docker.io", .help = "The upstream of requests that name none."},
	{"upstreams", CONFIG_UPSTREAMS, .children = config_upstream_keys,
	 .standard_words = "docker.io, quay.io, ghcr.io, gcr.io, registry.k8s.io, mcr.microsoft.com, public.ecr.aws",
	 .help = "The registries, by name. What is written here is added to the built-in ones, key by key."},
	{"prefetch", CONFIG_PREFETCH, .children = config_prefetch_keys, .standard_words = "empty",
	 .help = "Sets of images that are fetched ahead of use, and again every now and then."},
	{NULL},
};

const struct config_key *config_key_find(const struct config_key *keys, const char *name)
{
	for (const struct config_key *key = keys; key->name; key++) {
		if (!strcmp(key->name, name))
			return key;
	}
	return NULL;
}

void *config_key_field(const struct config_key *key, const void *base)
{
	return (char *)base + key->offset;
}

void config_keys_set_standard(const struct config_key *keys, void *base)
{
	for (const struct config_key *key = keys; key->name; key++) {
		if (key->kind == CONFIG_MAP)
			config_keys_set_standard(key->children, base);
		if (!key->standard)
			continue;
		int code = config_key_set(key, base, key->standard, NULL);
		assert(code == 0);
		(void)code;
		if (key->given)
			*(bool *)((char *)base + key->given) = false;
	}
}
