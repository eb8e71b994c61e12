/* SPDX-License-Identifier: Apache-2.0 */
/* Documents that are refused, and what is said. */
#include "tests/unit/server/config_bed.h"

static void what_is_wrong_is_said_with_line_and_column(void **state)
{
	(void)state;
	static const struct {
		const char *text, *says;
	} cases[] = {
		{"listn: x\n", "t.yaml:1:1: listn: unknown key; did you mean listen?"},
		{"# x\n\nstore:\n    max_sise: 3\n", "t.yaml:4:5: store.max_sise: unknown key; did you mean max_size?"},
		{"max_size: 3\n", "t.yaml:1:1: max_size: unknown key here; it belongs in store"},
		{"tag_ttl: 3s\n", "t.yaml:1:1: tag_ttl: unknown key here; it belongs in upstreams.NAME"},
		{"zzz: 3s\n", "t.yaml:1:1: zzz: unknown key; see larder config keys"},
		{"offline: true\noffline: true\n",
		 "t.yaml:2:1: offline: stands here twice, first in line 1; leave out one"},
		{"upstreams:\n  a.b: {}\n  A.b: {}\n", "t.yaml:3:3: upstreams.A.b: stands here twice~"},
		{"offline: yes\n", "t.yaml:1:10: offline: 'yes' is neither true nor false; write one of them"},
		{"offline:\n", "t.yaml:1:9: offline: has no value; give one or leave the key out"},
		{"offline: [true]\n", "t.yaml:1:10: offline: takes one value, not a list; write KEY: VALUE"},
		{"offline: !!bool true\n", "t.yaml:1:10: offline: has a tag; leave the tag out"},
		{"[a]: x\n", "t.yaml:1:1: key: a list stands where a key should; write KEY: VALUE"},
		{"\"a\\eb\": x\n", "t.yaml:1:1: key: has a key with control characters; write plain text"},
		{"store: {path: \"a\\0b\"}\n", "t.yaml:1:15: store.path: holds a NUL character; write plain text"},
		{"store: {path: \"a\\nb\"}\n", "t.yaml:1:15: store.path: 'a?b' holds control characters~"},
		{"store: {path: ''}\n", "t.yaml:1:15: store.path: is empty; give a value or leave the key out"},
		{"store: {path: ~/x}\n", "t.yaml:1:15: store.path: '~/x' starts with '~'~"},
		{"store: {max_size: lots}\n",
		 "t.yaml:1:19: store.max_size: 'lots' is not a size; write one like 512MiB or 200GiB"},
		{"store: [x]\n", "t.yaml:1:8: store: takes keys and values, not a list; write KEY: VALUE below it"},
		{"- x\n", "t.yaml:1:1: document: takes keys and values, not a list~"},
		{"just text\n", "t.yaml:1:1: document: takes keys and values, not a value; write KEY: VALUE, with a "
				"blank after the colon"},
		{"listen: []\n", "t.yaml:1:9: listen: is empty; give at least one value or leave the key out"},
		{"listen: {a: b}\n", "t.yaml:1:9: listen: takes a list, not a mapping; write KEY: [ VALUE, VALUE ]"},
		{"listen:\n- 1.2.3.4:5\n- 1.2.3.4\n", "t.yaml:3:3: listen[1]: '1.2.3.4' is not ADDR:PORT~"},
		{"log: {level: loud}\n",
		 "t.yaml:1:14: log.level: 'loud' is not known; write error, warn, info or debug"},
		{"default_upstream: nowhere.example\n",
		 "t.yaml:1:19: default_upstream: 'nowhere.example' is not an upstream; write one of upstreams"},
		{"default_upstream: index.docker.io\n",
		 "t.yaml:1:19: default_upstream: 'index.docker.io' is an alias; write docker.io"},
		{"a: b\n---\nc: d\n", "t.yaml:2:1: document: is a second one; write one document"},
		{"a: b\n\tc: d\n", "t.yaml:2:1: syntax: ~"},
		{"store: {path: x\n", "t.yaml:2:1: syntax: ~"},
		{"store:\n  path: \xff\n", "t.yaml:2:9: syntax: invalid leading UTF-8 octet; save the file as UTF-8"},
		{"store:\n\tpath: /x\n", "t.yaml:2:1: syntax: found character that cannot start any token, while "
					 "scanning for the next token; indent with spaces, not tabs"},
		{"a: [ *x ]\n",
		 "t.yaml:1:6: syntax: found undefined alias; put quotes around a value with any of [ ] { "
		 "} * & ! % @ `"},
		{"listen: 127.0.0.1:5000\r\nofline: true\r\n",
		 "t.yaml:2:1: ofline: unknown key; did you mean offline?"},
		{"\xef\xbb\xbfofline: true\n", "t.yaml:1:1: ofline: unknown key; did you mean offline?"},
		{"listen: [ 127.0.0.1:1, 127.0.0.1:1 ]\n",
		 "t.yaml:1:24: listen[1]: '127.0.0.1:1' stands there twice; leave out one"},
		{"listen: 127.0.0.1:5001\n",
		 "t.yaml:1:9: listen[0]: '127.0.0.1:5001' is admin.listen, too; choose another "
		 "port for one of the two"},
		{"access: {rules: {bob: ['*']}}\n", "t.yaml:1:17: access.rules: does nothing without access.htpasswd: "
						    "whoever reaches the port may pull; set access.htpasswd too"},
		{"access: {anonymous: '*'}\n", "t.yaml:1:21: access.anonymous: does nothing without access.htpasswd~"},
		{"access: {htpasswd: /etc/passwd, rules: {'@ops': ['*']}}\n",
		 "t.yaml:1:41: access.rules.@ops: '@ops' is no group; name it in access.groups"},
		{"prefetch:\n- imges: [x]\n", "t.yaml:2:3: prefetch[0].imges: unknown key; did you mean images?"},
		{"prefetch: {images: [x]}\n",
		 "t.yaml:1:11: prefetch: takes a list, not a mapping; write '- KEY: VALUE' below it"},
		{"prefetch: [{images: [nowhere.example/x]}]\n",
		 "t.yaml:1:22: prefetch[0].images[0]: 'nowhere.example' is not an upstream; write one of upstreams"},
		{"prefetch: [{images: ['quay://nowhere.example/x/*:1']}]\n", "t.yaml:1:22: prefetch[0].images[0]: ~"},
		{"admin: {listen: '0.0.0.0:5001'}\n",
		 "t.yaml:1:17: admin.listen: is beyond loopback without a token; set admin.token_file too"},
		{"tls: {cert: /nowhere/x}\n",
		 "t.yaml:1:13: tls.cert: '/nowhere/x' cannot be read: No such file or directory"},
		{"tls: {cert: /}\n", "t.yaml:1:13: tls.cert: '/' is not a file; name a regular file"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		refuse(cases[i].text, cases[i].says);
}

/* The entry of one upstream, a.example, in flow style: its text starts at column 16 of line 1. */
static void refuse_in_upstream(const char *entry, const char *says)
{
	_cleanup_free_ char *text = mem_printf("upstreams: {\n a.example: {\n%s}}\n", entry);
	_cleanup_free_ char *full = mem_printf("t.yaml:3:%s", says);
	refuse(text, full);
}

static void an_upstream_is_checked(void **state)
{
	(void)state;
	refuse_in_upstream("password: hunter2", "11: upstreams.a.example.password: secrets do not stand in this file; "
						"write a variable, ${NAME}, or use "
						"password_file or the variable LARDER_PASSWORD_A_EXAMPLE");
	static const char *const secrets[] = {"'${A}x'", "'x${A}'", "'${}'", "'${A:-x}'", "'$${A}'", "[x]", "{}", "''"};
	for (size_t i = 0; i < sizeof(secrets) / sizeof(secrets[0]); i++) {
		_cleanup_free_ char *entry = mem_printf("username: me, password: %s", secrets[i]);
		refuse_in_upstream(entry, "25: upstreams.a.example.password: secrets do not stand in this file~");
	}
	refuse_in_upstream("username: me",
			   "11: upstreams.a.example.username: has no password; set password_file or the "
			   "variable LARDER_PASSWORD_A_EXAMPLE");
	_cleanup_free_ char *file = write_file("some.pem", "x\n", 2);
	_cleanup_free_ char *lone_password = mem_printf("password_file: %s", file);
	refuse_in_upstream(lone_password, "16: upstreams.a.example.password_file: has no user name; set username too");
	_cleanup_free_ char *lone_cert = mem_printf("client_cert: %s", file);
	refuse_in_upstream(lone_cert, "14: upstreams.a.example.client_cert: has no private key; set client_key too");
	_cleanup_free_ char *lone_key = mem_printf("client_key: %s", file);
	refuse_in_upstream(lone_key, "13: upstreams.a.example.client_key: has no certificate; set client_cert too");
	refuse_in_upstream("url: https://a.example/v2/", "6: upstreams.a.example.url: 'https://a.example/v2/' ends in "
							 "/v2, which larder adds by itself; leave it out");
	refuse_in_upstream("deny: 'team/[ab'", "7: upstreams.a.example.deny: 'team/[ab' has a '[' without a ']'~");
	refuse_in_upstream("allow: ['']", "9: upstreams.a.example.allow[0]: has an empty item~");
	refuse_in_upstream("max_connections: 0", "18: upstreams.a.example.max_connections: '0' is not a number from 1 "
						 "to 256");
	refuse_in_upstream("max_connections: 257", "18: ~");
	refuse_in_upstream("retries: 101", "10: ~");
	refuse_in_upstream("retries: -1", "10: ~");
	refuse_in_upstream("retries: 1x", "10: ~");
	refuse_in_upstream("retries: 18446744073709551617", "10: ~");
	refuse_in_upstream("tag_ttl: soon", "10: upstreams.a.example.tag_ttl: 'soon' is not a duration; write one like "
					    "30s, 5m, 12h or 1h30m, or forever");
	refuse_in_upstream("idle_timeout: 0s", "15: upstreams.a.example.idle_timeout: '0s' is out of bounds~");
	refuse_in_upstream("idle_timeout: forever", "15: ~");
	refuse_in_upstream("rate_limit: 20", "13: upstreams.a.example.rate_limit: '20' is not a rate~");
	refuse_in_upstream("aliases: [ quay.io ]", "12: upstreams.a.example.aliases[0]: 'quay.io' already means the "
						   "upstream quay.io; leave out one of the two");
	refuse_in_upstream(
		"aliases: [ x.example, INDEX.docker.io ]",
		"23: upstreams.a.example.aliases[1]: 'index.docker.io' already means the upstream docker.io~");
	refuse_in_upstream("aliases: [ a.example ]", "12: ~");
	refuse_in_upstream("url: https://user:pass@host",
			   "6: upstreams.a.example.url: 'https://*********@host' is not~");
	_cleanup_free_ char *users = write_file("users", "", 0);
	_cleanup_free_ char *both =
		mem_printf("upstreams: {a.example: {auth: client}}\naccess: {htpasswd: %s}\n", users);
	refuse(both, "t.yaml:1:31: upstreams.a.example.auth: 'client' passes on what clients log in with, which "
		     "access.htpasswd wants for larder itself; leave out one of the two");
	unlink(users);
}

static void only_good_addresses_urls_and_names_are_taken(void **state)
{
	(void)state;
	static const char *const listens[] = {
		"localhost:5000", ":5000",       "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:5 ",     "::1:5000", "[::1]",
		"[::1]5000",      "[1.2.3.4]:1", "[::1]:x",  "1.2.3.256:80",  "1.2.3.4:123456", "unix:/x"};
	for (size_t i = 0; i < sizeof(listens) / sizeof(listens[0]); i++) {
		_cleanup_free_ char *text = mem_printf("listen: \"%s\"\n", listens[i]);
		refuse(text, "t.yaml:1:9: listen: ~");
	}
	static const char *const admins[] = {"unix:", "unix:relative", "on", "Off", "localhost:1"};
	for (size_t i = 0; i < sizeof(admins) / sizeof(admins[0]); i++) {
		_cleanup_free_ char *text = mem_printf("admin: {listen: \"%s\"}\n", admins[i]);
		refuse(text, "t.yaml:1:17: admin.listen: ~");
	}
	static const char *const good_admins[] = {"unix:/run/larder.sock", "off", "[::1]:1", "127.9.9.9:0"};
	for (size_t i = 0; i < sizeof(good_admins) / sizeof(good_admins[0]); i++) {
		_cleanup_free_ char *text = mem_printf("admin: {listen: \"%s\"}\n", good_admins[i]);
		config_free(parse(text));
	}
	static const char *const urls[] = {"ftp://x",         "x.example",   "https://",     "https:///x",
					   "https://u@x",     "https://x?q", "https://x/#f", "https://x y",
					   "https://x:99999", "//x"};
	for (size_t i = 0; i < sizeof(urls) / sizeof(urls[0]); i++) {
		_cleanup_free_ char *url = mem_printf("url: \"%s\"", urls[i]);
		refuse_in_upstream(url, "6: upstreams.a.example.url: ~");
		_cleanup_free_ char *mirror = mem_printf("mirrors: [\"%s\"]", urls[i]);
		refuse_in_upstream(mirror, "11: upstreams.a.example.mirrors[0]: ~");
		_cleanup_free_ char *proxy = mem_printf("proxy: \"%s\"", urls[i]);
		refuse_in_upstream(proxy, "8: upstreams.a.example.proxy: ~");
	}
	refuse_in_upstream(
		"proxy: \"http://user:secret@x:3128\"",
		"8: upstreams.a.example.proxy: 'http://***********@x:3128' has a user name; for a proxy that wants a "
		"login set https_proxy in larder's environment, and leave this out");
	static const char *const names[] = {"a b", "-a",  "a-.b",  "a..b",  ".a", "a.",  "a/b",
					    "a:",  "a:x", "a:1:2", "[::1]", "",   "a_b", "http://a"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		_cleanup_free_ char *text = mem_printf("upstreams: {\"%s\": {}}\n", names[i]);
		refuse(text, "t.yaml:1:13: upstreams: ~");
	}
	config_free(parse("upstreams: {\"[::1]:5000\": {}, localhost: {}, \"10.0.0.1:5000\": {}, a-b.c--d: {}}\n"));
}

static void bounds_hold(void **state)
{
	(void)state;
	_cleanup_(buf_dispose) struct buf text = {0};
	buf_append_text(&text, "upstreams:\n");
	for (int i = 0; i < CONFIG_UPSTREAMS_MAX; i++)
		buf_printf(&text, "  u%d.example: {}\n", i);
	refuse(text.data, "t.yaml:1019:3: upstreams: holds too many; up to 1024 are taken");
	buf_clear(&text);
	buf_append_text(&text, "upstreams: {quay.io: {deny: [");
	for (int i = 0; i <= CONFIG_LIST_MAX; i++)
		buf_append_text(&text, "x,");
	buf_append_text(&text, "]}}");
	refuse(text.data, "t.yaml:1:542: upstreams.quay.io.deny[256]: has too many items; up to 256 are taken");
	buf_clear(&text);
	buf_append_text(&text, "#");
	while (text.len < CONFIG_FILE_MAX)
		buf_append_text(&text, "#");
	config_free(parse(text.data));
	buf_append_text(&text, "#");
	refuse(text.data, "t.yaml: is larger than 1048576 bytes");
	_cleanup_free_ char *path = write_file("large.yaml", text.data, text.len);
	struct config *config = NULL;
	assert_int_equal(config_read(path, &config, NULL), ERR_LIMIT);
	buf_clear(&text);
	for (int i = 0; i < 100000; i++)
		buf_append_text(&text, "[");
	refuse(text.data, "t.yaml:1:17: document: nests too deep; no key needs this");
	buf_clear(&text);
	for (int i = 0; i < 100000; i++)
		buf_append_text(&text, "- ");
	refuse(text.data, "t.yaml:1:33: document: nests too deep; no key needs this");
	buf_clear(&text);
	for (int i = 0; i < 80000; i++)
		buf_printf(&text, "- &a%d x\n", i);
	refuse(text.data, "t.yaml:257:3: document: has too many anchors; repeat the values instead");
}

static void all_problems_are_told_in_order(void **state)
{
	(void)state;
	struct config *config = NULL;
	struct config_problems problems;
	static const char text[] = "offline: maybe\nx: y\nstore: {path: '', min_free: z}\n";
	assert_int_equal(config_parse_all("t.yaml", text, strlen(text), NULL, &config, &problems), ERR_INVALID);
	assert_int_equal(problems.count, 4);
	assert_memory_equal(problems.items[0].text, "t.yaml:1:10: ", 13);
	assert_memory_equal(problems.items[1].text, "t.yaml:2:1: ", 12);
	assert_memory_equal(problems.items[2].text, "t.yaml:3:15: ", 13);
	assert_memory_equal(problems.items[3].text, "t.yaml:3:29: ", 13);
	_cleanup_(buf_dispose) struct buf many = {0};
	for (int i = 0; i < 100; i++)
		buf_printf(&many, "x%d: y\n", i);
	assert_int_equal(config_parse_all("t.yaml", many.data, many.len, NULL, &config, &problems), ERR_INVALID);
	assert_int_equal(problems.count, CONFIG_PROBLEMS_MAX);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_wrong_is_said_with_line_and_column),
		cmocka_unit_test(an_upstream_is_checked),
		cmocka_unit_test(only_good_addresses_urls_and_names_are_taken),
		cmocka_unit_test(bounds_hold),
		cmocka_unit_test(all_problems_are_told_in_order),
	};
	return cmocka_run_group_tests(tests, make_directory, remove_directory);
}
