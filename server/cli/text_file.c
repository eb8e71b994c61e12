/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/text_file.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

char *text_file_read(const char *path, struct err *err)
{
	_cleanup_(buf_dispose) struct buf text = {.max = TEXT_FILE_MAX};
	char piece[4096];
	size_t got;
	int code = 0;
	FILE *file = fopen(path, "re");

	if (!file) {
		err_set_errno(err, ERR_IO, errno, "cannot read %s", path);
		return NULL;
	}
	while (code == 0 && (got = fread(piece, 1, sizeof(piece), file)) > 0)
		code = buf_append(&text, piece, got);
	if (code)
		err_set(err, ERR_LIMIT, "%s is longer than a certificate or a token can be", path);
	else if (ferror(file))
		code = err_set_errno(err, ERR_IO, errno, "cannot read %s", path);
	else if (text.len == 0)
		code = err_set(err, ERR_INVALID, "%s is empty", path);
	fclose(file);
	explicit_bzero(piece, sizeof(piece));
	return code ? NULL : take_pointer(text.data);
}

char *text_file_read_line(const char *path, struct err *err)
{
	char *text = text_file_read(path, err);

	if (!text)
		return NULL;
	text[strcspn(text, "\r\n")] = '\0';
	if (text[0])
		return text;
	free(text);
	err_set(err, ERR_INVALID, "the first line of %s is empty", path);
	return NULL;
}

void text_file_free(char *text)
{
	if (text)
		explicit_bzero(text, strlen(text));
	free(text);
}
