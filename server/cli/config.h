/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The configuration: a YAML file, read into one document tree with line and column marks, checked against one table of
 * keys, and turned into this struct. Built-in upstreams and defaults come first, the file overrides, command line
 * options override both. The table (config_keys.c) is also what `config show` prints from and what the documentation is
 * made from.
 */
#pragma once

#include "base/err.h"
#include "base/log.h"
#include "base/units.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define CONFIG_FILE_MAX      ((size_t)1 << 20)
#define CONFIG_UPSTREAMS_MAX 1024
#define CONFIG_PREFETCH_MAX  64
#define CONFIG_LIST_MAX      256
#define CONFIG_PROBLEMS_MAX  16 /* reading stops at this many */
#define CONFIG_SECRET_MAX    ((size_t)64 << 10)

struct config_list {
	char **items; /* NULL-terminated when count > 0 */
	size_t count;
};

/* A mapping of free names to lists. */
struct config_named_list {
	char *name;
	struct config_list list;
};

struct config_lists {
	struct config_named_list *items;
	size_t count;
};

/* Whose credentials decide what may be pulled from an upstream. */
enum config_auth { CONFIG_AUTH_CONFIGURED, CONFIG_AUTH_CLIENT };

struct config_upstream {
	char *name; /* "docker.io", "registry.local:5000" */
	char *url;  /* "https://registry-1.docker.io", no slash at the end */
	struct config_list mirrors;
	struct config_list aliases;
	char *username;
	char *password_file;
	char *password_variable;           /* of the environment: what `password` says */
	char *password;                    /* from that, password_file or LARDER_PASSWORD_<NAME>; never printed */
	char *docker_config;               /* config.json of `docker login` */
	struct config_list token_services; /* "HOST[:PORT]" */
	enum config_auth auth;
	uint64_t auth_ttl_ms;
	uint64_t auth_grace_ms;
	char *ca;          /* extra CA bundle */
	char *client_cert; /* certificate shown to the upstream, with its key */
	char *client_key;
	bool insecure; /* no TLS verification */
	uint64_t tag_ttl_ms;
	struct config_list immutable_tags;
	uint64_t stale_for_ms; /* UNITS_FOREVER */
	uint64_t missing_ttl_ms;
	struct config_list allow; /* empty: everything */
	struct config_list deny;
	struct rate rate_limit; /* events 0: none */
	unsigned max_connections;
	unsigned retries;
	uint64_t connect_timeout_ms;
	uint64_t idle_timeout_ms;
	char *proxy;
};

/* When the files of layers are indexed. */
enum config_index { CONFIG_INDEX_ON_NEED, CONFIG_INDEX_WHILE_FILLING, CONFIG_INDEX_OFF };

/* A set of images that is kept warm. */
struct config_prefetch {
	uint64_t every_ms;
	struct config_list images; /* server/prefetch/spec.h */
	struct config_list platforms;
	char *pin;
	bool referrers;
};

struct config {
	struct config_list listen; /* "127.0.0.1:5000" */
	struct {
		char *cert, *key, *client_ca;
	} tls;
	struct {
		char *listen;      /* "127.0.0.1:5001", "unix:/run/larder/admin.sock", "off" */
		bool listen_given; /* it is not only the default: a file or the command line says so */
		char *token_file;
	} admin;
	struct {
		char *path;
		uint64_t max_size; /* 0: no limit */
		uint64_t min_free;
		uint64_t scrub_rate; /* bytes a second; 0: never */
		uint64_t scrub_every_ms;
	} store;
	struct {
		enum config_index index;
		uint64_t checkpoint;
	} layers;
	struct {
		char *htpasswd;
		struct config_list anonymous;
		struct config_lists rules;
		struct config_lists groups;
	} access;
	struct {
		char *verify_key;
	} import;
	struct {
		unsigned max_connections;
		unsigned max_connections_each; /* 0: half of them */
		unsigned max_requests_each;    /* likewise */
		uint64_t request_timeout_ms;
		uint64_t min_rate; /* bytes a second */
		uint64_t patience_ms;
	} clients;
	struct {
		enum log_level level;
		enum log_format format;
	} log;
	bool offline;
	bool sandbox;
	char *default_upstream;
	struct config_upstream *upstreams;
	size_t upstream_count;
	struct config_prefetch *prefetches;
	size_t prefetch_count;
};

