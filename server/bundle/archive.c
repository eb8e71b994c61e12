/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/archive.h"

#include "base/buf.h"

#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

struct archive_reader {
	struct archive_source source;
	struct archive *archive;
	bool opened;
	int source_code; /* what the source said when it failed */
	uint64_t left;   /* of the file that is being read */
	uint64_t offset;
	char block[ARCHIVE_BLOCK];
};

static la_ssize_t on_read(struct archive *archive, void *arg, const void **data)
{
	struct archive_reader *reader = arg;
	ssize_t got = reader->source.read(reader->source.arg, reader->block, sizeof(reader->block));

	*data = reader->block;
	if (got >= 0)
		return got;
	reader->source_code = (int)got;
	archive_set_error(archive, EIO, "the source failed");
	return ARCHIVE_FATAL;
}

struct archive_reader *archive_reader_new(const struct archive_source *source)
{
	struct archive_reader *reader = mem_alloc(sizeof(*reader));

	reader->source = *source;
	reader->archive = archive_read_new();
	if (!reader->archive)
		abort();
	archive_read_support_filter_gzip(reader->archive);
	archive_read_support_format_tar(reader->archive);
	return reader;
}

void archive_reader_free(struct archive_reader *reader)
{
	if (!reader)
		return;
	archive_read_free(reader->archive);
	free(reader);
}

static int broken(struct archive_reader *reader, struct err *err)
{
	const char *text = archive_error_string(reader->archive);

	if (reader->source_code)
		return err_set(err, reader->source_code, "the archive was not sent to its end");
	return err_set(err, ERR_UPSTREAM, "this is no tar archive, or it is damaged or breaks off: %s",
		       text ? text : "empty");
}

/* Paths. */

/* Puts one more part behind a path; ".." takes one away. */
static bool add_part(char *path, const char *part, size_t len)
{
	size_t used = strlen(path);

	if (len == 0 || (len == 1 && part[0] == '.'))
		return true;
	if (len == 2 && part[0] == '.' && part[1] == '.') {
		char *slash = strrchr(path, '/');

		if (used == 0)
			return false;
		*(slash ? slash : path) = '\0';
		return true;
	}
	if (used + 1 + len > ARCHIVE_PATH_LEN_MAX)
		return false;
	if (used > 0)
		path[used++] = '/';
	memcpy(path + used, part, len);
	path[used + len] = '\0';
	return true;
}

/* Resolves `text`, which is relative to what `path` holds. False when it leads out, or has what no path should. */
static bool resolve(const char *text, char path[ARCHIVE_PATH_LEN_MAX + 1])
{
	if (!text || text[0] == '/')
		return false;
	for (const char *at = text; *at; at++)
		if ((unsigned char)*at < ' ' || *at == 0x7f || *at == '\\')
			return false;
	while (*text) {
		size_t len = strcspn(text, "/");

		if (!add_part(path, text, len))
			return false;
		text += len;
		text += *text == '/';
	}
	return true;
}

static bool has_dots(const char *text)
{
	for (const char *at = text; at && *at; at = strchr(at, '/') ? strchr(at, '/') + 1 : NULL)
		if (strncmp(at, "..", 2) == 0 && (at[2] == '/' || at[2] == '\0'))
			return true;
	return false;
}

static int take_path(struct archive_entry *entry, struct archive_file *file, struct err *err)
{
	const char *text = archive_entry_pathname(entry);

	file->path[0] = '\0';
	if (!text || has_dots(text) || !resolve(text, file->path))
		return err_set(err, ERR_INVALID, "the archive has a path that leads out of it, or is none: %.120s",
			       text ? text : "");
	return 0;
}

static int take_link(struct archive_entry *entry, struct archive_file *file, struct err *err)
{
	const char *text = archive_entry_symlink(entry);
	char *slash;

	memcpy(file->link, file->path, sizeof(file->path));
	slash = strrchr(file->link, '/');
	*(slash ? slash : file->link) = '\0';
	if (!resolve(text, file->link) || !file->link[0])
		return err_set(err, ERR_INVALID, "the archive's link %.120s leads out of it", file->path);
	return 0;
}

/* Files. */

static int take_entry(struct archive_reader *reader, struct archive_entry *entry, struct archive_file *file,
		      struct err *err)
{
	mode_t type = archive_entry_filetype(entry);
	int64_t size = archive_entry_size(entry);
	int code = take_path(entry, file, err);

	file->link[0] = '\0';
	file->size = 0;
	reader->left = reader->offset = 0;
	if (code)
		return code;
	if (archive_entry_hardlink(entry) || (type != S_IFREG && type != S_IFLNK && type != S_IFDIR))
		return err_set(err, ERR_INVALID, "the archive's %.120s is no file", file->path);
	if (type == S_IFDIR)
		return ERR_AGAIN;
	if (!file->path[0])
		return err_set(err, ERR_INVALID, "the archive has a file without a name");
	if (type == S_IFLNK)
		return take_link(entry, file, err);
	if (!archive_entry_size_is_set(entry) || size < 0 || archive_entry_sparse_count(entry) > 0)
		return err_set(err, ERR_INVALID, "the archive's %.120s has no size, or holes", file->path);
	reader->left = file->size = (uint64_t)size;
	return 0;
}

int archive_next(struct archive_reader *reader, struct archive_file *file, struct err *err)
{
	struct archive_entry *entry;
	int code;

	if (!reader->opened && archive_read_open(reader->archive, reader, NULL, on_read, NULL) != ARCHIVE_OK)
		return broken(reader, err);
	reader->opened = true;
	/* Packed in itself, a few bytes would be no end of work. */
	if (archive_filter_count(reader->archive) > 2)
		return err_set(err, ERR_INVALID, "the archive is packed more than once");
	do {
		code = archive_read_next_header(reader->archive, &entry);
		if (code == ARCHIVE_EOF)
			return reader->source_code ? broken(reader, err) : ERR_NOT_FOUND;
		/* A warning is about what a path or a user is called in some character set. */
		if (code != ARCHIVE_OK && code != ARCHIVE_WARN)
			return broken(reader, err);
		code = take_entry(reader, entry, file, err);
	} while (code == ERR_AGAIN);
	return code;
}

int archive_data(struct archive_reader *reader, const void **data, size_t *len, struct err *err)
{
	la_int64_t offset;
	int code;

	*len = 0;
	if (reader->left == 0)
		return 0;
	code = archive_read_data_block(reader->archive, data, len, &offset);
	if (code == ARCHIVE_OK && *len > 0 && (uint64_t)offset == reader->offset && *len <= reader->left) {
		reader->offset += *len;
		reader->left -= *len;
		return 0;
	}
	*len = 0;
	return code == ARCHIVE_OK || code == ARCHIVE_EOF ? err_set(err, ERR_INVALID, "a file of the archive has holes")
							 : broken(reader, err);
}
