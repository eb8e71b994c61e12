/* SPDX-License-Identifier: Apache-2.0 */
/* What is printed reads back the same; what is broken never breaks the reader; the documentation says what the table
 * says. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/command.h"
#include "server/cli/config.h"

#include <fcntl.h>
#include <jansson.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>

static char directory[] = "/tmp/larder-config-print-XXXXXX";

static void free_config(struct config **config)
{
	config_free(*config);
}
#define _cleanup_config_ _cleanup_(free_config)

static struct config *parse(const char *text)
{
	struct config *config = NULL;
	struct err err = {0};
	if (config_parse("t.yaml", text, strlen(text), &config, &err))
		fail_msg("refused: %s\n%s", err.text, text);
	return config;
}

static char *write_file(const char *name, const char *text)
{
	char *path = mem_printf("%s/%s", directory, name);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	return path;
}

static char *read_file(const char *path)
{
	_cleanup_(buf_dispose) struct buf text = {0};
	char block[4096];
	size_t got = 0;
	FILE *file = fopen(path, "re");
	assert_non_null(file);
	while ((got = fread(block, 1, sizeof(block), file)) > 0)
		buf_append(&text, block, got);
	fclose(file);
	return take_pointer(text.data);
}

/* What `print` prints of `config`. Inlined, gcc 12 takes the stream's buffer for the local that points to it. */
__attribute__((noinline)) static char *printed(const struct config *config,
					       void (*print)(const struct config *, FILE *))
{
	char *text = NULL;
	size_t len = 0;
	FILE *stream = open_memstream(&text, &len);
	assert_non_null(stream);
	print(config, stream);
	fclose(stream);
	return text;
}

static void assert_round_trip(const char *text)
{
	_cleanup_config_ struct config *first = parse(text);
	_cleanup_free_ char *once = printed(first, config_print);
	_cleanup_config_ struct config *second = parse(once);
	_cleanup_free_ char *twice = printed(second, config_print);
	assert_string_equal(once, twice);
	_cleanup_free_ char *first_json = printed(first, config_print_json);
	_cleanup_free_ char *second_json = printed(second, config_print_json);
	assert_string_equal(first_json, second_json);
	assert_int_equal(first->upstream_count, second->upstream_count);
}

static void what_is_printed_reads_back_the_same(void **state)
{
	(void)state;
	setenv("LARDER_PASSWORD_A_EXAMPLE", "hunter2", 1);
	static const char *const texts[] = {
		"",
		"offline: true\nlisten: ['[::1]:0']\nadmin: {listen: off}\n",
		"store: {path: '/x $${y} \"q\" \\ # : z', max_size: 0, min_free: 123456789}\n",
		"store: {path: 'null', max_size: 1.5GiB, min_free: 18446744073709551615}\n",
		"store: {path: '/größe/倉庫/\xf0\x9f\x90\x8b'}\n",
		"store: {path: '- x'}\nadmin: {listen: 'unix:/a b: c'}\n",
		"store: {path: '$$$${a}$'}\n",
		"upstreams: {docker.io: {aliases: [], deny: ['*', '[a-z]*', '!x', '&y', '{a,b}', \"it's\", '%']}}\n",
		"upstreams: {docker.io: {deny: ['@', '`', 'a: b', 'c #d', ' e ', '?', '-']}}\n",
		"upstreams: {'[::1]:5000': {}, 'null': {}, '1': {url: 'http://x/a%20b/'}}\n",
		"upstreams: {a.example: {username: 'me: # you', rate_limit: 7/1500ms, tag_ttl: 1d2h3m4s5ms}}\n",
		"upstreams: {a.example: {stale_for: 0, idle_timeout: 90s, proxy: 'http://p:1'}}\n",
	};
	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
		assert_round_trip(texts[i]);
	unsetenv("LARDER_PASSWORD_A_EXAMPLE");
}

