/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A scripted upstream: a registry that runs inside the test program, on a thread of its own, and does to larder what
 * real registries do. Its content is synthetic (blobs are made from a seed as they are sent, so size costs no memory),
 * its behaviour is scripted by rules (scripted_rule.h), and what it saw is kept to be asserted on (scripted_log.h).
 *
 * Life: scripted_new(), scripted_listen() for each address, content, rules; requests may arrive from the first
 * scripted_listen() on; scripted_free() ends the thread and every connection. All functions may be called from any
 * thread and take effect for what arrives next, unless said otherwise. Strings given in options are copied.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scripted;
struct scripted_tls;

#define SCRIPTED_DIGEST_MAX    72 /* "sha256:<hex>" with the NUL */
#define SCRIPTED_LISTENERS_MAX 16

#define SCRIPTED_TYPE_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define SCRIPTED_TYPE_INDEX    "application/vnd.oci.image.index.v1+json"
#define SCRIPTED_TYPE_DOCKER   "application/vnd.docker.distribution.manifest.v2+json"
#define SCRIPTED_TYPE_LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define SCRIPTED_TYPE_CONFIG   "application/vnd.oci.image.config.v1+json"
#define SCRIPTED_TYPE_LAYER    "application/vnd.oci.image.layer.v1.tar+gzip"

/* What the network in between is like, and how much the registry bears. Zero means unlimited. Rates are kept to the
 * byte over time, and may be up to 50 ms ahead after a pause. */
struct scripted_shape {
	unsigned latency_ms;      /* one round trip, added to connecting, the TLS handshake and whatever the peer sends,
				     window updates included */
	uint64_t rate_stream;     /* body bytes a second of each answer */
	uint64_t rate_connection; /* of each connection, however many streams it carries */
	uint64_t rate_total;      /* of the whole instance */
	unsigned requests_max;    /* a request beyond this many at once is answered 429 */
	unsigned requests_per_s;  /* a request beyond this pace is answered 429 (a bucket that holds one second) */
	unsigned retry_after_s;   /* said with those 429s; 0: not said */
};

enum scripted_auth_kind { SCRIPTED_AUTH_NONE, SCRIPTED_AUTH_BASIC, SCRIPTED_AUTH_BEARER };

struct scripted_auth {
	enum scripted_auth_kind kind;
	const char *username; /* asked for by Basic, or by the token service; NULL: the token service serves anyone */
	const char *password;
	/* Instead of one who may have everything: lines "NAME:PASSWORD REPOSITORY" (a glob), and "* REPOSITORY" for
	 * what anyone may have. */
	const char *grants;
	const char *realm;   /* of the Bearer challenge; NULL: /token at the listener that was asked */
	unsigned expires_in; /* said with a token; 0: not said */
	unsigned lives_ms;   /* how long a token is really good for; 0: as said, or 60 s */
	bool access_token;   /* the field is `access_token` instead of `token` */
	bool scope_check;    /* a token opens the repositories of its scope alone; others are answered 403 */
};

struct scripted_options {
	struct scripted_shape shape;
	struct scripted_auth auth;
	unsigned tags_page_max;   /* the most tags in one answer; 0: as many as asked for */
	bool no_referrers;        /* the referrers API is 404 */
	int send_buffer;          /* SO_SNDBUF of each connection; 0: the system's */
	unsigned h2_streams_max;  /* SETTINGS_MAX_CONCURRENT_STREAMS; 0: 100 */
	unsigned h2_goaway_after; /* GOAWAY after this many streams of a connection, which are still answered; 0: never
				   */
};

/* Starts an instance without listeners; `options` may be NULL. NULL with *err on failure. */
struct scripted *scripted_new(const struct scripted_options *options, struct err *err);

/* Cuts every connection, ends the thread and frees everything. Takes NULL. */
void scripted_free(struct scripted *scripted);

struct scripted_listen {
	const char *address;            /* NULL: 127.0.0.1 */
	uint16_t port;                  /* 0: a free one */
	const struct scripted_tls *tls; /* NULL: plain; outlives the instance */
	bool h2;                        /* offer h2 by ALPN; on a plain port, take HTTP/2 with prior knowledge */
	bool open;                      /* ask for no authorization here, whatever the instance's auth: a CDN */
	bool client_certificate;        /* with TLS: demand one that the bed's CA signed */
};

/* Listens on one more address; NULL stands for the zero struct. Returns the listener's id, from 1 on, or a negative
 * code. */
int scripted_listen(struct scripted *scripted, const struct scripted_listen *listen, struct err *err);

/* "http://127.0.0.1:4711" or "https://…" of a listener; 0 means the first. Borrowed, as long as the instance. */
const char *scripted_url(struct scripted *scripted, int listener);
/* "127.0.0.1" and 4711 of it. */
const char *scripted_address(struct scripted *scripted, int listener);
uint16_t scripted_port(struct scripted *scripted, int listener);

