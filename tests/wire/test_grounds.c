/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who sends larder on may send it as near to this machine as it is itself, and no nearer (upstream/url.h): redirects
 * and token services, named by address or by a name of a hostile DNS. The test has a network of its own, whose loopback
 * has an address on each ground, and names of its own in /etc/hosts.
 */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* From far to near. */
static const char *const grounds[] = {"203.0.113.7", "10.1.2.3", "169.254.1.1", "127.0.0.1"};
#define BLOBS   "*/blobs/*"
#define GROUNDS (sizeof(grounds) / sizeof(grounds[0]))

#define HOSTS                                                                                                          \
	"127.0.0.1 localhost\n"                                                                                        \
	"203.0.113.7 ground-0.test cdn.test\n"                                                                         \
	"10.1.2.3 ground-1.test inside.test\n"                                                                         \
	"169.254.1.1 ground-2.test\n"                                                                                  \
	"127.0.0.1 ground-3.test\n"                                                                                    \
	"127.0.0.1 both.test\n"                                                                                        \
	"203.0.113.7 both.test\n"

/* A world of its own. */

static bool write_text(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* Who is not root is so in a world of its own alone. */
static bool leave_the_world(void)
{
	uid_t user = geteuid();
	gid_t group = getegid();
	_cleanup_free_ char *users = mem_printf("0 %u 1", (unsigned)user);
	_cleanup_free_ char *groups = mem_printf("0 %u 1", (unsigned)group);

	if (unshare(CLONE_NEWNET | CLONE_NEWNS | (user ? CLONE_NEWUSER : 0)))
		return false;
	return user == 0 || (write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/uid_map", users) &&
			     write_text("/proc/self/gid_map", groups));
}

static bool give_address(int fd, unsigned nth)
{
	struct ifreq request = {0};
	struct sockaddr_in address = {.sin_family = AF_INET};

	inet_pton(AF_INET, grounds[nth], &address.sin_addr);
	snprintf(request.ifr_name, sizeof(request.ifr_name), "lo:%u", nth);
	memcpy(&request.ifr_addr, &address, sizeof(address));
	return ioctl(fd, SIOCSIFADDR, &request) == 0;
}

static bool set_up_loopback(void)
{
	_cleanup_close_ int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP};

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request))
		return false;
	for (unsigned i = 0; i < GROUNDS - 1; i++)
		if (!give_address(fd, i))
			return false;
	return true;
}

static bool set_names(void)
{
	char path[] = "/tmp/larder-hosts-XXXXXX";
	_cleanup_close_ int fd = mkstemp(path);
	bool done = fd >= 0 && write(fd, HOSTS, strlen(HOSTS)) == (ssize_t)strlen(HOSTS) && fchmod(fd, 0644) == 0 &&
		    mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
		    mount(path, "/etc/hosts", NULL, MS_BIND, NULL) == 0;

	if (fd >= 0)
		unlink(path);
	return done;
}

static bool alone;

static int enter_world(void **state)
{
	(void)state;
	alone = leave_the_world() && set_up_loopback() && set_names();
	if (!alone)
		print_message("skipped: no network of one's own can be had here: %s\n", strerror(errno));
	return 0;
}

/* The bed. */

struct bed {
	struct scripted *registry; /* listener 1 + i is on ground i */
	struct scripted *target;   /* likewise, and where larder is sent */
	struct larder *larder;
	uint64_t seed;
};

/* A larder that knows a registry on each ground, by a name. */
static struct bed bed_new(struct wire *wire)
{
	struct bed bed = {.registry = wire_upstream_bare(wire, NULL), .target = wire_upstream_bare(wire, NULL)};
	_cleanup_(buf_dispose) struct buf config = {0};

	buf_append_text(&config, "upstreams:\n");
	for (unsigned i = 0; i < GROUNDS; i++) {
		wire_listen(bed.registry, &(struct scripted_listen){.address = grounds[i]});
		wire_listen(bed.target, &(struct scripted_listen){.address = grounds[i]});
		buf_printf(&config, "  ground-%u.test: { url: \"http://ground-%u.test:%u\", retries: 0 }\n", i, i,
			   scripted_port(bed.registry, (int)i + 1));
	}
	bed.larder = wire_larder(wire, &(struct larder_options){.config = config.data});
	return bed;
}

