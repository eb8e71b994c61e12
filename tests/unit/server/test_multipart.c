/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/multipart.h"

#include "base/err.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define SIZE 1000

static const struct range_set three = {.count = 3, .ranges = {{0, 10}, {100, 100}, {995, 5}}};
static char content[SIZE];

/* A source that gives a few bytes at a time, and now and then none. */
struct trickle {
	unsigned calls;
	bool broken;
};

static ssize_t read_trickle(void *arg, uint64_t offset, void *data, size_t max)
{
	struct trickle *trickle = arg;
	size_t len = max < 3 ? max : 3;

	assert_in_range(offset + max, 1, SIZE);
	if (trickle->broken)
		return ERR_UPSTREAM;
	if (trickle->calls++ % 2 == 0)
		return 0;
	memcpy(data, content + offset, len);
	return (ssize_t)len;
}

static int setup(void **state)
{
	(void)state;
	for (size_t i = 0; i < SIZE; i++)
		content[i] = (char)('a' + i % 23);
	return 0;
}

static struct multipart *of_file(const struct range_set *set)
{
	char path[] = "/tmp/larder-multipart-XXXXXX";
	struct multipart_source source = {.fd = mkstemp(path)};

	assert_true(source.fd >= 0);
	unlink(path);
	assert_int_equal(write(source.fd, content, SIZE), SIZE);
	return multipart_new(set, SIZE, &source);
}

/* The body as RFC 9110 has it. */
static size_t expected(const struct multipart *multipart, const struct range_set *set, char *out)
{
	const char *boundary = strstr(multipart_type(multipart), "boundary=") + 9;
	size_t used = 0;

	for (size_t i = 0; i < set->count; i++) {
		const struct range *range = &set->ranges[i];

		used += (size_t)sprintf(out + used,
					"%s--%s\r\nContent-Type: application/octet-stream\r\n"
					"Content-Range: bytes %u-%u/%u\r\n\r\n",
					i ? "\r\n" : "", boundary, (unsigned)range->start,
					(unsigned)(range->start + range->len - 1), (unsigned)SIZE);
		memcpy(out + used, content + range->start, range->len);
		used += range->len;
	}
	return used + (size_t)sprintf(out + used, "\r\n--%s--\r\n", boundary);
}

static void expect_body(struct multipart *multipart, const struct range_set *set, size_t step)
{
	char wanted[4096], got[4096];
	size_t len = expected(multipart, set, wanted), done = 0;

	assert_int_equal(multipart_length(multipart), len);
	while (done < len) {
		ssize_t n = multipart_read(multipart, done, got + done, len - done < step ? len - done : step);

		assert_true(n >= 0 && (size_t)n <= step);
		done += (size_t)n;
	}
	assert_int_equal(multipart_read(multipart, done, got, step), 0);
	assert_memory_equal(got, wanted, len);
}

static void multipart_is_what_the_rfc_says(void **state)
{
	struct multipart *multipart = of_file(&three);

	(void)state;
	assert_int_equal(strncmp(multipart_type(multipart), "multipart/byteranges; boundary=", 31), 0);
	assert_int_equal(strlen(multipart_type(multipart)), 31 + 32);
	expect_body(multipart, &three, 4096);
	multipart_free(multipart);
}

static void multipart_may_be_read_in_pieces_of_any_size(void **state)
{
	(void)state;
	for (size_t step = 1; step < 300; step += step < 20 ? 1 : 17) {
		struct multipart *multipart = of_file(&three);

		expect_body(multipart, &three, step);
		expect_body(multipart, &three, step); /* from its start again */
		multipart_free(multipart);
	}
}

static void multipart_waits_for_its_source(void **state)
{
	struct trickle trickle = {0};
	struct multipart_source source = {.fd = -1, .read = read_trickle, .arg = &trickle};
	struct multipart *multipart = multipart_new(&three, SIZE, &source);
	char data[4096];
	ssize_t text;

	(void)state;
	/* What stands in front of the first part's bytes comes alone: a source that pauses the reader is asked when
	 * there is nothing else to send. */
	text = multipart_read(multipart, 0, data, sizeof(data));
	assert_true(text > 0);
	assert_memory_equal(data + text - 4, "\r\n\r\n", 4);
	assert_int_equal(trickle.calls, 0);
	assert_int_equal(multipart_read(multipart, (uint64_t)text, data, sizeof(data)), 0);
	assert_int_equal(trickle.calls, 1);
	for (size_t step = 1; step < 200; step += 7)
		expect_body(multipart, &three, step);
	multipart_free(multipart);
}

static void multipart_says_when_its_source_breaks(void **state)
{
	struct trickle trickle = {.broken = true};
	struct multipart_source source = {.fd = -1, .read = read_trickle, .arg = &trickle};
	struct multipart *multipart = multipart_new(&three, SIZE, &source);
	char data[4096];
	ssize_t text = multipart_read(multipart, 0, data, sizeof(data));

	(void)state;
	assert_int_equal(multipart_read(multipart, (uint64_t)text, data, sizeof(data)), ERR_UPSTREAM);
	multipart_free(multipart);
}

static void multipart_says_when_its_file_is_short(void **state)
{
	static const struct range_set beyond = {.count = 2, .ranges = {{0, 1}, {SIZE, 1}}};
	struct multipart *multipart = of_file(&beyond);
	char data[4096];
	ssize_t got = multipart_read(multipart, 0, data, sizeof(data));

	(void)state;
	assert_true(got > 0);
	assert_int_equal(multipart_read(multipart, (uint64_t)got, data, sizeof(data)), ERR_IO);
	multipart_free(multipart);
}

static void multipart_boundaries_differ(void **state)
{
	struct multipart *one = of_file(&three), *other = of_file(&three);

	(void)state;
	assert_string_not_equal(multipart_type(one), multipart_type(other));
	multipart_free(one);
	multipart_free(other);
	multipart_free(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(multipart_is_what_the_rfc_says),
		cmocka_unit_test(multipart_may_be_read_in_pieces_of_any_size),
		cmocka_unit_test(multipart_waits_for_its_source),
		cmocka_unit_test(multipart_says_when_its_source_breaks),
		cmocka_unit_test(multipart_says_when_its_file_is_short),
		cmocka_unit_test(multipart_boundaries_differ),
	};
	return cmocka_run_group_tests_name("multipart", tests, setup, NULL);
}
