/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <stdio.h>
#include <string.h>

bool ask(const struct larder *larder, const char *method, const char *headers, struct client_reply *reply,
	 const char *format, ...)
{
	char target[2048];
	struct client_request request = {
		.port = larder_port(larder), .method = method, .headers = headers, .target = target};
	va_list arguments;
	va_start(arguments, format);
	int len = vsnprintf(target, sizeof(target), format, arguments);
	va_end(arguments);
	assert_true(len >= 0 && (size_t)len < sizeof(target));
	client_reply_dispose(reply);
	return client_fetch(&request, reply);
}

struct larder *larder_configured(struct wire *wire, struct scripted *upstream, const char *config)
{
	_cleanup_(buf_dispose) struct buf text = {0};
	struct larder_options options = {0};
	for (const char *at = config; *at;) {
		size_t len = strcspn(at, "%");
		assert_int_equal(buf_append(&text, at, len), 0);
		at += len;
		if (at[0] == '%') {
			assert_true(at[1] == 's' || at[1] == 'd');
			const char *what = at[1] == 's' ? scripted_url(upstream, 0) : wire->directory;
			assert_int_equal(buf_append_text(&text, what), 0);
			at += 2;
		}
	}
	options.config = text.data;
	return wire_larder(wire, &options);
}

void expect_header(const struct client_reply *reply, const char *name, const char *value)
{
	_cleanup_free_ char *said = client_reply_header(reply, name);
	if (!value && said)
		fail_msg("%s: %s was said", name, said);
	if (value && (!said || strcmp(said, value) != 0))
		fail_msg("%s is \"%s\", not \"%s\", in:\n%s", name, said ? said : "absent", value,
			 reply->head ? reply->head : "");
}

void expect_header_with(const struct client_reply *reply, const char *name, const char *part)
{
	_cleanup_free_ char *said = client_reply_header(reply, name);
	if (!said || !strstr(said, part))
		fail_msg("%s is \"%s\", without \"%s\"", name, said ? said : "absent", part);
}

void expect_error(const struct client_reply *reply, int status, const char *code)
{
	_cleanup_free_ char *said = mem_printf("{\"errors\":[{\"code\":\"%s\",\"message\":\"", code);
	if (reply->status != status || !reply->complete)
		fail_msg("%d %s instead of %d %s: %s", reply->status, reply->error, status, code, reply->body);
	if (strncmp(reply->body, said, strlen(said)) != 0)
		fail_msg("not the error %s: %s", code, reply->body);
	expect_header(reply, "Content-Type", "application/json");
	expect_header(reply, "Docker-Distribution-API-Version", "registry/2.0");
	expect_header(reply, "X-Content-Type-Options", "nosniff");
}

void expect_content(const struct client_reply *reply, const char *digest)
{
	if (reply->status != 200 || !reply->complete)
		fail_msg("%d %s instead of a whole 200: %.200s", reply->status, reply->error, reply->body);
	assert_string_equal(reply->digest, digest);
}

void expect_count(struct scripted *upstream, const char *method, const char *pattern, unsigned count)
{
	unsigned seen = scripted_count(upstream, method, pattern);
	if (seen != count)
		fail_msg("the upstream saw %u %s %s instead of %u", seen, method ? method : "requests",
			 pattern ? pattern : "", count);
}

void expect_ping(const struct larder *larder)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(larder_get(larder, "/v2/", &reply));
	assert_int_equal(reply.status, 200);
}

unsigned expect_hit_soon(const struct larder *larder, const char *target)
{
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;
	unsigned asked = 0;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	do {
		_cleanup_free_ char *status = NULL;
		ask(larder, "HEAD", NULL, &reply, "%s", target);
		asked++;
		status = client_reply_header(&reply, "Cache-Status");
		if (reply.status == 200 && status && strcmp(status, "larder; hit") == 0) {
			/* The catalog waits for what is on its way into the store. */
			ask(larder, "HEAD", NULL, &reply, "/v2/_catalog");
			return asked + 1;
		}
	} while (clock_ms() < deadline_ms);
	fail_msg("%s is not stored: %s", target, reply.head);
	return asked;
}

bool built_with_sanitizer(void)
{
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
	return true;
#elif defined(__has_feature)
	return __has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
	return false;
#endif
}