static void printed_values_are_the_values_read(void **state)
{
	(void)state;
	_cleanup_config_ struct config *first =
		parse("store: {path: '/x $${y} \"q\" \\ # : z', min_free: 123456789}\n"
		      "upstreams: {a.example: {rate_limit: 7/1500ms, tag_ttl: 1d2h3m4s5ms, deny: ['[a]', '*']}}\n");
	_cleanup_free_ char *text = printed(first, config_print);
	_cleanup_config_ struct config *second = parse(text);
	assert_string_equal(second->store.path, "/x ${y} \"q\" \\ # : z");
	assert_true(second->store.min_free == 123456789);
	const struct config_upstream *upstream = config_find_upstream(second, "a.example");
	assert_true(upstream->rate_limit.events == 7 && upstream->rate_limit.period_ms == 1500);
	assert_true(upstream->tag_ttl_ms == 93784005);
	assert_string_equal(upstream->deny.items[0], "[a]");
	assert_string_equal(upstream->deny.items[1], "*");
}

static void passwords_are_never_printed(void **state)
{
	(void)state;
	_cleanup_free_ char *file = write_file("password", "hunter2\n");
	_cleanup_free_ char *text = mem_printf(
		"upstreams: {a.example: {username: me, password_file: %s}, b.example: {username: you}}\n", file);
	setenv("LARDER_PASSWORD_B_EXAMPLE", "hunter2", 1);
	_cleanup_config_ struct config *config = parse(text);
	_cleanup_free_ char *yaml = printed(config, config_print);
	_cleanup_free_ char *json = printed(config, config_print_json);
	assert_null(strstr(yaml, "hunter2"));
	assert_null(strstr(json, "hunter2"));
	const char *mark = strstr(yaml, "    # password: <redacted>\n");
	assert_non_null(mark);
	assert_non_null(strstr(mark + 1, "    # password: <redacted>\n"));
	json_t *document = json_loads(json, 0, NULL);
	assert_non_null(document);
	json_t *upstream = json_object_get(json_object_get(document, "upstreams"), "b.example");
	assert_string_equal(json_string_value(json_object_get(upstream, "password")), "<redacted>");
	assert_string_equal(json_string_value(json_object_get(upstream, "username")), "you");
	assert_true(json_is_false(json_object_get(upstream, "insecure")));
	assert_int_equal(json_integer_value(json_object_get(upstream, "retries")), 3);
	assert_string_equal(json_string_value(json_object_get(upstream, "stale_for")), "forever");
	json_decref(document);
	unsetenv("LARDER_PASSWORD_B_EXAMPLE");
}

static const char rich_document[] =
	"listen: [127.0.0.1:0, \"[::1]:0\"] # two\n"
	"admin: {listen: unix:/run/x.sock}\n"
	"store:\n  path: \"${LARDER_NOWHERE:-/srv/\\u00e9}\"\n  max_size: 500GiB\n  min_free: 20GiB\n"
	"log: &log\n  level: info\n  format: json\n"
	"upstreams:\n"
	"  docker.io: &hub\n    mirrors: [https://mirror.example.com]\n    tag_ttl: 5m\n"
	"    immutable_tags:\n      - \"v[0-9]*\"\n      - 'it''s'\n    rate_limit: 100/6h\n"
	"  quay.io: *hub\n"
	"  ? registry.example.com:5000\n  : {url: 'https://registry.example.com', retries: 1}\n"
	"  folded.example:\n    proxy: >-\n      http://p:1\n"
	"...\n";

/* A fixed sequence (Knuth, MMIX), so that a failure comes back. */
static unsigned next_random(uint64_t *seed)
{
	*seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
	return (unsigned)(*seed >> 33);
}

static bool parse_broken(const char *text, size_t len)
{
	struct config *config = NULL;
	struct config_problems problems;
	/* Memory of exactly this size, so that a sanitizer sees a read past the end. */
	_cleanup_free_ char *exact = len ? mem_alloc(len) : NULL;
	if (len)
		memcpy(exact, text, len);
	int code = config_parse_all("t.yaml", exact ? exact : "", len, NULL, &config, &problems);
	if (code) {
		assert_null(config);
		assert_true(problems.count > 0 && problems.count <= CONFIG_PROBLEMS_MAX);
		assert_memory_equal(problems.items[0].text, "t.yaml:", 7);
	} else {
		_cleanup_free_ char *text_of_it = printed(config, config_print);
		config_free(parse(text_of_it));
	}
	config_free(config);
	return code == 0;
}

static void no_truncated_document_breaks_the_reader(void **state)
{
	(void)state;
	assert_true(parse_broken(rich_document, strlen(rich_document)));
	for (size_t len = 0; len < sizeof(rich_document); len++)
		parse_broken(rich_document, len);
}