/* The status of the pull of a blob that was never asked for, and that both have. */
static int pull(struct bed *bed, const char *upstream)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];

	scripted_add_blob(bed->registry, "team/app", ++bed->seed, 1000, digest);
	scripted_add_blob(bed->target, "team/app", bed->seed, 1000, NULL);
	assert_true(ask(bed->larder, NULL, NULL, &reply, "/v2/%s/team/app/blobs/%s", upstream, digest));
	if (reply.status == 200)
		expect_content(&reply, digest);
	return reply.status;
}

/* Whether this registry's redirect to `host`, a port of the target's, is followed. */
static bool is_redirected(struct bed *bed, const char *upstream, const char *host, unsigned port)
{
	_cleanup_free_ char *location = mem_printf("http://%s:%u*", host, port);
	int rule = scripted_add_rule(bed->registry, &(struct scripted_rule){.path = BLOBS, .redirect = location});
	int status;

	scripted_clear_log(bed->target);
	status = pull(bed, upstream);
	scripted_remove_rule(bed->registry, rule);
	assert_int_equal(status, scripted_count(bed->target, NULL, BLOBS) > 0 ? 200 : 502);
	return status == 200;
}

/* Whether the token service there is asked because this registry names it. */
static bool is_sent_for_a_token(struct bed *bed, const char *upstream, const char *host, unsigned port)
{
	_cleanup_free_ char *challenge =
		mem_printf("WWW-Authenticate: Bearer realm=\"http://%s:%u/token\"", host, port);
	int rule = scripted_add_rule(bed->registry,
				     &(struct scripted_rule){.path = BLOBS, .status = 401, .headers = challenge});

	scripted_clear_log(bed->target);
	assert_int_not_equal(pull(bed, upstream), 200);
	scripted_remove_rule(bed->registry, rule);
	return scripted_count(bed->target, NULL, "/token*") > 0;
}

/* A larder in the place of the bed's, with one upstream. */
static void other_larder(struct wire *wire, struct bed *bed, const char *name, const char *url, const char *keys)
{
	_cleanup_free_ char *config =
		mem_printf("upstreams: { %s: { url: \"%s\", retries: 0, %s } }\n", name, url, keys);

	larder_stop(bed->larder);
	bed->larder = wire_larder(wire, &(struct larder_options){.config = config, .store = "other"});
}

/* Tests. */

WIRE_TEST(nobody_leads_nearer_than_where_it_is)
{
	if (!alone)
		skip();
	struct bed bed = bed_new(wire);

	for (unsigned from = 0; from < GROUNDS; from++) {
		_cleanup_free_ char *upstream = mem_printf("ground-%u.test", from);

		for (unsigned to = 0; to < GROUNDS; to++) {
			_cleanup_free_ char *name = mem_printf("ground-%u.test", to);
			unsigned port = scripted_port(bed.target, (int)to + 1);

			if (is_redirected(&bed, upstream, grounds[to], port) != (to <= from) ||
			    is_redirected(&bed, upstream, name, port) != (to <= from))
				fail_msg("a redirect from %s to %s", grounds[from], grounds[to]);
			if (is_sent_for_a_token(&bed, upstream, grounds[to], port) != (to <= from) ||
			    is_sent_for_a_token(&bed, upstream, name, port) != (to <= from))
				fail_msg("a token service at %s for %s", grounds[to], grounds[from]);
		}
	}
}

WIRE_TEST(token_service_that_the_configuration_names_may_be_near)
{
	if (!alone)
		skip();
	struct bed bed = bed_new(wire);
	unsigned port = scripted_port(bed.target, 2);
	_cleanup_free_ char *keys = mem_printf("token_services: [ \"inside.test:%u\" ]", port);

	other_larder(wire, &bed, "up.test", scripted_url(bed.registry, 1), keys);
	assert_false(is_sent_for_a_token(&bed, "up.test", "10.1.2.3", port));
	assert_true(is_sent_for_a_token(&bed, "up.test", "inside.test", port));
}

