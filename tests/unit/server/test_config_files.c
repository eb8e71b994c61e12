/* SPDX-License-Identifier: Apache-2.0 */
/* The files that a configuration is in, and that it names. */
#include "tests/unit/server/config_bed.h"

#include <ctype.h>

static void passwords_come_from_a_file_or_the_environment(void **state)
{
	(void)state;
	setenv("LARDER_PASSWORD_A_EXAMPLE_5000", "from the environment", 1);
	_cleanup_config_ struct config *from_environment = parse("upstreams: {\"a.example:5000\": {username: me}}");
	assert_string_equal(config_find_upstream(from_environment, "a.example:5000")->password, "from the environment");
	_cleanup_config_ struct config *nobody = parse("upstreams: {\"a.example:5000\": {}}");
	assert_null(config_find_upstream(nobody, "a.example:5000")->password);
	_cleanup_free_ char *file = write_file("password", "line one\nline two\r\n", 19);
	_cleanup_free_ char *text =
		mem_printf("upstreams: {\"a.example:5000\": {username: me, password_file: %s}}", file);
	_cleanup_config_ struct config *from_file = parse(text);
	assert_string_equal(config_find_upstream(from_file, "a.example:5000")->password, "line one\nline two");
	free(write_file("password", "\n", 1));
	refuse(text,
	       "t.yaml:1:61: upstreams.a.example:5000.password_file: is empty; the file must hold the password and "
	       "nothing else");
	free(write_file("password", "a\0b", 3));
	refuse(text, "t.yaml:1:61: upstreams.a.example:5000.password_file: holds a NUL byte~");
	_cleanup_free_ char *large = mem_alloc(CONFIG_SECRET_MAX + 1);
	memset(large, 'x', CONFIG_SECRET_MAX + 1);
	free(write_file("password", large, CONFIG_SECRET_MAX + 1));
	refuse(text, "t.yaml:1:61: upstreams.a.example:5000.password_file: is too long~");
	unsetenv("LARDER_PASSWORD_A_EXAMPLE_5000");
}

static void a_password_may_be_in_a_variable_that_the_file_names(void **state)
{
	(void)state;
	static const char text[] = "upstreams:\n  a.example:\n    username: me\n    password: ${LARDER_TEST_SECRET}\n";
	unsetenv("LARDER_TEST_SECRET");
	refuse(text,
	       "t.yaml:4:15: upstreams.a.example.password: the environment variable LARDER_TEST_SECRET is not set");
	setenv("LARDER_TEST_SECRET", "s3cret\x01", 1);
	_cleanup_config_ struct config *config = parse(text);
	assert_string_equal(config_find_upstream(config, "a.example")->password, "s3cret\x01");
	refuse("upstreams:\n  a.example:\n    password: ${LARDER_TEST_SECRET}\n",
	       "t.yaml:3:15: upstreams.a.example.password: has no user name; set username too");
	_cleanup_free_ char *file = write_file("password", "x", 1);
	_cleanup_free_ char *both = mem_printf("%s    password_file: %s\n", text, file);
	refuse(both, "t.yaml:4:15: upstreams.a.example.password: is beside password_file; leave out one of the two");
	/* What is shown is taken again, and tells nothing. */
	char *shown = NULL;
	size_t len;
	FILE *out = open_memstream(&shown, &len);
	config_print(config, out);
	config_print_json(config, out);
	fclose(out);
	assert_null(strstr(shown, "s3cret"));
	assert_non_null(strstr(shown, "\"password\": \"<redacted>\""));
	*strstr(shown, "\n{") = '\0';
	_cleanup_config_ struct config *again = parse(shown);
	assert_string_equal(config_find_upstream(again, "a.example")->password, "s3cret\x01");
	free(shown);
	unsetenv("LARDER_TEST_SECRET");
}

static void docker_config_is_read_and_its_secrets_are_not_told(void **state)
{
	(void)state;
	_cleanup_free_ char *file = write_file("config.json", "{}", 2);
	_cleanup_free_ char *text = mem_printf("upstreams:\n  a.example:\n    docker_config: %s\n", file);
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"{\"auths\": {\"a.example\": {\"auth\": \"s3cret\"}}}",
		 "auths.a.example.auth: is not base64 of USER:PASSWORD"},
		{"{\"auths\": s3cret", "1: is not a JSON object"},
		{"{\"credsStore\": \"../s3cret\"}", "credsStore: is not a helper's name~"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		free(write_file("config.json", cases[i].text, strlen(cases[i].text)));
		_cleanup_free_ char *says =
			mem_printf("t.yaml:3:20: upstreams.a.example.docker_config: %s:%s%s", file,
				   isdigit((unsigned char)cases[i].says[0]) ? "" : " ", cases[i].says);
		refuse(text, says);
	}
	free(write_file("config.json", "{\"auths\": {\"b.example\": {}}}", strlen("{\"auths\": {\"b.example\": {}}}")));
	config_free(parse(text));
	unlink(file);
	refuse(text, "t.yaml:3:20: upstreams.a.example.docker_config: '/tmp/larder-config-~");
}

