/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/replay.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "tests/faults/trace.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CALLS_MAX 20000
#define NAMES_MAX 1000

struct call {
	struct trace_record record;
	const char *data;
	uint64_t file; /* the file behind inode or path: the number of the call that made it, from 1 on; 0: none */
};

struct replay {
	char *bytes;
	struct call *calls;
	size_t count;
};

struct name {
	char path[TRACE_PATH_MAX];
	uint64_t file; /* 0: a folder */
};

/* The names that there are at one moment. */
struct names {
	struct name *items;
	size_t count;
};

static struct name *find_name(const struct names *names, const char *path)
{
	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->items[i].path, path) == 0)
			return &names->items[i];
	return NULL;
}

static void add_name(struct names *names, const char *path, uint64_t file)
{
	struct name *name = find_name(names, path);

	if (!name && names->count == NAMES_MAX)
		abort();
	if (!name)
		name = &names->items[names->count++];
	snprintf(name->path, sizeof(name->path), "%s", path);
	name->file = file;
}

/* Only when it is this file's. */
static void remove_name(struct names *names, const char *path, uint64_t file)
{
	struct name *name = find_name(names, path);

	if (name && name->file == file)
		*name = names->items[--names->count];
}

/* Applies what a call does to names. */
static void apply_name(struct names *names, const struct call *call)
{
	switch (call->record.kind) {
	case TRACE_CREATE:
		add_name(names, call->record.path, call->file);
		break;
	case TRACE_DIRECTORY:
		add_name(names, call->record.path, 0);
		break;
	case TRACE_RENAME:
		remove_name(names, call->record.path, call->file);
		add_name(names, call->record.other, call->file);
		break;
	case TRACE_LINK:
		add_name(names, call->record.other, call->file);
		break;
	case TRACE_UNLINK:
		remove_name(names, call->record.path, call->file);
		break;
	default:
		break;
	}
}

/* Numbers are given to inodes again: a file is known by the call that made it. */
static void find_files(struct replay *replay)
{
	struct names names = {.items = mem_alloc(NAMES_MAX * sizeof(struct name))};

	for (size_t i = 0; i < replay->count; i++) {
		struct call *call = &replay->calls[i];
		const struct name *name = find_name(&names, call->record.path);

		if (call->record.kind == TRACE_CREATE)
			call->file = i + 1;
		else if (call->record.inode == 0)
			call->file = name ? name->file : 0;
		for (size_t k = i; k > 0 && !call->file && call->record.inode != 0; k--)
			if (replay->calls[k - 1].record.kind == TRACE_CREATE &&
			    replay->calls[k - 1].record.inode == call->record.inode)
				call->file = k;
		apply_name(&names, call);
	}
	free(names.items);
}

struct replay *replay_open(const char *trace)
{
	_cleanup_close_ int fd = open(trace, O_RDONLY | O_CLOEXEC);
	struct replay *replay;
	struct stat file;
	size_t at = 0;

	if (fd < 0 || fstat(fd, &file) < 0)
		return NULL;
	replay = mem_alloc(sizeof(*replay));
	replay->bytes = mem_alloc((size_t)file.st_size + 1);
	replay->calls = mem_alloc(CALLS_MAX * sizeof(struct call));
	if (read(fd, replay->bytes, (size_t)file.st_size) != file.st_size) {
		replay_close(replay);
		return NULL;
	}
	while (at + sizeof(struct trace_record) <= (size_t)file.st_size && replay->count < CALLS_MAX) {
		struct call *call = &replay->calls[replay->count++];

		memcpy(&call->record, replay->bytes + at, sizeof(call->record));
		at += sizeof(call->record);
		call->data = replay->bytes + at;
		at += call->record.len;
	}
	find_files(replay);
	return replay;
}

void replay_close(struct replay *replay)
{
	if (!replay)
		return;
	free(replay->calls);
	free(replay->bytes);
	free(replay);
}

size_t replay_length(const struct replay *replay)
{
	return replay->count;
}

