/* SPDX-License-Identifier: Apache-2.0 */
/* The scripted upstream as a program, for benchmarks: prints what it serves as JSON lines, and serves until it is
 * ended. */
#include "tests/wire/scripted.h"
#include "tests/wire/scripted_log.h"
#include "tests/wire/scripted_tls.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define THINGS_MAX 1024

static const char usage[] =
	"usage: scripted-upstream [options]\n"
	"  --listen ADDRESS[:PORT]     repeatable; the default is 127.0.0.1 and a free port\n"
	"  --tls DIR                   TLS with a certificate made now; DIR gets ca.pem\n"
	"  --cert FILE --key FILE      TLS with this certificate\n"
	"  --h2                        HTTP/2, by ALPN or (plain) with prior knowledge\n"
	"  --rate BYTES                body bytes a second of each connection; K, M, G are powers of 1024\n"
	"  --stream-rate BYTES         of each answer\n"
	"  --total-rate BYTES          of everything together\n"
	"  --latency MS                one round trip\n"
	"  --requests-max N            429 beyond so many at once\n"
	"  --bearer                    ask for tokens, which anyone is given\n"
	"  --blob SEED:SIZE            a blob, in every repository; repeatable\n"
	"  --image NAME:TAG:LAYERS:SIZE[:SEED]  an image; repeatable\n"
	"  --layer NAME:TAG:FILE       an image of one layer, which is this file; repeatable\n"
	"  --images NAME:COUNT:LAYERS:SIZE      images NAME-0, NAME-1 … tagged latest, sharing nothing\n"
	"On SIGUSR1 it prints its counters as a JSON line; on SIGTERM or SIGINT it does so and ends.\n";

enum option_id {
	LISTEN = 256,
	TLS,
	CERT,
	KEY,
	H2,
	RATE,
	STREAM_RATE,
	TOTAL_RATE,
	LATENCY,
	REQUESTS_MAX,
	BEARER,
	BLOB,
	IMAGE,
	IMAGES,
	LAYER
};

static const struct option long_options[] = {
	{"listen", required_argument, NULL, LISTEN},
	{"tls", required_argument, NULL, TLS},
	{"cert", required_argument, NULL, CERT},
	{"key", required_argument, NULL, KEY},
	{"h2", no_argument, NULL, H2},
	{"rate", required_argument, NULL, RATE},
	{"stream-rate", required_argument, NULL, STREAM_RATE},
	{"total-rate", required_argument, NULL, TOTAL_RATE},
	{"latency", required_argument, NULL, LATENCY},
	{"requests-max", required_argument, NULL, REQUESTS_MAX},
	{"bearer", no_argument, NULL, BEARER},
	{"blob", required_argument, NULL, BLOB},
	{"image", required_argument, NULL, IMAGE},
	{"images", required_argument, NULL, IMAGES},
	{"layer", required_argument, NULL, LAYER},
	{0},
};

struct thing {
	enum option_id what;
	const char *text;
};

struct settings {
	struct scripted_options options;
	struct thing things[THINGS_MAX]; /* blobs and images, in order */
	size_t thing_count;
	const char *listens[SCRIPTED_LISTENERS_MAX];
	size_t listen_count;
	const char *tls, *cert, *key;
	bool h2;
};

static _Noreturn void refuse(const char *text)
{
	fprintf(stderr, "scripted-upstream: what is \"%s\"?\n%s", text, usage);
	exit(2);
}

static uint64_t parse_size(const char *text)
{
	char *end;
	uint64_t size = strtoull(text, &end, 10);
	const char *unit = *end ? strchr("KMG", *end) : NULL;
	if (end == text || (*end && (!unit || end[1])))
		refuse(text);
	return unit ? size << (10 * (unit - "KMG" + 1)) : size;
}

static void parse(int argc, char **argv, struct settings *settings)
{
	struct scripted_shape *shape = &settings->options.shape;
	int id;
	while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
		switch (id) {
		case LISTEN:
			if (settings->listen_count == SCRIPTED_LISTENERS_MAX)
				refuse(optarg);
			settings->listens[settings->listen_count++] = optarg;
			break;
		case TLS:
			settings->tls = optarg;
			break;
		case CERT:
			settings->cert = optarg;
			break;
		case KEY:
			settings->key = optarg;
			break;
		case H2:
			settings->h2 = true;
			break;
		case RATE:
			shape->rate_connection = parse_size(optarg);
			break;
		case STREAM_RATE:
			shape->rate_stream = parse_size(optarg);
			break;
		case TOTAL_RATE:
			shape->rate_total = parse_size(optarg);
			break;
		case LATENCY:
			shape->latency_ms = (unsigned)parse_size(optarg);
			break;
		case REQUESTS_MAX:
			shape->requests_max = (unsigned)parse_size(optarg);
			break;
		case BEARER:
			settings->options.auth.kind = SCRIPTED_AUTH_BEARER;
			settings->options.auth.expires_in = 300;
			break;
		case BLOB:
		case IMAGE:
		case IMAGES:
		case LAYER:
			if (settings->thing_count == THINGS_MAX)
				refuse(optarg);
			settings->things[settings->thing_count++] = (struct thing){(enum option_id)id, optarg};
			break;
		default:
			fputs(usage, stderr);
			exit(2);
		}
	}
	if (optind < argc)
		refuse(argv[optind]);
}

/* Splits at colons into at most `most` parts; how many there are. */
static size_t split(char *text, char **parts, size_t most)
{
	size_t count = 0;
	for (char *part = strsep(&text, ":"); part && count < most; part = strsep(&text, ":"))
		parts[count++] = part;
	return count;
}

