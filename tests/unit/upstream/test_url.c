/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/url.h"

#include "base/cleanup.h"
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

static void url_takes_http_urls_apart(void **state)
{
	(void)state;
	static const struct {
		const char *text;
		bool https;
		const char *host;
		unsigned port;
		const char *path;
	} cases[] = {
		{"https://registry-1.docker.io", true, "registry-1.docker.io", 443, ""},
		{"http://Registry.Local:5000/v2/?n=1", false, "registry.local", 5000, "/v2/?n=1"},
		{"HTTPS://a/", true, "a", 443, "/"},
		{"http://a:/x", false, "a", 80, "/x"},
		{"http://127.0.0.1:1/", false, "127.0.0.1", 1, "/"},
		{"https://[2001:DB8::1]:8443/x", true, "2001:db8::1", 8443, "/x"},
		{"http://[fe80::1%25eth0]/", false, "fe80::1%25eth0", 80, "/"},
		{"https://cdn/x?sig=a%2Fb&at=me@x:1", true, "cdn", 443, "/x?sig=a%2Fb&at=me@x:1"},
		{"https://a.example.:65535/", true, "a.example.", 65535, "/"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct url url;
		assert_int_equal(url_parse(cases[i].text, &url), 0);
		assert_int_equal(url.https, cases[i].https);
		assert_string_equal(url.host, cases[i].host);
		assert_int_equal(url.port, cases[i].port);
		assert_string_equal(url.path, cases[i].path);
		assert_true(url.path >= cases[i].text && url.path <= cases[i].text + strlen(cases[i].text));
	}
}

static void url_refuses_what_it_does_not_speak(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",
		"a",
		"/v2/",
		"//a/",
		"ftp://a/",
		"file:///etc/passwd",
		"https:/a",
		"https:a",
		"http://",
		"http:///x",
		"https://user@a/",
		"https://user:pw@a/",
		"https://a\\@b/",
		"https://a b/",
		"https://a/x y",
		"https://a/\n",
		"https://a/\x7f",
		"https://a/#f",
		"https://a?x",
		"https://a:0/",
		"https://a:65536/",
		"https://a:123456/",
		"https://a:80x/",
		"https://a:-1/",
		"https://a:80:80/",
		"https://[::1/",
		"https://[::1]x/",
		"https://[]/",
		"https://[127.0.0.1]/",
		"https://[::1]:x/",
		"https://[fe80::1%e/h]/",
		"https://::1/",
		"https://%31%32%37.0.0.1/",
		"https://\xc3\xa9.example/",
		"https://.a/",
		"https://a<b>/",
		" https://a/",
		"https://[v1.x]/",
		"https://:80/",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct url url = {.port = 42};
		assert_int_equal(url_parse(wrong[i], &url), ERR_INVALID);
		assert_int_equal(url.port, 42);
	}
}

static void url_bounds_its_length(void **state)
{
	(void)state;
	static char text[URL_MAX + 2];
	struct url url;
	memset(text, 'a', sizeof(text) - 1);
	memcpy(text, "https://host/", strlen("https://host/"));
	assert_int_equal(url_parse(text, &url), ERR_INVALID);
	text[URL_MAX] = '\0';
	assert_int_equal(url_parse(text, &url), 0);
	char long_host[300] = "http://";
	memset(long_host + 7, 'h', 256);
	assert_int_equal(url_parse(long_host, &url), ERR_INVALID);
	long_host[7 + 255] = '\0';
	assert_int_equal(url_parse(long_host, &url), 0);
}

static bool same_origin(const char *a, const char *b)
{
	struct url first;
	struct url second;
	assert_int_equal(url_parse(a, &first), 0);
	assert_int_equal(url_parse(b, &second), 0);
	return url_same_origin(&first, &second);
}

static void url_compares_origins(void **state)
{
	(void)state;
	struct url a;
	struct url b;
	assert_true(same_origin("https://A.example/x", "https://a.example:443/y"));
	assert_false(same_origin("https://a/", "http://a/"));
	assert_false(same_origin("https://a/", "https://a:8443/"));
	assert_false(same_origin("https://a/", "https://a.b/"));
	assert_false(same_origin("http://a:443/", "https://a/"));
	assert_int_equal(url_parse("http://a:1/", &a), 0);
	assert_int_equal(url_parse("https://a:2/", &b), 0);
	assert_true(url_same_host(&a, &b));
}

