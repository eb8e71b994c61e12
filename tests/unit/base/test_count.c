/* SPDX-License-Identifier: Apache-2.0 */
#include "base/count.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#define THREADS 4
#define EACH    20000

static void count_gives_each_status_a_slot_of_its_own(void **state)
{
	static const char *const texts[] = {"200", "206", "304", "401", "404", "416", "429", "503", "504"};

	(void)state;
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++) {
		int status = (texts[i][0] - '0') * 100 + (texts[i][1] - '0') * 10 + texts[i][2] - '0';

		assert_string_equal(count_status_text(count_status_slot(status)), texts[i]);
	}
	for (unsigned a = 0; a < COUNT_STATUSES; a++)
		for (unsigned b = a + 1; b < COUNT_STATUSES; b++)
			assert_string_not_equal(count_status_text(a), count_status_text(b));
}

static void count_bounds_what_a_peer_may_invent(void **state)
{
	(void)state;
	assert_string_equal(count_status_text(count_status_slot(299)), "other");
	assert_string_equal(count_status_text(count_status_slot(999)), "other");
	assert_string_equal(count_status_text(count_status_slot(-7)), "other");
	assert_string_equal(count_status_text(count_status_slot(0)), "none");
}

static void count_puts_a_time_into_the_bucket_that_bounds_it(void **state)
{
	struct count_histogram histogram = {0};

	(void)state;
	count_observe(&histogram, 0);
	count_observe(&histogram, count_bounds_us[0]);
	count_observe(&histogram, count_bounds_us[0] + 1);
	count_observe(&histogram, count_bounds_us[COUNT_BUCKETS - 1] + 1);
	assert_int_equal(histogram.buckets[0], 2);
	assert_int_equal(histogram.buckets[1], 1);
	assert_int_equal(histogram.buckets[COUNT_BUCKETS], 1);
	assert_int_equal(histogram.sum_us, 2 * count_bounds_us[0] + 2 + count_bounds_us[COUNT_BUCKETS - 1]);
	for (size_t i = 1; i < COUNT_BUCKETS; i++)
		assert_true(count_bounds_us[i - 1] < count_bounds_us[i]);
}

static void *observe_many(void *arg)
{
	for (unsigned i = 0; i < EACH; i++)
		count_observe(arg, 3);
	return NULL;
}

static void count_loses_nothing_between_threads(void **state)
{
	struct count_histogram histogram = {0};
	pthread_t threads[THREADS];

	(void)state;
	for (size_t i = 0; i < THREADS; i++)
		assert_int_equal(pthread_create(&threads[i], NULL, observe_many, &histogram), 0);
	for (size_t i = 0; i < THREADS; i++)
		pthread_join(threads[i], NULL);
	assert_int_equal(count_read(&histogram.buckets[0]), THREADS * EACH);
	assert_int_equal(count_read(&histogram.sum_us), 3 * THREADS * EACH);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(count_gives_each_status_a_slot_of_its_own),
		cmocka_unit_test(count_bounds_what_a_peer_may_invent),
		cmocka_unit_test(count_puts_a_time_into_the_bucket_that_bounds_it),
		cmocka_unit_test(count_loses_nothing_between_threads),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
