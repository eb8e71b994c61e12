/* SPDX-License-Identifier: Apache-2.0 */
/* Files inside images: `larder files`, `cat`, `find` and `diff`. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/admin_session.h"
#include "server/cli/command.h"
#include "server/cli/show.h"
#include "upstream/url.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* A name that a stranger gave, on a terminal: what would move the cursor, or turn the direction of writing, is shown as
 * its bytes in octal, as `ls -b` does. */
static bool is_plain(const char *at, size_t len)
{
	const unsigned char *bytes = (const unsigned char *)at;

	if (len == 1)
		return bytes[0] >= 0x20 && bytes[0] != 0x7f && bytes[0] != '\\';
	if (len == 2)
		return bytes[0] != 0xc2 || bytes[1] >= 0xa0; /* C1 controls */
	/* U+200E to U+200F, U+2028 to U+202E, U+2066 to U+2069 */
	return !(len == 3 && bytes[0] == 0xe2 &&
		 ((bytes[1] == 0x80 &&
		   (bytes[2] == 0x8e || bytes[2] == 0x8f || (bytes[2] >= 0xa8 && bytes[2] <= 0xae))) ||
		  (bytes[1] == 0x81 && bytes[2] >= 0xa6 && bytes[2] <= 0xa9)));
}

static void print_name(const char *name)
{
	while (*name) {
		size_t len = buf_utf8_length(name);

		if (len > 0 && is_plain(name, len)) {
			fwrite(name, 1, len, stdout);
			name += len;
			continue;
		}
		for (size_t i = 0; i < (len ? len : 1); i++)
			printf("\\%03o", (unsigned char)*name++);
	}
}

/* A file's path, or what it links to. A name that is not UTF-8, which JSON cannot say, is there with its bytes escaped.
 */
static void print_name_of(const json_t *file, const char *key)
{
	_cleanup_free_ char *escaped_key = mem_printf("%s_escaped", key);
	_cleanup_free_ char *bytes = url_unescape(show_text(file, escaped_key));

	print_name(bytes && *bytes ? bytes : show_text(file, key));
}

/* "-rwsr-xr-x" */
static void format_mode(const json_t *file, char text[11])
{
	static const char *const kinds[][2] = {{"directory", "d"},    {"symlink", "l"}, {"char device", "c"},
					       {"block device", "b"}, {"fifo", "p"},    {"broken link", "h"}};
	unsigned long mode = strtoul(show_text(file, "mode"), NULL, 8);
	const char *type = show_text(file, "type");

	memcpy(text, "-rwxrwxrwx", 11);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds); i++)
		if (strcmp(type, kinds[i][0]) == 0)
			text[0] = kinds[i][1][0];
	for (int i = 0; i < 9; i++)
		if (!(mode & (0400u >> i)))
			text[1 + i] = '-';
	if (mode & 04000)
		text[3] = mode & 0100 ? 's' : 'S';
	if (mode & 02000)
		text[6] = mode & 0010 ? 's' : 'S';
	if (mode & 01000)
		text[9] = mode & 0001 ? 't' : 'T';
}

static void print_long(const json_t *file)
{
	time_t mtime = (time_t)json_integer_value(json_object_get(file, "mtime"));
	char mode[11], when[32], owner[48];
	struct tm parts;

	format_mode(file, mode);
	if (!gmtime_r(&mtime, &parts) || strftime(when, sizeof(when), "%Y-%m-%d %H:%M", &parts) == 0)
		strcpy(when, "?");
	snprintf(owner, sizeof(owner), "%" PRIu64 "/%" PRIu64, show_number(file, "uid"), show_number(file, "gid"));
	printf("%s %-9s %10" PRIu64 " %s ", mode, owner, show_number(file, "size"), when);
	print_name_of(file, "path");
	if (*show_text(file, "target")) {
		printf(" -> ");
		print_name_of(file, "target");
	}
	if (*show_text(file, "hard_link_to")) {
		printf(" link to ");
		print_name_of(file, "hard_link_to");
	}
	printf("\n");
}

static void print_files(const json_t *answer, bool in_full)
{
	const json_t *file;
	size_t i;

	json_array_foreach(json_object_get(answer, "files"), i, file)
	{
		if (in_full) {
			print_long(file);
			continue;
		}
		print_name_of(file, "path");
		printf("%s\n", strcmp(show_text(file, "type"), "directory") == 0 ? "/" : "");
	}
}

