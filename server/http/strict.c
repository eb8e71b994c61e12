/* SPDX-License-Identifier: Apache-2.0 */
/* What of a request's head is refused before anybody looks at it: whatever two programs in a row could read in two
 * ways, which is how requests are smuggled past the first (RFC 9112, sections 3.2, 5 and 6.3), and control characters.
 * Where the specification leaves a choice, refusing is taken: no client of a registry sends any of this. */
#include "server/http/http_internal.h"

#include <microhttpd.h>
#include <string.h>
#include <strings.h>

/* The characters of a field name (RFC 9110, section 5.6.2). */
static const char token[256] = {
	['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1,         ['&'] = 1,         ['\''] = 1,
	['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,         ['^'] = 1,         ['_'] = 1,
	['`'] = 1, ['|'] = 1, ['~'] = 1, ['0' ... '9'] = 1, ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1,
};

struct head {
	unsigned hosts, lengths, encodings;
	bool chunked;
	const char *wrong;
};

static bool is_token(const char *text)
{
	const char *end = text;

	while (token[(unsigned char)*end])
		end++;
	return end > text && !*end;
}

static bool has_control(const char *text)
{
	for (; *text; text++)
		if (((unsigned char)*text < ' ' && *text != '\t') || *text == 0x7f)
			return true;
	return false;
}

/* HOST or HOST:PORT; larder does not care which. */
static bool is_host(const char *value)
{
	return value[strcspn(value, " \t/\\@?#,<>\"")] == '\0';
}

static enum MHD_Result check_field(void *arg, enum MHD_ValueKind kind, const char *name, const char *value)
{
	struct head *head = arg;

	(void)kind;
	value = value ? value : "";
	if (!is_token(name))
		head->wrong = "a header's name is malformed";
	else if (has_control(value))
		head->wrong = "there is a control character in a header";
	else if (strcasecmp(name, "Host") == 0 && (++head->hosts > 1 || !is_host(value)))
		head->wrong = "there must be one Host header, with a host's name";
	else if (strcasecmp(name, "Content-Length") == 0 && ++head->lengths > 1)
		head->wrong = "there is more than one Content-Length";
	else if (strcasecmp(name, "Transfer-Encoding") == 0) {
		head->chunked = strcasecmp(value, "chunked") == 0;
		if (++head->encodings > 1 || !head->chunked)
			head->wrong = "no Transfer-Encoding but chunked is known here";
	}
	return head->wrong ? MHD_NO : MHD_YES;
}

const char *http_check_target(const char *target)
{
	if (has_control(target) || strpbrk(target, " \t"))
		return "there is a space or a control character in the request's target";
	if (*http_target_path(target) != '/')
		return "the request's target is no path";
	return NULL;
}

/* In the library's buffer the version stands behind the NUL that ends the target: if it does not, another was sent. */
static bool has_nul(const char *target_end, const char *version)
{
	uintptr_t gap = (uintptr_t)version - (uintptr_t)target_end;

	return gap > 1 && gap < HTTP_CONNECTION_MEMORY;
}

const char *http_check_head(struct MHD_Connection *connection, const struct http_request_line *line, bool *chunked)
{
	struct head head = {0};
	bool old = strcmp(line->version, "HTTP/1.0") == 0;

	if (!is_token(line->method) || has_nul(line->target_end, line->version))
		return "the request line is malformed";
	MHD_get_connection_values(connection, MHD_HEADER_KIND, check_field, &head);
	*chunked = head.chunked;
	if (head.wrong)
		return head.wrong;
	if (head.hosts == 0 && !old)
		return "there must be a Host header";
	if (head.chunked && head.lengths > 0)
		return "there are both Content-Length and Transfer-Encoding";
	if (head.chunked && old)
		return "HTTP/1.0 has no Transfer-Encoding";
	return NULL;
}