/* The built-in configuration: seven well-known upstreams, defaults of the contract. Never fails. */
struct config *config_default(void);

/* The file to read when the command line names none: $LARDER_CONFIG, else /etc/larder/larder.yaml when it exists, else
 * NULL, which means the built-in configuration. Borrowed until the environment changes. */
const char *config_default_path(void);

/* What is wrong with a configuration, in the order of reading. */
struct config_problems {
	size_t count;
	struct err items[CONFIG_PROBLEMS_MAX];
};

/*
 * Reads `path` over the built-in configuration. Errors (ERR_INVALID; ERR_IO when the file cannot be read, ERR_LIMIT
 * when it is too large) read "FILE:LINE:COLUMN: KEY: what is wrong; what would be right". Secrets named by *_file keys
 * are read here, and every file that the configuration names must be readable (if not, the error names the key's line).
 * On error *config is NULL.
 */
int config_read(const char *path, struct config **config, struct err *err);

/* A further look at a configuration that is right by itself. Reports what is wrong by the key's path
 * ("upstreams.quay.io.ca"), in words that go on after it. */
typedef void config_report_fn(void *context, const char *path, const char *text);
typedef void config_look_fn(const struct config *config, config_report_fn *report, void *context);

/* Looks into the files that it names: certificates that fit their keys, users, tokens. */
config_look_fn config_inspect;

/* As config_read(), with one look more (NULL: none), and describes up to CONFIG_PROBLEMS_MAX problems instead of the
 * first one. */
int config_read_all(const char *path, config_look_fn *look, struct config **config, struct config_problems *problems);

/* As config_read() and config_read_all() from memory; `name` stands for the file in messages. */
int config_parse(const char *name, const char *text, size_t len, struct config **config, struct err *err);
int config_parse_all(const char *name, const char *text, size_t len, config_look_fn *look, struct config **config,
		     struct config_problems *problems);

/* Sets one key from the command line: `key` is "store.path", "listen", "log.level", as it is written in a file; a list
 * takes any number of values, everything else one. Nothing is expanded. ERR_INVALID ("KEY: what is wrong; what would be
 * right"). */
int config_set(struct config *config, const char *key, const char *const *values, size_t count, struct err *err);

/* Adds or overrides an upstream from the command line, "[NAME=]URL". Without a NAME, the URL's host[:port] is the name.
 * The first call makes it the default upstream (the caller passes `make_default`). ERR_INVALID. */
int config_set_upstream(struct config *config, const char *argument, bool make_default, struct err *err);

/* The upstream of this name or alias, whatever its case; NULL when there is none. Borrowed from `config`, until an
 * upstream is added. */
struct config_upstream *config_find_upstream(const struct config *config, const char *name);

/* Checks what only holds for the whole (default_upstream names an upstream, no alias twice, …). Called by
 * config_parse() too; call again after command line overrides. ERR_INVALID. */
int config_validate(const struct config *config, struct err *err);

/* Prints the effective configuration as YAML that config_read() takes again, secrets as "<redacted>" comments. */
void config_print(const struct config *config, FILE *out);

/* Prints it as one JSON document, values as the YAML has them, secrets as "<redacted>". */
void config_print_json(const struct config *config, FILE *out);

/* Calls `each` for every key: its path ("store.max_size"), what may be written, the default and the meaning, in words.
 */
typedef void config_key_fn(void *arg, const char *path, const char *value, const char *standard, const char *help);
void config_list_keys(config_key_fn *each, void *arg);

/* Prints every key with its kind, default and help: a Markdown table for the documentation, or plain text. */
void config_print_keys(FILE *out, bool markdown);

/* Takes NULL. Secrets are wiped. */
void config_free(struct config *config);