/* As `larder config check` and `serve` have it; config_parse() does not look into them. */
static void expect_looked_into(const char *text, const char *says)
{
	struct config *config = NULL;
	struct config_problems problems;
	int code = config_parse_all("t.yaml", text, strlen(text), config_inspect, &config, &problems);

	assert_int_equal(code, says ? ERR_INVALID : 0);
	assert_int_equal(problems.count, says ? 1 : 0);
	if (says && strncmp(problems.items[0].text, says, strlen(says)) != 0)
		fail_msg("expected: %s\nbut said: %s", says, problems.items[0].text);
	config_free(config);
}

static void what_is_in_the_files_is_looked_at(void **state)
{
	(void)state;
	static const char user[] = "alice:$2y$04$abcdefghijklmnopqrstuuNlZAR7NEExaJuD6ixqkqXpRrQa5lFvC\n";
	static const char public_key[] = "-----BEGIN PUBLIC KEY-----\n"
					 "MCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n"
					 "-----END PUBLIC KEY-----\n";
	static const struct {
		const char *before, *after, *says;
	} cases[] = {
		{"tls: {cert: ", ", key: /etc/passwd}", "t.yaml:1:13: tls.cert: '"},
		{"access: {htpasswd: ", "}", "t.yaml:1:20: access.htpasswd: "},
		{"import: {verify_key: ", "}", "t.yaml:1:22: import.verify_key: "},
		{"upstreams: {a.example: {ca: ", "}}", "t.yaml:1:29: upstreams.a.example.ca: '"},
		{"upstreams: {a.example: {client_key: /etc/passwd, client_cert: ", "}}",
		 "t.yaml:1:63: upstreams.a.example.client_cert: '"},
	};
	_cleanup_free_ char *file = write_file("named", "x\n", 2);
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *text = mem_printf("%s%s%s", cases[i].before, file, cases[i].after);
		expect_looked_into(text, cases[i].says);
	}
	_cleanup_free_ char *token = mem_printf("admin: {token_file: %s}", file);
	expect_looked_into(token, NULL);
	free(write_file("named", "\nx\n", 3));
	expect_looked_into(token, "t.yaml:1:21: admin.token_file: the first line of /tmp/larder-config-");
	free(write_file("named", user, strlen(user)));
	_cleanup_free_ char *users = mem_printf("access: {htpasswd: %s}", file);
	expect_looked_into(users, NULL);
	free(write_file("named", public_key, strlen(public_key)));
	_cleanup_free_ char *key = mem_printf("import: {verify_key: %s}", file);
	expect_looked_into(key, NULL);
}

static void an_unreadable_file_tells_whom_to_let_read_it(void **state)
{
	(void)state;
	_cleanup_free_ char *file = write_file("secret", "x\n", 2);
	_cleanup_free_ char *text = mem_printf("admin: {token_file: %s}", file);
	_cleanup_free_ char *says = mem_printf(
		"t.yaml:1:21: admin.token_file: '%s' cannot be read: Permission denied; let the user ~", file);
	uid_t me = geteuid();
	assert_int_equal(chmod(file, 0), 0);
	assert_int_equal(chmod(directory, 0755), 0);
	/* Root reads everything. */
	if (me == 0)
		assert_int_equal(seteuid(65534), 0);
	refuse(text, says);
	assert_int_equal(seteuid(me), 0);
}

static void a_missing_file_is_an_error(void **state)
{
	(void)state;
	struct config *config = NULL;
	struct err err = {0};
	assert_int_equal(config_read("/nowhere/larder.yaml", &config, &err), ERR_IO);
	assert_string_equal(err.text, "/nowhere/larder.yaml: cannot be read: No such file or directory");
	assert_null(config);
	_cleanup_free_ char *path = write_file("good.yaml", "offline: true\n", 14);
	assert_int_equal(config_read(path, &config, &err), 0);
	assert_true(config->offline);
	config_free(config);
	setenv("LARDER_CONFIG", path, 1);
	assert_string_equal(config_default_path(), path);
	unsetenv("LARDER_CONFIG");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(passwords_come_from_a_file_or_the_environment),
		cmocka_unit_test(a_password_may_be_in_a_variable_that_the_file_names),
		cmocka_unit_test(docker_config_is_read_and_its_secrets_are_not_told),
		cmocka_unit_test(what_is_in_the_files_is_looked_at),
		cmocka_unit_test(an_unreadable_file_tells_whom_to_let_read_it),
		cmocka_unit_test(a_missing_file_is_an_error),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