/* By a redirect to public ground, and from there back. */
WIRE_TEST(way_back_from_public_ground_is_closed)
{
	if (!alone)
		skip();
	struct bed bed = bed_new(wire);
	_cleanup_free_ char *out = mem_printf("%s*", scripted_url(bed.target, 1));
	_cleanup_free_ char *back = mem_printf("%s*", scripted_url(bed.target, 2));

	scripted_add_rule(bed.registry, &(struct scripted_rule){.path = BLOBS, .redirect = out});
	scripted_add_rule(bed.target, &(struct scripted_rule){.listener = 1, .redirect = back});
	assert_int_equal(pull(&bed, "ground-1.test"), 502);
	assert_int_equal(scripted_count(bed.target, NULL, BLOBS), 1);
}

/* Who answers for a name may say once that it is near, and be far away when it sends larder on. */
WIRE_TEST(name_that_was_near_once_does_not_lead_there)
{
	if (!alone)
		skip();
	struct bed bed = bed_new(wire);
	unsigned port = scripted_port(bed.registry, 1), inside = scripted_port(bed.target, 4);
	_cleanup_free_ char *url = mem_printf("http://both.test:%u", port);
	int near = wire_listen(bed.registry, &(struct scripted_listen){.address = "127.0.0.1", .port = (uint16_t)port});

	other_larder(wire, &bed, "both.test", url, "");
	assert_int_equal(pull(&bed, "both.test"), 200);
	assert_true(is_redirected(&bed, "both.test", "127.0.0.1", inside));
	assert_true(is_sent_for_a_token(&bed, "both.test", "127.0.0.1", inside));
	scripted_set_state(bed.registry, near, SCRIPTED_DOWN, true);
	assert_int_equal(pull(&bed, "both.test"), 200);
	assert_false(is_redirected(&bed, "both.test", "127.0.0.1", inside));
	assert_false(is_redirected(&bed, "both.test", "localhost", inside));
	assert_false(is_sent_for_a_token(&bed, "both.test", "127.0.0.1", inside));
}

/* A mirror inside is asked because the configuration says so: its connection is not there for whoever names it. */
WIRE_TEST(open_connection_to_a_near_address_is_no_way_there)
{
	if (!alone)
		skip();
	struct bed bed = bed_new(wire);
	unsigned inside = scripted_port(bed.target, 2);
	_cleanup_free_ char *keys = mem_printf("mirrors: [ \"http://inside.test:%u\" ]", inside);

	other_larder(wire, &bed, "up.test", scripted_url(bed.registry, 1), keys);
	scripted_set_state(bed.registry, 1, SCRIPTED_DOWN, true);
	assert_int_equal(pull(&bed, "up.test"), 200);
	assert_int_equal(scripted_count(bed.target, NULL, BLOBS), 1);
	scripted_set_state(bed.registry, 1, SCRIPTED_UP, false);
	scripted_add_rule(bed.target, &(struct scripted_rule){.path = BLOBS, .status = 404});
	_cleanup_free_ char *location = mem_printf("http://inside.test:%u/secret", inside);
	scripted_add_rule(bed.registry, &(struct scripted_rule){.path = BLOBS, .redirect = location});
	assert_int_equal(pull(&bed, "up.test"), 502);
	expect_count(bed.target, NULL, "/secret", 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(nobody_leads_nearer_than_where_it_is),
		WIRE_CASE(token_service_that_the_configuration_names_may_be_near),
		WIRE_CASE(way_back_from_public_ground_is_closed),
		WIRE_CASE(name_that_was_near_once_does_not_lead_there),
		WIRE_CASE(open_connection_to_a_near_address_is_no_way_there),
	};

	return cmocka_run_group_tests_name("grounds", tests, enter_world, NULL);
}