static void no_mutated_document_breaks_the_reader(void **state)
{
	(void)state;
	static const char signs[] = "{}[]:,-?&*!|>'\"%@`#\n\t \\$~\xff\xc3\0ax0";
	uint64_t seed = 20261121;
	size_t accepted = 0;
	for (int round = 0; round < 6000; round++) {
		char text[sizeof(rich_document)];
		memcpy(text, rich_document, sizeof(text));
		unsigned changes = 1 + next_random(&seed) % 4;
		for (unsigned i = 0; i < changes; i++) {
			size_t at = next_random(&seed) % (sizeof(text) - 1);
			size_t from = next_random(&seed) % (sizeof(text) - 1);
			size_t room = sizeof(text) - 1 - (at > from ? at : from);
			if (next_random(&seed) % 4 == 0)
				memmove(text + at, text + from, next_random(&seed) % room);
			else
				text[at] = signs[next_random(&seed) % (sizeof(signs) - 1)];
		}
		accepted += parse_broken(text, sizeof(text) - 1);
	}
	/* The loop means something only when some mutants live and some do not. */
	assert_in_range(accepted, 100, 5900);
}

/* Runs `config ARGUMENTS…` in a child, as main() would, its standard output into `output`. Returns the exit status. */
static int run_config(const char *output, const char *const *arguments)
{
	pid_t child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		char *argv[8] = {(char *)"config"};
		int argc = 1;
		for (; arguments[argc - 1]; argc++)
			argv[argc] = (char *)arguments[argc - 1];
		int fd = open(output, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
		int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (fd < 0 || null < 0 || dup2(fd, STDOUT_FILENO) < 0 || dup2(null, STDERR_FILENO) < 0)
			_exit(99);
		int status = command_run(command_find("config"), argc, argv);
		int written = command_finish_output();
		_exit(status ? status : written);
	}
	int status = 0;
	assert_int_equal(waitpid(child, &status, 0), child);
	assert_true(WIFEXITED(status));
	return WEXITSTATUS(status);
}

#define RUN(output, ...) run_config(output, (const char *const[]){__VA_ARGS__, NULL})

static void exit_statuses_are_those_of_the_contract(void **state)
{
	(void)state;
	_cleanup_free_ char *good = write_file("good.yaml", "offline: true\n");
	_cleanup_free_ char *bad = write_file("bad.yaml", "offlin: true\n");
	_cleanup_free_ char *output = write_file("output", "");
	assert_int_equal(RUN(output, "check", "-c", good), EXIT_DONE);
	_cleanup_free_ char *said = read_file(output);
	_cleanup_free_ char *expected = mem_printf("%s: ok\n", good);
	assert_string_equal(said, expected);
	assert_int_equal(RUN(output, "check", "-c", bad), EXIT_CONFIG);
	assert_int_equal(RUN(output, "show", "-c", bad), EXIT_CONFIG);
	assert_int_equal(RUN(output, "check", "-c", "/nowhere/larder.yaml"), EXIT_CONFIG);
	assert_int_equal(RUN(output, "-c", good, "show", "--json"), EXIT_DONE);
	assert_int_equal(RUN("/dev/full", "show", "-c", good), EXIT_SOME_FAILED);
	assert_int_equal(RUN(output, "show", "-c"), EXIT_USAGE);
	assert_int_equal(RUN(output, "show", "--no-such-option"), EXIT_USAGE);
	assert_int_equal(RUN(output, "check", good), EXIT_DONE);
	assert_int_equal(RUN(output, "show", bad), EXIT_CONFIG);
	assert_int_equal(RUN(output, "show", good, "more"), EXIT_USAGE);
	assert_int_equal(RUN(output, "show", "-c", good, good), EXIT_USAGE);
	assert_int_equal(RUN(output, "keys", good), EXIT_USAGE);
	assert_int_equal(RUN(output, "keys", "--json"), EXIT_USAGE);
	assert_int_equal(RUN(output, "show", "--markdown"), EXIT_USAGE);
	assert_int_equal(RUN(output, "shew"), EXIT_USAGE);
	assert_int_equal(RUN(output, "-c", good), EXIT_USAGE);
	setenv("LARDER_CONFIG", bad, 1);
	assert_int_equal(RUN(output, "check"), EXIT_CONFIG);
	setenv("LARDER_CONFIG", good, 1);
	assert_int_equal(RUN(output, "show"), EXIT_DONE);
	unsetenv("LARDER_CONFIG");
	_cleanup_free_ char *shown = read_file(output);
	_cleanup_config_ struct config *config = parse(shown);
	assert_true(config->offline);
}