enum scripted_state {
	SCRIPTED_UP,   /* as after scripted_listen() */
	SCRIPTED_DOWN, /* connections are refused; the port stays ours */
	SCRIPTED_MUTE, /* connections are accepted, and nothing is ever read or said */
};

/* Changes the listener `id` (0: all of them) for new connections; with `cut`, open ones are reset too. When this
 * returns, it holds. */
void scripted_set_state(struct scripted *scripted, int id, enum scripted_state state, bool cut);

/* Replace shape and auth; tokens given out stay good. */
void scripted_set_shape(struct scripted *scripted, const struct scripted_shape *shape);
void scripted_set_auth(struct scripted *scripted, const struct scripted_auth *auth);
/* Makes every token given out so far worthless. */
void scripted_revoke_tokens(struct scripted *scripted);

/*
 * Content. A repository of NULL means every repository. Digests are written to `digest` where it is not NULL. Adding
 * the same again is harmless.
 */

/* A blob of `size` bytes made from `seed`. Hashing it takes its time, once, in the caller's thread. */
void scripted_add_blob(struct scripted *scripted, const char *repository, uint64_t seed, uint64_t size,
		       char digest[SCRIPTED_DIGEST_MAX]);
/* A blob with these bytes, copied. */
void scripted_add_blob_bytes(struct scripted *scripted, const char *repository, const void *data, size_t len,
			     char digest[SCRIPTED_DIGEST_MAX]);
/* A manifest with these bytes, copied, to be had by digest; and by `tag` too, unless NULL. */
void scripted_add_manifest(struct scripted *scripted, const char *repository, const char *tag, const char *media_type,
			   const void *data, size_t len, char digest[SCRIPTED_DIGEST_MAX]);
/* Media type (borrowed, as long as the instance) and size of a manifest that was added, or NULL. */
const char *scripted_manifest_type(struct scripted *scripted, const char *repository, const char *digest,
				   uint64_t *size);
/* Makes a tag mean a manifest that was added. With `variant`, the tag's older meanings stay: the first whose media type
 * the request accepts is the answer, and the last one when none is. */
void scripted_set_tag(struct scripted *scripted, const char *repository, const char *tag, const char *digest,
		      bool variant);
void scripted_remove_tag(struct scripted *scripted, const char *repository, const char *tag);
/* Makes a manifest that was added a referrer of `subject`. */
void scripted_add_referrer(struct scripted *scripted, const char *repository, const char *subject, const char *digest,
			   const char *artifact_type);
/* Any other path (with its query, or without for any query): 200 with these bytes, without authorization. */
void scripted_add_file(struct scripted *scripted, const char *target, const char *media_type, const void *data,
		       size_t len);

#define SCRIPTED_LAYERS_MAX 64

struct scripted_image_options {
	unsigned layers;          /* 1 when 0 */
	uint64_t layer_size;      /* of each; 1 MiB when 0 */
	const uint64_t *sizes;    /* or one size for each layer */
	uint64_t seed;            /* images of different seeds share nothing */
	const char *architecture; /* NULL: amd64 */
	bool docker_types;        /* docker's media types instead of OCI's */
};

struct scripted_image {
	char manifest[SCRIPTED_DIGEST_MAX];
	char config[SCRIPTED_DIGEST_MAX];
	char layer[SCRIPTED_LAYERS_MAX][SCRIPTED_DIGEST_MAX];
	unsigned layers;
	uint64_t bytes; /* of manifest, config and layers */
};

/* Makes an image of synthetic layers (not archives: for proxies, not for container engines) under `tag`, or without a
 * tag. */
void scripted_add_image(struct scripted *scripted, const char *repository, const char *tag,
			const struct scripted_image_options *options, struct scripted_image *image);

/* Makes an image of layers with these bytes, copied. */
struct scripted_bytes {
	const void *data;
	size_t len;
};
void scripted_add_image_of(struct scripted *scripted, const char *repository, const char *tag,
			   const struct scripted_bytes *layers, unsigned count, struct scripted_image *image);

/* Makes an index of manifests that were added; `architectures` names each one's platform, linux/…. */
void scripted_add_index(struct scripted *scripted, const char *repository, const char *tag,
			const char *const *manifests, const char *const *architectures, size_t count,
			char digest[SCRIPTED_DIGEST_MAX]);

/* The bytes of a synthetic blob, for comparing, and its digest. No instance needed. */
void scripted_blob_fill(uint64_t seed, uint64_t offset, void *data, size_t len);
void scripted_blob_digest(uint64_t seed, uint64_t size, char digest[SCRIPTED_DIGEST_MAX]);