static const char *const private_hosts[] = {
	/* plain */
	"127.0.0.1",
	"127.255.255.255",
	"10.0.0.1",
	"172.16.0.1",
	"172.31.255.255",
	"192.168.1.1",
	"169.254.169.254",
	"100.64.0.1",
	"100.127.255.255",
	"0.0.0.0",
	"0.1.2.3",
	"224.0.0.1",
	"239.1.2.3",
	"255.255.255.255",
	"192.0.0.192",
	/* names */
	"localhost",
	"LOCALHOST",
	"localhost.",
	"a.localhost",
	"a.b.LocalHost.",
	"localhost.localdomain",
	"ip6-loopback",
	/* odd spellings */
	"2130706433",
	"0x7f000001",
	"0x7F.1",
	"127.1",
	"127.0.1",
	"0177.0.0.1",
	"017700000001",
	"0",
	"256",
	"10.1",
	"0xa9fea9fe",
	"169.254.43518",
	"0300.0250.1.1",
	"192.168.257",
	"127.0.0.1.",
	"127.0.0.1..",
	/* IPv6 */
	"::",
	"::1",
	"[::1]",
	"0:0:0:0:0:0:0:1",
	"fe80::1",
	"fe80::1%eth0",
	"fe80::1%25eth0",
	"febf::1",
	"fec0::1",
	"fc00::1",
	"fd12:3456::1",
	"FD00:EC2::254",
	"ff02::1",
	"::ffff:127.0.0.1",
	"::ffff:7f00:1",
	"::FFFF:10.0.0.1",
	"::127.0.0.1",
	"64:ff9b::7f00:1",
	"64:ff9b::169.254.169.254",
	"64:ff9b::10.0.0.1",
	"64:ff9b:1::1",
	"2002:7f00:1::",
	"2002:a00:1::1",
	"::ffff:0:127.0.0.1",
	/* what can only mislead */
	"",
	".",
	"1.2.3.4.5",
	"1.2.3.256",
	"99999999999",
	"0x1ffffffff",
	"a.0x7f",
	"08.1",
	"a.1",
	"gggg::1",
	"1:2",
	"::1]",
	"%31",
	"exa mple",
	"\xe2\x91\xa0.1",
};

static void url_knows_private_hosts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(private_hosts) / sizeof(private_hosts[0]); i++) {
		if (url_host_ground(private_hosts[i]) == URL_PUBLIC)
			fail_msg("%s was taken for public", private_hosts[i]);
	}
}

static const char *const public_hosts[] = {
	"registry-1.docker.io",
	"quay.io",
	"quay.io.",
	"8.8.8.8",
	"134744072",
	"0x08080808",
	"8.8.2056",
	"1.1",
	"172.15.0.1",
	"172.32.0.1",
	"100.63.0.1",
	"100.128.0.1",
	"169.253.1.1",
	"192.169.1.1",
	"11.0.0.1",
	"126.1.1.1",
	"128.0.0.1",
	"223.255.255.255",
	"localhost.example.com",
	"notlocalhost",
	"10.example.com",
	"127.0.0.1.nip.io",
	"0xbeef.example",
	"2001:4860:4860::8888",
	"2606:4700::1111%eth0",
	"[2001:db9::1]",
	"::ffff:8.8.8.8",
	"64:ff9b::8.8.8.8",
	"2002:808:808::1",
	"a_b.example",
	"face.b00c",
};

static void url_knows_public_hosts(void **state)
{
	(void)state;
	for (size_t i = 0; i < sizeof(public_hosts) / sizeof(public_hosts[0]); i++) {
		if (url_host_ground(public_hosts[i]) != URL_PUBLIC)
			fail_msg("%s was taken for private", public_hosts[i]);
	}
}