static void check_prints_its_verdict_as_a_document(void **state)
{
	(void)state;
	_cleanup_free_ char *good = write_file("good.yaml", "offline: true\n");
	_cleanup_free_ char *bad = write_file("bad.yaml", "offlin: true\nlisen: x\n");
	_cleanup_free_ char *output = write_file("output", "");
	assert_int_equal(RUN(output, "check", "--json", "-c", good), EXIT_DONE);
	json_t *verdict = json_load_file(output, 0, NULL);
	assert_true(json_is_true(json_object_get(verdict, "valid")));
	assert_int_equal(json_array_size(json_object_get(verdict, "problems")), 0);
	json_decref(verdict);
	assert_int_equal(RUN(output, "check", "--json", "-c", bad), EXIT_CONFIG);
	verdict = json_load_file(output, 0, NULL);
	const json_t *problems = json_object_get(verdict, "problems");
	assert_true(json_is_false(json_object_get(verdict, "valid")));
	assert_int_equal(json_array_size(problems), 2);
	assert_non_null(strstr(json_string_value(json_array_get(problems, 1)), "bad.yaml:2:1: lisen: "));
	json_decref(verdict);
}

static void the_documented_table_is_the_program_s_own(void **state)
{
	(void)state;
	_cleanup_free_ char *page = read_file(LARDER_SOURCE_DIR "/docs/configuration.md");
	char *table = NULL;
	size_t len = 0;
	FILE *stream = open_memstream(&table, &len);
	config_print_keys(stream, true);
	fclose(stream);
	if (!strstr(page, table))
		fail_msg("docs/configuration.md is not what `larder config keys --markdown` prints:\n%s", table);
	free(table);
}

static void the_documented_example_is_valid(void **state)
{
	(void)state;
	static const char *const names[] = {"tls.crt",      "tls.key",         "admin.token", "users",
					    "hub.password", "internal-ca.pem", "client.crt",  "client.key"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		free(write_file(names[i], "x\n"));
	_cleanup_free_ char *page = read_file(LARDER_SOURCE_DIR "/docs/configuration.md");
	char *at = strstr(page, "```yaml\n");
	assert_non_null(at);
	at += strlen("```yaml\n");
	char *end = strstr(at, "```\n");
	assert_non_null(end);
	*end = '\0';
	/* Its files are looked for in our own directory. */
	_cleanup_(buf_dispose) struct buf text = {0};
	static const char folder[] = "/etc/larder";
	for (char *next = NULL; (next = strstr(at, folder)); at = next + strlen(folder)) {
		buf_append(&text, at, (size_t)(next - at));
		buf_append_text(&text, directory);
	}
	buf_append_text(&text, at);
	assert_round_trip(text.data);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		_cleanup_free_ char *path = mem_printf("%s/%s", directory, names[i]);
		assert_int_equal(unlink(path), 0);
	}
}

static int make_directory(void **state)
{
	(void)state;
	unsetenv("LARDER_CONFIG");
	unsetenv("LARDER_STORE");
	return mkdtemp(directory) ? 0 : -1;
}

static int remove_directory(void **state)
{
	(void)state;
	static const char *const names[] = {"password", "good.yaml", "bad.yaml", "output"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		_cleanup_free_ char *path = mem_printf("%s/%s", directory, names[i]);
		unlink(path);
	}
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_printed_reads_back_the_same),
		cmocka_unit_test(printed_values_are_the_values_read),
		cmocka_unit_test(passwords_are_never_printed),
		cmocka_unit_test(no_truncated_document_breaks_the_reader),
		cmocka_unit_test(no_mutated_document_breaks_the_reader),
		cmocka_unit_test(exit_statuses_are_those_of_the_contract),
		cmocka_unit_test(check_prints_its_verdict_as_a_document),
		cmocka_unit_test(the_documented_table_is_the_program_s_own),
		cmocka_unit_test(the_documented_example_is_valid),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
