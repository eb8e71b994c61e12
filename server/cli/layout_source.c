/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/layout_source.h"

#include "base/buf.h"
#include "server/bundle/describe.h"
#include "server/bundle/tar.h"

#include <errno.h>
#include <fcntl.h>
#include <fts.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct member {
	char *path; /* below the directory */
	uint64_t size;
};

struct layout_source {
	int directory;
	struct member *members;
	size_t count, cap;
	size_t at;         /* the member that is being given */
	uint64_t position; /* in it, its header and padding included */
	uint64_t end_left; /* of the zeroes at the end */
	int fd;
};

void layout_source_free(struct layout_source *source)
{
	if (!source)
		return;
	for (size_t i = 0; i < source->count; i++)
		free(source->members[i].path);
	free(source->members);
	if (source->fd >= 0)
		close(source->fd);
	if (source->directory >= 0)
		close(source->directory);
	free(source);
}

/* What a reader judges all else by comes first. */
static int rank(const char *path)
{
	static const char *const first[] = {BUNDLE_SELF, BUNDLE_SIGNATURE, LAYOUT_FILE, LAYOUT_INDEX};

	for (int i = 0; i < 4; i++)
		if (strcmp(path, first[i]) == 0)
			return i;
	return 4;
}

static int compare_members(const void *a, const void *b)
{
	const char *one = ((const struct member *)a)->path, *two = ((const struct member *)b)->path;

	return rank(one) != rank(two) ? rank(one) - rank(two) : strcmp(one, two);
}

static int add_entry(struct layout_source *source, const FTSENT *entry, size_t root_len, struct err *err)
{
	const char *path = entry->fts_path + root_len;

	switch (entry->fts_info) {
	case FTS_D:
	case FTS_DP:
		return 0;
	case FTS_F:
		break;
	case FTS_DNR:
	case FTS_ERR:
	case FTS_NS:
		return err_set_errno(err, ERR_IO, entry->fts_errno, "cannot read %s", entry->fts_path);
	default:
		return err_set(err, ERR_INVALID, "%s is no file", entry->fts_path);
	}
	path += strspn(path, "/");
	if (strlen(path) > TAR_PATH_MAX)
		return err_set(err, ERR_INVALID, "%s has too long a path", entry->fts_path);
	if (source->count == source->cap) {
		source->cap = source->cap ? source->cap * 2 : 64;
		source->members = mem_realloc(source->members, source->cap * sizeof(*source->members));
	}
	source->members[source->count++] = (struct member){mem_strdup(path), (uint64_t)entry->fts_statp->st_size};
	return 0;
}

static int look_through(struct layout_source *source, const char *path, struct err *err)
{
	char *const paths[] = {(char *)(uintptr_t)path, NULL};
	FTS *tree = fts_open(paths, FTS_PHYSICAL | FTS_NOCHDIR, NULL);
	FTSENT *entry;
	int code = 0;

	if (!tree)
		return err_set_errno(err, ERR_IO, errno, "cannot read %s", path);
	while (code == 0 && (entry = fts_read(tree)))
		code = add_entry(source, entry, strlen(path), err);
	fts_close(tree);
	if (source->count > 0)
		qsort(source->members, source->count, sizeof(*source->members), compare_members);
	return code;
}

int layout_source_open(const char *path, struct layout_source **out, struct err *err)
{
	struct layout_source *source = mem_alloc(sizeof(*source));
	int code = 0;

	source->fd = -1;
	source->end_left = TAR_END;
	source->directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source->directory < 0)
		code = err_set_errno(err, ERR_IO, errno, "cannot open %s", path);
	if (code == 0)
		code = look_through(source, path, err);
	if (code)
		layout_source_free(source);
	else
		*out = source;
	return code;
}

uint64_t layout_source_size(const struct layout_source *source)
{
	uint8_t header[TAR_HEADER_MAX];
	uint64_t size = TAR_END;

	for (size_t i = 0; i < source->count; i++)
		size += tar_header(source->members[i].path, source->members[i].size, header) + source->members[i].size +
			tar_padding(source->members[i].size);
	return size;
}

static size_t least(uint64_t a, size_t b)
{
	return a < b ? (size_t)a : b;
}

static ssize_t give_content(struct layout_source *source, const struct member *member, uint64_t offset, void *data,
			    size_t max)
{
	if (source->fd < 0)
		source->fd = openat(source->directory, member->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
	return source->fd < 0 ? -1 : pread(source->fd, data, least(member->size - offset, max), (off_t)offset);
}

/* Some bytes of the member at hand; 0 at its end. */
static ssize_t give_member(struct layout_source *source, void *data, size_t max)
{
	const struct member *member = &source->members[source->at];
	uint8_t header[TAR_HEADER_MAX];
	size_t header_len = tar_header(member->path, member->size, header);
	uint64_t content_end = header_len + member->size, position = source->position;

	if (position < header_len) {
		max = least(header_len - position, max);
		memcpy(data, header + position, max);
		return (ssize_t)max;
	}
	if (position < content_end) {
		ssize_t got = give_content(source, member, position - header_len, data, max);

		return got > 0 ? got : -1;
	}
	max = least(content_end + tar_padding(member->size) - position, max);
	memset(data, 0, max);
	return (ssize_t)max;
}

ssize_t layout_source_give(void *arg, void *data, size_t max)
{
	struct layout_source *source = arg;
	ssize_t given = 0;

	while (given == 0 && source->at < source->count) {
		given = give_member(source, data, max);
		if (given > 0)
			source->position += (uint64_t)given;
		if (given != 0)
			continue;
		if (source->fd >= 0)
			close(source->fd);
		source->fd = -1;
		source->at++;
		source->position = 0;
	}
	if (given != 0)
		return given;
	max = least(source->end_left, max);
	memset(data, 0, max);
	source->end_left -= max;
	return (ssize_t)max;
}