static void print_image(const char *name, const char *tag, const struct scripted_image *image)
{
	printf("{\"image\":\"%s:%s\",\"manifest\":\"%s\",\"config\":\"%s\",\"bytes\":%" PRIu64 ",\"layers\":[", name,
	       tag, image->manifest, image->config, image->bytes);
	for (unsigned i = 0; i < image->layers; i++)
		printf("%s\"%s\"", i ? "," : "", image->layer[i]);
	printf("]}\n");
}

static void add_image(struct scripted *scripted, const char *name, const char *tag, const char *layers,
		      const char *size, uint64_t seed)
{
	struct scripted_image_options options = {
		.layers = (unsigned)parse_size(layers), .layer_size = parse_size(size), .seed = seed};
	struct scripted_image image;
	if (options.layers == 0 || options.layers > SCRIPTED_LAYERS_MAX)
		refuse(layers);
	scripted_add_image(scripted, name, tag, &options, &image);
	print_image(name, tag, &image);
}

static void add_layer(struct scripted *scripted, const char *name, const char *tag, const char *path)
{
	struct scripted_bytes layer = {0};
	struct scripted_image image;
	struct stat found;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	void *data;
	if (fd < 0 || fstat(fd, &found) < 0 || found.st_size == 0)
		refuse(path);
	layer.len = (size_t)found.st_size;
	data = mmap(NULL, layer.len, PROT_READ, MAP_PRIVATE, fd, 0);
	if (data == MAP_FAILED)
		refuse(path);
	layer.data = data;
	scripted_add_image_of(scripted, name, tag, &layer, 1, &image);
	munmap(data, layer.len);
	close(fd);
	print_image(name, tag, &image);
}

static void add_thing(struct scripted *scripted, const struct thing *thing, uint64_t number)
{
	_cleanup_free_ char *text = mem_strdup(thing->text);
	char *parts[5] = {NULL};
	char digest[SCRIPTED_DIGEST_MAX];
	size_t count = split(text, parts, 5);
	if (thing->what == BLOB && count == 2) {
		uint64_t size = parse_size(parts[1]);
		scripted_add_blob(scripted, NULL, parse_size(parts[0]), size, digest);
		printf("{\"blob\":\"%s\",\"size\":%" PRIu64 "}\n", digest, size);
	} else if (thing->what == IMAGE && count >= 4) {
		add_image(scripted, parts[0], parts[1], parts[2], parts[3], count == 5 ? parse_size(parts[4]) : number);
	} else if (thing->what == IMAGES && count == 4) {
		uint64_t images = parse_size(parts[1]);
		for (uint64_t i = 0; i < images; i++) {
			_cleanup_free_ char *name = mem_printf("%s-%" PRIu64, parts[0], i);
			add_image(scripted, name, "latest", parts[2], parts[3], number * 1000000 + i);
		}
	} else if (thing->what == LAYER && count == 3) {
		add_layer(scripted, parts[0], parts[1], parts[2]);
	} else {
		refuse(thing->text);
	}
}

static void listen_at(struct scripted *scripted, const struct settings *settings, const struct scripted_tls *tls,
		      const char *where)
{
	_cleanup_free_ char *text = mem_strdup(where);
	struct err err = {0};
	char *parts[2] = {NULL};
	size_t count = split(text, parts, 2);
	struct scripted_listen listen = {.address = parts[0], .tls = tls, .h2 = settings->h2};
	if (count == 2)
		listen.port = (uint16_t)parse_size(parts[1]);
	int listener = scripted_listen(scripted, &listen, &err);
	if (listener < 0) {
		fprintf(stderr, "scripted-upstream: %s\n", err.text);
		exit(1);
	}
	printf("{\"url\":\"%s\",\"address\":\"%s\",\"port\":%u}\n", scripted_url(scripted, listener),
	       scripted_address(scripted, listener), scripted_port(scripted, listener));
}

static void print_stats(struct scripted *scripted)
{
	struct scripted_stats stats;
	scripted_get_stats(scripted, 0, &stats);
	printf("{\"requests\":%u,\"connections\":%u,\"connections_max\":%u,\"running_max\":%u,\"limited\":%u,\"body_"
	       "bytes\":%" PRIu64 "}\n",
	       stats.requests, stats.accepted, stats.open_max, stats.running_max, stats.limited, stats.body_sent);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	static struct settings settings;
	struct err err = {0};
	struct scripted_tls *tls = NULL;
	sigset_t ends;
	int signal_seen;
	sigemptyset(&ends);
	sigaddset(&ends, SIGTERM);
	sigaddset(&ends, SIGINT);
	sigaddset(&ends, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &ends, NULL);
	parse(argc, argv, &settings);
	if (settings.tls)
		tls = scripted_tls_new(settings.tls, &err);
	else if (settings.cert && settings.key)
		tls = scripted_tls_read(settings.cert, settings.key, &err);
	struct scripted *scripted = err.code ? NULL : scripted_new(&settings.options, &err);
	if (!scripted) {
		fprintf(stderr, "scripted-upstream: %s\n", err.text);
		return 1;
	}
	for (size_t i = 0; i < settings.thing_count; i++)
		add_thing(scripted, &settings.things[i], i + 1);
	if (settings.listen_count == 0)
		settings.listens[settings.listen_count++] = "127.0.0.1";
	for (size_t i = 0; i < settings.listen_count; i++)
		listen_at(scripted, &settings, tls, settings.listens[i]);
	fflush(stdout);
	do {
		signal_seen = SIGTERM;
		sigwait(&ends, &signal_seen);
		print_stats(scripted);
	} while (signal_seen == SIGUSR1);
	scripted_free(scripted);
	scripted_tls_free(tls);
	return 0;
}