/* What reading costs more than it should, said once a layer. */
static void warn_of_layers(const json_t *answer)
{
	char hex[SHOW_HEX_MAX];
	const json_t *layer;
	size_t i;

	json_array_foreach(json_object_get(answer, "layers"), i, layer) if (!show_is(layer, "seekable"))
		fprintf(stderr, "layer %s is one %s frame: its files are read from its start\n",
			show_hex(layer, "digest", hex), show_text(layer, "compression"));
}

/* Asking. */

static void add_parameter(struct buf *target, const char *name, const char *value)
{
	_cleanup_free_ char *escaped = value ? url_escape(value) : NULL;

	if (value)
		buf_printf(target, "%c%s=%s", strchr(target->data, '?') ? '&' : '?', name, escaped);
}

/* Asks for a document, and prints it as it came with --json, else by `print`. */
static int ask(const struct command_line *line, struct buf *target,
	       void (*print)(const struct command_line *line, const json_t *answer))
{
	_cleanup_(admin_session_close) struct admin_session session;
	json_t *answer = NULL;
	int result = admin_session_open(&session, line);

	add_parameter(target, "platform", command_value(line, "platform"));
	if (result == EXIT_DONE)
		result = admin_session_ask(&session, "GET", target->data, NULL, &answer);
	if (result != EXIT_DONE)
		return result;
	if (command_has(line, "json"))
		show_json(answer);
	else
		print(line, answer);
	json_decref(answer);
	return command_finish_output();
}

static void print_list(const struct command_line *line, const json_t *answer)
{
	print_files(answer, command_has(line, "long"));
	if (command_has(line, "long"))
		warn_of_layers(answer);
}

int cmd_files(const struct command_line *line)
{
	_cleanup_(buf_dispose) struct buf target = {0};

	buf_append_text(&target, "/api/v1/files");
	add_parameter(&target, "ref", line->arguments[0]);
	add_parameter(&target, "path", line->arguments[1]);
	add_parameter(&target, "recursive", command_has(line, "recursive") ? "1" : NULL);
	return ask(line, &target, print_list);
}

int cmd_find(const struct command_line *line)
{
	_cleanup_(buf_dispose) struct buf target = {0};

	buf_append_text(&target, "/api/v1/find");
	add_parameter(&target, "ref", line->arguments[0]);
	add_parameter(&target, "glob", line->arguments[1]);
	return ask(line, &target, print_list);
}

int cmd_cat(const struct command_line *line)
{
	_cleanup_(admin_session_close) struct admin_session session;
	_cleanup_(buf_dispose) struct buf target = {0};
	int fd = 1, result = admin_session_open(&session, line);
	struct admin_request request = {.method = "GET", .take = admin_take_to_fd, .arg = &fd};

	buf_append_text(&target, "/api/v1/file");
	add_parameter(&target, "ref", line->arguments[0]);
	add_parameter(&target, "path", line->arguments[1]);
	add_parameter(&target, "platform", command_value(line, "platform"));
	request.target = target.data;
	return result == EXIT_DONE ? admin_session_stream(&session, &request) : result;
}

/* "M /etc/passwd (mode, content)" */
static void print_change(const json_t *change)
{
	const char *kind = show_text(change, "change");
	_cleanup_free_ char *what = show_list(change, "what");

	printf("%c ", strcmp(kind, "added") == 0 ? 'A' : strcmp(kind, "removed") == 0 ? 'D' : 'M');
	print_name_of(change, "path");
	if (what && *what)
		printf(" (%s)", what);
	printf("\n");
}

static void print_changes(const struct command_line *line, const json_t *answer)
{
	const json_t *change;
	size_t i;

	(void)line;
	json_array_foreach(json_object_get(answer, "changes"), i, change) print_change(change);
}

int cmd_diff(const struct command_line *line)
{
	_cleanup_(buf_dispose) struct buf target = {0};

	buf_append_text(&target, "/api/v1/diff");
	add_parameter(&target, "from", line->arguments[0]);
	add_parameter(&target, "to", line->arguments[1]);
	return ask(line, &target, print_changes);
}
