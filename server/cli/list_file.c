/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/list_file.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What a line says, without comment and blanks around it. */
static char *strip(char *line)
{
	char *end;

	line += strspn(line, " \t");
	for (char *at = line; *at; at++)
		if (*at == '#' && (at == line || at[-1] == ' ' || at[-1] == '\t'))
			*at-- = '\0';
	end = line + strlen(line);
	while (end > line && strchr(" \t\r\n", end[-1]))
		*--end = '\0';
	return line;
}

static int read_lines(FILE *file, const char *path, json_t *array, struct err *err)
{
	char line[LIST_FILE_LINE_MAX];

	for (unsigned number = 1; fgets(line, sizeof(line), file); number++) {
		size_t len = strlen(line);
		const char *text;

		if (len == sizeof(line) - 1 && line[len - 1] != '\n')
			return err_set(err, ERR_LIMIT, "%s:%u: the line is too long", path, number);
		text = strip(line);
		if (!*text)
			continue;
		if (json_array_size(array) == LIST_FILE_MAX)
			return err_set(err, ERR_LIMIT, "%s:%u: more than %d references", path, number, LIST_FILE_MAX);
		if (json_array_append_new(array, json_string(text)))
			return err_set(err, ERR_INVALID, "%s:%u: the line is no UTF-8 text", path, number);
	}
	return ferror(file) ? err_set_errno(err, ERR_IO, errno, "cannot read %s", path) : 0;
}

int list_file_read(const char *path, json_t *array, struct err *err)
{
	bool is_stdin = strcmp(path, "-") == 0;
	FILE *file = is_stdin ? stdin : fopen(path, "re");
	int code;

	if (!file)
		return err_set_errno(err, ERR_IO, errno, "cannot read %s", path);
	code = read_lines(file, is_stdin ? "standard input" : path, array, err);
	if (!is_stdin)
		fclose(file);
	return code;
}
