/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A body of several ranges, multipart/byteranges (RFC 9110, sections 14.6 and 15.3.7.2), read piece by piece: its
 * length is known before the first byte, and nothing but the ranges is kept in memory. One thread at a time.
 */
#pragma once

#include "server/registry/range.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define MULTIPART_TYPE_MAX 80

struct multipart;

/* Where the bytes come from: a file, or a function. */
struct multipart_source {
	int fd; /* taken over; negative: none */
	/* Up to `max` bytes from `offset`: the count; 0: not yet, and somebody will call again; negative: broken. */
	ssize_t (*read)(void *arg, uint64_t offset, void *data, size_t max);
	void *arg;
};

/* The ranges of `set`, which are copied, out of a representation of `size` bytes, each as application/octet-stream. */
struct multipart *multipart_new(const struct range_set *set, uint64_t size, const struct multipart_source *source);
void multipart_free(struct multipart *multipart);

/* The Content-Type with its boundary. Borrowed. */
const char *multipart_type(const struct multipart *multipart);
uint64_t multipart_length(const struct multipart *multipart);

/* Of the file: where it could not be read. False: it always could. */
bool multipart_unread(const struct multipart *multipart, uint64_t *offset);

/* As http_body.read: up to `max` bytes of the body from `position`. A source that says "not yet" is asked only when
 * there is nothing else to give. */
ssize_t multipart_read(struct multipart *multipart, uint64_t position, void *data, size_t max);