static void url_knows_how_near_a_host_is(void **state)
{
	static const struct {
		const char *host;
		enum url_ground ground;
	} cases[] = {
		{"10.1.2.3", URL_PRIVATE},
		{"100.100.100.201", URL_PRIVATE},
		{"192.0.0.1", URL_PRIVATE},
		{"fd12:3456::1", URL_PRIVATE},
		{"fec0::1", URL_PRIVATE},
		{"ff02::1", URL_PRIVATE},
		{"::ffff:10.0.0.1", URL_PRIVATE},
		{"64:ff9b:1::1", URL_PRIVATE},
		{"239.1.2.3", URL_PRIVATE},
		{"169.254.169.254", URL_LINK},
		{"2852039166", URL_LINK},
		{"0xa9.254.43518", URL_LINK},
		{"fe80::1%eth0", URL_LINK},
		{"febf::1", URL_LINK},
		{"fd00:ec2::254", URL_LINK},
		{"100.100.100.200", URL_LINK},
		{"192.0.0.192", URL_LINK},
		{"168.63.129.16", URL_LINK},
		{"::ffff:169.254.1.1", URL_LINK},
		{"127.0.0.1", URL_LOCAL},
		{"0.0.0.0", URL_LOCAL},
		{"[::1]", URL_LOCAL},
		{"::", URL_LOCAL},
		{"a.localhost", URL_LOCAL},
		{"::ffff:127.1.2.3", URL_LOCAL},
		{"0x7f.1", URL_LOCAL},
		{"1.2.3.4.5", URL_LOCAL},
		{"registry.example", URL_PUBLIC},
		{"168.63.129.17", URL_PUBLIC},
		{"203.0.113.1", URL_PUBLIC},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		if (url_host_ground(cases[i].host) != cases[i].ground)
			fail_msg("%s lies elsewhere: %d", cases[i].host, (int)url_host_ground(cases[i].host));
}

static void url_joins_references(void **state)
{
	(void)state;
	static const struct {
		const char *base;
		const char *reference;
		const char *joined; /* NULL: refused */
	} cases[] = {
		{"https://a:5000/v2/x?n=1", "https://cdn.example/blob?sig=%2F..%2F&x=/../y",
		 "https://cdn.example/blob?sig=%2F..%2F&x=/../y"},
		{"https://a/v2/", "http://b/x#frag", "http://b/x"},
		{"https://a/v2/", "//cdn.example/x?y", "https://cdn.example/x?y"},
		{"http://a/v2/", "//b", "http://b"},
		{"https://a:5000/v2/x/tags/list?n=1", "/v2/y?last=z", "https://a:5000/v2/y?last=z"},
		{"https://a/v2/x/tags/list?n=1", "?n=1&last=b", "https://a/v2/x/tags/list?n=1&last=b"},
		{"https://a/v2/x/tags/list?n=1", "list?last=b", "https://a/v2/x/tags/list?last=b"},
		{"https://a/v2/x/tags/list?n=1", "../other/./c", "https://a/v2/x/other/c"},
		{"https://a/b/c", "../../../../d", "https://a/d"},
		{"https://a/b/c/d;p", "..", "https://a/b/"},
		{"https://a/b/c/d;p", ".", "https://a/b/c/"},
		{"https://a/b/c/d;p", "../..", "https://a/"},
		{"https://a/b/c/d", "/x/../y/./z/..?q=/../k", "https://a/y/?q=/../k"},
		{"https://a/b/c/d", "...//.e/..f", "https://a/b/c/...//.e/..f"},
		{"https://a/b?c", "", "https://a/b?c"},
		{"https://a/b?c", "#f", "https://a/b?c"},
		{"https://a", "x", "https://a/x"},
		{"https://a", "?x=/y", "https://a/?x=/y"},
		{"https://a", "", "https://a"},
		{"https://a/", "https://b?x=1/2", "https://b/?x=1/2"},
		{"http://[2001:db8::1]:81/a", "/b", "http://[2001:db8::1]:81/b"},
		{"https://a/", "ftp://b/", NULL},
		{"https://a/", "javascript:alert(1)", NULL},
		{"https://a/", "https:b", NULL},
		{"https://a/", "https://user@b/", NULL},
		{"https://a/", "/x y", NULL},
		{"https://a/", "/x\r\ny", NULL},
		{"https://a/", "//", NULL},
		{"https://a/", "///x", NULL},
		{"not a url", "/x", NULL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *joined = url_join(cases[i].base, cases[i].reference);
		if (!cases[i].joined) {
			assert_null(joined);
			continue;
		}
		assert_non_null(joined);
		assert_string_equal(joined, cases[i].joined);
	}
}

static void url_join_bounds_its_result(void **state)
{
	(void)state;
	static char reference[URL_MAX + 2];
	memset(reference, 'a', sizeof(reference) - 1);
	assert_null(url_join("https://a/", reference));
	reference[URL_MAX] = '\0';
	assert_null(url_join("https://a/", reference));
	reference[URL_MAX - strlen("https://a/")] = '\0';
	_cleanup_free_ char *joined = url_join("https://a/", reference);
	assert_non_null(joined);
	assert_int_equal(strlen(joined), URL_MAX);
}

static void url_escapes_query_values(void **state)
{
	(void)state;
	_cleanup_free_ char *scope = url_escape("repository:a/b:pull,push");
	_cleanup_free_ char *plain = url_escape("aZ09-._~");
	_cleanup_free_ char *odd = url_escape("a b&c=d+e%\xc3\xa9\n");
	_cleanup_free_ char *empty = url_escape("");
	assert_string_equal(scope, "repository%3Aa%2Fb%3Apull%2Cpush");
	assert_string_equal(plain, "aZ09-._~");
	assert_string_equal(odd, "a%20b%26c%3Dd%2Be%25%C3%A9%0A");
	assert_string_equal(empty, "");
}

static void url_unescapes_what_was_escaped(void **state)
{
	static const char *const bad[] = {"%", "%4", "a%4g", "% 1", "%+1", "a%00b"};

	(void)state;
	_cleanup_free_ char *bytes = url_unescape("%2Fa+b%FF%0a~");
	assert_string_equal(bytes, "/a+b\xff\n~");
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		assert_null(url_unescape(bad[i]));
}

static void url_finds_the_next_link(void **state)
{
	(void)state;
	static const char base[] = "https://a/v2/x/tags/list?n=2";
	static const struct {
		const char *header;
		const char *next;
	} cases[] = {
		{"</v2/x/tags/list?last=b&n=2>; rel=\"next\"", "https://a/v2/x/tags/list?last=b&n=2"},
		{"<?last=b>;rel=next", "https://a/v2/x/tags/list?last=b"},
		{"<https://A:443/y>; REL=NEXT", "https://A:443/y"},
		{"</p>; rel=prev, </n,1;2>; title=\"a, <b>; rel=prev\"; rel=\"last next\"", "https://a/n,1;2"},
		{"</n>; rel = \"next\"; rel=prev", "https://a/n"},
		{" , </n>; type=\"x\\\"; rel=prev\"; rel=next", "https://a/n"},
		{"</p>; rel=prev; rel=next", NULL},
		{"</n>", NULL},
		{"</n>; rel=\"nextish\"", NULL},
		{"</n>; notrel=next", NULL},
		{"</n>; title=\"rel=next\"", NULL},
		{"</n>; title=\"open; rel=next", NULL},
		{"<https://evil.example/>; rel=next", NULL},
		{"<http://a/>; rel=next", NULL},
		{"<//a:8443/>; rel=next", NULL},
		{"<https://evil.example/>; rel=next, </n>; rel=next", NULL},
		{"</n; rel=next", NULL},
		{"/n; rel=next", NULL},
		{"", NULL},
		{"<>; rel", NULL},
		{"</x y>; rel=next", NULL},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *next = url_link_next(base, cases[i].header);
		if (!cases[i].next) {
			assert_null(next);
			continue;
		}
		assert_non_null(next);
		assert_string_equal(next, cases[i].next);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(url_takes_http_urls_apart),      cmocka_unit_test(url_refuses_what_it_does_not_speak),
		cmocka_unit_test(url_bounds_its_length),          cmocka_unit_test(url_compares_origins),
		cmocka_unit_test(url_knows_private_hosts),        cmocka_unit_test(url_knows_public_hosts),
		cmocka_unit_test(url_knows_how_near_a_host_is),   cmocka_unit_test(url_joins_references),
		cmocka_unit_test(url_join_bounds_its_result),     cmocka_unit_test(url_escapes_query_values),
		cmocka_unit_test(url_unescapes_what_was_escaped), cmocka_unit_test(url_finds_the_next_link),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
