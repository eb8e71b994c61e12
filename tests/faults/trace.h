/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What preload.c writes down of a program that changes files, and replay.c reads: one record a call, in the order in
 * which the calls were made (the library lets one happen at a time). Paths are relative to the watched folder, "" for
 * itself. Host byte order: a trace does not leave its machine.
 */
#pragma once

#include <stdint.h>

#define TRACE_PATH_MAX 256

enum trace_kind {
	TRACE_CREATE = 1,  /* path, inode: a new, empty file */
	TRACE_DIRECTORY,   /* path */
	TRACE_WRITE,       /* inode, offset, `len` bytes follow */
	TRACE_WRITE_SYNC,  /* the same, durable at once (O_DSYNC) */
	TRACE_TRUNCATE,    /* inode, offset: the new size */
	TRACE_SYNC,        /* inode */
	TRACE_SYNC_FOLDER, /* path */
	TRACE_RENAME,      /* path -> other */
	TRACE_LINK,        /* path -> other */
	TRACE_UNLINK,      /* path */
};

struct trace_record {
	uint32_t kind;
	uint32_t len;
	uint64_t inode;
	uint64_t offset;
	char path[TRACE_PATH_MAX];
	char other[TRACE_PATH_MAX];
};
