/* SPDX-License-Identifier: Apache-2.0 */
/* What the routes about files in images share: which image is meant, and lists that are written as they are made. */
#pragma once

#include "server/admin/admin_internal.h"
#include "server/files/files.h"

#define FILES_TIME_MAX 32

/* Opens the image that the parameter `name` (a reference) and `platform` mean, and looks into it when `look` says so.
 * NULL: that is answered. The caller closes it. */
struct files_image *files_visit_open(struct admin_visit *visit, const char *name, bool look);

/* A document on its way to the client. */
struct files_writer {
	struct admin_visit *visit;
	struct buf text; /* not sent yet */
	bool started;    /* the list has an item */
};

/* Begins a good reply. */
void files_writer_begin(struct files_writer *writer, struct admin_visit *visit);
/* Sends what is due. ERR_CANCELLED: nobody reads any more. */
int files_writer_flush(struct files_writer *writer, bool all);
/* Begins the next item of a list, with a comma where one is due. */
void files_writer_next(struct files_writer *writer);

/* Appends `"name":"text"`, text being whatever a stranger wrote. */
void files_put_text(struct buf *out, const char *name, const char *text);
/* Likewise a name, which is any bytes, behind `lead`; with `"name_escaped"`, its bytes as a URL has them, where it is
 * not UTF-8. */
void files_put_name(struct buf *out, const char *name, const char *lead, const char *text);
/* Appends the members of an object that describes a file. */
void files_put_node(struct buf *out, const struct layer_node *node, const char *path);
/* "file", "directory", … */
const char *files_type_name(const struct layer_node *node);
/* Likewise of the image: repository, manifest, platform, and its layers as they were indexed. */
void files_put_image(struct buf *out, const struct files_image *image);
