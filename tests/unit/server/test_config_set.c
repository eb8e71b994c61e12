/* SPDX-License-Identifier: Apache-2.0 */
/* What the command line sets. */
#include "tests/unit/server/config_bed.h"

static void the_command_line_sets_keys_by_their_path(void **state)
{
	(void)state;
	struct err err = {0};
	_cleanup_config_ struct config *config = config_default();
	assert_int_equal(config_set(config, "listen", (const char *const[]){"0.0.0.0:1", "[::]:2"}, 2, &err), 0);
	assert_int_equal(config->listen.count, 2);
	assert_string_equal(config->listen.items[1], "[::]:2");
	assert_int_equal(config_set(config, "listen", (const char *const[]){"0.0.0.0:3", "x"}, 2, &err), ERR_INVALID);
	assert_memory_equal(err.text, "listen: 'x' is not ADDR:PORT", 28);
	assert_string_equal(config->listen.items[0], "0.0.0.0:1");
	assert_int_equal(config_set(config, "listen", NULL, 0, &err), ERR_INVALID);
	assert_int_equal(config_set(config, "store.path", (const char *const[]){"/${x}"}, 1, &err), 0);
	assert_string_equal(config->store.path, "/${x}");
	assert_int_equal(config_set(config, "log.level", (const char *const[]){"warn"}, 1, &err), 0);
	assert_int_equal(config->log.level, LOG_WARN);
	assert_int_equal(config_set(config, "layers.checkpoint", (const char *const[]){"8MiB"}, 1, &err), 0);
	assert_int_equal(config->layers.checkpoint, 8 << 20);
	assert_int_equal(config_set(config, "layers.checkpoint", (const char *const[]){"9MiB"}, 1, &err), ERR_INVALID);
	assert_int_equal(config_set(config, "layers.checkpoint", (const char *const[]){"1023KiB"}, 1, &err),
			 ERR_INVALID);
	static const char *const bad[] = {"store", "store.", "x.path", "", "upstreams", "listen.x"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_int_equal(config_set(config, bad[i], (const char *const[]){"x"}, 1, &err), ERR_INVALID);
}

static void the_command_line_adds_and_overrides_upstreams(void **state)
{
	(void)state;
	struct err err = {0};
	_cleanup_config_ struct config *config = config_default();
	assert_int_equal(config_set_upstream(config, "http://127.0.0.1:8080/", true, &err), 0);
	assert_string_equal(config->default_upstream, "127.0.0.1:8080");
	assert_string_equal(config_find_upstream(config, "127.0.0.1:8080")->url, "http://127.0.0.1:8080");
	assert_int_equal(config_set_upstream(config, "Docker.io=http://mirror", false, &err), 0);
	assert_string_equal(config_find_upstream(config, "docker.io")->url, "http://mirror");
	assert_string_equal(config->default_upstream, "127.0.0.1:8080");
	assert_int_equal(config_set_upstream(config, "https://registry-1.docker.io", true, &err), 0);
	assert_string_equal(config->default_upstream, "docker.io");
	assert_int_equal(config->upstream_count, 8);
	assert_int_equal(config_validate(config, &err), 0);
	static const char *const bad[] = {"", "x", "=http://x", "x=", "a b=http://x", "x=ftp://x", "http://"};
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		err = (struct err){0};
		assert_int_equal(config_set_upstream(config, bad[i], true, &err), ERR_INVALID);
		assert_memory_equal(err.text, "upstream: ", 10);
	}
	assert_int_equal(config->upstream_count, 8);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_command_line_sets_keys_by_their_path),
		cmocka_unit_test(the_command_line_adds_and_overrides_upstreams),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