/* Whether what call `number` did to a name is safe by call `end`: the folder of the name was synced in between. */
static bool is_name_safe(const struct replay *replay, size_t number, size_t end)
{
	const struct trace_record *record = &replay->calls[number].record;
	const char *path = record->kind == TRACE_RENAME || record->kind == TRACE_LINK ? record->other : record->path;
	const char *slash = strrchr(path, '/');
	size_t len = slash ? (size_t)(slash - path) : 0;

	for (size_t i = number + 1; i < end; i++) {
		const struct trace_record *later = &replay->calls[i].record;

		if (later->kind == TRACE_SYNC_FOLDER && strlen(later->path) == len &&
		    strncmp(later->path, path, len) == 0)
			return true;
	}
	return false;
}

/* A file's bytes as they come to be. */
struct content {
	char *bytes;
	size_t len, cap;
};

static void resize(struct content *content, size_t len)
{
	if (len > content->cap) {
		content->cap = len * 2;
		content->bytes = mem_realloc(content->bytes, content->cap);
	}
	if (len > content->len)
		memset(content->bytes + content->len, 0, len - content->len);
	content->len = len;
}

struct dice {
	enum replay_loss loss;
	unsigned seed;
};

static bool survives(struct dice *dice)
{
	return dice->loss == REPLAY_NONE_LOST || (dice->loss == REPLAY_SOME_LOST && rand_r(&dice->seed) % 2);
}

static void apply_bytes(struct content *content, const struct trace_record *record, const char *data, bool safe,
			struct dice *dice)
{
	size_t end = (size_t)record->offset + record->len;
	bool there = safe || survives(dice);

	if (record->kind == TRACE_TRUNCATE) {
		if (there)
			resize(content, (size_t)record->offset);
		return;
	}
	if (!there && dice->loss == REPLAY_ALL_LOST)
		return;
	if (end > content->len)
		resize(content, end);
	if (there && content->bytes)
		memcpy(content->bytes + record->offset, data, record->len);
}

static void make_content(const struct replay *replay, uint64_t file, size_t end, struct dice *dice,
			 struct content *content)
{
	size_t synced = 0;

	for (size_t i = file; i < end; i++)
		if (replay->calls[i].file == file && replay->calls[i].record.kind == TRACE_SYNC)
			synced = i;
	for (size_t i = file; i < end; i++) {
		const struct trace_record *record = &replay->calls[i].record;

		if (replay->calls[i].file == file &&
		    (record->kind == TRACE_WRITE || record->kind == TRACE_TRUNCATE || record->kind == TRACE_WRITE_SYNC))
			apply_bytes(content, record, replay->calls[i].data,
				    i < synced || record->kind == TRACE_WRITE_SYNC, dice);
	}
}

static bool make_folders(char *path)
{
	for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0750) < 0 && errno != EEXIST)
			return false;
		*slash = '/';
	}
	return true;
}

static bool make_file(const char *path, const struct content *content)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0640);

	return fd >= 0 && write(fd, content->bytes, content->len) == (ssize_t)content->len;
}

static bool make_names(const struct replay *replay, const struct names *names, size_t end, struct dice *dice,
		       const char *folder)
{
	bool good = true;

	for (size_t i = 0; i < names->count && good; i++) {
		const struct name *name = &names->items[i];
		_cleanup_free_ char *path = mem_printf("%s/%s", folder, name->path);
		struct content content = {0};

		good = make_folders(path);
		if (good && !name->file)
			good = mkdir(path, 0750) == 0 || errno == EEXIST;
		else if (good) {
			make_content(replay, name->file, end, dice, &content);
			good = make_file(path, &content);
		}
		free(content.bytes);
	}
	return good;
}

bool replay_make(const struct replay *replay, size_t calls, enum replay_loss loss, unsigned seed, const char *path)
{
	struct names names = {.items = mem_alloc(NAMES_MAX * sizeof(struct name))};
	struct dice dice = {loss, seed};
	bool good;

	/* Names come back in order: what is written down of one is written down of all before it. */
	for (size_t i = 0; i < calls; i++)
		if (loss == REPLAY_BYTES_LOST || is_name_safe(replay, i, calls) || survives(&dice))
			apply_name(&names, &replay->calls[i]);
	good = mkdir(path, 0750) == 0 && make_names(replay, &names, calls, &dice, path);
	free(names.items);
	return good;
}
