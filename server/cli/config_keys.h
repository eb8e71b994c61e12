/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The table of configuration keys: everything there is to know about a key, once. The reader walks a document by it,
 * the printer walks a configuration by it, and the documentation is made from it. Private to the configuration's own
 * files.
 */
#pragma once

#include "base/err.h"
#include "server/cli/config.h"

#define CONFIG_VALUE_MAX ((size_t)8192)

enum config_kind {
	CONFIG_MAP,       /* a mapping of `children`, which live in the same struct */
	CONFIG_UPSTREAMS, /* a mapping of free names to mappings of `children`, each in a struct config_upstream */
	CONFIG_PREFETCH,  /* a list of mappings of `children`, each in a struct config_prefetch */
	CONFIG_SECRET,    /* char *, a variable's name: written ${NAME}, as secrets stand in no file */
	CONFIG_STRING,    /* char * */
	CONFIG_LIST,      /* struct config_list */
	CONFIG_LISTS,     /* struct config_lists: a mapping of free names to lists */
	CONFIG_BOOL,      /* bool */
	CONFIG_UINT,      /* unsigned, from `min` to `max` */
	CONFIG_SIZE,      /* uint64_t, bytes */
	CONFIG_DURATION,  /* uint64_t, milliseconds, from `min` to `max` */
	CONFIG_RATE,      /* struct rate */
	CONFIG_CHOICE,    /* an enum: the index in `choices` */
};

/* Checks a text and gives back what is to be kept of it, which the caller frees; or NULL, with *why saying what is
 * wrong and what would be right, in a sentence that goes on after the quoted value. */
typedef char *config_take_fn(const char *text, const char **why);

struct config_key {
	const char *name;
	enum config_kind kind;
	size_t offset;
	/* Strings and lists: `min` 1 means that empty is refused. Sizes: `max` 0 sets no bounds. */
	uint64_t min, max;
	config_take_fn *take;              /* strings, and each item of a list */
	const char *const *choices;        /* ends with NULL */
	const struct config_key *children; /* ends with a key without name */
	bool file;                         /* names a file that must be readable */
	size_t given;                      /* offset of a bool that tells the user's word from the default; 0: none */
	const char *standard;              /* the default, as it would be written; NULL: none, or computed */
	const char *standard_words;        /* how the documentation shows the default, where `standard` does not do */
	const char *help;                  /* one line */
};

extern const struct config_key config_keys[];          /* of struct config; ends with a key without name */
extern const struct config_key config_upstream_keys[]; /* of struct config_upstream; likewise */
extern const struct config_key config_prefetch_keys[]; /* of struct config_prefetch; likewise */

/* NULL when there is none of that name. */
const struct config_key *config_key_find(const struct config_key *keys, const char *name);

/* Where the key's value lies in `base`, the struct that the key belongs to. */
void *config_key_field(const struct config_key *key, const void *base);

/* Sets a key from a scalar; a list gets one item more. ERR_INVALID with "'VALUE' what is wrong; what would be right",
 * nothing set. */
int config_key_set(const struct config_key *key, void *base, const char *text, struct err *err);

/* Sets every key, and those below, to its default. */
void config_keys_set_standard(const struct config_key *keys, void *base);

/* Frees what the keys, and those below except upstreams, hold in memory. */
void config_keys_dispose(const struct config_key *keys, void *base);

/* Empties a list. */
void config_list_clear(struct config_list *list);
void config_lists_clear(struct config_lists *lists);

/* Adds an empty list of this name, which is copied; NULL when there are CONFIG_LIST_MAX. Valid until the next is added.
 */
struct config_list *config_lists_add(struct config_lists *lists, const char *name);

/* Prints a scalar as it would be written in a file, without quotes; NULL when it is not set. The caller frees. */
char *config_key_format(const struct config_key *key, const void *base);

/* The checks of values, as config_take_fn says. */
config_take_fn config_take_path, config_take_url, config_take_proxy, config_take_listen, config_take_admin,
	config_take_name, config_take_text, config_take_glob, config_take_image, config_take_pin;

/* Adds an upstream with every default; `name` was taken by config_take_name() and stays the caller's. NULL when there
 * are too many. */
struct config_upstream *config_add_upstream(struct config *config, const char *name);

/* Likewise a set to prefetch. */
struct config_prefetch *config_add_prefetch(struct config *config);

/* The upstream of exactly this name. */
struct config_upstream *config_upstream_named(const struct config *config, const char *name);

/* The environment variable that may hold the upstream's password. The caller frees. */
char *config_password_variable(const char *upstream_name);

/* Fills in what a file leaves to be concluded: URLs from names, passwords from files and the environment. */
void config_complete(struct config *config, config_report_fn *report, void *context);

/* Checks the whole, as config_validate() does, and reports every problem. */
void config_check(const struct config *config, config_report_fn *report, void *context);

/* Opens a file only to see that it can be: what is in it is for those who use it. ERR_INVALID, as config_key_set() has
 * it. */
int config_check_file(const char *path, struct err *err);
